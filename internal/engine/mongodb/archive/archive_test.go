package archive

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"strings"
	"testing"
)

var end = []byte{0xff, 0xff, 0xff, 0xff}

// doc is a BSON document of strings, with numbers and truths by their type.
func doc(pairs ...any) []byte {
	b := make([]byte, 4)
	for i := 0; i < len(pairs); i += 2 {
		name := append([]byte(pairs[i].(string)), 0)
		switch v := pairs[i+1].(type) {
		case string:
			b = append(append(b, 2), name...)
			b = binary.LittleEndian.AppendUint32(b, uint32(len(v)+1))
			b = append(append(b, v...), 0)
		case bool:
			b = append(append(b, 8), name...)
			b = append(b, map[bool]byte{true: 1}[v])
		case int64:
			b = append(append(b, 0x12), name...)
			b = binary.LittleEndian.AppendUint64(b, uint64(v))
		case int32:
			b = append(append(b, 0x10), name...)
			b = binary.LittleEndian.AppendUint32(b, uint32(v))
		}
	}
	b = append(b, 0)
	binary.LittleEndian.PutUint32(b, uint32(len(b)))
	return b
}

func crc(docs ...[]byte) int64 {
	return int64(crc64.Checksum(bytes.Join(docs, nil), crc64.MakeTable(crc64.ECMA)))
}

func announce(db, name, kind string) []byte {
	return doc("db", db, "collection", name, "metadata", `{"indexes":[]}`, "size", int32(0), "type", kind)
}

func block(db, name string, docs ...[]byte) []byte {
	return bytes.Join([][]byte{doc("db", db, "collection", name, "EOF", false, "CRC", int64(0)), bytes.Join(docs, nil), end}, nil)
}

func finish(db, name string, sum int64) []byte {
	return append(doc("db", db, "collection", name, "EOF", true, "CRC", sum), end...)
}

func prelude(announced ...[]byte) []byte {
	head := doc("concurrent_collections", int32(4), "version", "0.1", "server_version", "7.0.5", "tool_version", "100.9.5")
	return bytes.Join([][]byte{{0x6d, 0xe2, 0x99, 0x81}, head, bytes.Join(announced, nil), end}, nil)
}

var (
	one, two, three = doc("_id", "1"), doc("_id", "2", "x", strings.Repeat("long ", 100)), doc("_id", "3")

	// whole has interleaved blocks, an empty collection and a time series.
	whole = bytes.Join([][]byte{
		prelude(announce("shop", "items", "collection"), announce("shop", "empty", "collection"), announce("shop", "series", "timeseries"), announce("shop", "view", "view")),
		block("shop", "items", one),
		block("shop", "system.buckets.series", three),
		block("shop", "items", two),
		finish("shop", "items", crc(one, two)),
		finish("shop", "empty", 0),
		finish("shop", "view", 0),
		finish("shop", "system.buckets.series", crc(three)),
	}, nil)
)

func parse(data []byte, size int) (string, error) {
	p := New()
	var seen []string
	p.Ended = func(c Collection) { seen = append(seen, fmt.Sprintf("%s.%s %d", c.Database, c.Name, c.Documents)) }
	for len(data) > size {
		_, _ = p.Write(data[:size])
		data = data[size:]
	}
	_, _ = p.Write(data)
	err := p.Finish()
	return strings.Join(seen, ", ") + " from " + p.Server + " by " + p.Tool, err
}

func TestWhole(t *testing.T) {
	const want = "shop.items 2, shop.empty 0, shop.view 0, shop.system.buckets.series 1 from 7.0.5 by 100.9.5"
	for _, size := range []int{1, 2, 3, 5, 64, len(whole)} {
		if got, err := parse(whole, size); got != want || err != nil {
			t.Errorf("pieces of %d: %s, %v", size, got, err)
		}
	}
	if _, err := parse(prelude(), 3); err != nil {
		t.Error("nothing announced:", err)
	}
}

func TestEveryTruncation(t *testing.T) {
	for n := range whole {
		want := ErrTruncated
		if n == 0 {
			want = ErrEmpty
		}
		if _, err := parse(whole[:n], 100); !errors.Is(err, want) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(whole), err)
		}
	}
}

func TestMalformed(t *testing.T) {
	head := prelude(announce("a", "b", "collection"))
	join := func(parts ...[]byte) []byte { return bytes.Join(append([][]byte{head}, parts...), nil) }
	for name, tt := range map[string]struct {
		data []byte
		want error
	}{
		"text":               {[]byte("warning: something"), ErrMalformed},
		"no header":          {append([]byte{0x6d, 0xe2, 0x99, 0x81}, end...), ErrMalformed},
		"length 4":           {join([]byte{4, 0, 0, 0}), ErrMalformed},
		"length huge":        {join([]byte{0, 0, 0, 0x7f}), ErrMalformed},
		"terminator":         {join(end), ErrMalformed},
		"checksum":           {join(block("a", "b", one), finish("a", "b", 1)), ErrChecksum},
		"others":             {join(finish("a", "x", 0)), ErrMalformed},
		"too many":           {join(finish("a", "b", 0), finish("a", "x", 0)), ErrMalformed},
		"document after":     {join(doc("db", "a", "collection", "b", "EOF", true, "CRC", int64(0)), one), ErrMalformed},
		"document's end":     {join(doc("db", "a", "collection", "b"), []byte{6, 0, 0, 0, 7, 7}), ErrMalformed},
		"header not BSON":    {join([]byte{9, 0, 0, 0, 2, 'a', 0, 9, 0}), ErrMalformed},
		"header, odd kind":   {join([]byte{9, 0, 0, 0, 0x7f, 'a', 0, 9, 0}), ErrMalformed},
		"header, no name":    {join([]byte{7, 0, 0, 0, 2, 'a', 0}), ErrMalformed},
		"bytes at the end":   {append(bytes.Clone(whole), one...), ErrTruncated},
		"garbage at the end": {append(bytes.Clone(whole), "garbage\n"...), ErrMalformed},
	} {
		if _, err := parse(tt.data, 7); !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

func TestMemoryIsBounded(t *testing.T) {
	p := New()
	_, _ = p.Write(prelude())
	for i := range MaxOpen + 1 {
		_, _ = p.Write(block("a", fmt.Sprint(i)))
	}
	if err := p.Finish(); !errors.Is(err, ErrMalformed) || len(p.open) > MaxOpen {
		t.Error(err, len(p.open))
	}
}

func FuzzParser(f *testing.F) {
	f.Add(whole, 10)
	f.Add(prelude(announce("a", "b", "")), 4)
	f.Add([]byte{0x6d, 0xe2, 0x99, 0x81, 5, 0, 0, 0, 0, 255, 255, 255, 255}, 9)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		cut := min(max(at, 0), len(data))
		seen, want := parse(data, len(data)+1)
		p := New()
		_, _ = p.Write(data[:cut])
		_, _ = p.Write(data[cut:])
		single, got := parse(data, 1)
		if fmt.Sprint(want) != fmt.Sprint(p.Finish()) || fmt.Sprint(want) != fmt.Sprint(got) || seen != single {
			t.Fatalf("the verdict depends on how the stream is cut: %v, %v", want, got)
		}
	})
}

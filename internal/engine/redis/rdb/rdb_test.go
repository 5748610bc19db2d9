package rdb

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
)

func sample(t testing.TB) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/redis-7.0.rdb")
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// seal puts a header before and the end mark and checksum behind body.
func seal(version int, body ...[]byte) []byte {
	b := fmt.Appendf(nil, "REDIS%04d", version)
	b = append(b, bytes.Join(body, nil)...)
	b = append(b, opEnd)
	return binary.LittleEndian.AppendUint64(b, checksum(0, b))
}

func s(text string) []byte { return append([]byte{byte(len(text))}, text...) }

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

func parse(h *Handler, data []byte, size int) (Summary, error) {
	p := New(h)
	for len(data) > size {
		_, _ = p.Write(data[:size])
		data = data[size:]
	}
	_, _ = p.Write(data)
	return p.Finish()
}

func TestChecksum(t *testing.T) {
	if got := checksum(0, []byte("123456789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("%x", got)
	}
	if got := checksum(checksum(0, []byte("1234")), []byte("56789")); got != 0xe9c6d914c4b8d9ca {
		t.Errorf("in pieces: %x", got)
	}
}

func TestRealDump(t *testing.T) {
	data := sample(t)
	for _, size := range []int{1, 2, 7, 8, 9, 1000, len(data)} {
		got, err := parse(nil, data, size)
		if err != nil {
			t.Fatal(err)
		}
		if got.Version != 10 || got.Server != "7.0.15" || got.Keys[0] != 21 || got.Keys[9] != 1 || got.Libraries != 1 || got.Unknown != 0 {
			t.Errorf("pieces of %d: %+v", size, got)
		}
	}
}

func TestEveryTruncation(t *testing.T) {
	data := sample(t)
	for n := range data {
		want := ErrTruncated
		if n == 0 {
			want = ErrEmpty
		}
		if _, err := parse(nil, data[:n], 4096); !errors.Is(err, want) {
			t.Fatalf("cut after %d of %d bytes: %v", n, len(data), err)
		}
	}
}

func TestEveryChangedByte(t *testing.T) {
	data := sample(t)
	for n := range data {
		bad := bytes.Clone(data)
		bad[n] ^= 0x41
		if _, err := parse(nil, bad, 4096); err == nil {
			t.Fatalf("byte %d changed without notice", n)
		}
	}
	if _, err := parse(nil, append(data, 'x'), 4096); !errors.Is(err, ErrMalformed) {
		t.Error("a byte too many:", err)
	}
}

func TestEntries(t *testing.T) {
	data := sample(t)
	var keys []string
	var expires int64
	var library string
	h := &Handler{
		Entry: func(e Entry) error {
			keys = append(keys, fmt.Sprintf("%d/%s", e.Database, e.Key))
			if string(e.Key) == "gone-later" {
				expires = e.Expires
			}
			if string(e.Key) == "text" && string(e.Value) != "\x05hello" {
				t.Errorf("value %q", e.Value)
			}
			return nil
		},
		Library: func(code []byte) error { library = string(code); return nil },
	}
	if _, err := parse(h, data, 10); err != nil {
		t.Fatal(err)
	}
	all := strings.Join(keys, " ")
	for _, want := range []string{"0/int8", "0/bytes \x00\r\n\xff", "0/" + strings.Repeat("a", 73), "0/stream", "9/other"} {
		if !strings.Contains(all, want) {
			t.Errorf("no %q in %q", want, all)
		}
	}
	if expires == 0 || !strings.HasPrefix(library, "#!lua name=lib\n") || len(keys) != 22 {
		t.Errorf("expires %d, library %q, %d keys", expires, library, len(keys))
	}
	stop := errors.New("enough")
	if _, err := parse(&Handler{Entry: func(Entry) error { return stop }}, data, 10); !errors.Is(err, stop) {
		t.Error("the handler's error:", err)
	}
}

func TestLayouts(t *testing.T) {
	k := s("key")
	id := bytes.Repeat([]byte{7}, 16)
	eight := bytes.Repeat([]byte{9}, 8)
	group := func(version int) []byte {
		g := join(s("group"), []byte{1, 2})
		if version >= 2 {
			g = append(g, 3)
		}
		g = append(g, join([]byte{2}, id, eight, []byte{1}, id, eight, []byte{1})...)
		consumer := join(s("anna"), eight)
		if version >= 3 {
			consumer = append(consumer, eight...)
		}
		return join(g, []byte{1}, consumer, []byte{1}, id)
	}
	streams := func(version int) []byte {
		b := join([]byte{1}, s("node"), s("listpack"), []byte{1, 2, 3})
		if version >= 2 {
			b = append(b, 1, 2, 3, 4, 5)
		}
		return join(b, []byte{1}, group(version))
	}
	tests := map[string][]byte{
		"int8":               join([]byte{0}, k, []byte{0xc0, 5}),
		"int16":              join([]byte{0}, k, []byte{0xc1, 5, 5}),
		"int32":              join([]byte{0}, k, []byte{0xc2, 5, 5, 5, 5}),
		"14 bits":            join([]byte{0}, k, []byte{0x41, 0}, make([]byte, 256)),
		"32 bits":            join([]byte{0}, k, []byte{0x80, 0, 0, 0, 2, 1, 2}),
		"64 bits":            join([]byte{0}, k, []byte{0x81, 0, 0, 0, 0, 0, 0, 0, 2, 1, 2}),
		"list":               join([]byte{1}, k, []byte{2}, s("a"), s("b")),
		"empty list":         join([]byte{1}, k, []byte{0}),
		"zset, text":         join([]byte{3}, k, []byte{4}, s("a"), s("1.5"), s("b"), []byte{253}, s("c"), []byte{254}, s("d"), []byte{255}),
		"zset":               join([]byte{5}, k, []byte{1}, s("a"), eight),
		"hash":               join([]byte{4}, k, []byte{1}, s("a"), s("b")),
		"module":             join([]byte{7}, k, []byte{0x81}, eight, []byte{1, 9, 2, 9, 3, 1, 2, 3, 4, 4}, eight, []byte{5}, s("x"), []byte{0}),
		"quicklist":          join([]byte{14}, k, []byte{2}, s("a"), s("b")),
		"quicklist 2":        join([]byte{18}, k, []byte{2, 1}, s("a"), []byte{2}, s("b")),
		"set, listpack":      join([]byte{20}, k, s("x")),
		"hash, field times":  join([]byte{24}, k, eight, []byte{1, 5}, s("a"), s("b")),
		"hash, times packed": join([]byte{25}, k, eight, s("x")),
		"stream 1":           join([]byte{15}, k, streams(1)),
		"stream 2":           join([]byte{19}, k, streams(2)),
		"stream 3":           join([]byte{21}, k, streams(3)),
		"seconds":            join([]byte{opExpire, 1, 2, 3, 4, 0}, k, s("v")),
		"idle, frequency":    join([]byte{opIdle, 3, opFrequency, 200, 0}, k, s("v")),
		"slots":              join([]byte{opSlotInfo, 1, 2, 3, opResize, 1, 0, 0}, k, s("v")),
		"module's own":       join([]byte{opModuleAux, 0x81}, eight, []byte{2, 1, 5}, s("x"), []byte{0, 0}, k, s("v")),
	}
	for _, old := range []byte{9, 10, 11, 12, 13, 16, 17} {
		tests[fmt.Sprintf("type %d", old)] = join([]byte{old}, k, s("packed"))
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			data := seal(11, []byte{opSelect, 3}, body, []byte{0}, s("last"), s("value"))
			got, err := parse(nil, data, 3)
			if err != nil || got.Keys[3] != 2 {
				t.Fatalf("%+v %v", got, err)
			}
			var keys []string
			_, err = parse(&Handler{Entry: func(e Entry) error {
				keys = append(keys, string(e.Key))
				return nil
			}}, data, 5)
			if err != nil || strings.Join(keys, " ") != "key last" {
				t.Fatalf("%q %v", keys, err)
			}
			for n := 1; n < len(data); n++ {
				if _, err := parse(nil, data[:n], 100); !errors.Is(err, ErrTruncated) {
					t.Fatalf("cut after %d: %v", n, err)
				}
			}
		})
	}
}

func TestUnknownKinds(t *testing.T) {
	data := seal(12, []byte{0}, s("a"), s("b"), []byte{22}, s("key"), []byte("whatever"))
	got, err := parse(nil, data, 3)
	if err != nil || got.Unknown != 22 || got.Keys[0] != 1 {
		t.Errorf("%+v %v", got, err)
	}
	for n := 20; n < len(data); n++ {
		if _, err := parse(nil, data[:n], 3); !errors.Is(err, ErrTruncated) {
			t.Errorf("cut after %d: %v", n, err)
		}
	}
	if _, err := parse(&Handler{Entry: func(Entry) error { return nil }}, data, 3); !errors.Is(err, ErrUnknown) {
		t.Error("with a handler:", err)
	}
	unsummed := append(data[:len(data)-8:len(data)-8], make([]byte, 8)...)
	if _, err := parse(nil, unsummed, 3); !errors.Is(err, ErrUnknown) {
		t.Error("without a checksum:", err)
	}
}

func TestMalformed(t *testing.T) {
	for name, data := range map[string][]byte{
		"text":            []byte("warning: something"),
		"version":         []byte("REDISxxxx"),
		"version 0":       []byte("REDIS0000"),
		"string encoding": join([]byte("REDIS0010"), []byte{0}, s("k"), []byte{0xc9}),
		"length":          join([]byte("REDIS0010"), []byte{1}, s("k"), []byte{0xc0, 1}),
		"length, prefix":  join([]byte("REDIS0010"), []byte{1}, s("k"), []byte{0x82, 1}),
		"module":          join([]byte("REDIS0010"), []byte{7}, s("k"), []byte{1, 9}),
	} {
		if _, err := parse(nil, data, 100); !errors.Is(err, ErrMalformed) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := parse(nil, seal(3)[:10], 100); err != nil {
		t.Error("versions before 5 have no checksum:", err)
	}
	valkey := append([]byte("VALKEY080"), opEnd)
	valkey = binary.LittleEndian.AppendUint64(valkey, checksum(0, valkey))
	if got, err := parse(nil, valkey, 100); err != nil || got.Version != 80 {
		t.Error(got, err)
	}
}

func TestLongKeysAreNotHeldForCounting(t *testing.T) {
	p := New(nil)
	_, _ = p.Write(join([]byte("REDIS0010"), []byte{0, 0x81, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}))
	piece := make([]byte, 1<<20)
	for range 64 {
		_, _ = p.Write(piece)
	}
	if len(p.kept) != 0 || len(p.steps) > 10 {
		t.Errorf("kept %d bytes, %d steps", len(p.kept), len(p.steps))
	}
	if _, err := p.Finish(); !errors.Is(err, ErrTruncated) {
		t.Error(err)
	}
}

func TestUnLZF(t *testing.T) {
	tests := []struct {
		src  string
		size uint64
		want string
		bad  bool
	}{
		{"\x02abc", 3, "abc", false},
		{"\x00a\xe0\x00\x00", 10, strings.Repeat("a", 10), false},
		{"\x00a\x20\x05", 4, "", true},
		{"\x05a", 6, "", true},
		{"\x02abc", 4, "", true},
		{"\x02abc", 1 << 60, "", true},
		{"\xe0", 9, "", true},
		{"\x20", 9, "", true},
		{"", 0, "", false},
	}
	for _, tt := range tests {
		got, err := unlzf([]byte(tt.src), tt.size)
		if string(got) != tt.want || (err != nil) != tt.bad {
			t.Errorf("%q: %q %v", tt.src, got, err)
		}
	}
}

func FuzzParser(f *testing.F) {
	f.Add(sample(f), 100)
	f.Add(seal(11, []byte{21}, s("key"), []byte{0, 1, 2, 3, 4, 5, 6, 7, 8, 0}), 3)
	f.Add(seal(12, []byte{22}, s("key")), 3)
	f.Add([]byte("REDIS0009\xfa\x09redis-ver\x056.0.1\xf7\x01\x02\x01\x00"), 20)
	f.Fuzz(func(t *testing.T, data []byte, at int) {
		cut := min(max(at, 0), len(data))
		whole, want := parse(nil, data, len(data)+1)
		p := New(nil)
		_, _ = p.Write(data[:cut])
		_, _ = p.Write(data[cut:])
		split, got := p.Finish()
		single, got1 := parse(nil, data, 1)
		if fmt.Sprint(whole, want) != fmt.Sprint(split, got) || fmt.Sprint(whole, want) != fmt.Sprint(single, got1) {
			t.Fatalf("the verdict depends on how the stream is cut:\n%+v %v\n%+v %v\n%+v %v", whole, want, split, got, single, got1)
		}
		size := 0
		_, _ = parse(&Handler{
			Entry:   func(e Entry) error { size += len(e.Value); return nil },
			Library: func([]byte) error { return nil },
		}, data, 50)
		if size > len(data) {
			t.Fatal("more values than bytes")
		}
	})
}

func TestChecksumOfManyBytes(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for n := range 200 {
		data := make([]byte, n)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		before := random.Uint64()
		if got, want := checksum(before, data), ^crc64.Update(^before, jones, data); got != want {
			t.Fatalf("%d bytes: %x, want %x", n, got, want)
		}
	}
}

package answer

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"testing"
	"testing/iotest"
)

func captured(t testing.TB, name string) []byte {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// read reads all of an answer and tells it.
func read(from io.Reader) (string, error) {
	r := NewReader(from)
	var told string
	for {
		p, err := r.Next()
		if errors.Is(err, io.EOF) {
			return told + fmt.Sprintf("revision %d count %d more %v", r.Revision, r.Count, r.More), nil
		}
		if err != nil {
			return told, err
		}
		told += fmt.Sprintf("%q=%q %t ", p.Key, p.Value, p.Lease != 0)
	}
}

func TestReal(t *testing.T) {
	const want = `"/a"="\x00\n" true "/b/c"="" false revision 2 count 3 more true`
	for _, name := range []string{"etcd-3.4.pb", "etcd-3.5.pb"} {
		data := captured(t, name)
		for _, r := range []io.Reader{bytes.NewReader(data), iotest.OneByteReader(bytes.NewReader(data)), iotest.DataErrReader(bytes.NewReader(data))} {
			if got, err := read(r); err != nil || got != want {
				t.Errorf("%s: %s, %v", name, got, err)
			}
		}
		for n := range data {
			want := ErrTruncated
			if n == 0 {
				want = ErrEmpty
			}
			if got, err := read(bytes.NewReader(data[:n])); !errors.Is(err, want) {
				t.Errorf("%s cut at %d: %s, %v", name, n, got, err)
			}
		}
		lost := errors.New("lost")
		if _, err := read(io.MultiReader(bytes.NewReader(data[:40]), iotest.ErrReader(lost))); !errors.Is(err, lost) {
			t.Error(err)
		}
	}
}

func TestMalformed(t *testing.T) {
	data := captured(t, "etcd-3.4.pb")
	header := string(data[:28])
	for name, tt := range map[string]struct {
		answer string
		want   error
	}{
		"a word":                   {"fine\n", ErrMalformed},
		"a word and an answer":     {"warning: old\n" + string(data), ErrMalformed},
		"an answer and a word":     {string(data) + "fine\n", ErrMalformed},
		"two answers":              {string(data) + string(data), ErrTruncated},
		"field 0":                  {"\x02\x00", ErrMalformed},
		"a number too long":        {"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", ErrMalformed},
		"a length too long":        {"\x0a\xff\xff\xff\xff\xff\xff\x7f", ErrMalformed},
		"a header too long":        {"\x0a\xff\xff\x7f", ErrMalformed},
		"no header":                {"\x1a\x02\x0a\x00", ErrTruncated},
		"no response":              {header, ErrTruncated},
		"an op without a range":    {header + "\x1a\x02\x12\x00", ErrTruncated},
		"a range beyond its op":    {header + "\x1a\x02\x0a\x7f", ErrMalformed},
		"a pair beyond its range":  {header + "\x1a\x04\x0a\x02\x12\x7f", ErrMalformed},
		"a number beyond its end":  {header + "\x1a\x04\x0a\x02\x20\xff\x01", ErrMalformed},
		"a pair too long":          {header + "\x1a\x8a\x80\x80\x02\x0a\x85\x80\x80\x02\x12\x80\x80\x80\x02", ErrTooLong},
		"a pair without a key":     {header + "\x1a\x04\x0a\x02\x12\x00", ErrMalformed},
		"a key beyond its pair":    {header + "\x1a\x06\x0a\x04\x12\x02\x0a\x05", ErrMalformed},
		"a pair of a strange kind": {header + "\x1a\x06\x0a\x04\x12\x02\x0d\x00", ErrMalformed},
	} {
		if got, err := read(bytes.NewReader([]byte(tt.answer))); !errors.Is(err, tt.want) {
			t.Errorf("%s: %s, %v, want %v", name, got, err, tt.want)
		}
	}
}

func FuzzReader(f *testing.F) {
	data := captured(f, "etcd-3.4.pb")
	f.Add(data)
	f.Add(data[:50])
	f.Add([]byte("\x0a\x02\x18\x01\x1a\x06\x0a\x04\x12\x02\x0a\x00"))
	f.Fuzz(func(t *testing.T, data []byte) {
		got, err := read(bytes.NewReader(data))
		again, errAgain := read(iotest.OneByteReader(bytes.NewReader(data)))
		if got != again || !errors.Is(err, errAgain) {
			t.Errorf("%s, %v; byte by byte %s, %v", got, err, again, errAgain)
		}
	})
}

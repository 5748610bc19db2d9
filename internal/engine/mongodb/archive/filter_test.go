package archive

import (
	"bytes"
	"errors"
	"io"
	"slices"
	"testing"
	"testing/iotest"
)

// sift takes an archive through a filter, and says which collections are left.
func sift(text []byte, size int, drop func(db, name string) bool) (out []byte, left []string, err error) {
	f := NewFilter(bytes.NewReader(text), drop)
	f.buffer = f.buffer[:size]
	out, err = io.ReadAll(f)
	if err != nil {
		return nil, nil, err
	}
	p := New()
	p.Ended = func(c Collection) { left = append(left, c.Database+"."+c.Name) }
	_, _ = p.Write(out)
	return out, left, p.Finish()
}

func TestFilter(t *testing.T) {
	a, b := doc("x", "one"), doc("x", "two")
	text := bytes.Join([][]byte{
		prelude(announce("shop", "items", "collection"), announce("shop", "log", "collection"), announce("crm", "log", "collection"), announce("shop", "times", "timeseries")),
		block("shop", "items", a), block("shop", "log", a, b), block("shop", "items", b), finish("shop", "items", crc(a, b)), finish("shop", "log", crc(a, b)),
		block("crm", "log"), finish("crm", "log", 0), block("shop", "system.buckets.times", b), finish("shop", "system.buckets.times", crc(b)),
	}, nil)
	none := func(string, string) bool { return false }
	for size := 1; size < 100; size += 7 {
		if out, _, err := sift(text, size, none); err != nil || !bytes.Equal(out, text) {
			t.Fatalf("without anything to leave out, %d bytes became %d: %v", len(text), len(out), err)
		}
		out, left, err := sift(text, size, func(db, name string) bool { return db == "shop" && name == "log" })
		if want := []string{"shop.items", "crm.log", "shop.system.buckets.times"}; err != nil || !slices.Equal(left, want) || bytes.Count(out, []byte("log")) != 3 {
			t.Fatalf("left are %q, want %q: %v", left, want, err)
		}
		if _, left, err := sift(text, size, func(db, name string) bool { return name != "system.buckets.times" }); err != nil || len(left) != 1 {
			t.Fatalf("left are %q: %v", left, err)
		}
		for n := range len(text) { // a beginning is whole only if all that is kept is in it
			if _, left, err := sift(text[:n], size, func(_, name string) bool { return name == "log" }); err == nil && len(left) != 2 {
				t.Fatalf("the first %d of %d bytes pass for an archive of %q", n, len(text), left)
			}
		}
	}
	broken := errors.New("the stream is lost")
	if _, err := io.ReadAll(NewFilter(io.MultiReader(bytes.NewReader(text[:50]), iotest.ErrReader(broken)), none)); !errors.Is(err, broken) {
		t.Errorf("a stream that breaks: %v", err)
	}
}

// FuzzFilter: without anything to leave out all passes as it is, however it is cut
// and whatever it is; what is left of an archive is one.
func FuzzFilter(f *testing.F) {
	a := doc("x", "one")
	f.Add(bytes.Join([][]byte{prelude(announce("d", "c", "collection"), announce("d", "k", "collection")), block("d", "c", a), finish("d", "c", crc(a)), finish("d", "k", 0)}, nil), 3)
	f.Add([]byte("no archive"), 1)
	f.Fuzz(func(t *testing.T, text []byte, size int) {
		size = 1 + (size&0x7fffffff)%1000
		if out, _, _ := sift(text, size, func(string, string) bool { return false }); !bytes.Equal(out, text) {
			t.Fatalf("%q became %q", text, out)
		}
		p := New()
		_, _ = p.Write(text)
		whole := p.Finish() == nil
		if _, left, err := sift(text, size, func(_, name string) bool { return name == "c" }); whole && (err != nil || slices.Contains(left, "d.c")) {
			t.Fatalf("of %q is left %q: %v", text, left, err)
		}
	})
}

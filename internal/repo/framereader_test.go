package repo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/baktainer/baktainer/internal/store/mem"
)

// counted counts what is read.
type counted struct {
	ObjectReader
	gets, bytes atomic.Int64
}

func (c *counted) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	c.gets.Add(1)
	c.bytes.Add(max(length, 0))
	return c.ObjectReader.Get(ctx, name, offset, length)
}

// Reading a snapshot that many days made, each upon the one before, fetches
// hardly any frame twice.
func TestEachFrameIsReadOnce(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"uniform", "local", "insert"} {
		st := mem.New()
		var refs []Ref
		r := rand.New(rand.NewPCG(7, 7))
		a := table(r, 24<<20)
		var data []byte
		for day := range 9 {
			data = slices.Concat(a...)
			o := options(fmt.Sprintf("01J%023d", day+1), loadBase(t, st, refs...))
			o.Near = st
			refs = append([]Ref{ref(o.Snapshot, backup(t, storeSink{st}, o, stream{"a", data}))}, refs...)
			a = edits[name](r, a)
		}
		c := &counted{ObjectReader: st}
		s, err := OpenSnapshot(t.Context(), c, testKey, refs[0])
		if err != nil {
			t.Fatal(err)
		}
		c.gets.Store(0)
		c.bytes.Store(0)
		rc, err := s.Open(t.Context(), "a")
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%s: %d bytes, %v", name, len(got), err)
		}
		_ = rc.Close()
		stored := int64(0)
		for _, p := range s.header.Packs {
			stored += p.Size
		}
		t.Logf("%s: %d requests, %d bytes of %d in %d packs, %d raw", name, c.gets.Load(), c.bytes.Load(), stored, len(s.header.Packs), len(data))
		if c.bytes.Load() > stored+stored/10 {
			t.Errorf("%s: %d bytes were read of %d", name, c.bytes.Load(), stored)
		}
	}
}

package repo

import (
	"bytes"
	"context"
	"io"
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
// hardly any frame twice, with a quarter of the memory that readers have.
func TestEachFrameIsReadOnce(t *testing.T) {
	t.Parallel()
	st := mem.New()
	s, data := history(t, st, "uniform", 20<<20, 4)
	c := &counted{ObjectReader: st}
	s.objects = c
	stored := int64(0)
	for _, p := range s.header.Packs {
		stored += p.Size
	}
	for _, memory := range []int64{restoreMemory.frames, restoreMemory.frames / 4} {
		c.gets.Store(0)
		c.bytes.Store(0)
		frames := s.reader(t.Context())
		frames.frames.cache.limit = memory
		rc := s.read(t.Context(), frames, &s.body.streams[0])
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, data) {
			t.Fatalf("%d bytes, %v", len(got), err)
		}
		_ = rc.Close()
		t.Logf("%d MiB for frames: %d requests, %d bytes of %d in %d packs, %d raw", memory>>20, c.gets.Load(), c.bytes.Load(), stored, len(s.header.Packs), len(data))
		if c.bytes.Load() > stored+stored/10 {
			t.Errorf("%d bytes were read of %d", c.bytes.Load(), stored)
		}
	}
}

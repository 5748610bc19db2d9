package repo

import (
	"bytes"
	"context"
	"io"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
)

// objectMap is an ObjectReader of fixed objects.
type objectMap map[string][]byte

func (m objectMap) Get(_ context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	b, ok := m[name]
	if !ok {
		return nil, store.ErrNotExist
	}
	if length == -1 {
		length = int64(len(b)) - offset
	}
	if offset < 0 || length < 0 || offset > int64(len(b))-length {
		return nil, store.ErrRange
	}
	return io.NopCloser(bytes.NewReader(b[offset : offset+length])), nil
}

func TestChunkSizes(t *testing.T) {
	c, err := newChunker(testKey, defaultChunking)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"text": text(1, 8<<20), "random": random(1, 8<<20)} {
		chunks, longest := 0, 0
		for p := data; len(p) > 0; chunks++ {
			n := c.cut(&c.tiers[0], p)
			longest, p = max(longest, n), p[n:]
		}
		if mean := len(data) / chunks; mean < 3<<10 || mean > 6<<10 {
			t.Errorf("%s: %d bytes on average", name, mean)
		}
		if longest > defaultChunking.Max {
			t.Errorf("%s: a chunk of %d bytes", name, longest)
		}
	}
}

func TestChunksGrowWithTheStream(t *testing.T) {
	c, err := newChunker(testKey, defaultChunking)
	if err != nil {
		t.Fatal(err)
	}
	data := random(1, 8<<20)
	last := 0
	for _, offset := range []int64{0, 4 << 30, 32 << 30} {
		tier := c.at(offset)
		if before := c.at(max(0, offset-1)); offset > 0 && before.max >= tier.max {
			t.Errorf("chunks do not grow at %d", offset)
		}
		if tier.max >= streamBuffer || tier.max > maxChunk || tier.max > frameSize {
			t.Errorf("chunks of %d bytes do not fit the buffers", tier.max)
		}
		chunks := 0
		for p := data; len(p) > 0; chunks++ {
			p = p[c.cut(tier, p):]
		}
		if mean := len(data) / chunks; mean < 3*last {
			t.Errorf("at %d: %d bytes on average, %d before", offset, mean, last)
		} else {
			last = mean
		}
	}
}

// Another source's key cuts elsewhere and names otherwise.
func TestKeysSeparateSources(t *testing.T) {
	data := text(1, 1<<20)
	cuts := func(key SourceKey) (at []int) {
		c, err := newChunker(key, defaultChunking)
		if err != nil {
			t.Fatal(err)
		}
		for p := data; len(p) > 0; {
			n := c.cut(&c.tiers[0], p)
			at, p = append(at, len(data)-len(p)+n), p[n:]
		}
		return at
	}
	seen, same := map[int]bool{}, 0
	for _, at := range cuts(testKey) {
		seen[at] = true
	}
	other := cuts(keyNumber(7))
	for _, at := range other {
		if seen[at] {
			same++
		}
	}
	if same > len(other)/20 {
		t.Errorf("%d of %d cuts are the same", same, len(other))
	}
	if newHasher(testKey).id(data) == newHasher(keyNumber(7)).id(data) {
		t.Error("the same id under two keys")
	}
	if a, b := (MasterKey{1}).Source("a"), (MasterKey{1}).Source("b"); a == b {
		t.Error("two sources have one key")
	}
}

// The tree of RFC 6962, computed the recursive way.
func plainRoot(leaves [][32]byte) [32]byte {
	switch n := len(leaves); n {
	case 0:
		return hashOf(nil)
	case 1:
		return leaves[0]
	default:
		k := 1
		for 2*k < n {
			k *= 2
		}
		l, r := plainRoot(leaves[:k]), plainRoot(leaves[k:])
		return hashOf(append(append([]byte{1}, l[:]...), r[:]...))
	}
}

func TestMerkle(t *testing.T) {
	var m merkle
	var leaves [][32]byte
	for i := range 70 {
		if m.root() != plainRoot(leaves) {
			t.Errorf("%d chunks: the root is another", i)
		}
		id := chunkID{byte(i), 1}
		m.add(id, i+1)
		leaves = append(leaves, hashOf(le.AppendUint32(append([]byte{0}, id[:]...), uint32(i+1))))
	}
}

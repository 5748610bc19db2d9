package repo

import "testing"

// Memory that was given back is used again by what it fits, and no more than
// maxSpare of it is kept.
func TestBuffers(t *testing.T) {
	t.Parallel()
	var b buffers
	at := func(p []byte) *byte { return &p[:1][0] }
	large, small := b.take(1<<20), b.take(5000)
	if len(large) != 1<<20 || len(small) != 5000 {
		t.Fatalf("%d and %d bytes", len(large), len(small))
	}
	b.give(large)
	b.give(small[:10])
	b.give(nil)
	if p := b.take(700); at(p) == at(small) || at(p) == at(large) { // would be a waste of it
		t.Error("700 bytes in memory for far more")
	}
	if p := b.take(6000); at(p) != at(small) || len(p) != 6000 {
		t.Error("memory for 6000 bytes was not used again")
	}
	if p := b.take(1<<20 - 1000); at(p) != at(large) {
		t.Error("memory for a megabyte was not used again")
	}
	if b.size != 0 || len(b.free) != 0 {
		t.Errorf("%d buffers of %d bytes are left", len(b.free), b.size)
	}
	for i := range 100 {
		b.give(make([]byte, i<<14))
		size := 0
		for _, p := range b.free {
			size += cap(p)
		}
		if size != b.size || size > maxSpare {
			t.Fatalf("%d bytes are kept, %d said", size, b.size)
		}
	}
	b.give(make([]byte, maxSpare+1))
	if b.size != 0 {
		t.Errorf("%d bytes are kept", b.size)
	}
}

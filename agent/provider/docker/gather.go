package docker

import (
	"context"
	"io"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// Output is read again at once when gatherEnough came, else after gatherPause.
const (
	gatherEnough = 128 << 10
	gatherPause  = time.Millisecond
)

// gathering reads a program's output in large pieces. A dump tool writes a few
// kilobytes at a time, and Docker passes each write on: whoever takes it at once
// wakes several processes for it, tens of thousands of times a gigabyte. The
// pipes and sockets on the way hold what is written during a pause, so that the
// program does not wait for it.
type gathering struct {
	ctx   context.Context // its end ends the pause; Read has no other way to it
	r     io.Reader
	short bool
}

// Read implements io.Reader.
func (g *gathering) Read(p []byte) (int, error) {
	if g.short {
		_ = clock.Sleep(g.ctx, gatherPause) // when ctx ends, reading on tells what became of it
	}
	n, err := g.r.Read(p)
	g.short = n < min(gatherEnough, len(p))
	return n, err
}

package docker

import (
	"context"
	"io"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// Output is read again at once when gatherEnough came, else after a pause
// between the two bounds, which begins as gatherFirst.
const (
	gatherEnough = 128 << 10
	gatherFirst  = time.Millisecond
	gatherLeast  = 200 * time.Microsecond
	gatherMost   = 4 * time.Millisecond
)

// gathering reads a program's output in large pieces. A dump tool writes a few
// kilobytes at a time, and Docker passes each write on: whoever takes it at once
// wakes several processes for it, tens of thousands of times a gigabyte. The
// pipes and sockets on the way hold what is written during a pause. It is as long
// as these take to fill: when they were full the program had to wait, and the
// next pause is shorter; when they were not, processors were the bottleneck, and
// the next is longer.
type gathering struct {
	ctx   context.Context // its end ends the pause; Read has no other way to it
	r     io.Reader
	pause time.Duration
	short bool
	most  int // that one read gave so far
}

func newGathering(ctx context.Context, r io.Reader) *gathering {
	return &gathering{ctx: ctx, r: r, pause: gatherFirst, most: gatherEnough}
}

// Read implements io.Reader.
func (g *gathering) Read(p []byte) (int, error) {
	paused := g.short
	if paused {
		_ = clock.Sleep(g.ctx, g.pause) // when ctx ends, reading on tells what became of it
	}
	n, err := g.r.Read(p)
	g.short = n < min(gatherEnough, len(p))
	g.most = max(g.most, n)
	switch {
	case !paused:
	case n >= g.most-g.most/8:
		g.pause = max(gatherLeast, g.pause-g.pause/8)
	default:
		g.pause = min(gatherMost, g.pause+g.pause/8)
	}
	return n, err
}

package uplink

import (
	"context"
	"math/rand/v2"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// Bounds of the pauses between attempts: to find the leader, and to send objects,
// behind which a dump stands still.
const (
	MinPause = 200 * time.Millisecond
	MaxPause = 15 * time.Second

	maxDataPause = 5 * time.Second
)

// Backoff is the pauses between attempts at the same thing: about MinPause
// first, then each twice the last up to Most, with jitter, so that agents that
// lost the same controller do not come back all at once.
type Backoff struct {
	Most  time.Duration
	pause time.Duration
}

// Next is the pause to make now.
func (b *Backoff) Next() time.Duration {
	b.pause = max(b.pause, MinPause)
	wait := b.pause/2 + rand.N(b.pause) //nolint:gosec // jitter needs no secrecy
	b.pause = min(2*b.pause, b.Most)
	return wait
}

// Long says whether the pauses have become longer than d.
func (b *Backoff) Long(d time.Duration) bool { return b.pause > d }

// Reset begins with short pauses again.
func (b *Backoff) Reset() { b.pause = 0 }

// Wait makes the next pause, or returns ctx's error if that ends before.
func (b *Backoff) Wait(ctx context.Context) error { return clock.Sleep(ctx, b.Next()) }

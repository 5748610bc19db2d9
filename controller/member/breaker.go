package member

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// A controller that did not answer is asked last for a while, so that not every
// call waits for it in vain. It is short: who comes back should be asked again soon.
const (
	firstRest = 500 * time.Millisecond
	maxRest   = 10 * time.Second
)

// breaker remembers which controllers do not answer. Its zero value knows of none.
type breaker struct {
	mu    sync.Mutex
	rests map[string]rest
}

type rest struct {
	until time.Time
	pause time.Duration
}

// note keeps whether a controller answered.
func (b *breaker) note(id string, answered bool, c clock.Clock) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if answered {
		delete(b.rests, id)
		return
	}
	if b.rests == nil {
		b.rests = map[string]rest{}
	}
	pause := min(max(2*b.rests[id].pause, firstRest), maxRest)
	b.rests[id] = rest{c.Now().Add(pause), pause}
}

// order puts the controllers that rest behind the others, those first whose rest
// ends first. It leaves none out: when nobody else is left, asking one of them is
// better than not to ask.
func (b *breaker) order(ids []string, now time.Time) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	ordered := slices.Clone(ids)
	slices.SortStableFunc(ordered, func(x, y string) int {
		return cmp.Compare(b.rests[x].left(now), b.rests[y].left(now))
	})
	return ordered
}

func (r rest) left(now time.Time) time.Duration { return max(0, r.until.Sub(now)) }

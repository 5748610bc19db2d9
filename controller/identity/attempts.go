package identity

import (
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

// Nobody guesses a secret of 128 bits. The limit keeps whoever tries from filling
// the log, and shows that somebody does.
const (
	maxWrong   = 20 // in one window
	window     = time.Minute
	maxOrigins = 4096
)

// attempts counts who came with wrong tokens. Its zero value has seen nobody.
type attempts struct {
	mu sync.Mutex
	by map[string]tally
}

type tally struct {
	since time.Time
	wrong int
}

// mayTry says whether an origin has to wait.
func (a *attempts) mayTry(origin string, now time.Time) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	t := a.by[origin]
	if t.wrong < maxWrong || now.Sub(t.since) >= window {
		return nil
	}
	return problem.New(problem.Unavailable, "%d wrong tokens came from %s", t.wrong, origin).WithReason(ReasonTooMany).
		WithHint("Try again in a minute, with the right one.")
}

// note counts a wrong token.
func (a *attempts) note(origin string, now time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.by == nil || len(a.by) >= maxOrigins {
		a.by = map[string]tally{}
	}
	t := a.by[origin]
	if now.Sub(t.since) >= window {
		t = tally{since: now}
	}
	t.wrong++
	a.by[origin] = t
}

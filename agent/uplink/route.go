package uplink

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
)

// handOverCount counts in all runs; what no meter takes costs nothing.
var handOverCount, _ = otel.Meter("github.com/baktainer/baktainer/agent").Int64Counter("baktainer_agent_handovers")

// silence is how long a controller may take nothing and say nothing before its
// objects go to another. It doubles with each round in which none did, so that a
// slow store is not asked for ever to begin anew.
const silence = 2 * time.Minute

// route is the way of one lease's objects: to one controller for as long as it
// answers, then to the next.
type route struct {
	places func() []place // best first
	hurry  func()         // is told when nobody answers, before a pause
	over   func() error   // why nothing more is to be sent
	log    *slog.Logger

	mu     sync.Mutex
	now    place // where it went well last
	count  int   // of changes
	bytes  int64 // that were sent
	astray bool  // nobody answered in a whole round
}

// travel tries at each place in turn, and after pauses again, until it does not
// fail for want of an answer. failed are places where that has been so already.
func (r *route) travel(ctx context.Context, failed []place, try func(p place, patience time.Duration) error) error {
	pause, patience := Backoff{Most: maxDataPause}, silence
	last := errSilent
	for {
		places := r.inTurn(failed)
		for _, p := range places {
			if err := r.over(); err != nil {
				return err
			}
			limit := patience
			if len(places) == 1 {
				limit = 0 // there is nobody else
			}
			last = try(p, limit)
			if over := r.over(); last != nil && over != nil {
				return over
			}
			if last == nil || !unanswered(ctx, last) {
				r.arrived(ctx, p, failed)
				return last
			}
			if !slices.Contains(failed, p) {
				failed = append(failed, p)
			}
		}
		r.lost(last)
		r.hurry()
		patience = min(2*patience, 32*silence)
		if pause.Wait(ctx) != nil {
			return last // it tells more than that ctx has ended
		}
	}
}

// inTurn gives the places, from the one where it went well last; where it has
// just failed comes last.
func (r *route) inTurn(failed []place) []place {
	r.mu.Lock()
	now := r.now
	r.mu.Unlock()
	all := r.places()
	if i := slices.Index(all, now); i > 0 {
		all = slices.Concat(all[i:], all[:i])
	}
	slices.SortStableFunc(all, func(a, b place) int {
		return slices.Index(failed, a) - slices.Index(failed, b)
	})
	return all
}

// arrived takes note of where it went well. Of several calls that lost the same
// controller the first says where all go on; one that was slow to succeed where
// the others have left does not lead them back.
func (r *route) arrived(ctx context.Context, p place, failed []place) {
	r.mu.Lock()
	defer r.mu.Unlock()
	left := slices.DeleteFunc(slices.Clone(failed), func(f place) bool { return f == p })
	switch {
	case r.now == p || r.now != (place{}) && !slices.Contains(failed, r.now):
	case len(left) > 0:
		if r.now != (place{}) {
			left = []place{r.now}
		}
		r.count++
		handOverCount.Add(ctx, 1)
		r.log.Info(silent(left)+": going on with "+p.name, "bytes", r.bytes)
		r.now, r.astray = p, false
	default:
		r.now = p
	}
	if r.astray {
		r.astray = false
		r.log.Info("the controller "+p.name+" answers", "bytes", r.bytes)
	}
}

// lost says that nobody answers, once until somebody does.
func (r *route) lost(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.astray {
		r.astray = true
		r.log.Warn("no controller answers: what was read waits", "bytes", r.bytes, "error", err)
	}
}

func (r *route) moved(bytes int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes += int64(bytes)
}

func (r *route) handOvers() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.count
}

func silent(ps []place) string {
	if len(ps) == 1 {
		return "the controller " + ps[0].name + " does not answer"
	}
	var all []string
	for _, p := range ps {
		all = append(all, p.name)
	}
	return "the controllers " + strings.Join(all, ", ") + " do not answer"
}

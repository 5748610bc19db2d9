package uplink

import (
	"context"
	"errors"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
)

// errSilent is why a call is given up whose controller neither answers nor takes
// anything any more.
var errSilent = errors.New("the controller does not answer")

// watchdog gives a call up when nothing has moved for some time.
type watchdog struct {
	ctx   context.Context // of the call
	timer *time.Timer     // nil: it waits for ever
	limit time.Duration
	stop  context.CancelCauseFunc
}

func watch(ctx context.Context, limit time.Duration) *watchdog {
	ctx, stop := context.WithCancelCause(ctx)
	w := &watchdog{ctx: ctx, limit: limit, stop: stop}
	if limit > 0 {
		w.timer = time.AfterFunc(limit, func() { stop(errSilent) })
	}
	return w
}

// moved says that something has moved, or moves from now on.
func (w *watchdog) moved() {
	if w.timer != nil {
		w.timer.Reset(w.limit)
	}
}

// rest ends the watch until something moves; the call goes on.
func (w *watchdog) rest() {
	if w.timer != nil {
		w.timer.Stop()
	}
}

// end ends the watch and the call.
func (w *watchdog) end() {
	w.rest()
	w.stop(nil)
}

// explain gives the error of a call that was given up its reason.
func (w *watchdog) explain(err error) error {
	if err != nil && errors.Is(context.Cause(w.ctx), errSilent) {
		return problem.Wrap(problem.Unavailable, errSilent, "wait %v", w.limit).WithReason(transport.ReasonTimeout)
	}
	return err
}

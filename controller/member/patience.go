package member

import (
	"context"
	"errors"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// errSilent is the cause of the end of a call whose other end does not answer.
var errSilent = errors.New("the controller does not answer")

// call is one call of a controller. Its context ends when the controller is
// silent for too long.
type call struct {
	pb.MemberServiceClient
	ctx    context.Context // of the call, made for it
	cancel context.CancelCauseFunc
	timer  *time.Timer
	limit  time.Duration
}

// begin begins a call; end has to be called.
func begin(ctx context.Context, c pb.MemberServiceClient, limit time.Duration) *call {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(limit, func() { cancel(errSilent) })
	return &call{c, ctx, cancel, timer, limit}
}

func (c *call) end() {
	c.timer.Stop()
	c.cancel(nil)
}

// why says of a call that ended for want of an answer that this is the reason.
func (c *call) why(err error) error {
	if err != nil && errors.Is(context.Cause(c.ctx), errSilent) {
		return problem.Wrap(problem.Unavailable, errSilent, "wait for an answer")
	}
	return err
}

// heard waits for the other end to do something, for as many times the limit.
// Between two waits time does not count: then it is this end that is busy.
func heard[T any](c *call, times int, wait func() (T, error)) (T, error) {
	c.timer.Reset(time.Duration(times) * c.limit)
	defer c.timer.Stop()
	got, err := wait()
	return got, c.why(err)
}

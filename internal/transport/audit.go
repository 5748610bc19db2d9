package transport

import (
	"context"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
)

// Auditor records who does what, for methods that say so. A call that was passed
// on was recorded where it came in.
type Auditor interface {
	// Begin records that a call begins. The method, "/baktainer.v1.AdminService/Prune",
	// is not carried out before it returns, and not at all when it fails. For a
	// method that takes a stream, req is its first message. The end of the call is
	// told once, with its failure; the call's context may be over then.
	Begin(ctx context.Context, caller Caller, method string, req proto.Message) (end func(failure error), err error)
}

func (g *Guard) audits(c Caller, m method) bool {
	return m.access.GetAudited() && g.Auditor != nil && c.Via == ""
}

// audit has the call recorded if it is to be.
func (g *Guard) audit(ctx context.Context, c Caller, m method, name string, req proto.Message) (func(error), error) {
	if !g.audits(c, m) {
		return func(error) {}, nil
	}
	end, err := g.Auditor.Begin(ctx, c, name, req)
	if err != nil {
		return nil, problem.Wrap(problem.CodeOf(err), err, "record the call before it is carried out")
	}
	return func(failure error) { end(FromStatus(failure)) }, nil
}

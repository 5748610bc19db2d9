// Package audit records who does what: each call that changes something is in the
// replicated state before it is carried out, and what became of it afterwards.
package audit

import (
	"context"
	"crypto/rand"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonNotRecorded says that a call was not carried out because it could not be
// recorded before.
const ReasonNotRecorded problem.Reason = "not-recorded"

// Options are what a Recorder is made of. Zero numbers have the defaults given.
type Options struct {
	// Propose has a command committed, wherever the leader is.
	Propose func(context.Context, *pb.Command) error
	// Node is the id of this controller: the unix socket is one of its own.
	Node   string
	Clock  clock.Clock
	Logger *slog.Logger
	// Moment is how long an answer waits for the record of its end; 200 ms.
	Moment time.Duration
	// Persist is for how long the record of an end is tried; 1 min.
	Persist time.Duration
	// Pending is how many ends are tried at the same time; 256. More are not recorded.
	Pending int
}

// Recorder implements transport.Auditor.
type Recorder struct {
	Options
	pending chan struct{}
	ending  sync.WaitGroup
	stop    context.CancelFunc
	until   context.Context // of all that goes on behind the calls
}

var _ transport.Auditor = (*Recorder)(nil)

const retryPause = 500 * time.Millisecond

// New returns a recorder. Close ends what it does behind the calls.
func New(o Options) *Recorder {
	if o.Moment <= 0 {
		o.Moment = 200 * time.Millisecond
	}
	if o.Persist <= 0 {
		o.Persist = time.Minute
	}
	if o.Pending <= 0 {
		o.Pending = 256
	}
	r := &Recorder{Options: o, pending: make(chan struct{}, o.Pending)}
	r.until, r.stop = context.WithCancel(context.Background())
	return r
}

// Begin implements transport.Auditor.
func (r *Recorder) Begin(ctx context.Context, c transport.Caller, method string, req proto.Message) (func(error), error) {
	id, err := ulid.New(ulid.Timestamp(r.Clock.Now()), rand.Reader)
	if err != nil {
		return nil, problem.Wrap(problem.Internal, err, "make the id of a record").WithReason(ReasonNotRecorded)
	}
	actor := Actor(c, r.Node)
	record := &pb.AuditRecord{
		Id: id.String(), Actor: actor, Origin: c.Origin, Method: strings.TrimPrefix(method, "/"), Request: shown(req),
	}
	err = r.Propose(ctx, r.begin(record))
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, err, "record the call").WithReason(ReasonNotRecorded).
			WithHint("Nothing was done: what cannot be recorded is not carried out. Try again when the cluster has a leader.")
	}
	return func(failure error) { r.end(record, failure) }, nil
}

// Actor names a caller: "admin/alice"; one over the unix socket with the
// controller whose socket it is: "admin/local:0@c1".
func Actor(c transport.Caller, node string) string {
	role := transport.RoleName(c.Role)
	switch {
	case role == "":
		return "nobody"
	case !c.Local:
		return role + "/" + c.Name
	case c.Via != "":
		node = c.Via
	}
	return role + "/" + c.Name + "@" + node
}

// end records the end of a call, and returns after a moment at the latest.
func (r *Recorder) end(record *pb.AuditRecord, failure error) {
	select {
	case r.pending <- struct{}{}:
	default:
		r.Logger.Warn("the end of a call was not recorded: too many are being recorded", "record", record.GetId(), "method", record.GetMethod())
		return
	}
	done := make(chan struct{})
	r.ending.Go(func() {
		defer func() { <-r.pending }()
		defer close(done)
		if err := r.persist(record, failure); err != nil {
			r.Logger.Warn("the end of a call was not recorded", "record", record.GetId(), "method", record.GetMethod(), "error", err)
		}
	})
	moment := time.NewTimer(r.Moment)
	defer moment.Stop()
	select {
	case <-done:
	case <-moment.C:
	}
}

// persist tries until the end is recorded, or can no longer be.
func (r *Recorder) persist(record *pb.AuditRecord, failure error) error {
	ctx, cancel := context.WithTimeout(r.until, r.Persist)
	defer cancel()
	end := &pb.EndAudit{Id: record.GetId()}
	if failure != nil {
		end.Failure = transport.ToFailure(failure)
	}
	begin := r.begin(record)
	cmd := &pb.Command{
		RequestId: "audit-end-" + record.GetId(), Actor: record.GetActor(), Command: &pb.Command_EndAudit{EndAudit: end},
	}
	for missing := false; ; {
		var err error
		if missing {
			err = r.Propose(ctx, begin)
		}
		if err == nil {
			err = r.Propose(ctx, cmd)
		}
		switch {
		case err == nil:
			return nil
		case problem.ReasonOf(err) == state.ReasonNoAudit && !missing:
			// The call itself has replaced the state by an earlier one: it must not be
			// forgotten. What was refused is remembered by its id.
			missing = true
			cmd.RequestId += "-2"
			continue
		case ctx.Err() == nil && problem.CodeOf(err) != problem.Unavailable:
			return err
		}
		if clock.Sleep(ctx, retryPause) != nil {
			return fmt.Errorf("record the end of a call: %w", err)
		}
	}
}

func (r *Recorder) begin(record *pb.AuditRecord) *pb.Command {
	return &pb.Command{
		RequestId: "audit-begin-" + record.GetId(), Actor: record.GetActor(), Command: &pb.Command_BeginAudit{BeginAudit: &pb.BeginAudit{Record: record}},
	}
}

// Close gives what is being recorded until ctx ends, and takes in no more after that.
func (r *Recorder) Close(ctx context.Context) {
	done := make(chan struct{})
	go func() {
		r.ending.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	r.stop()
	<-done
}

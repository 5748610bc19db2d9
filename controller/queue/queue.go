// Package queue makes runs: their deterministic ids, their traces, and the
// commands that queue them.
package queue

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/run"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var tracer = otel.Tracer("github.com/baktainer/baktainer/controller")

// Proposer has a command committed.
type Proposer interface {
	Propose(ctx context.Context, cmd *pb.Command) error
}

// Backup makes the run that a schedule owes a source at a fire time.
func Backup(schedule, source, trigger string, fire time.Time) *pb.Run {
	return &pb.Run{
		Id: run.ID(schedule, source, fire), Kind: pb.RunKind_RUN_KIND_BACKUP, State: pb.RunState_RUN_STATE_QUEUED,
		Source: source, Trigger: trigger, FireTime: timestamppb.New(fire),
	}
}

// Restore makes the run that a request for a restore asks for. source is that
// of the snapshot.
func Restore(request, source string, at time.Time, what *pb.RestoreRequest) *pb.Run {
	return &pb.Run{
		Id: run.ID("restore "+request, source, at), Kind: pb.RunKind_RUN_KIND_RESTORE, State: pb.RunState_RUN_STATE_QUEUED,
		Source: source, Trigger: "manual", FireTime: timestamppb.New(at), Restore: what,
	}
}

// Drill makes the run of a drill: that which a schedule owes a source at a fire
// time, or that of a request, whose id is given as the schedule then.
func Drill(schedule, source, trigger string, at time.Time, what *pb.DrillRequest) *pb.Run {
	return &pb.Run{
		Id: run.ID("drill "+schedule, source, at), Kind: pb.RunKind_RUN_KIND_DRILL, State: pb.RunState_RUN_STATE_QUEUED,
		Source: source, Trigger: trigger, FireTime: timestamppb.New(at), Drill: what,
	}
}

// batch is how many runs go into one command: far below its limit in bytes.
const batch = 500

// All queues runs that were asked for by hand. Every run gets a trace of its
// own, whose first span is its queuing. Runs that exist are left as they are.
// request makes trying again harmless; it may be empty.
func All(ctx context.Context, node Proposer, actor, request string, runs ...*pb.Run) error {
	for start := 0; start < len(runs); start += batch {
		part := runs[start:min(start+batch, len(runs))]
		cmd := &pb.Command{Actor: actor, Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: part}}}
		if request != "" {
			cmd.RequestId = fmt.Sprintf("%s/%d", request, start)
		}
		if err := propose(ctx, node, cmd, part); err != nil {
			return err
		}
	}
	return nil
}

// Fire queues the runs of schedules that are due, each with a trace of its own.
func Fire(ctx context.Context, node Proposer, actor string, c *pb.FireSchedules) error {
	return propose(ctx, node, &pb.Command{Actor: actor, Command: &pb.Command_FireSchedules{FireSchedules: c}}, c.GetRuns())
}

func propose(ctx context.Context, node Proposer, cmd *pb.Command, runs []*pb.Run) error {
	spans := make([]trace.Span, len(runs))
	for i, r := range runs {
		var traced context.Context
		traced, spans[i] = tracer.Start(ctx, "queue run", trace.WithNewRoot(), trace.WithAttributes(Attributes(r)...))
		r.Traceparent = traceparent(traced)
	}
	err := node.Propose(ctx, cmd)
	for _, s := range spans {
		Fail(s, err)
		s.End()
	}
	return err
}

// Attributes describe a run on a span.
func Attributes(r *pb.Run) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String("baktainer.run", r.GetId()), attribute.String("baktainer.source", r.GetSource()),
		attribute.String("baktainer.trigger", r.GetTrigger()),
	}
}

// Fail marks a span as failed when err is not nil.
func Fail(s trace.Span, err error) {
	if err != nil {
		s.SetStatus(codes.Error, err.Error())
	}
}

// Join gives a context whose spans belong to the run's trace. One that is in a
// trace already, as calls of a traced agent are, is left alone.
func Join(ctx context.Context, r *pb.Run) context.Context {
	if trace.SpanContextFromContext(ctx).IsValid() {
		return ctx
	}
	return otel.GetTextMapPropagator().Extract(ctx, carrier{"traceparent": r.GetTraceparent()})
}

func traceparent(ctx context.Context) string {
	c := carrier{}
	otel.GetTextMapPropagator().Inject(ctx, c)
	return c["traceparent"]
}

// carrier is what a propagator writes to and reads from.
type carrier map[string]string

func (c carrier) Get(key string) string { return c[key] }
func (c carrier) Set(key, value string) { c[key] = value }
func (c carrier) Keys() []string {
	keys := make([]string, 0, len(c))
	for k := range c {
		keys = append(keys, k)
	}
	return keys
}

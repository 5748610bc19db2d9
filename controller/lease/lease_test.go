package lease_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// log is a state, one command after the other.
type log struct {
	t      *testing.T
	tables *state.Tables
	index  uint64
}

func (l *log) must(cmds ...*pb.Command) {
	l.t.Helper()
	for _, c := range cmds {
		l.index++
		c.ProposedAt = timestamppb.New(time.Unix(1_800_000_000+int64(l.index), 0))
		if err := l.tables.Apply(l.index, c); err != nil {
			l.t.Fatal(err)
		}
	}
}

func queued() *pb.Command {
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{
		Id: "r1", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", FireTime: timestamppb.New(time.Unix(1_800_000_000, 0)),
	}}}}}
}

func granted(snapshot string) *pb.Command {
	return &pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{
		Run: "r1", Agent: "a1", Snapshot: snapshot, ExpiresAt: timestamppb.New(time.Unix(1_900_000_000, 0)),
	}}}
}

func released() *pb.Command {
	return &pb.Command{Command: &pb.Command_ReleaseLease{ReleaseLease: &pb.ReleaseLease{Run: "r1", Epoch: 1}}}
}

func ended(epoch uint64) *pb.Command {
	return &pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{Run: "r1", Epoch: epoch, State: pb.RunState_RUN_STATE_FAILED}}}
}

const first, second = "01ARZ3NDEKTSV4RRFFQ69G5FAV", "01ARZ3NDEKTSV4RRFFQ69G5FAW"

var errCaller = errors.New("another agent")

func TestHeld(t *testing.T) {
	t.Parallel()
	one, two := &pb.Lease{Run: "r1", Epoch: 1}, &pb.Lease{Run: "r1", Epoch: 2}
	for name, tc := range map[string]struct {
		before []*pb.Command
		lease  *pb.Lease
		leads  bool
		later  []*pb.Command // a second after it is asked for
		caller error
		want   problem.Reason // "" when it is held
		after  time.Duration  // what it takes
	}{
		"known":                           {[]*pb.Command{queued(), granted(first)}, one, false, nil, nil, "", 0},
		"known to the leader":             {[]*pb.Command{queued(), granted(first)}, one, true, nil, nil, "", 0},
		"the run is not known yet":        {nil, one, false, []*pb.Command{queued(), granted(first)}, nil, "", time.Second},
		"the lease is not known yet":      {[]*pb.Command{queued()}, one, false, []*pb.Command{granted(first)}, nil, "", time.Second},
		"the next epoch is not known yet": {[]*pb.Command{queued(), granted(first)}, two, false, []*pb.Command{released(), granted(second)}, nil, "", time.Second},
		"released, and granted anew":      {[]*pb.Command{queued(), granted(first), released()}, two, false, []*pb.Command{granted(second)}, nil, "", time.Second},
		"it never comes":                  {nil, one, false, []*pb.Command{queued()}, nil, lease.ReasonBehind, lease.LagLimit},
		"there is no such run":            {nil, one, false, nil, nil, lease.ReasonBehind, lease.LagLimit},
		"the leader knows of no run":      {nil, one, true, []*pb.Command{queued(), granted(first)}, nil, state.ReasonNoRun, 0},
		"the leader knows of no lease":    {[]*pb.Command{queued()}, one, true, []*pb.Command{granted(first)}, nil, state.ReasonStaleEpoch, 0},
		"released":                        {[]*pb.Command{queued(), granted(first), released()}, one, false, nil, nil, state.ReasonStaleEpoch, 0},
		"passed on":                       {[]*pb.Command{queued(), granted(first), released(), granted(second)}, one, false, nil, nil, state.ReasonStaleEpoch, 0},
		"ended":                           {[]*pb.Command{queued(), granted(first), ended(1)}, one, false, nil, nil, state.ReasonRunEnded, 0},
		"another's":                       {[]*pb.Command{queued(), granted(first)}, one, false, nil, errCaller, "denied", 0},
		"another's, not known yet":        {[]*pb.Command{queued()}, one, false, []*pb.Command{granted(first)}, errCaller, "denied", time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := &log{t: t, tables: state.New()}
				l.must(tc.before...)
				c := lease.Check{View: l.tables.View, Leads: func() bool { return tc.leads }, Caller: func(_ context.Context, agent string) error {
					if agent != "a1" {
						t.Errorf("asked for agent %q", agent)
					}
					return tc.caller
				}}
				began := time.Now()
				time.AfterFunc(time.Second, func() { l.must(tc.later...) })
				r, err := c.Held(t.Context(), tc.lease)
				if took := time.Since(began); took != tc.after {
					t.Errorf("it took %s, want %s", took, tc.after)
				}
				got := problem.ReasonOf(err)
				if errors.Is(err, errCaller) {
					got = "denied"
				}
				if got != tc.want || (err == nil) != (tc.want == "") || err == nil && r.GetId() != "r1" {
					t.Errorf("got %v, %v; want %q", r, err, tc.want)
				}
				_ = clock.Sleep(t.Context(), 2*time.Second) // so that what comes later has come
			})
		})
	}
}

func TestWaitingEndsWithTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := &log{t: t, tables: state.New()}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		c := lease.Check{View: l.tables.View, Leads: func() bool { return false }}
		if _, err := c.Held(ctx, &pb.Lease{Run: "r1", Epoch: 1}); err == nil || time.Since(began) != time.Second {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
	})
}

func TestStillAndEnded(t *testing.T) {
	t.Parallel()
	l := &log{t: t, tables: state.New()}
	var caller error
	c := lease.Check{View: l.tables.View, Caller: func(context.Context, string) error { return caller }}
	one := &pb.Lease{Run: "r1", Epoch: 1}
	l.must(queued(), granted(first))
	if err := c.Still(one); err != nil {
		t.Error(err)
	}
	if _, ok := c.Ended(t.Context(), one); ok {
		t.Error("it has ended while it is at work")
	}
	l.must(ended(1))
	if err := c.Still(one); problem.ReasonOf(err) != state.ReasonRunEnded {
		t.Errorf("after its end: %v", err)
	}
	if r, ok := c.Ended(t.Context(), one); !ok || r.GetId() != "r1" {
		t.Errorf("after its end: %v, %t", r, ok)
	}
	if _, ok := c.Ended(t.Context(), &pb.Lease{Run: "r1", Epoch: 2}); ok {
		t.Error("another epoch has ended")
	}
	caller = errCaller
	if _, ok := c.Ended(t.Context(), one); ok {
		t.Error("told to another agent")
	}
}

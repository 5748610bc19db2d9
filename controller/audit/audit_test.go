package audit

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var present = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// log is a replicated log of one, in memory.
type log struct {
	mu     sync.Mutex
	tables *state.Tables
	index  uint64
	fail   func(*pb.Command) error // what goes wrong before a command is applied
}

func newLog() *log { return &log{tables: state.New()} }

func (l *log) propose(_ context.Context, c *pb.Command) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fail != nil {
		if err := l.fail(c); err != nil {
			return err
		}
	}
	stamped := proto.CloneOf(c)
	stamped.Version, stamped.ProposedAt = state.CommandVersion, timestamppb.New(present)
	l.index++
	return l.tables.Apply(l.index, stamped)
}

func (l *log) failing(f func(*pb.Command) error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fail = f
}

func (l *log) records() []*pb.AuditRecord { return l.tables.View().Audit(0) }

func newRecorder(t *testing.T, l *log, change func(*Options)) *Recorder {
	t.Helper()
	o := Options{Propose: l.propose, Node: "c1", Clock: clock.NewManual(present), Logger: slog.New(slog.DiscardHandler), Moment: 30 * time.Second}
	if change != nil {
		change(&o)
	}
	r := New(o)
	t.Cleanup(func() { r.Close(context.Background()) })
	return r
}

const method = "/baktainer.v1.ClusterService/SetAgent"

var alice = transport.Caller{Role: pb.Role_ROLE_ADMIN, Name: "alice", Origin: "10.0.0.9"}

func TestACallIsRecordedBeforeAndAfter(t *testing.T) {
	t.Parallel()
	l := newLog()
	r := newRecorder(t, l, nil)
	end, err := r.Begin(t.Context(), alice, method, &pb.SetAgentRequest{Agent: "db1"})
	if err != nil {
		t.Fatal(err)
	}
	begun := l.records()
	if len(begun) != 1 || begun[0].GetEndedAt() != nil || begun[0].GetActor() != "admin/alice" || begun[0].GetOrigin() != "10.0.0.9" ||
		begun[0].GetMethod() != "baktainer.v1.ClusterService/SetAgent" || begun[0].GetRequest() != `{"agent":"db1"}` || len(begun[0].GetId()) != 26 {
		t.Fatalf("before: %v", begun)
	}
	end(problem.New(problem.NotFound, "there is no agent db1").WithReason("no-such-agent"))
	ended := l.records()
	if len(ended) != 1 || ended[0].GetEndedAt() == nil || ended[0].GetFailure().GetReason() != "no-such-agent" || ended[0].GetFailure().GetCode() != string(problem.NotFound) {
		t.Fatalf("after: %v", ended)
	}
	end, err = r.Begin(t.Context(), alice, method, &pb.SetAgentRequest{Agent: "db1"})
	if err != nil {
		t.Fatal(err)
	}
	end(nil)
	if all := l.records(); len(all) != 2 || all[0].GetEndedAt() == nil || all[0].GetFailure() != nil {
		t.Fatalf("newest first: %v", all)
	}
}

func TestWhatCannotBeRecordedIsRefused(t *testing.T) {
	t.Parallel()
	l := newLog()
	l.failing(func(*pb.Command) error { return problem.New(problem.Unavailable, "no leader") })
	_, err := newRecorder(t, l, nil).Begin(t.Context(), alice, method, &pb.SetAgentRequest{})
	if problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != ReasonNotRecorded {
		t.Errorf("got %v", err)
	}
}

func TestWhoACallerIs(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		caller transport.Caller
		want   string
	}{
		{alice, "admin/alice"},
		{transport.Caller{Role: pb.Role_ROLE_ADMIN, Name: "alice", Via: "c2"}, "admin/alice"},
		{transport.Caller{Role: pb.Role_ROLE_ADMIN, Name: "local:0", Local: true}, "admin/local:0@c1"},
		{transport.Caller{Role: pb.Role_ROLE_ADMIN, Name: "local:0", Local: true, Via: "c2"}, "admin/local:0@c2"},
		{transport.Caller{Role: pb.Role_ROLE_AGENT, Name: "db1"}, "agent/db1"},
		{transport.Caller{}, "nobody"},
	} {
		if got := Actor(c.caller, "c1"); got != c.want {
			t.Errorf("%+v is %s, want %s", c.caller, got, c.want)
		}
	}
}

// While there is no leader the answer does not wait, and the end is recorded later.
func TestTheEndIsRecordedWhenThereIsALeaderAgain(t *testing.T) {
	t.Parallel()
	l := newLog()
	r := newRecorder(t, l, func(o *Options) { o.Moment = time.Millisecond })
	end, err := r.Begin(t.Context(), alice, method, nil)
	if err != nil {
		t.Fatal(err)
	}
	tried := make(chan struct{})
	var once sync.Once
	l.failing(func(*pb.Command) error {
		once.Do(func() { close(tried) })
		return problem.New(problem.Unavailable, "no leader")
	})
	end(nil) // returns
	<-tried
	if l.records()[0].GetEndedAt() != nil {
		t.Fatal("it is recorded already")
	}
	l.failing(nil)
	r.Close(context.Background()) // waits for it
	if l.records()[0].GetEndedAt() == nil {
		t.Error("the end was not recorded")
	}
}

// A restore replaces the records too: the one of the restore itself must be there after it.
func TestARecordThatTheCallItselfReplaced(t *testing.T) {
	t.Parallel()
	l := newLog()
	r := newRecorder(t, l, nil)
	end, err := r.Begin(t.Context(), alice, "/baktainer.v1.ClusterService/RestoreState", &pb.RestoreStateRequest{OtherCluster: true})
	if err != nil {
		t.Fatal(err)
	}
	l.mu.Lock()
	l.tables = state.New()
	l.mu.Unlock()
	end(nil)
	if all := l.records(); len(all) != 1 || all[0].GetEndedAt() == nil || all[0].GetRequest() != `{"otherCluster":true}` {
		t.Errorf("%v", all)
	}
}

func TestWhatIsTriedInVainComesToAnEnd(t *testing.T) {
	t.Parallel()
	l := newLog()
	r := newRecorder(t, l, func(o *Options) { o.Persist = 20 * time.Millisecond })
	end, err := r.Begin(t.Context(), alice, method, nil)
	if err != nil {
		t.Fatal(err)
	}
	l.failing(func(*pb.Command) error { return problem.New(problem.Unavailable, "no leader") })
	end(nil) // waits no longer than it is tried
	l.failing(func(*pb.Command) error { return errors.New("a defect") })
	if end, err := r.Begin(t.Context(), alice, method, nil); err == nil || end != nil {
		t.Error("begun with a defect")
	}
	l.failing(nil)
	end, err = r.Begin(t.Context(), alice, method, nil)
	if err != nil {
		t.Fatal(err)
	}
	var tries []string
	l.failing(func(c *pb.Command) error {
		tries = append(tries, c.GetRequestId())
		return errors.New("a defect")
	})
	end(nil)
	if len(tries) != 1 {
		t.Errorf("what cannot succeed is tried again: %v", tries)
	}
}

func TestEndsAreBounded(t *testing.T) {
	t.Parallel()
	l := newLog()
	r := newRecorder(t, l, func(o *Options) { o.Pending, o.Moment = 2, time.Millisecond })
	var ends []func(error)
	for range 3 {
		end, err := r.Begin(t.Context(), alice, method, nil)
		if err != nil {
			t.Fatal(err)
		}
		ends = append(ends, end)
	}
	gate := make(chan struct{})
	l.failing(func(*pb.Command) error { <-gate; return nil })
	for _, end := range ends {
		end(nil) // none blocks
	}
	close(gate)
	r.Close(context.Background())
	open := slices.DeleteFunc(l.records(), func(r *pb.AuditRecord) bool { return r.GetEndedAt() != nil })
	if len(open) != 1 || len(l.records()) != 3 {
		t.Errorf("%d of %d without their end", len(open), len(l.records()))
	}
}

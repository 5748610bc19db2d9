package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// fakeNode is the state of a cluster without its consensus.
type fakeNode struct {
	tables *state.Tables
	clock  *clock.Manual

	mu    sync.Mutex
	index uint64
}

func (n *fakeNode) View() *state.View { return n.tables.View() }

func (n *fakeNode) Propose(_ context.Context, c *pb.Command) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.index++
	stamped := proto.CloneOf(c)
	stamped.ProposedAt = timestamppb.New(n.clock.Now())
	return n.tables.Apply(n.index, stamped)
}

// must has commands committed that are no dispatcher's.
func (n *fakeNode) must(t testing.TB, cmds ...*pb.Command) {
	t.Helper()
	for _, c := range cmds {
		if err := n.Propose(t.Context(), c); err != nil {
			t.Fatalf("%v: %v", c, err)
		}
	}
}

// office is one controller's side of it.
type office struct {
	*fakeNode
	leads atomic.Bool
}

func (o *office) IsLeader() bool { return o.leads.Load() }

func newNode() *fakeNode {
	return &fakeNode{tables: state.New(), clock: clock.NewManual(noon)}
}

// dispatcher gives a leader over the node's state, which does not run yet.
func (n *fakeNode) dispatcher(t testing.TB, change func(*Options)) (*Dispatcher, *office) {
	t.Helper()
	key, err := repo.NewSourceKey(make([]byte, 32), 1)
	if err != nil {
		t.Fatal(err)
	}
	at := &office{fakeNode: n}
	at.leads.Store(true)
	o := Options{
		Node:    at,
		Key:     func(string, uint32) (repo.SourceKey, error) { return key, nil },
		Damaged: func(context.Context, string) ([]string, error) { return nil, nil },
		Clock:   n.clock, Logger: slog.New(slog.DiscardHandler),
		LeaseDuration: time.Minute, AgentDeadline: time.Hour, Tick: 2 * time.Millisecond,
	}
	if change != nil {
		change(&o)
	}
	d := New(o)
	d.began = n.clock.Now()
	return d, at
}

func backupOf(id, source string) *pb.Run {
	return &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, Trigger: "manual", FireTime: timestamppb.New(noon)}
}

func queueOf(runs ...*pb.Run) *pb.Command {
	return &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: runs}}}
}

func reasonIs(t *testing.T, err error, want problem.Reason) {
	t.Helper()
	if err == nil || problem.ReasonOf(err) != want {
		t.Errorf("got %v (%s), want %s", err, problem.ReasonOf(err), want)
	}
}

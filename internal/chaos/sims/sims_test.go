package sims

import (
	"bytes"
	"context"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/chaos/history"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/scale/sim"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestOutcome(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want history.Outcome
	}{
		{nil, history.Done},
		{problem.New(problem.Conflict, "the lease has passed on"), history.Refused},
		{problem.New(problem.Denied, "not yours"), history.Refused},
		{problem.New(problem.NotFound, "no such run"), history.Refused},
		{problem.New(problem.Failed, "a pack is missing").WithReason(reasonIncomplete), history.Refused},
		{problem.New(problem.Failed, "the disk is full"), history.Unknown},
		{problem.New(problem.Unavailable, "no leader"), history.Unknown},
		{problem.New(problem.Internal, "a defect"), history.Unknown},
		{errors.New("anything"), history.Unknown},
		{context.DeadlineExceeded, history.Unknown},
	} {
		if got := outcome(tt.err); got != tt.want {
			t.Errorf("%v is %s, want %s", tt.err, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for client := range 12 {
		for s := range Sources {
			name := SourceName(client, s)
			if err := source.CheckName(name); err != nil || seen[name] {
				t.Errorf("%q: %v", name, err)
			}
			seen[name] = true
		}
	}
}

// door is a controller that answers commits and ends of runs as it is told.
type door struct {
	pb.AgentServiceClient
	answers []error
	finish  error
}

func (d *door) CommitSnapshot(context.Context, *pb.CommitSnapshotRequest, ...grpc.CallOption) (*pb.CommitSnapshotResponse, error) {
	err := d.answers[0]
	d.answers = d.answers[1:]
	return &pb.CommitSnapshotResponse{}, err
}

func (d *door) FinishRun(context.Context, *pb.FinishRunRequest, ...grpc.CallOption) (*pb.FinishRunResponse, error) {
	return &pb.FinishRunResponse{}, d.finish
}

func testWorker(t *testing.T, out *bytes.Buffer, d *door) *worker {
	t.Helper()
	c := &crowd{record: history.NewRecorder(out, clock.System{}), random: rand.New(rand.NewPCG(1, 1))}
	return &worker{crowd: c, n: 3, name: agentName(3), doors: []pb.AgentServiceClient{d}}
}

func recorded(t *testing.T, out *bytes.Buffer) []history.Op {
	t.Helper()
	path := filepath.Join(t.TempDir(), "history")
	if err := os.WriteFile(path, out.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	ops, err := history.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	return ops
}

// A call without an answer is recorded as that, and made again.
func TestAskAgain(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	d := &door{answers: []error{problem.New(problem.Unavailable, "away"), nil, problem.New(problem.Conflict, "stale")}, finish: problem.New(problem.Denied, "no")}
	w := testWorker(t, &out, d)
	l, s := &pb.Lease{Run: "r1", Epoch: 2}, sim.Snapshot{Wire: &pb.Snapshot{Id: "s1"}}
	w.commit(t.Context(), l, s, false)
	w.commit(t.Context(), l, s, true)
	w.finish(t.Context(), l, false)
	want := []history.Op{
		{Kind: history.Commit, Outcome: history.Unknown, Snapshot: "s1"}, {Kind: history.Commit, Outcome: history.Done, Snapshot: "s1"},
		{Kind: history.Commit, Outcome: history.Refused, Snapshot: "s1", Forged: true}, {Kind: history.Finish, Outcome: history.Refused},
	}
	got := recorded(t, &out)
	if len(got) != len(want) {
		t.Fatalf("recorded %v", got)
	}
	for i, o := range got {
		if o.Call == 0 || o.Return < o.Call || o.Client != 3 || o.Agent != "sim-03" || o.Run != "r1" || o.Epoch != 2 {
			t.Errorf("recorded %+v", o)
		}
		if o.Kind != want[i].Kind || o.Outcome != want[i].Outcome || o.Snapshot != want[i].Snapshot || o.Forged != want[i].Forged {
			t.Errorf("recorded %+v, want %+v", o, want[i])
		}
	}
}

// A forger takes the lease of another client, never one of its own.
func TestAnother(t *testing.T) {
	t.Parallel()
	w := testWorker(t, &bytes.Buffer{}, &door{})
	if w.another() != nil {
		t.Error("there is a lease where none was given")
	}
	w.leases = []given{{3, &pb.Lease{Run: "own"}}, {4, &pb.Lease{Run: "theirs"}}}
	if l := w.another(); l.GetRun() != "theirs" {
		t.Errorf("it takes %v", l)
	}
}

func TestRunNeedsAToken(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "token")
	if err := Run(t.Context(), Options{TokenFile: path}); err == nil {
		t.Error("without a token")
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Run(t.Context(), Options{TokenFile: path}); err == nil {
		t.Error("with a token that is none")
	}
}

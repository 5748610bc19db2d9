package check

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// chained are n good snapshots and their runs.
func chained(t *testing.T, n int) (listed []*pb.Snapshot, runs []*pb.Run) {
	t.Helper()
	var previous *ledger.Entry
	for i := range n {
		e := ledger.Entry{
			Snapshot: fmt.Sprintf("01J%023d", i), Source: "shop", Run: fmt.Sprintf("r%d", i), Epoch: 1, Engine: "postgres",
			FireTime: time.Unix(int64(1000+i), 0).UTC(), StartedAt: time.Unix(int64(1000+i), 0).UTC(), CommitTime: time.Unix(int64(2000+i), 0).UTC(),
			Manifest: ledger.Hash{1}, Root: ledger.Hash{2}, ManifestSize: 9, Generation: 1, Stores: []string{"main"},
			Streams: []ledger.Stream{{Name: "a", Size: 1, SHA256: ledger.Hash{3}}},
		}
		if err := e.Seal(previous); err != nil {
			t.Fatal(err)
		}
		previous = &e
		listed = append(listed, state.SnapshotOf(e))
		runs = append(runs, &pb.Run{Id: e.Run, Kind: pb.RunKind_RUN_KIND_BACKUP, State: pb.RunState_RUN_STATE_SUCCEEDED, Epoch: 1, Snapshot: e.Snapshot})
	}
	return listed, runs
}

func TestListing(t *testing.T) {
	t.Parallel()
	good, _ := chained(t, 4)
	slices.Reverse(good) // newest first, as they are listed
	if wrong := Listing(good, false); len(wrong) > 0 {
		t.Errorf("a good listing: %v", wrong)
	}
	pruned := slices.Delete(slices.Clone(good), 1, 2)
	if wrong := Listing(pruned, true); len(wrong) > 0 {
		t.Errorf("a good listing after a prune: %v", wrong)
	}
	damaged := []*pb.Snapshot{good[0], good[1], proto.CloneOf(good[2])}
	damaged[2].RawBytes = 7
	if wrong := Listing(damaged, true); len(wrong) != 1 {
		t.Errorf("an entry was changed, after a prune: %v", wrong)
	}
	tests := []struct {
		name  string
		spoil func([]*pb.Snapshot) []*pb.Snapshot
		want  string
	}{
		{"two commits of a run", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].Run = s[1].GetRun(); return s }, "two commits: run r2"},
		{"two of a fire time", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].FireTime = s[1].GetFireTime(); return s }, "two snapshots of one fire time"},
		{"no streams", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].Streams = nil; return s }, "has not streams"},
		{"no manifest", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].ManifestSize = 0; return s }, "has not a manifest"},
		{"no commit", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].CommittedAt = nil; return s }, "has not a time of its commit"},
		{"an entry is missing", func(s []*pb.Snapshot) []*pb.Snapshot { return slices.Delete(s, 1, 2) }, "ledger: snapshot 01J00000000000000000000003"},
		{"the first entry is missing", func(s []*pb.Snapshot) []*pb.Snapshot { return s[:3] }, "ledger: snapshot 01J00000000000000000000001"},
		{"an entry was changed", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].RawBytes = 7; return s }, "ledger: "},
		{"a hash has a wrong length", func(s []*pb.Snapshot) []*pb.Snapshot { s[0].Root = []byte{1}; return s }, "ledger: "},
	}
	for _, tt := range tests {
		var spoilt []*pb.Snapshot
		for _, s := range good {
			spoilt = append(spoilt, proto.CloneOf(s))
		}
		if wrong := Listing(tt.spoil(spoilt), false); !strings.Contains(strings.Join(wrong, "\n"), tt.want) {
			t.Errorf("%s: got %v", tt.name, wrong)
		}
	}
}

func TestRuns(t *testing.T) {
	t.Parallel()
	listed, runs := chained(t, 3)
	if wrong := Runs(append(runs, &pb.Run{Id: "x", State: pb.RunState_RUN_STATE_FAILED}), listed); len(wrong) > 0 {
		t.Errorf("good runs: %v", wrong)
	}
	for _, tt := range []struct {
		name  string
		spoil func(*pb.Run)
		want  string
	}{
		{"nothing was made", func(r *pb.Run) { r.Id = "other" }, "lost: run other"},
		{"another was made", func(r *pb.Run) { r.Snapshot = "other" }, "made snapshot other"},
		{"a stale commit", func(r *pb.Run) { r.Epoch = 2 }, "stale: snapshot"},
		{"it is at work", func(r *pb.Run) { r.State = pb.RunState_RUN_STATE_RUNNING }, "partial: snapshot"},
		{"it has failed", func(r *pb.Run) { r.State = pb.RunState_RUN_STATE_FAILED }, "partial: snapshot"},
	} {
		r := proto.CloneOf(runs[1])
		tt.spoil(r)
		if wrong := Runs([]*pb.Run{r}, listed); len(wrong) != 1 || !strings.Contains(wrong[0], tt.want) {
			t.Errorf("%s: got %v", tt.name, wrong)
		}
	}
}

func line(process, message string, attrs ...string) procs.Entry {
	e := procs.Entry{Process: process, Message: message, Attrs: map[string]string{}}
	for i := 0; i < len(attrs); i += 2 {
		e.Attrs[attrs[i]] = attrs[i+1]
	}
	return e
}

func TestWitness(t *testing.T) {
	t.Parallel()
	listed, _ := chained(t, 3)
	w := NewWitness()
	w.Observe(line("a1", LineDumping, "run", "r0"))
	w.Observe(line("a1", LineDumping, "run", "r0"))
	w.Observe(line("c1", LineCommitted, "run", "r0", "snapshot", listed[0].GetId()))
	w.Observe(line("a1", LineCommitted, "run", "r0", "snapshot", listed[0].GetId()))
	w.Observe(line("a1", "something else", "snapshot", "s"))
	if w.Dumps("r0") != 2 || w.Dumps("r1") != 0 || w.Snapshots() != 1 {
		t.Errorf("%d and %d dumps, %d snapshots", w.Dumps("r0"), w.Dumps("r1"), w.Snapshots())
	}
	if id, ok := w.Told("r0"); !ok || id != listed[0].GetId() {
		t.Errorf("told of %q", id)
	}
	if _, ok := w.Told("r1"); ok {
		t.Error("told of what never was")
	}
	fresh, wrong := w.Compare(w.Seen(), listed, "c2")
	if len(wrong) > 0 || len(fresh) != 2 {
		t.Errorf("fresh %v, wrong %v", fresh, wrong)
	}
	if _, wrong := w.Compare(w.Seen(), listed[1:], "c2"); len(wrong) != 1 || !strings.Contains(wrong[0], "lost: snapshot "+listed[0].GetId()) {
		t.Errorf("one is lost: %v", wrong)
	}
	before := w.Seen()
	w.Observe(line("c1", LineCommitted, "run", "r9", "snapshot", "late"))
	if _, wrong := w.Compare(before, listed, "c2"); len(wrong) > 0 {
		t.Errorf("one that was committed after the listing: %v", wrong)
	}
	w.Forget("late")
	w.Forget(listed[0].GetId())
	if _, wrong := w.Compare(w.Seen(), listed[1:], "c2"); len(wrong) > 0 {
		t.Errorf("one is forgotten: %v", wrong)
	}
	// Told of by a log line alone, and never listed.
	w.Observe(line("a1", LineCommitted, "run", "r1", "snapshot", "other"))
	if _, wrong := w.Compare(w.Seen(), listed[1:], "c2"); len(wrong) != 2 || !strings.Contains(strings.Join(wrong, " "), "two commits: run r1") {
		t.Errorf("a second commit of a run: %v", wrong)
	}
	w.Observe(line("a1", LineCommitted, "run", "r7", "snapshot", listed[2].GetId()))
	if _, wrong := w.Compare(w.Seen(), listed[1:], "c2"); len(wrong) != 2 || !strings.Contains(strings.Join(wrong, " "), "of run r2 for c2 and of run r7 for a1") {
		t.Errorf("a snapshot of two runs: %v", wrong)
	}
}

// journal has the lines of a backup that goes well.
func journal(lines ...procs.Entry) *procs.Journal {
	j := procs.NewJournal(clock.System{})
	for _, e := range lines {
		text := `{"msg":"` + e.Message + `"`
		for name, value := range e.Attrs {
			text += fmt.Sprintf(`,%q:%q`, name, value)
		}
		j.Add(e.Process, text+"}")
	}
	return j
}

func backup(run string) []procs.Entry {
	return []procs.Entry{
		line("c1", LineLeased, "run", run, "agent", "a1"),                               // 0
		line("a1", LineDumping, "run", run, "streams", "2"),                             // 1
		line("a1", LineToolEnded, "run", run, "stream", "globals.sql"),                  // 2
		line("c2", LineBegins, "run", run, "object", "sources/x/packs/ab/1"),            // 3
		line("c2", LineBegins, "run", "other", "object", "sources/y/packs/ab/9"),        // 4
		line("c2", LineStored, "run", run, "object", "sources/x/packs/ab/1"),            // 5
		line("a1", LineToolEnded, "run", run, "stream", "shop.sql"),                     // 6
		line("c2", LineBegins, "run", run, "object", "sources/x/packs/ab/2"),            // 7
		line("c2", LineStored, "run", run, "object", "sources/x/packs/ab/2"),            // 8
		line("c2", LineBegins, "run", run, "object", "sources/x/manifests/01J"),         // 9
		line("c2", LineStored, "run", run, "object", "sources/x/manifests/01J"),         // 10
		line("c3", LineAsked, "run", run),                                               // 11
		line("c3", LineCommitted, "run", run, "snapshot", "01J00000000000000000000001"), // 12
	}
}

func TestMoment(t *testing.T) {
	t.Parallel()
	j := journal(append(backup("r0"), backup("r1")...)...)
	const second = 13                               // where the second run begins
	for phase, want := range map[plan.Phase][2]int{ // the line that shows it, the line after which it is over
		plan.Granted: {0, 3}, plan.MidPack: {3, 5}, plan.LastPack: {7, 8}, plan.Manifest: {9, 10}, plan.Commit: {11, 12}, plan.JustAfter: {12, -1},
	} {
		e, err := Moment(t.Context(), j, 0, "r1", phase)
		if err != nil || e.Seq != second+want[0] {
			t.Errorf("%s is shown by %v, %v", phase, e, err)
			continue
		}
		if Over(j, e, second+max(want[1], want[0]), phase) {
			t.Errorf("%s is over before its end", phase)
		}
		if over := Over(j, e, second+want[1]+1, phase); over != (want[1] >= 0) {
			t.Errorf("%s is over: %v", phase, over)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, phase := range plan.Phases() {
		if _, err := Moment(ctx, j, 0, "r2", phase); err == nil || !strings.Contains(err.Error(), "r2") {
			t.Errorf("%s of a run that there is not: %v", phase, err)
		}
	}
	if _, err := Moment(t.Context(), j, 0, "r1", "lunch"); err == nil {
		t.Error("an unknown phase is waited for")
	}
}

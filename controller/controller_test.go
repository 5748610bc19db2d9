package controller_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const dump = "CREATE TABLE t;\n-- PostgreSQL database dump complete\n"

func TestABackupFromAskingToDumping(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	as := a.assigned()
	if as.GetLease().GetRun() != run || as.GetLease().GetEpoch() != 1 || len(as.GetSourceKey()) != 32 || as.GetLeaseDuration().AsDuration() != time.Minute {
		t.Fatalf("assignment: %v", as)
	}
	watch, err := c.admin.WatchRun(t.Context(), &pb.WatchRunRequest{Id: run})
	if err != nil {
		t.Fatal(err)
	}
	a.beat(&pb.RunProgress{Lease: as.GetLease(), Progress: &pb.Progress{Phase: "dumping shop.sql", BytesDone: 7}})
	for seen := false; !seen; {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		seen = m.GetRun().GetProgress().GetBytesDone() == 7
	}
	req := a.carryOut(as, dump)
	again, err := c.agent.CommitSnapshot(t.Context(), req)
	if err != nil || again.GetLedgerIndex() != 1 {
		t.Errorf("the same commit again: %v, %v", again, err)
	}
	var last *pb.Run
	for {
		m, err := watch.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		last = m.GetRun()
	}
	if last.GetState() != pb.RunState_RUN_STATE_SUCCEEDED || last.GetSnapshot() != req.GetSnapshot().GetId() || len(last.GetLogs()) != 1 {
		t.Errorf("the run ended as %v", last)
	}
	list, err := c.admin.ListSnapshots(t.Context(), &pb.ListSnapshotsRequest{Source: "shop"})
	if err != nil || len(list.GetSnapshots()) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	if _, err := c.store.Stat(t.Context(), repo.LedgerName(1)); err != nil {
		t.Errorf("ledger copy: %v", err)
	}
	if got := c.dump("shop@latest", ""); got != dump {
		t.Errorf("dumped %q", got)
	}
	c.tellsAll("shop@latest")
	verify, err := c.admin.VerifySnapshot(t.Context(), &pb.VerifySnapshotRequest{Snapshot: "shop@latest"})
	if err != nil {
		t.Fatal(err)
	}
	var report *pb.VerifyReport
	for m, err := verify.Recv(); err == nil; m, err = verify.Recv() {
		report = m.GetReport()
	}
	if report == nil || len(report.GetProblems()) > 0 || report.GetRawBytes() != int64(len(dump)) {
		t.Errorf("report: %v", report)
	}
	src, err := c.admin.GetSource(t.Context(), &pb.GetSourceRequest{Name: "shop"})
	if err != nil || src.GetSource().GetSnapshots() != 1 || src.GetSource().GetLastSnapshot().GetVerifiedAt() == nil {
		t.Errorf("source: %v, %v", src, err)
	}
	c.clock.Advance(time.Second)
	c.backup("shop") // the next one builds on the first
	if base := a.assigned().GetBackup().GetBase(); len(base) != 1 || base[0].GetSnapshot() != req.GetSnapshot().GetId() {
		t.Errorf("base: %v", base)
	}
}

func (c *cluster) contents(snapshot string) (notes []string, objects []*pb.ContentsObject) {
	c.t.Helper()
	stream, err := c.admin.GetContents(c.t.Context(), &pb.GetContentsRequest{Snapshot: snapshot})
	if err != nil {
		c.t.Fatal(err)
	}
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return notes, objects
		}
		if err != nil {
			c.t.Fatal(err)
		}
		if m.GetStream() != "shop.sql" {
			c.t.Errorf("stream %q", m.GetStream())
		}
		notes, objects = append(notes, m.GetNotes()...), append(objects, m.GetObjects()...)
	}
}

// tellsAll wants to hear of all that write puts into a snapshot.
func (c *cluster) tellsAll(snapshot string) {
	c.t.Helper()
	if notes, objects := c.contents(snapshot); !slices.Equal(notes, []string{"dumped by hand"}) || len(objects) != 1203 ||
		objects[0].GetRows() != -1 || objects[7].GetName() != "caf\uFFFD" || objects[1202].GetName() != "t1202" || objects[1202].GetRows() != 1201 {
		c.t.Errorf("contents: %q, %v", notes, objects)
	}
}

func (c *cluster) dump(snapshot, chosen string) string {
	c.t.Helper()
	stream, err := c.admin.DumpSnapshot(c.t.Context(), &pb.DumpSnapshotRequest{Snapshot: snapshot, Select: chosen})
	if err != nil {
		c.t.Fatal(err)
	}
	var all strings.Builder
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all.String()
		}
		if err != nil {
			c.t.Fatal(err)
		}
		all.Write(m.GetData())
	}
}

func TestALedgerCopyThatIsMissingIsWrittenAtTheStart(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	c.backup("shop")
	a.carryOut(a.assigned(), dump)
	if err := c.store.Delete(t.Context(), repo.LedgerName(1)); err != nil {
		t.Fatal(err)
	}
	c.restart()
	c.await("the ledger copy", func() bool {
		_, err := c.store.Stat(t.Context(), repo.LedgerName(1))
		return err == nil
	})
}

func TestTheScheduleFiresForWhatIsReady(t *testing.T) {
	c := newCluster(t, func(o *controller.Options) { o.DefaultSchedule = "0 3 * * *" })
	stopped := ready("blog")
	stopped.State = pb.SourceState_SOURCE_STATE_STOPPED
	a := c.connect("a1", 4, nil, ready("shop"), stopped)
	c.await("the schedule to be set", func() bool {
		st, err := c.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
		return err == nil && st.GetNextFireAt().AsTime().Equal(time.Date(2026, 6, 2, 3, 0, 0, 0, time.UTC))
	})
	c.clock.Advance(15 * time.Hour)
	as := a.assigned()
	if as.GetSource() != "shop" || as.GetBackup().GetFireTime().AsTime() != time.Date(2026, 6, 2, 3, 0, 0, 0, time.UTC) {
		t.Fatalf("assignment: %v", as)
	}
	a.carryOut(as, dump)
	c.awaitRun(as.GetLease().GetRun(), pb.RunState_RUN_STATE_SUCCEEDED)
	if n := len(c.node.View().Runs("", 0)); n != 1 {
		t.Errorf("%d runs", n)
	}
	// Three days away: only the latest fire time is caught up.
	c.stop()
	c.clock.Advance(3 * 24 * time.Hour)
	c.start()
	a = c.connect("a1", 4, nil, ready("shop"), stopped)
	as = a.assigned()
	if got := as.GetBackup().GetFireTime().AsTime(); got != time.Date(2026, 6, 5, 3, 0, 0, 0, time.UTC) {
		t.Errorf("caught up %s", got)
	}
	if n := len(c.node.View().Runs("", 0)); n != 2 {
		t.Errorf("%d runs", n)
	}
}

func TestARunWhoseSourceIsNotReadyFailsAtOnce(t *testing.T) {
	for name, tc := range map[string]struct {
		becomes []*pb.Source
		want    string
	}{
		"gone":    {nil, "source-gone"},
		"stopped": {[]*pb.Source{{Name: "shop", State: pb.SourceState_SOURCE_STATE_STOPPED}}, "not-running"},
		"invalid": {[]*pb.Source{{Name: "shop", State: pb.SourceState_SOURCE_STATE_INVALID, Problems: []*pb.LabelProblem{{Label: "baktainer.db.engine", Reason: "unknown"}}}}, "source-invalid"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t, nil)
			c.connect("a1", 2, nil, ready("shop")).hangUp()
			c.await("the agent to be gone", func() bool {
				st, err := c.admin.GetStatus(t.Context(), &pb.GetStatusRequest{})
				return err == nil && !st.GetAgents()[0].GetConnected()
			})
			run := c.backup("shop")
			if r, _ := c.node.View().Run(run); r.GetState() != pb.RunState_RUN_STATE_QUEUED {
				t.Fatalf("without its agent the run is %v", r)
			}
			c.connect("a1", 2, nil, tc.becomes...)
			r := c.awaitRun(run, pb.RunState_RUN_STATE_FAILED)
			if r.GetFailure().GetReason() != tc.want || r.GetFailure().GetMessage() == "" || r.GetFailure().GetHint() == "" {
				t.Errorf("failure: %v", r.GetFailure())
			}
		})
	}
}

func TestARunWhoseAgentStaysAwayFails(t *testing.T) {
	c := newCluster(t, nil)
	c.connect("a1", 2, nil, ready("shop")).hangUp()
	run := c.backup("shop")
	c.clock.Advance(2 * time.Hour)
	c.await("the run to end", func() bool {
		r, _ := c.node.View().Run(run)
		return state.Ended(r)
	})
	if r, _ := c.node.View().Run(run); r.GetState() != pb.RunState_RUN_STATE_FAILED {
		t.Errorf("run: %v", r)
	}
}

// A snapshot is refused, and nothing is listed, when the store cannot hold it.
func TestAFailedRunListsNothing(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	as := a.assigned()
	req, err := a.write(as, dump)
	if err != nil {
		t.Fatal(err)
	}
	err = c.store.List(t.Context(), "sources/", func(o store.Info) error {
		if strings.Contains(o.Name, "/packs/") {
			return c.store.Delete(t.Context(), o.Name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.agent.CommitSnapshot(t.Context(), req); problem.CodeOf(err) != problem.Failed {
		t.Errorf("commit without its pack: %v", err)
	}
	_, err = c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: as.GetLease(), Failure: &pb.Failure{Code: "failed", Reason: "dump-truncated", Message: "cut short"}})
	if err != nil {
		t.Fatal(err)
	}
	if r := c.awaitRun(run, pb.RunState_RUN_STATE_FAILED); r.GetFailure().GetReason() != "dump-truncated" || r.GetSnapshot() != "" {
		t.Errorf("run: %v", r)
	}
	list, err := c.admin.ListSnapshots(t.Context(), &pb.ListSnapshotsRequest{})
	if err != nil || len(list.GetSnapshots()) != 0 {
		t.Errorf("listed: %v, %v", list, err)
	}
}

// What the store changed is never handed over as a whole dump, and never counts
// as verified.
func TestADamagedStoreIsFound(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	c.backup("shop")
	a.carryOut(a.assigned(), dump)
	var pack string
	err := c.store.List(t.Context(), "sources/", func(o store.Info) error {
		if strings.Contains(o.Name, "/packs/") {
			pack = o.Name
		}
		return nil
	})
	if err != nil || pack == "" {
		t.Fatalf("no pack: %v", err)
	}
	r, err := c.store.Get(t.Context(), pack, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	for name, damaged := range map[string][]byte{"a flipped bit": flip(data, 100), "cut short": data[:len(data)/2], "gone": nil} {
		t.Run(name, func(t *testing.T) {
			if err := c.store.Delete(t.Context(), pack); err != nil {
				t.Fatal(err)
			}
			if damaged != nil {
				if _, err := c.store.Put(t.Context(), pack, bytes.NewReader(damaged)); err != nil {
					t.Fatal(err)
				}
			}
			stream, err := c.admin.DumpSnapshot(t.Context(), &pb.DumpSnapshotRequest{Snapshot: "shop@latest"})
			if err != nil {
				t.Fatal(err)
			}
			var got []byte
			for err == nil {
				var m *pb.DumpSnapshotResponse
				m, err = stream.Recv()
				got = append(got, m.GetData()...)
			}
			if errors.Is(err, io.EOF) || len(got) >= len(dump) {
				t.Errorf("dumped %d bytes, then %v", len(got), err)
			}
			c.tellsAll("shop@latest") // the manifest is whole
			verify, err := c.admin.VerifySnapshot(t.Context(), &pb.VerifySnapshotRequest{Snapshot: "shop@latest"})
			if err != nil {
				t.Fatal(err)
			}
			var report *pb.VerifyReport
			for err == nil {
				var m *pb.VerifySnapshotResponse
				if m, err = verify.Recv(); err == nil {
					report = m.GetReport()
				}
			}
			if len(report.GetProblems()) == 0 || c.node.View().LedgerHead().GetVerifiedAt() != nil {
				t.Errorf("report %v (%v)", report, err)
			}
		})
	}
}

func flip(data []byte, at int) []byte {
	flipped := bytes.Clone(data)
	flipped[min(at, len(data)-1)] ^= 1
	return flipped
}

// slowCopies is a store that takes its time for copies of the ledger.
type slowCopies struct{ *mem.Store }

func (s slowCopies) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	if strings.HasPrefix(name, repo.LedgerPrefix) {
		_ = clock.Sleep(ctx, 200*time.Millisecond)
	}
	return s.Store.Put(ctx, name, r)
}

func TestASuccessIsToldOnceARescueWouldFindIt(t *testing.T) {
	c := newCluster(t, func(o *controller.Options) { o.Store = slowCopies{o.Store.(*mem.Store)} })
	a := c.connect("a1", 2, nil, ready("shop"))
	run := c.backup("shop")
	req, err := a.write(a.assigned(), dump)
	if err != nil {
		t.Fatal(err)
	}
	watch, err := c.admin.WatchRun(t.Context(), &pb.WatchRunRequest{Id: run})
	if err != nil {
		t.Fatal(err)
	}
	committed := make(chan error)
	go func() {
		_, err := c.agent.CommitSnapshot(t.Context(), req)
		committed <- err
	}()
	for ended := false; !ended; {
		m, err := watch.Recv()
		if err != nil {
			t.Fatal(err)
		}
		ended = state.Ended(m.GetRun())
	}
	if _, err := c.store.Stat(t.Context(), repo.LedgerName(1)); err != nil {
		t.Errorf("ledger copy: %v", err)
	}
	if err := <-committed; err != nil {
		t.Error(err)
	}
}

package agent_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/run"
)

func committed(h uplinktest.Heard) bool { return len(h.Commits) > 0 }
func ended(h uplinktest.Heard) bool     { return len(h.Ends) > 0 }

// backedUp makes a snapshot of the source "shop" and says how to find it.
func (w *world) backedUp(s *uplinktest.Session) repo.Ref {
	w.t.Helper()
	s.Assign(backupOf("shop", "r1", 1))
	c := w.controller.Await("the commit", func(h uplinktest.Heard) bool { return committed(h) || ended(h) })
	if ended(c) {
		w.t.Fatalf("the backup failed: %v", c.Ends[0])
	}
	got := c.Commits[0].GetSnapshot()
	return repo.Ref{Source: "shop", Snapshot: got.GetId(), Manifest: [32]byte(got.GetManifestSha256()), Size: got.GetManifestSize()}
}

func TestABackupFromItsAssignmentToItsCommit(t *testing.T) {
	w := newWorld(t)
	s := w.controller.NextSession()
	if h := s.Hello; h.GetAgent() != "a1" || h.GetHost() != "h1" || h.GetVersion() != "test" || h.GetConcurrency() != 2 || len(h.GetHeld()) != 0 {
		t.Errorf("hello %v", h)
	}
	s.Complete()
	w.settled(labelled("shop"))
	ref := w.backedUp(s)

	c := w.controller.Heard().Commits[0]
	snap := c.GetSnapshot()
	if c.GetLease().GetRun() != "r1" || c.GetLease().GetEpoch() != 1 || snap.GetSource() != "shop" || snap.GetEngine() != "fake" ||
		snap.GetServer() != "Fake 1.0" || snap.GetImage() != "fake:1" || snap.GetFireTime().AsTime().Format(time.RFC3339) != fireTime ||
		snap.GetRawBytes() != int64(len(w.db.dump)) || snap.GetStartedAt().AsTime().IsZero() {
		t.Errorf("commit %v", c)
	}
	var lines []string
	for _, l := range c.GetLogs() {
		lines = append(lines, l.GetMessage())
	}
	if log := strings.Join(lines, "\n"); !strings.Contains(log, "dumping run=r1 source=shop") || !strings.Contains(log, "stored") {
		t.Errorf("log of the run:\n%s", log)
	}
	opened, err := repo.OpenSnapshot(t.Context(), w.store, keyOf("shop"), ref)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opened.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
	w.stop()
	if h := w.controller.Heard(); len(h.Ends) != 0 || len(h.Commits) != 1 {
		t.Errorf("%d commits, and ends %v", len(h.Commits), h.Ends)
	}
}

func TestASourceThatCannotBeBackedUpSaysWhy(t *testing.T) {
	w := newWorld(t)
	stopped, wrong := labelled("off"), labelled("wrong")
	stopped.Facts.Running = false
	wrong.Labels["baktainer.compress"] = "steam"
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"), stopped, wrong)
	for name, tc := range map[string]struct {
		code   problem.Code
		reason problem.Reason
		text   string
	}{
		"off":    {problem.Unavailable, engine.ReasonNotRunning, "container off is not running"},
		"wrong":  {problem.InvalidInput, "", "the labels of container wrong are not valid"},
		"absent": {problem.Unavailable, engine.ReasonNotRunning, "no container of this source is on this host"},
	} {
		before := len(w.controller.Heard().Ends)
		s.Assign(backupOf(name, "run-"+name, 1))
		h := w.controller.Await("the end of the run", func(h uplinktest.Heard) bool { return len(h.Ends) > before })
		end := h.Ends[before]
		f := end.GetFailure()
		if f.GetCode() != string(tc.code) || f.GetReason() != string(tc.reason) || f.GetMessage() != tc.text || end.GetCancelled() {
			t.Errorf("%s: %v", name, end)
		}
		if name == "wrong" && !strings.Contains(strings.Join(f.GetDetails(), "\n"), "baktainer.compress") {
			t.Errorf("the label at fault is not named: %q", f.GetDetails())
		}
		if len(end.GetLogs()) == 0 {
			t.Errorf("%s: the end has no log", name)
		}
	}
	if h := w.controller.Heard(); len(h.Commits) > 0 || w.db.opened > 0 {
		t.Errorf("%d commits, %d databases opened", len(h.Commits), w.db.opened)
	}
}

func TestACommitThatIsRefusedFailsTheRun(t *testing.T) {
	w := newWorld(t)
	w.controller.Answer(uplinktest.Answers{Commit: func() error {
		return problem.New(problem.Corrupt, "a pack is missing").WithReason(repo.ReasonMissingObject)
	}})
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	s.Assign(backupOf("shop", "r1", 1))
	end := w.controller.Await("the end", ended).Ends[0]
	if f := end.GetFailure(); f.GetCode() != string(problem.Corrupt) || f.GetReason() != string(repo.ReasonMissingObject) {
		t.Errorf("end %v", end)
	}
}

// The controller counts a run that has ended no more among the agent's, and the
// agent may hear so before the answer to the call that ended it.
func TestAnEndThatTheAgentHearsOfFirst(t *testing.T) {
	for _, from := range []string{"a heartbeat", "the session"} {
		t.Run(from, func(t *testing.T) {
			log := said{slog.DiscardHandler, make(chan string, 1000)}
			w := newWorldOf(t, 1, func(o *agent.Options) { o.Logger = slog.New(log) })
			s := w.controller.NextSession()
			s.Complete()
			w.settled(labelled("shop"))
			var done atomic.Bool
			beats := make(chan string)
			w.controller.Answer(uplinktest.Answers{
				Beat: func(_ string, held []uplink.Lease) (uplink.Beat, error) {
					b := uplink.Beat{Period: 10 * time.Millisecond, Renewed: held}
					if done.Load() {
						b.Renewed = nil
						if from == "a heartbeat" {
							b.Lost = held
						}
						select {
						case beats <- "one more":
						default:
						}
					}
					return b, nil
				},
				Meet: func(e uplinktest.Event) error {
					if e.Call != uplinktest.Committed {
						return nil
					}
					done.Store(true)
					if from == "the session" {
						s.Complete()
					}
					for range 5 {
						<-beats
					}
					return nil
				},
			})
			s.Assign(backupOf("shop", "r1", 1))
			log.await(t, "snapshot committed")
			w.stop()
			if h := w.controller.Heard(); len(h.Commits) != 1 || len(h.Ends) != 0 {
				t.Errorf("%d commits, and ends %v", len(h.Commits), h.Ends)
			}
		})
	}
}

func TestRestores(t *testing.T) {
	plain := provider.Container{ID: "id-box", Name: "box", Facts: engine.Facts{Image: "fake:1", Running: true}}
	other := provider.Container{ID: "id-strange", Name: "strange", Facts: engine.Facts{Image: "other:1", Running: true}}
	off := provider.Container{ID: "id-off", Name: "off", Facts: engine.Facts{Image: "fake:1"}}
	helper := provider.Container{ID: "id-helper", Name: "helper", Labels: map[string]string{"baktainer.helper": "x"}, Facts: engine.Facts{Image: "fake:1", Running: true}}
	unknown := provider.Container{ID: "id-web", Name: "web", Facts: engine.Facts{Image: "web:1", Running: true}}
	for name, tc := range map[string]struct {
		source string
		work   uplink.RestoreWork
		code   problem.Code // empty: it succeeds
		text   string
		dry    bool
	}{
		"into a source":               {source: "shop"},
		"into a container":            {work: uplink.RestoreWork{Container: "box"}},
		"into a container by id":      {work: uplink.RestoreWork{Container: "id-box"}},
		"dry":                         {source: "shop", work: uplink.RestoreWork{DryRun: true}, dry: true},
		"into another kind":           {work: uplink.RestoreWork{Container: "strange"}, code: problem.Conflict, text: "the snapshot is of fake, the target runs other"},
		"into another kind of source": {source: "mismatch", code: problem.Conflict, text: "the snapshot is of fake"},
		"into a stopped container":    {work: uplink.RestoreWork{Container: "off"}, code: problem.Unavailable, text: "not running"},
		"into no database":            {work: uplink.RestoreWork{Container: "web"}, code: problem.InvalidInput, text: "labels of container web"},
		"into our own helper":         {work: uplink.RestoreWork{Container: "helper"}, code: problem.InvalidInput, text: "cannot be a target"},
		"into nothing":                {work: uplink.RestoreWork{Container: "nowhere"}, code: problem.NotFound, text: "nowhere"},
		"into an absent source":       {source: "absent", code: problem.Unavailable, text: "no container"},
		"of a stream it has not":      {source: "shop", work: uplink.RestoreWork{Select: []string{"zoo"}}, code: problem.InvalidInput, text: `"zoo"`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			w.hosts[0].others = []provider.Container{plain, other, off, helper, unknown}
			s := w.controller.NextSession()
			s.Complete()
			mismatch := labelled("mismatch")
			mismatch.Facts.Image = "other:1"
			w.settled(labelled("shop"), mismatch)
			work := tc.work
			work.Snapshot, work.Engine = w.backedUp(s), "fake"
			s.Assign(uplink.Assignment{
				Lease: uplink.Lease{Run: "r2", Epoch: 1}, Source: tc.source, Duration: time.Minute, Key: keyOf("shop"), Restore: &work,
			})
			end := w.controller.Await("the end", ended).Ends[0]
			f := end.GetFailure()
			if f.GetCode() != string(tc.code) || !strings.Contains(f.GetMessage(), tc.text) || end.GetLease().GetRun() != "r2" || end.GetCancelled() {
				t.Fatalf("end %v", end)
			}
			got := w.db.has()["shop.sql"]
			switch {
			case tc.code == "" && !tc.dry:
				report := strings.Join(end.GetReport(), "\n")
				if got != string(w.db.dump) || !strings.Contains(report, "Fill it.") || !strings.Contains(report, "Restored shop.sql") {
					t.Errorf("restored %q, report %q", got, report)
				}
			case got != "" || len(w.other.has()) > 0:
				t.Errorf("the target was touched: %q", got)
			case tc.dry && len(end.GetReport()) != 1:
				t.Errorf("report %q", end.GetReport())
			}
		})
	}
}

func TestADirectRestoreNeedsNoController(t *testing.T) {
	w := newWorld(t)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	ref := w.backedUp(s)
	w.stop()
	var phases []string
	direct := agent.DirectRestore{
		Providers: []provider.Provider{w.hosts[0]}, Engines: []engine.Engine{w.db, w.other}, Container: "shop", Engine: "fake",
		Snapshot: ref, Key: keyOf("shop"), Objects: w.store, Phase: func(p string) { phases = append(phases, p) }, Logger: slog.New(slog.DiscardHandler),
	}
	done, err := agent.RestoreInto(t.Context(), direct)
	if err != nil || w.db.has()["shop.sql"] != string(w.db.dump) || len(done.Report) != 2 || len(phases) == 0 {
		t.Errorf("error %v, report %q, phases %q", err, done.Report, phases)
	}
	direct.Engine = "other"
	if _, err := agent.RestoreInto(t.Context(), direct); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("another kind: %v", err)
	}
	direct.Container = "nowhere"
	if _, err := agent.RestoreInto(t.Context(), direct); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("no such container: %v", err)
	}
	direct.Providers = nil
	if _, err := agent.RestoreInto(t.Context(), direct); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("no provider: %v", err)
	}
}

func TestLogLinesAndProgressComeWithHeartbeats(t *testing.T) {
	w := newWorld(t)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	release := make(chan struct{})
	w.db.opening(func(ctx context.Context) error {
		select {
		case <-release:
			return nil
		case <-ctx.Done():
			return errors.New("stopped")
		}
	})
	s.Assign(backupOf("shop", "r1", 1))
	h := w.controller.Await("progress", func(h uplinktest.Heard) bool {
		if len(h.Beats) == 0 {
			return false
		}
		runs := h.Beats[len(h.Beats)-1].GetRuns()
		return len(runs) == 1 && runs[0].GetProgress().GetPhase() == "connecting"
	})
	last := h.Beats[len(h.Beats)-1]
	if last.GetSession() != s.ID || last.GetAgent() != "a1" || len(last.GetProviders()) != 1 || !last.GetProviders()[0].GetHealthy() || last.GetRuns()[0].GetLease().GetRun() != "r1" {
		t.Errorf("beat %v", last)
	}
	close(release)
	w.controller.Await("the commit", committed)
}

// A backup that takes longer than it may is ended, and says so.
func TestATimeLimit(t *testing.T) {
	w := newWorld(t)
	open, begun, stopped := blocks()
	w.db.opening(open)
	s := w.controller.NextSession()
	s.Complete()
	w.settled(labelled("shop"))
	late := backupOf("shop", "r1", 1)
	late.TimeLimit = 50 * time.Millisecond
	s.Assign(late)
	<-begun
	if cause := <-stopped; problem.ReasonOf(cause) != run.ReasonTimeLimit {
		t.Errorf("stopped because of %v", cause)
	}
	got := w.controller.Await("the end", ended)
	if f := got.Ends[0].GetFailure(); f.GetReason() != string(run.ReasonTimeLimit) || f.GetHint() == "" || got.Ends[0].GetCancelled() {
		t.Errorf("told %v", got.Ends[0])
	}
}

// A source that wants something done around its dumps is not backed up by an
// agent that cannot do it.
func TestHooksThatNobodyCanRun(t *testing.T) {
	w := newWorld(t)
	s := w.controller.NextSession()
	s.Complete()
	shop := labelled("shop")
	shop.Labels["baktainer.hook.before"] = "true"
	w.settled(shop)
	s.Assign(backupOf("shop", "r1", 1))
	if got := w.controller.Await("the end", ended); got.Ends[0].GetFailure() == nil {
		t.Errorf("told %v", got.Ends[0])
	}
}

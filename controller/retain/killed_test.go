package retain

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/controller/verify"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var errKilled = errors.New("killed")

// life is how long a process lives: so many changes of store and state, and then
// it dies before or after the next is made. Nothing it asks for is done after that.
type life struct {
	left  int // changes; negative: it does not die
	after bool
	dead  bool
	done  int
}

func (l *life) change(do func() error) error {
	dies := l.left == l.done
	if l.dead || dies && !l.after {
		l.dead = true
		return errKilled
	}
	err := do()
	l.done++
	if dies {
		l.dead = true
		return errKilled
	}
	return err
}

// mortal is a store, and a node, as a process with such a life has them.
type mortal struct {
	store.Store
	life *life
}

func (m *mortal) Put(ctx context.Context, name string, r io.Reader) (info store.Info, err error) {
	err = m.life.change(func() error {
		info, err = m.Store.Put(ctx, name, r)
		return err
	})
	return info, err
}

func (m *mortal) Delete(ctx context.Context, name string) error {
	return m.life.change(func() error { return m.Store.Delete(ctx, name) })
}

type mortalNode struct {
	*scene
	life *life
}

func (m *mortalNode) Propose(ctx context.Context, cmd *pb.Command) error {
	return m.life.change(func() error { return m.scene.Propose(ctx, cmd) })
}

func (m *mortalNode) IsLeader() bool { return !m.life.dead }

// live runs a process until it has nothing more to do, or dies: it takes up what
// was interrupted, applies the policies, and carries out what that began.
func (s *scene) live(l *life) {
	s.t.Helper()
	o := s.Options
	o.Node, o.Store = &mortalNode{s, l}, &mortal{s.mem, l}
	r := New(o)
	ctx := s.t.Context()
	carry := func() {
		for _, p := range s.View().ActivePrunes() {
			if err := r.carryOut(ctx, p, false); err != nil && !l.dead {
				s.t.Fatalf("carry out: %v", err)
			}
		}
	}
	r.tidy(ctx)
	carry()
	if err := r.Apply(ctx); err != nil && !l.dead {
		s.t.Fatalf("apply: %v", err)
	}
	carry()
}

// copyOf makes a scene that is like this one was when its state was saved, with
// its store in a folder of its own.
func (s *scene) copyOf(t *testing.T, dir string, saved []byte) *scene {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(to, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	st, err := fs.Open(to)
	if err != nil {
		t.Fatal(err)
	}
	c := &scene{t: t, tables: state.New(), mem: st, clock: s.clock, index: s.index, made: s.made}
	if _, err := c.tables.ReadFrom(bytes.NewReader(saved)); err != nil {
		t.Fatal(err)
	}
	o := s.Options
	o.Node, o.Store = c, st
	c.Retain = New(o)
	return c
}

// accounted says which objects of the source are neither needed by a snapshot
// whose data is there, nor in the plan of a prune that is recorded.
func (s *scene) accounted() (stray []string) {
	s.t.Helper()
	ctx := s.t.Context()
	held, err := repo.InventorySource(ctx, s.mem, "shop")
	s.must(err)
	known := map[string]bool{}
	for i := range held.Manifests {
		m := &held.Manifests[i]
		if now, ok := s.View().Snapshot(m.Header.Snapshot); ok && now.GetPrunedAt() == nil {
			known[repo.ManifestName("shop", m.Header.Snapshot)] = true
			for place := range held.Needs(m) {
				known[repo.PackName("shop", held.Packs[place].ID())] = true
			}
		}
	}
	for _, p := range s.View().ActivePrunes() {
		plan, err := s.readPlan(ctx, p)
		if err != nil {
			s.t.Fatalf("the plan of a recorded prune cannot be read: %v", err)
		}
		for _, o := range plan.Delete {
			known[o.Name] = true
		}
	}
	s.must(s.mem.List(ctx, repo.SourcesPrefix, func(i store.Info) error {
		if !known[i.Name] {
			stray = append(stray, i.Name)
		}
		return nil
	}))
	return stray
}

// whole says that every snapshot that is not pruned can be read to its last byte.
func (s *scene) whole() {
	s.t.Helper()
	v := &verify.Verifier{View: s.View, Propose: s.Propose, Repo: s.Repo, Store: s.mem, Clock: s.clock}
	list := append(s.View().Snapshots("shop", 0), s.View().Forgotten("shop", 0)...)
	s.must(v.Snapshots(s.t.Context(), list, nil, func(m *pb.Snapshot, r *pb.VerifyReport) error {
		if len(r.GetProblems()) > 0 {
			s.t.Errorf("snapshot %s: %v", m.GetId(), r.GetProblems())
		}
		return nil
	}))
}

func (s *scene) plans() (names []string) {
	s.t.Helper()
	s.must(s.mem.List(s.t.Context(), repo.PlansPrefix, func(i store.Info) error {
		names = append(names, i.Name)
		return nil
	}))
	return names
}

// TestKilledAnywhere kills the process that forgets and prunes at 200 points, before
// or after the change that it was at, some of them twice. Who comes after it
// finishes: what is kept is whole, and exactly the space is free that was foreseen.
func TestKilledAnywhere(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	st, err := fs.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	base := newSceneIn(t, st)
	base.dump = base.dump[:100_000]
	for range 14 {
		base.backup()
		base.clock.Advance(time.Hour)
	}
	base.keeps("last=3").Logger = slog.New(slog.DiscardHandler)
	base.apply() // so that they are verified
	base.Verifier = nil
	for range 9 {
		base.backup()
		base.clock.Advance(time.Hour)
	}
	for _, m := range base.View().Snapshots("shop", 0) { // as if they had been verified one by one
		base.must(base.Propose(t.Context(), &pb.Command{Command: &pb.Command_RecordVerification{RecordVerification: &pb.RecordVerification{
			Snapshot: m.GetId(), VerifiedAt: timestamppb.New(base.clock.Now()),
		}}}))
	}
	var left []string // by a run that failed
	for i := range 5 {
		left = append(left, repo.PackName("shop", strings.Repeat(fmt.Sprintf("%02x", i+200), 16)))
		base.set(left[i], bytes.Repeat([]byte("left over"), i+1))
	}
	var saved bytes.Buffer
	_, err = base.tables.WriteTo(&saved)
	base.must(err)

	first := base.copyOf(t, dir, saved.Bytes())
	v, err := first.Judge(first.View(), "shop", "")
	first.must(err)
	plan, err := first.Foresee(t.Context(), v)
	first.must(err)
	unkilled := &life{left: -1}
	before := first.size()
	first.live(unkilled)
	if freed := before - first.size(); freed != plan.Freed() || len(first.kept()) != 3 || unkilled.done < 25 {
		t.Fatalf("without being killed: %d bytes freed, %d foreseen, kept %v, after %d changes", freed, plan.Freed(), first.kept(), unkilled.done)
	}

	rnd := rand.New(rand.NewPCG(1, 1))
	killed := 0
	for n := range 200 {
		s := base.copyOf(t, dir, saved.Bytes())
		for range 1 + n%2 {
			l := &life{left: rnd.IntN(unkilled.done), after: rnd.IntN(2) == 0}
			s.live(l)
			if l.dead {
				killed++
			}
			for _, name := range s.accounted() {
				if !slices.Contains(left, name) {
					t.Errorf("point %d: nobody knows what %s is for", n, name)
				}
			}
		}
		s.live(&life{left: -1})
		if freed := before - s.size(); freed != plan.Freed() {
			t.Errorf("point %d: %d bytes were freed, %d foreseen", n, freed, plan.Freed())
		}
		if got := s.kept(); !slices.Equal(got, first.kept()) {
			t.Errorf("point %d: kept %v", n, got)
		}
		if stray, plans := s.accounted(), s.plans(); len(stray)+len(plans)+len(s.View().ActivePrunes()) > 0 {
			t.Errorf("point %d: left over: %v %v", n, stray, plans)
		}
		if n%4 == 0 {
			if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 || r.GetUnreferencedObjects() > 0 {
				t.Errorf("point %d: %v", n, r)
			}
		}
		s.whole()
		if t.Failed() {
			t.FailNow()
		}
	}
	t.Logf("killed %d times in %d points of %d changes; %d bytes freed each time", killed, 200, unkilled.done, plan.Freed())
	if killed < 200 {
		t.Errorf("only %d were killed", killed)
	}
}

// TestNoSequenceLosesTheLastVerified has backups succeed and fail, clocks step, policies
// change, snapshots turn out damaged, people forget, take back and hold, the store
// fail, and the process die, in any order. The last verified snapshot of the
// source is always there to the last byte.
func TestNoSequenceLosesTheLastVerified(t *testing.T) {
	t.Parallel()
	forgotten, deleted, stepped, died, damaged := 0, 0, 0, 0, 0
	for seed := range uint64(12) {
		rnd := rand.New(rand.NewPCG(seed, 3))
		s := newScene(t)
		s.dump = s.dump[:20_000]
		s.keeps("last=2")
		s.Logger = slog.New(slog.DiscardHandler)
		s.backup()
		s.apply()
		bad := map[string]bool{} // that we have damaged ourselves
		someID := func() string { return s.made[rnd.IntN(len(s.made))].GetId() }
		for step := range 120 {
			switch rnd.IntN(11) {
			case 0, 1, 2:
				s.carryOutAll()
				s.clock.Advance(time.Duration(rnd.IntN(30)) * time.Hour)
				for { // a clock that stepped back comes by times of which there are snapshots
					at := s.clock.Now().Add(time.Second)
					if !slices.ContainsFunc(s.made, func(m *pb.Snapshot) bool { return m.GetFireTime().AsTime().Equal(at) }) {
						break
					}
					s.clock.Advance(time.Second)
				}
				s.backup()
			case 3:
				s.fail()
			case 4:
				policies := []string{"last=1", "last=3 daily=2", "daily=1", "within=12h", "tag=golden", "yearly=1", "last=2 at-least=3", "off"}
				p, err := retention.Parse(policies[rnd.IntN(len(policies))])
				s.must(err)
				s.Policy, s.Undo, s.Freeze = p, time.Duration(rnd.IntN(3))*24*time.Hour, rnd.IntN(3)
			case 5:
				_ = s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{
					Snapshots: []string{someID(), someID()}, Undo: durationpb.New(s.Undo),
				}}})
			case 6:
				_ = s.Propose(t.Context(), &pb.Command{Command: &pb.Command_UnforgetSnapshots{UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: []string{someID()}}}})
			case 7:
				_ = s.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetHold{SetHold: &pb.SetHold{Snapshots: []string{someID()}, Until: timestamppb.New(s.clock.Now().Add(48 * time.Hour))}}})
			case 8:
				if rnd.IntN(3) == 0 {
					stepped++
					s.clock.Advance(time.Duration(rnd.IntN(20_000)-10_000) * time.Hour)
				}
			case 9: // one is damaged, not the last that is known to be good
				if victims := s.View().Snapshots("shop", 0); len(victims) > 2 && rnd.IntN(3) == 0 {
					damaged++
					victim := victims[rnd.IntN(len(victims))].GetId()
					s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_RecordDamage{RecordDamage: &pb.RecordDamage{Snapshots: []string{victim}}}}))
					bad[victim] = true
				}
			case 10:
				_, _ = s.Begin(t.Context(), "test", "shop", ledger.Hash{})
				s.carryOutAll()
			}
			was, wasThere := s.good()
			listed := len(s.View().Forgotten("shop", 0))
			if l := (&life{left: rnd.IntN(8), after: rnd.IntN(2) == 0}); rnd.IntN(2) == 0 {
				if s.live(l); l.dead {
					died++
				}
			} else {
				s.must(s.Apply(t.Context()))
			}
			forgotten += max(0, len(s.View().Forgotten("shop", 0))-listed)
			if rnd.IntN(2) == 0 {
				s.carryOutAll()
			}
			now, there := s.good()
			deleted += max(0, wasThere-there)
			switch {
			case was > 0 && now == 0 && there == 0:
				t.Fatalf("seed %d, step %d: no verified snapshot is left of %d", seed, step, was)
			case now < min(was, s.Policy.Floor()) && !s.Policy.Empty():
				t.Fatalf("seed %d, step %d: %d verified ones are listed, there were %d and at least %d were to be", seed, step, now, was, s.Policy.Floor())
			}
			if stray := s.accounted(); len(stray) > 0 {
				t.Fatalf("seed %d, step %d: nobody knows what these are for: %v", seed, step, stray)
			}
			if t.Failed() {
				t.FailNow()
			}
		}
		s.whole()
		if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 {
			t.Errorf("seed %d: %v", seed, r)
		}
	}
	t.Logf("%d forgotten by policy, %d verified ones deleted, %d steps of the clock, %d deaths, %d damaged", forgotten, deleted, stepped, died, damaged)
	if forgotten < 50 || deleted < 20 || stepped < 10 || died < 30 || damaged < 10 {
		t.Error("too little happened to show anything")
	}
}

// good counts the verified snapshots that are listed, and all whose data is there.
func (s *scene) good() (listed, there int) {
	for _, m := range append(s.View().Snapshots("shop", 0), s.View().Forgotten("shop", 0)...) {
		if m.GetVerifiedAt() != nil && m.GetDamagedAt() == nil {
			if there++; m.GetForgottenAt() == nil {
				listed++
			}
		}
	}
	return listed, there
}

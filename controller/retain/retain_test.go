package retain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// scene is a state and a store with the snapshots of a source "shop".
type scene struct {
	*Retain
	t      *testing.T
	tables *state.Tables
	mem    *mem.Store
	clock  *clock.Manual
	index  uint64
	made   []*pb.Snapshot
	dump   []byte
}

func (s *scene) View() *state.View { return s.tables.View() }
func (s *scene) IsLeader() bool    { return true }

func (s *scene) Propose(_ context.Context, cmd *pb.Command) error {
	s.index++
	cmd.ProposedAt = timestamppb.New(s.clock.Now())
	return s.tables.Apply(s.index, cmd)
}

// Put is the sink of a writer.
func (s *scene) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.mem.Put(ctx, name, bytes.NewReader(bytes.Clone(data)))
	return err
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{t: t, tables: state.New(), mem: mem.New(), clock: clock.NewManual(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))}
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Create(t.Context(), s.mem, key, s.clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	s.Retain = New(Options{Node: s, Repo: r, Store: s.mem, Clock: s.clock, Logger: slog.New(slog.DiscardHandler)})
	for i := range 60_000 {
		s.dump = fmt.Appendf(s.dump, "row %d\n", i*i*7919)
	}
	return s
}

func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// backup makes and commits a snapshot of two streams: one that never changes, and one of its own.
func (s *scene) backup(avoid ...string) *pb.Snapshot {
	s.t.Helper()
	ctx, n := s.t.Context(), len(s.made)+1
	run, id := fmt.Sprintf("r%d", n), fmt.Sprintf("01J%023d", n)
	s.clock.Advance(time.Second)
	for _, c := range []*pb.Command{
		{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{Id: run, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", FireTime: timestamppb.New(s.clock.Now())}}}}},
		{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: run, Agent: "a1", ExpiresAt: timestamppb.New(s.clock.Now().Add(time.Hour)), Snapshot: id}}},
	} {
		s.must(s.Propose(ctx, c))
	}
	key, err := s.Repo.SourceKey("shop", 0)
	s.must(err)
	var refs []repo.Ref
	for _, b := range s.View().Snapshots("shop", state.BaseSnapshots) {
		refs = append(refs, repo.Ref{Source: "shop", Snapshot: b.GetId(), Manifest: ledger.Hash(b.GetManifestSha256())})
	}
	base, err := repo.LoadBase(ctx, s.mem, key, refs, avoid...)
	s.must(err)
	w, err := repo.NewWriter(ctx, repo.WriterOptions{Source: "shop", Snapshot: id, Key: key, Base: base, Compress: "fast"}, s)
	s.must(err)
	defer w.Abort()
	for _, dump := range []struct {
		name string
		data []byte
	}{{"same.sql", s.dump}, {"own.sql", bytes.Repeat(fmt.Appendf(nil, "dump %d\n", n), 1000)}} {
		stream, err := w.Stream(repo.StreamMeta{Name: dump.name})
		s.must(err)
		_, err = stream.Write(dump.data)
		s.must(err)
		_, err = stream.Close(repo.Contents{})
		s.must(err)
	}
	sum, err := w.Finish(ctx)
	s.must(err)
	snapshot := &pb.Snapshot{
		Id: id, Source: "shop", RawBytes: sum.RawBytes, ManifestSha256: sum.Manifest[:], ManifestSize: sum.ManifestSize, Root: sum.Root[:], KeyGeneration: s.Repo.Generation,
	}
	for _, st := range sum.Streams {
		snapshot.Streams = append(snapshot.Streams, &pb.Stream{Name: st.Name, Size: st.Size, Sha256: st.SHA256[:]})
	}
	s.must(s.Propose(ctx, &pb.Command{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: run, Epoch: 1, Snapshot: snapshot}}}))
	made, _ := s.View().Snapshot(id)
	entry, err := state.EntryOf(made)
	s.must(err)
	text, err := json.Marshal(entry)
	s.must(err)
	sealed, err := s.Repo.SealLedger(entry.Index, text)
	s.must(err)
	s.must(s.Put(ctx, repo.LedgerName(entry.Index), sealed, ledger.Hash{}))
	s.made = append(s.made, made)
	return made
}

// packs are those that a snapshot needs.
func (s *scene) packs(snapshot *pb.Snapshot) (ids []string) {
	s.t.Helper()
	held, err := repo.InventorySource(s.t.Context(), s.mem, "shop")
	s.must(err)
	for i := range held.Manifests {
		if held.Manifests[i].Header.Snapshot == snapshot.GetId() {
			for place := range held.Needs(&held.Manifests[i]) {
				ids = append(ids, held.Packs[place].ID())
			}
		}
	}
	return ids
}

func (s *scene) read(name string) []byte {
	s.t.Helper()
	rc, err := s.mem.Get(s.t.Context(), name, 0, -1)
	s.must(err)
	defer rc.Close()
	b, err := io.ReadAll(rc)
	s.must(err)
	return b
}

// set puts other bytes under a name, or deletes what is there.
func (s *scene) set(name string, b []byte) {
	s.t.Helper()
	s.must(s.mem.Delete(s.t.Context(), name))
	if b != nil {
		_, err := s.mem.Put(s.t.Context(), name, bytes.NewReader(b))
		s.must(err)
	}
}

// flip changes a bit in the middle of an object.
func (s *scene) flip(name string) {
	s.t.Helper()
	b := bytes.Clone(s.read(name))
	b[len(b)/2] ^= 1
	s.set(name, b)
}

func (s *scene) check(o CheckOptions) *pb.StoreReport {
	s.t.Helper()
	report, err := s.Check(s.t.Context(), o)
	s.must(err)
	return report
}

func findings(r *pb.StoreReport) (list []string) {
	for _, f := range r.GetFindings() {
		list = append(list, f.GetObject())
	}
	slices.Sort(list)
	return list
}

// What can be derived is rebuilt, and after that nothing is wrong.
func TestRepairRebuildsWhatCanBeDerived(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 || r.GetSnapshots() != 3 || r.GetPacks() == 0 || r.GetUnreferencedObjects() != 0 {
		t.Fatalf("a store that is whole: %v", r)
	}
	var slot string
	s.must(s.mem.List(t.Context(), repo.KeysPrefix, func(i store.Info) error {
		if !strings.HasSuffix(i.Name, ".copy") {
			slot = i.Name
		}
		return nil
	}))
	pairs := []string{repo.FormatName, repo.FormatCopyName, slot, repo.CopyName(slot), repo.DescriptionName, repo.LedgerName(2)}
	for _, name := range pairs {
		whole := bytes.Clone(s.read(name))
		for what, spoil := range map[string]func(){
			"missing": func() { s.set(name, nil) }, "damaged": func() { s.flip(name) }, "empty": func() { s.set(name, []byte{}) },
			"cut": func() { s.set(name, whole[:len(whole)-20]) },
		} {
			t.Run(name+" "+what, func(t *testing.T) {
				spoil()
				dry := s.check(CheckOptions{Repair: true, DryRun: true})
				if got := findings(dry); !slices.Equal(got, []string{name}) || !dry.GetFindings()[0].GetRepairable() || dry.GetFindings()[0].GetRepair() == "" {
					t.Fatalf("found %v", dry.GetFindings())
				}
				if got := findings(s.check(CheckOptions{})); len(got) != 1 {
					t.Fatalf("a dry run changed something: %v", got)
				}
				s.check(CheckOptions{Repair: true})
				if r := s.check(CheckOptions{}); len(r.GetFindings()) > 0 {
					t.Fatalf("after the repair: %v", r.GetFindings())
				}
				if name != repo.LedgerName(2) && !bytes.Equal(s.read(name), whole) { // which is sealed anew
					t.Error("it came back otherwise than it was")
				}
			})
		}
	}
}

// Where object and copy are both sound and differ, the object is right.
func TestACopyThatDiffersIsReplaced(t *testing.T) {
	s := newScene(t)
	s.set(repo.FormatCopyName, append([]byte(" "), s.read(repo.FormatName)...))
	if got := findings(s.check(CheckOptions{Repair: true})); !slices.Equal(got, []string{repo.FormatCopyName}) || !bytes.Equal(s.read(repo.FormatName), s.read(repo.FormatCopyName)) {
		t.Errorf("found %v", got)
	}
}

// What is lost is named, marked, and never guessed; the next backup does not build on it.
func TestRepairMarksWhatIsLost(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	shared := s.packs(s.made[0])[0] // both streams of the first snapshot lie there
	s.flip(repo.PackName("shop", shared))
	s.set(repo.PackName("shop", strings.Repeat("ab", 16)), []byte("left over"))
	if r := s.check(CheckOptions{}); len(r.GetFindings()) != 0 || r.GetUnreferencedObjects() != 1 {
		t.Errorf("sizes do not tell, and yet: %v", r)
	}
	r := s.check(CheckOptions{ReadData: true})
	if got := findings(r); !slices.Equal(got, []string{repo.PackName("shop", shared)}) || r.GetFindings()[0].GetRepairable() {
		t.Fatalf("found %v", r.GetFindings())
	}
	var hit []string
	for _, d := range r.GetFindings()[0].GetDamage() {
		hit = append(hit, d.GetSnapshot())
		if !d.GetStreamsRead() || !slices.Equal(d.GetStreams(), []string{"same.sql"}) { // the other lies in another frame
			t.Errorf("hit in %s: %v", d.GetSnapshot(), d.GetStreams())
		}
	}
	if slices.Sort(hit); len(hit) != 3 {
		t.Errorf("hit are %v", hit)
	}
	if marks, err := s.Damaged(t.Context(), "shop"); err != nil || len(marks) != 0 {
		t.Errorf("a check has marked %v: %v", marks, err)
	}
	s.check(CheckOptions{ReadData: true, Repair: true})
	marks, err := s.Damaged(t.Context(), "shop")
	if err != nil || !slices.Equal(marks, []string{shared}) {
		t.Fatalf("marked: %v, %v", marks, err)
	}
	for _, m := range s.made {
		if now, _ := s.View().Snapshot(m.GetId()); now.GetDamagedAt() == nil {
			t.Errorf("snapshot %s does not say that it is damaged", m.GetId())
		}
	}
	next := s.backup(marks...)
	if slices.Contains(s.packs(next), shared) {
		t.Error("the next backup builds on what is damaged")
	}
	r = s.check(CheckOptions{ReadData: true, Repair: true})
	if len(r.GetFindings()) != 1 || len(r.GetFindings()[0].GetDamage()) != 3 || r.GetFindings()[0].GetRepair() != "marked already" {
		t.Errorf("the older ones stay damaged: %v", r.GetFindings())
	}

	s.flip(repo.PackName("shop", shared)) // it came back from somewhere
	if got := findings(s.check(CheckOptions{ReadData: true, Repair: true})); !slices.Equal(got, []string{repo.DamagedName("shop", shared)}) {
		t.Errorf("a mark on what is right: %v", got)
	}
	if got := findings(s.check(CheckOptions{ReadData: true})); len(got) != 0 {
		t.Errorf("after that: %v", got)
	}
}

// As many snapshots as one prune deletes can be named in one command.
func TestTheLargestPruneFitsIntoACommand(t *testing.T) {
	c := &pb.BeginPrune{Source: strings.Repeat("s", 128), Plan: strings.Repeat("0", 26), PlanSha256: make([]byte, 32), Basis: 1 << 60, Objects: 1 << 60, Bytes: 1 << 60}
	for range maxSnapshots {
		c.Snapshots = append(c.Snapshots, strings.Repeat("0", 26))
	}
	if n := proto.Size(&pb.Command{Actor: "admin", RequestId: strings.Repeat("0", 64), Command: &pb.Command_BeginPrune{BeginPrune: c}}); n > state.MaxCommandSize-1000 {
		t.Errorf("%d bytes", n)
	}
}

func TestCheckNamesWhatIsGone(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	pack := s.packs(s.made[2])
	manifest := repo.ManifestName("shop", s.made[1].GetId())
	own := pack[slices.IndexFunc(pack, func(id string) bool {
		return !slices.Contains(s.packs(s.made[0]), id) && !slices.Contains(s.packs(s.made[1]), id)
	})]
	s.set(repo.PackName("shop", own), nil)
	s.set(manifest, nil)
	s.set(repo.LedgerName(9), []byte("of another controller"))
	s.set("notes.txt", []byte("mine"))
	r := s.check(CheckOptions{})
	if want := []string{repo.LedgerName(9), manifest, repo.PackName("shop", own)}; !slices.Equal(findings(r), want) || !slices.Equal(r.GetUnknown(), []string{"notes.txt"}) {
		t.Fatalf("found %v, want %v; unknown %v", findings(r), want, r.GetUnknown())
	}
	for _, f := range r.GetFindings() {
		if f.GetObject() != repo.LedgerName(9) && f.GetProblem() != "it is missing" {
			t.Errorf("%s: %s", f.GetObject(), f.GetProblem())
		}
		want := map[string]*pb.Snapshot{manifest: s.made[1], repo.PackName("shop", own): s.made[2]}[f.GetObject()]
		if want != nil && (len(f.GetDamage()) != 1 || f.GetDamage()[0].GetSnapshot() != want.GetId()) || f.GetRepairable() {
			t.Errorf("%v", f)
		}
	}
	if _, _, err := s.Plan(t.Context(), "shop"); err == nil || !strings.Contains(fmt.Sprintf("%+v", err), "nothing is pruned") {
		t.Errorf("a prune beside a manifest that is gone: %v", err)
	}
}

// A store that refuses to delete does not keep a source from being backed up for ever.
func TestAPruneThatCannotGoOnIsGivenUp(t *testing.T) {
	s := newScene(t)
	for range 3 {
		s.backup()
	}
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{s.made[0].GetId(), s.made[1].GetId()}}}}))
	p, err := s.Begin(t.Context(), "test", "shop", ledger.Hash{})
	s.must(err)
	refusal := &refusing{Store: s.mem, name: repo.ManifestName("shop", s.made[1].GetId())}
	s.Store = refusal
	if err := s.carryOut(t.Context(), p, false); err == nil || len(s.View().ActivePrunes()) != 1 {
		t.Fatalf("it is to be tried again: %v", err)
	}
	s.must(s.carryOut(t.Context(), p, true))
	ended, _ := s.View().Prune("shop")
	if ended.GetFailure().GetReason() != string(ReasonNotDeleted) || ended.GetDeletedObjects() != 1 {
		t.Fatalf("it ended: %v", ended)
	}
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 {
		t.Errorf("what is kept: %v", r.GetFindings())
	}
	refusal.name = ""
	p, err = s.Begin(t.Context(), "test", "shop", ledger.Hash{})
	s.must(err)
	s.must(s.carryOut(t.Context(), p, false))
	if r := s.check(CheckOptions{ReadData: true}); len(r.GetFindings()) > 0 || r.GetUnreferencedObjects() != 0 || r.GetSnapshots() != 1 {
		t.Errorf("after the next: %v", r)
	}

	s.backup()
	s.must(s.Propose(t.Context(), &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: &pb.ForgetSnapshots{Snapshots: []string{s.made[2].GetId()}}}}))
	p, err = s.Begin(t.Context(), "test", "shop", ledger.Hash{})
	s.must(err)
	s.flip(repo.PlanName(p.GetPlan()))
	before, _ := s.Check(t.Context(), CheckOptions{})
	s.must(s.carryOut(t.Context(), p, false))
	after, _ := s.Check(t.Context(), CheckOptions{})
	if ended, _ := s.View().Prune("shop"); ended.GetFailure().GetReason() != string(ReasonPlanLost) || after.GetObjects() != before.GetObjects()-1 {
		t.Errorf("a plan that was changed: %v; %d objects, then %d", ended, before.GetObjects(), after.GetObjects())
	}
}

// refusing deletes all objects but one.
type refusing struct {
	store.Store
	name string
}

func (r *refusing) Delete(ctx context.Context, name string) error {
	if name == r.name {
		return errors.New("access denied")
	}
	return r.Store.Delete(ctx, name)
}

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
	"testing"
	"time"

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
	mem    store.Store // as it is, whatever the Retain sees of it
	clock  *clock.Manual
	index  uint64
	made   []*pb.Snapshot
	dump   []byte
}

func (s *scene) View() *state.View { return s.tables.View() }
func (s *scene) IsLeader() bool    { return true }

func (s *scene) Propose(_ context.Context, cmd *pb.Command) error {
	s.index++
	cmd.Version, cmd.ProposedAt = state.CommandVersion, timestamppb.New(s.clock.Now())
	return s.tables.Apply(s.index, cmd)
}

// Put is the sink of a writer.
func (s *scene) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.mem.Put(ctx, name, bytes.NewReader(bytes.Clone(data)))
	return err
}

func newScene(t *testing.T) *scene {
	t.Helper()
	return newSceneIn(t, mem.New())
}

// newSceneIn makes a scene whose repository is in a store.
func newSceneIn(t *testing.T, st store.Store) *scene {
	t.Helper()
	s := &scene{t: t, tables: state.New(), mem: st, clock: clock.NewManual(time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC))}
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
	if err := s.Put(ctx, repo.LedgerName(entry.Index), sealed, ledger.Hash{}); !errors.Is(err, store.ErrExists) {
		s.must(err)
	}
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

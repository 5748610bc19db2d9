package retain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// sourceCheck is the check of one source.
type sourceCheck struct {
	*check
	name  string
	held  *repo.SourceInventory
	known map[string]*pb.Snapshot // those that can be restored, by id
	users map[int][]string        // snapshots that need a pack, by its place
}

// source checks the manifests and packs of one source.
func (c *check) source(ctx context.Context, name string) error {
	c.progress(name, 0, 0)
	view := c.Node.View() // first: what is committed after it is not missed
	held, err := repo.InventorySource(ctx, c.Store, name)
	if err != nil {
		return err
	}
	s := &sourceCheck{check: c, name: name, held: held, known: map[string]*pb.Snapshot{}, users: map[int][]string{}}
	for _, snapshot := range append(view.Snapshots(name, 0), view.Forgotten(name, 0)...) {
		s.known[snapshot.GetId()] = snapshot
	}
	c.report.Snapshots += int64(len(s.known))
	if err := s.manifests(); err != nil {
		return err
	}
	for place := range held.Packs {
		if err := s.pack(ctx, place); err != nil {
			return err
		}
	}
	return s.marks(ctx)
}

// manifests finds out which packs are needed, and which manifests are lost.
func (s *sourceCheck) manifests() error {
	lost := map[string]string{}
	for id := range s.known {
		lost[id] = "it is missing"
	}
	for i := range s.held.Manifests {
		m := &s.held.Manifests[i]
		id := m.Header.Snapshot
		snapshot, ok := s.known[id]
		switch {
		case !ok:
			s.unreferenced(m.Size)
			continue
		case m.Damaged != "":
			lost[id] = m.Damaged
			continue
		case m.SHA256 != ledger.Hash(snapshot.GetManifestSha256()):
			lost[id] = "it is not the manifest that the ledger records"
			continue
		}
		delete(lost, id)
		for place := range s.held.Needs(m) {
			s.users[place] = append(s.users[place], id)
		}
	}
	s.progress(s.phase, int64(len(s.held.Manifests)), 0)
	for _, id := range slices.Sorted(maps.Keys(lost)) {
		if s.pruned(id) {
			continue
		}
		s.hit[id] = true
		err := s.found(&pb.StoreFinding{
			Object: repo.ManifestName(s.name, id), Problem: lost[id],
			Damage: []*pb.SnapshotDamage{{Source: s.name, Snapshot: id, Streams: streamNames(s.known[id]), StreamsRead: true}},
		}, "", nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *sourceCheck) unreferenced(size int64) {
	s.report.UnreferencedObjects++
	s.report.UnreferencedBytes += size
}

// pack checks one pack, if any snapshot needs it.
func (s *sourceCheck) pack(ctx context.Context, place int) error {
	p := s.held.Packs[place]
	users := s.users[place]
	if len(users) == 0 {
		if p.Size >= 0 {
			s.unreferenced(p.Size)
		}
		return nil
	}
	s.report.Packs++
	s.progress(s.phase, 1, 0)
	flaw, err := s.flaw(ctx, p, users[0])
	users = slices.DeleteFunc(users, s.pruned)
	if s.users[place] = users; len(users) == 0 {
		return nil
	}
	if err != nil || flaw == "" {
		return err
	}
	f := &pb.StoreFinding{Object: repo.PackName(s.name, p.ID()), Problem: flaw}
	for _, id := range users {
		d := &pb.SnapshotDamage{Source: s.name, Snapshot: id}
		if s.o.ReadData || s.o.Repair { // it takes long, and is worth it when something is lost
			if d.Streams, err = s.unreadable(ctx, id); err != nil {
				return err
			}
			d.StreamsRead = true
		}
		f.Damage = append(f.Damage, d)
	}
	how := "marked, so that no backup builds on it"
	if slices.Contains(s.held.Marks, p.ID()) {
		return s.found(f, "marked already", func() error { return nil })
	}
	err = s.found(f, how, func() error {
		_, err := s.Store.Put(ctx, repo.DamagedName(s.name, p.ID()), strings.NewReader(flaw+"\n"))
		if errors.Is(err, store.ErrExists) {
			return nil
		}
		return err
	})
	f.Repairable = false // marking does not bring it back
	return err
}

// pruned says whether a snapshot has been pruned since it was looked at, so that
// nothing of it is missing.
func (s *sourceCheck) pruned(id string) bool {
	now, _ := s.Node.View().Snapshot(id)
	return now.GetPrunedAt() != nil
}

// flaw says what is wrong with a pack, empty when nothing is. user is a snapshot
// that needs it.
func (s *sourceCheck) flaw(ctx context.Context, p repo.HeldPack, user string) (string, error) {
	want, size := p.SHA256, p.Want
	if p.Disputed { // by a manifest that does not count
		snapshot, err := s.open(ctx, user)
		if err != nil {
			return "", err
		}
		for _, ref := range snapshot.Header().Packs {
			if ref.ID == p.ID() {
				want, size = ref.SHA256, ref.Size
			}
		}
	}
	switch {
	case p.Size < 0:
		return "it is missing", nil
	case p.Size != size:
		return fmt.Sprintf("it has %d bytes, not %d", p.Size, size), nil
	case !s.o.ReadData:
		return "", nil
	}
	n, sum, err := repo.PackHash(ctx, s.Store, s.name, p.ID())
	s.progress(s.phase, 0, n)
	switch {
	case err != nil && problem.CodeOf(err) == problem.Corrupt && ctx.Err() == nil:
		return err.Error(), nil
	case err != nil:
		return "", err
	case sum != want:
		return "its bytes are not those that were stored", nil
	}
	return "", nil
}

func (s *sourceCheck) open(ctx context.Context, id string) (*repo.Snapshot, error) {
	known := s.known[id]
	return s.Repo.OpenSnapshot(ctx, s.Store, repo.Ref{
		Source: s.name, Snapshot: id, Manifest: ledger.Hash(known.GetManifestSha256()), Size: known.GetManifestSize(),
	})
}

// unreadable reads a snapshot's streams and tells which do not come to their end.
func (s *sourceCheck) unreadable(ctx context.Context, id string) (lost []string, err error) {
	if lost, ok := s.streams[id]; ok {
		return lost, nil
	}
	snapshot, err := s.open(ctx, id)
	switch {
	case err == nil:
		for _, info := range snapshot.Streams() {
			err := s.drain(ctx, snapshot, info.Name)
			if err != nil && (ctx.Err() != nil || problem.CodeOf(err) != problem.Corrupt) {
				return nil, err
			}
			if err != nil {
				lost = append(lost, info.Name)
			}
		}
	case ctx.Err() != nil || problem.CodeOf(err) != problem.Corrupt:
		return nil, err
	default:
		lost = streamNames(s.known[id])
	}
	if len(lost) > 0 {
		s.hit[id] = true
	}
	s.streams[id] = lost
	return lost, nil
}

func (s *sourceCheck) drain(ctx context.Context, snapshot *repo.Snapshot, stream string) error {
	rc, err := snapshot.Open(ctx, stream)
	if err != nil {
		return err
	}
	defer rc.Close()
	_, err = io.Copy(io.Discard, rc)
	return err
}

// marks takes the marks off packs that turn out to be right.
func (s *sourceCheck) marks(ctx context.Context) error {
	for _, id := range s.held.Marks {
		place, ok := s.held.Pack(id)
		if !ok || len(s.users[place]) == 0 || !s.o.ReadData {
			continue
		}
		flaw, err := s.flaw(ctx, s.held.Packs[place], s.users[place][0])
		if err != nil {
			return err
		}
		if flaw != "" {
			continue
		}
		name := repo.DamagedName(s.name, id)
		err = s.found(&pb.StoreFinding{Object: name, Problem: "it marks a pack as damaged that is right"}, "removed", func() error { return s.Store.Delete(ctx, name) })
		if err != nil {
			return err
		}
	}
	return nil
}

func streamNames(s *pb.Snapshot) (names []string) {
	for _, st := range s.GetStreams() {
		names = append(names, st.GetName())
	}
	return names
}

package repo

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"slices"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/store"
)

// plan previews a prune, as the controller does.
func (m *model) plan() error {
	v, err := InventorySource(context.Background(), m.st, testSource)
	if err != nil {
		return err
	}
	counted, forgotten := map[string]ledger.Hash{}, []string{}
	for _, s := range m.made {
		switch {
		case !s.forgotten:
			counted[s.ref.Snapshot] = s.ref.Manifest
		case !s.pruned:
			forgotten = append(forgotten, s.ref.Snapshot)
		}
	}
	p, err := PlanPrune(v, uint64(len(m.made)), counted, forgotten)
	if err != nil {
		return err
	}
	object, sum, err := p.Encode()
	if err != nil {
		return err
	}
	if p, err = DecodePlan(object, sum); err != nil {
		return err
	}
	if err := m.plant(p); err != nil {
		return err
	}
	m.planned = &modelPrune{plan: p, made: m.tick, newest: m.newest()}
	return nil
}

// plant makes the mistakes that a plan can have.
func (m *model) plant(p *Plan) error {
	switch m.bug {
	case bugOrder:
		slices.Reverse(p.Delete)
	case bugDictionaries:
		used := map[string]int64{}
		for _, s := range m.counted() {
			opened, err := OpenSnapshot(context.Background(), m.st, s.key, s.ref)
			if err != nil {
				return err
			}
			for _, pack := range opened.header.Packs {
				used[pack.ID] += pack.Live
			}
		}
		for id, live := range used {
			if live > 0 {
				continue
			}
			info, err := m.st.Stat(context.Background(), PackName(testSource, id))
			if err != nil {
				return err
			}
			p.Delete = append(p.Delete, PlannedObject{Name: info.Name, Size: info.Size})
		}
	}
	return nil
}

// beginPrune begins unless something has changed that the state would see.
func (m *model) beginPrune() error {
	p := m.planned
	m.planned = nil
	if m.run != nil && m.bug != bugBeside || p.newest != m.newest() {
		m.steps["begin prune: refused"]++
		return nil
	}
	var going []*modelSnapshot
	for _, s := range m.made {
		if !slices.Contains(p.plan.Snapshots, s.ref.Snapshot) {
			continue
		}
		if !s.forgotten && m.bug != bugStale {
			m.steps["begin prune: refused"]++
			return nil
		}
		if s.forgotten {
			going = append(going, s)
		}
	}
	for _, s := range going {
		s.pruned = true
	}
	m.active = p
	return nil
}

// prune deletes a few objects; after a crash it begins with the first again.
func (m *model) prune() error {
	p := m.active
	for range 1 + m.rnd.IntN(6) {
		if p.next == len(p.plan.Delete) {
			break
		}
		name := p.plan.Delete[p.next].Name
		if info, err := m.st.Stat(context.Background(), name); err == nil {
			p.gone += info.Size
			m.deleted = true
			m.freed["objects"]++
			m.freed["bytes"] += info.Size
		}
		if err := m.st.Delete(context.Background(), name); err != nil {
			return err
		}
		p.next++
	}
	if p.next < len(p.plan.Delete) {
		return nil
	}
	m.active = nil
	m.steps["prune: done"]++
	if p.gone != p.plan.Freed() {
		return fmt.Errorf("%d bytes were freed, %d previewed", p.gone, p.plan.Freed())
	}
	return m.tidy(p)
}

// tidy holds that every object is needed, or came after the plan.
func (m *model) tidy(p *modelPrune) error {
	needed := map[string]bool{}
	for _, s := range m.made {
		if s.pruned {
			continue
		}
		opened, err := OpenSnapshot(context.Background(), m.st, s.key, s.ref)
		if err != nil {
			return err
		}
		needed[ManifestName(testSource, s.ref.Snapshot)] = true
		for _, pack := range opened.header.Packs {
			needed[PackName(testSource, pack.ID)], needed[DamagedName(testSource, pack.ID)] = true, true
		}
	}
	return m.st.List(context.Background(), "", func(i store.Info) error {
		if !needed[i.Name] && m.put[i.Name] < p.made {
			return fmt.Errorf("%s is still there", i.Name)
		}
		return nil
	})
}

// hold holds the store against the model: every snapshot that counts, or may be
// taken back, has its very bytes, and no manifest that was committed lacks a pack.
func (m *model) hold() error {
	if !m.deleted {
		return nil // objects do not change, and each was read when it was made
	}
	for _, s := range m.made {
		if s.pruned {
			continue
		}
		if _, err := m.read(s); err != nil {
			return err
		}
	}
	v, err := InventorySource(context.Background(), m.st, testSource)
	if err != nil {
		return err
	}
	for i := range v.Manifests {
		h := &v.Manifests[i]
		if !slices.ContainsFunc(m.made, func(s *modelSnapshot) bool { return s.ref.Snapshot == h.Header.Snapshot }) {
			continue
		}
		for place := range v.Needs(h) {
			if v.Packs[place].Size < 0 {
				return fmt.Errorf("the manifest of %s is there, and its pack %s is not", h.Header.Snapshot, v.Packs[place].ID())
			}
		}
	}
	return nil
}

func (m *model) read(s *modelSnapshot) (*Snapshot, error) {
	opened, err := OpenSnapshot(context.Background(), m.st, s.key, s.ref)
	if err != nil {
		return nil, err
	}
	rc, err := opened.Open(context.Background(), "shop.sql")
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	h := sha256.New()
	if _, err := io.Copy(h, rc); err != nil {
		return nil, fmt.Errorf("read snapshot %s: %w", s.ref.Snapshot, err)
	}
	if [sha256.Size]byte(h.Sum(nil)) != s.sum {
		return nil, fmt.Errorf("snapshot %s has other bytes than were backed up", s.ref.Snapshot)
	}
	m.steps["read"]++
	return opened, nil
}

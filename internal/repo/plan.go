package repo

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

// ReasonBlocked says that a prune is not possible because what a manifest needs
// cannot be told.
const ReasonBlocked problem.Reason = "prune-blocked"

// Plan says what a prune of one source deletes, and why. The same inventory and
// the same snapshots give the same plan, byte for byte.
type Plan struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Source  string `json:"source"`
	// Basis is the source's newest entry in the ledger, 0 for none.
	Basis uint64 `json:"basis"`
	// Snapshots are the forgotten ones that are deleted, oldest first.
	Snapshots []string `json:"snapshots"`
	// Delete is what is deleted, in this order: manifests before the packs that
	// they list, so that no moment has a manifest without its packs.
	Delete []PlannedObject `json:"delete"`
	// Kept is what stays.
	KeptObjects int   `json:"kept_objects"`
	KeptBytes   int64 `json:"kept_bytes"`
}

// PlannedObject is an object to be deleted.
type PlannedObject struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	Reason string `json:"reason"`
}

const (
	planFormat  = "baktainer-prune"
	planVersion = 1
	// MaxPlan bounds the object that holds a plan, in bytes.
	MaxPlan = 256 << 20
)

// PlanPrune makes the plan of a prune. counted are the snapshots that are to be
// kept, with the hashes of their manifests; forgotten are those to be deleted. A
// manifest of any other snapshot belongs to no entry of the ledger. Every pack
// that the manifest of a counted snapshot lists is kept. When such a manifest is
// missing or damaged nothing may be deleted: a problem with ReasonBlocked.
func PlanPrune(held *SourceInventory, basis uint64, counted map[string]ledger.Hash, forgotten []string) (*Plan, error) {
	p := &planning{held: held, plan: &Plan{Format: planFormat, Version: planVersion, Source: held.Source, Basis: basis, Snapshots: []string{}, Delete: []PlannedObject{}}}
	p.plan.Snapshots = append(p.plan.Snapshots, forgotten...)
	slices.Sort(p.plan.Snapshots)
	if err := p.keep(counted); err != nil {
		return nil, err
	}
	p.dropManifests(counted)
	p.dropPacks()
	p.dropMarks()
	return p.plan, nil
}

// planning is the making of a plan.
type planning struct {
	held   *SourceInventory
	plan   *Plan
	needed []bool // packs that stay, by place
	// users are the snapshots to be deleted that need a pack, by its place.
	users map[int][]string
}

// keep finds the packs that the counted snapshots need.
func (p *planning) keep(counted map[string]ledger.Hash) error {
	p.needed = make([]bool, len(p.held.Packs))
	missing := maps.Clone(counted)
	var unclear []string
	for i := range p.held.Manifests {
		m := &p.held.Manifests[i]
		sum, ok := counted[m.Header.Snapshot]
		if !ok {
			continue
		}
		delete(missing, m.Header.Snapshot)
		switch {
		case m.Damaged != "":
			unclear = append(unclear, fmt.Sprintf("the manifest of snapshot %s is damaged: %s", m.Header.Snapshot, m.Damaged))
			continue
		case m.SHA256 != sum:
			unclear = append(unclear, fmt.Sprintf("the manifest of snapshot %s is not the one that the ledger records", m.Header.Snapshot))
			continue
		}
		for i := range p.held.Needs(m) {
			p.needed[i] = true
		}
		p.keeps(m.Size)
	}
	for _, id := range slices.Sorted(maps.Keys(missing)) {
		unclear = append(unclear, fmt.Sprintf("the manifest of snapshot %s is missing", id))
	}
	if len(unclear) > 0 {
		return problem.New(problem.Corrupt, "nothing is pruned, because it is not known what snapshots need that are to be kept").
			WithReason(ReasonBlocked).WithSource(p.held.Source).WithDetails(unclear...).
			WithHint("Put the manifest back from another copy of the store, or forget the snapshot, which cannot be restored.")
	}
	return nil
}

func (p *planning) keeps(size int64) {
	p.plan.KeptObjects++
	p.plan.KeptBytes += max(size, 0)
}

func (p *planning) drop(name string, size int64, reason string) {
	p.plan.Delete = append(p.plan.Delete, PlannedObject{name, size, reason})
}

func (p *planning) dropManifests(counted map[string]ledger.Hash) {
	p.users = map[int][]string{}
	for i := range p.held.Manifests {
		m := &p.held.Manifests[i]
		id := m.Header.Snapshot
		if _, ok := counted[id]; ok {
			continue
		}
		who := "a run that was never committed"
		if _, ok := slices.BinarySearch(p.plan.Snapshots, id); ok {
			who = "forgotten snapshot " + id
			p.drop(ManifestName(p.held.Source, id), m.Size, "manifest of forgotten snapshot "+id)
		} else {
			p.drop(ManifestName(p.held.Source, id), m.Size, "manifest of a run that was never committed")
		}
		for i := range p.held.Needs(m) {
			if !p.needed[i] && !slices.Contains(p.users[i], who) {
				p.users[i] = append(p.users[i], who)
			}
		}
	}
}

func (p *planning) dropPacks() {
	for i, pack := range p.held.Packs {
		switch {
		case pack.Size < 0: // is not there
		case p.needed[i]:
			p.keeps(pack.Size)
		default:
			p.drop(PackName(p.held.Source, pack.ID()), pack.Size, unneeded(p.users[i]))
		}
	}
}

// unneeded says why a pack goes that is needed by none but the given.
func unneeded(users []string) string {
	const most = 3
	switch n := len(users); {
	case n == 0:
		return "no snapshot needs it: left over from a run that failed"
	case n == 1:
		return "only " + users[0] + " needs it"
	case n <= most:
		return "only " + strings.Join(users[:n-1], ", ") + " and " + users[n-1] + " need it"
	default:
		return fmt.Sprintf("only %s and %d more, none of which counts, need it", strings.Join(users[:most-1], ", "), n-most+1)
	}
}

// dropMarks drops the marks of damaged packs that go, or are gone.
func (p *planning) dropMarks() {
	for _, id := range p.held.Marks {
		if i, ok := p.held.Pack(id); ok && p.needed[i] {
			p.keeps(0)
			continue
		}
		p.drop(DamagedName(p.held.Source, id), 0, "mark of a damaged pack that goes, or is gone")
	}
}

// Freed is how many bytes the plan frees.
func (p *Plan) Freed() (n int64) {
	for _, o := range p.Delete {
		n += o.Size
	}
	return n
}

// Encode gives the object that holds the plan, and its hash.
func (p *Plan) Encode() ([]byte, ledger.Hash, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetIndent("", " ")
	if err := e.Encode(p); err != nil {
		return nil, ledger.Hash{}, fmt.Errorf("encode the plan of a prune: %w", err)
	}
	if b.Len() > MaxPlan {
		return nil, ledger.Hash{}, fmt.Errorf("encode the plan of a prune: it has %d bytes, more than %d", b.Len(), MaxPlan)
	}
	return b.Bytes(), hashOf(b.Bytes()), nil
}

// DecodePlan reads the object that holds a plan, which must have the hash. It
// names objects of the plan's source alone; anything else is a problem Corrupt.
func DecodePlan(object []byte, sum ledger.Hash) (*Plan, error) {
	damaged := func(format string, args ...any) (*Plan, error) {
		return nil, problem.Wrap(problem.Corrupt, malformed(format, args...), "read the plan of a prune").WithReason(ReasonCorrupt)
	}
	if hashOf(object) != sum {
		return damaged("it is not the plan that was recorded")
	}
	p := &Plan{}
	if err := json.Unmarshal(object, p); err != nil {
		return damaged("%v", err)
	}
	if p.Format != planFormat || p.Version != planVersion {
		return damaged("format %.40q, version %d", p.Format, p.Version)
	}
	for _, o := range p.Delete {
		name, err := ParseName(o.Name)
		if err != nil || name.Source == "" || name.Source != p.Source {
			return damaged("%.200q is no object of source %s", o.Name, p.Source)
		}
	}
	return p, nil
}

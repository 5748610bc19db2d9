package repo

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
)

// maxUnknown bounds how many names of objects that nobody knows are kept.
const maxUnknown = 100

// StoreInventory is what a store holds, by the names of its objects.
type StoreInventory struct {
	// Kinds counts the objects of each kind, Unknown those that are of none.
	Kinds map[Kind]Tally
	// Ledger are the copies of ledger entries, in order.
	Ledger []HeldLedger
	// Sources are those that any object belongs to, sorted by their folder.
	Sources []string
	Unknown Tally
	// UnknownNames are the first of those.
	UnknownNames []string
}

// Tally counts objects.
type Tally struct {
	Objects int
	Bytes   int64
}

func (t *Tally) add(size int64) { t.Objects, t.Bytes = t.Objects+1, t.Bytes+size }

// HeldLedger is a copy of a ledger entry.
type HeldLedger struct {
	Index uint64
	Size  int64
}

// SourceInventory is what a store holds of one source, found without a key, and
// so by the word of whoever wrote it. A pack costs about 80 bytes of memory, and
// each use of a pack by a manifest 4: a million packs about 80 MB, a thousand
// manifests that use three thousand packs each 12 MB.
type SourceInventory struct {
	Source string
	// Manifests are all that are there, oldest snapshot first.
	Manifests []HeldManifest
	// Packs are all that are there or that some manifest needs, sorted by id.
	Packs []HeldPack
	// Marks are the ids of packs that are marked as damaged, sorted.
	Marks []string
	// Unknown are objects in the source's folder that are of no kind.
	Unknown      Tally
	UnknownNames []string
}

// HeldManifest is a manifest object.
type HeldManifest struct {
	// Header is the clear part without its Packs: see SourceInventory.Needs.
	// When Damaged is set, only Source and Snapshot are, from the object's name.
	Header ManifestHeader
	Size   int64
	// SHA256 is of the whole object.
	SHA256 ledger.Hash
	// Damaged says why the header cannot be used, empty when it can. Which packs
	// the manifest needs is not known then.
	Damaged string
	needs   []uint32 // places in Packs
}

// HeldPack is a pack that is there, or that some manifest needs, or both.
type HeldPack struct {
	id packID
	// Size is that of the object, -1 when there is none.
	Size int64
	// Want and SHA256 are what the manifests that need it record; Want is 0 when
	// none needs it.
	Want   int64
	SHA256 ledger.Hash
	// Needed tells how many manifests need it.
	Needed int
	// Disputed says that manifests record different things of it.
	Disputed bool
	by       uint32 // the manifest that was counted last, from 1: one may list a pack twice
}

// ID gives the pack's id.
func (p HeldPack) ID() string { return p.id.String() }

// Flaw says what is wrong with the pack as far as sizes tell, empty when nothing is.
func (p HeldPack) Flaw() string {
	switch {
	case p.Needed > 0 && p.Size < 0:
		return "it is missing"
	case p.Disputed:
		return "manifests record different things of it"
	case p.Needed > 0 && p.Size != p.Want:
		return fmt.Sprintf("it has %d bytes, not %d", p.Size, p.Want)
	}
	return ""
}

// Needs gives the packs that a manifest needs, by place in Packs, sorted by id.
func (s *SourceInventory) Needs(m *HeldManifest) iter.Seq[int] {
	return func(yield func(int) bool) {
		for _, i := range m.needs {
			if !yield(int(i)) {
				return
			}
		}
	}
}

// Pack finds a pack by its id.
func (s *SourceInventory) Pack(id string) (place int, ok bool) {
	p, err := parsePackID(id)
	if err != nil {
		return 0, false
	}
	return s.find(p)
}

func (s *SourceInventory) find(id packID) (int, bool) {
	return slices.BinarySearchFunc(s.Packs, id, func(p HeldPack, id packID) int { return bytes.Compare(p.id[:], id[:]) })
}

// Inventory walks the names of all objects of a store. It needs no key and reads
// nothing but names.
func Inventory(ctx context.Context, st store.Store) (*StoreInventory, error) {
	v := &StoreInventory{Kinds: map[Kind]Tally{}}
	err := st.List(ctx, "", func(i store.Info) error {
		o, err := ParseName(i.Name)
		if err != nil {
			v.Unknown.add(i.Size)
			if len(v.UnknownNames) < maxUnknown {
				v.UnknownNames = append(v.UnknownNames, i.Name)
			}
			return nil
		}
		t := v.Kinds[o.Kind]
		t.add(i.Size)
		v.Kinds[o.Kind] = t
		if o.Kind == KindLedger {
			v.Ledger = append(v.Ledger, HeldLedger{o.Index, i.Size})
		}
		if o.Source != "" && (len(v.Sources) == 0 || v.Sources[len(v.Sources)-1] != o.Source) {
			v.Sources = append(v.Sources, o.Source)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("take inventory of %s: %w", st.Describe(), err)
	}
	return v, nil
}

// InventorySource walks all objects of one source and reads its manifests. It
// needs no key. What is damaged is in the result; an error means that the store
// did not answer or that ctx ended.
func InventorySource(ctx context.Context, st store.Store, name string) (*SourceInventory, error) {
	s := &SourceInventory{Source: name}
	err := st.List(ctx, SourcesPrefix+source.PathKey(name)+"/", func(i store.Info) error {
		o, err := ParseName(i.Name)
		switch {
		case err != nil:
			s.Unknown.add(i.Size)
			if len(s.UnknownNames) < maxUnknown {
				s.UnknownNames = append(s.UnknownNames, i.Name)
			}
		case o.Kind == KindManifest:
			s.Manifests = append(s.Manifests, HeldManifest{Header: ManifestHeader{Source: name, Snapshot: o.ID}, Size: i.Size})
		case o.Kind == KindDamaged:
			s.Marks = append(s.Marks, o.ID)
		case o.Kind == KindPack:
			p := HeldPack{Size: i.Size}
			if p.id, err = parsePackID(o.ID); err == nil {
				s.Packs = append(s.Packs, p)
			}
		}
		return nil
	})
	if err == nil {
		// Stores list in this order; but nobody should lose a pack over it.
		slices.SortFunc(s.Packs, func(a, b HeldPack) int { return bytes.Compare(a.id[:], b.id[:]) })
		slices.SortFunc(s.Manifests, func(a, b HeldManifest) int { return cmp.Compare(a.Header.Snapshot, b.Header.Snapshot) })
		slices.Sort(s.Marks)
		err = s.readManifests(ctx, st)
	}
	if err != nil {
		return nil, fmt.Errorf("take inventory of %s: %w", name, err)
	}
	return s, nil
}

// readManifests finds out what each manifest needs.
func (s *SourceInventory) readManifests(ctx context.Context, objects ObjectReader) error {
	missing := map[packID]*HeldPack{}
	lacks := make([][]packID, len(s.Manifests)) // of each manifest, packs that are not there
	kept := s.Manifests[:0]
	for _, m := range s.Manifests {
		packs, err := m.read(ctx, objects)
		if errors.Is(err, store.ErrNotExist) {
			continue // deleted since it was listed
		}
		if err != nil {
			return err
		}
		for _, ref := range packs {
			id, err := parsePackID(ref.ID)
			if err != nil {
				return err
			}
			if i, ok := s.find(id); ok {
				s.Packs[i].need(ref, uint32(len(kept)+1))
				m.needs = append(m.needs, uint32(i))
				continue
			}
			p, ok := missing[id]
			if !ok {
				p = &HeldPack{id: id, Size: -1}
				missing[id] = p
			}
			p.need(ref, uint32(len(kept)+1))
			lacks[len(kept)] = append(lacks[len(kept)], id)
		}
		kept = append(kept, m)
	}
	s.Manifests = kept
	if len(missing) > 0 {
		s.insert(missing, lacks)
	}
	for i := range s.Manifests {
		m := &s.Manifests[i]
		slices.Sort(m.needs)
		m.needs = slices.Compact(m.needs)
	}
	return nil
}

// insert puts packs that are not there among those that are.
func (s *SourceInventory) insert(missing map[packID]*HeldPack, lacks [][]packID) {
	ids := make([]packID, len(s.Packs))
	for i, p := range s.Packs {
		ids[i] = p.id
	}
	for _, p := range missing {
		s.Packs = append(s.Packs, *p)
	}
	slices.SortFunc(s.Packs, func(a, b HeldPack) int { return bytes.Compare(a.id[:], b.id[:]) })
	for i := range s.Manifests {
		m := &s.Manifests[i]
		for j, old := range m.needs {
			place, _ := s.find(ids[old])
			m.needs[j] = uint32(place)
		}
		for _, id := range lacks[i] {
			place, _ := s.find(id)
			m.needs = append(m.needs, uint32(place))
		}
	}
}

// need notes that the manifest with a number lists the pack.
func (p *HeldPack) need(ref PackRef, by uint32) {
	if p.by == by {
		return
	}
	p.by = by
	switch {
	case p.Needed == 0:
		p.Want, p.SHA256 = ref.Size, ref.SHA256
	case p.Want != ref.Size || p.SHA256 != ref.SHA256:
		p.Disputed = true
	}
	p.Needed++
}

// read reads the object: its hash, and its header as far as that is sound.
func (m *HeldManifest) read(ctx context.Context, objects ObjectReader) ([]PackRef, error) {
	src, snapshot := m.Header.Source, m.Header.Snapshot
	name := ManifestName(src, snapshot)
	packs, err := m.parse(ctx, objects, name)
	if err == nil {
		return packs, nil
	}
	if err = readFailure(ctx, src, name, err); !Damaging(err) || problem.ReasonOf(err) == ReasonMissingObject {
		return nil, err
	}
	m.Header, m.Damaged = ManifestHeader{Source: src, Snapshot: snapshot}, err.Error()
	return nil, nil
}

func (m *HeldManifest) parse(ctx context.Context, objects ObjectReader, name string) ([]PackRef, error) {
	rc, err := objects.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	h := sha256.New()
	n := countingReader{r: io.TeeReader(io.LimitReader(rc, maxManifestHeader+maxManifestBody+sealOverhead+1), h)}
	header, front, sealed, parseErr := readManifestHeader(&n)
	if parseErr != nil && !errors.Is(parseErr, errMalformed) && !errors.Is(parseErr, io.ErrUnexpectedEOF) {
		return nil, parseErr
	}
	if _, err := io.Copy(io.Discard, &n); err != nil {
		return nil, err
	}
	m.Size = n.n
	h.Sum(m.SHA256[:0])
	switch {
	case parseErr != nil:
		return nil, parseErr
	case n.n != int64(len(front))+sealed:
		return nil, malformed("the manifest has %d bytes, not %d", n.n, int64(len(front))+sealed)
	case header.Source != m.Header.Source || header.Snapshot != m.Header.Snapshot:
		return nil, malformed("it is the manifest of snapshot %s of source %s", header.Snapshot, header.Source)
	}
	packs := header.Packs
	m.Header, m.Header.Packs = header.ManifestHeader, nil
	return packs, nil
}

// PackHash reads a pack and gives its size and SHA-256. A pack that is missing is
// a problem Corrupt.
func PackHash(ctx context.Context, objects ObjectReader, src, id string) (size int64, sum ledger.Hash, err error) {
	name := PackName(src, id)
	rc, err := objects.Get(ctx, name, 0, -1)
	if err != nil {
		return 0, sum, readFailure(ctx, src, name, err)
	}
	defer rc.Close()
	h := sha256.New()
	if size, err = io.Copy(h, io.LimitReader(rc, maxPack+1)); err != nil {
		return 0, sum, readFailure(ctx, src, name, err)
	}
	h.Sum(sum[:0])
	return size, sum, nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

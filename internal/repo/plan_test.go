package repo

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// pruneScene is a store with three snapshots, each with data of its own beside
// what it shares with the one before, and what failed runs have left.
type pruneScene struct {
	st       *mem.Store
	sums     map[string]ledger.Hash // of manifests
	own      map[string]string      // pack that only this snapshot added
	leftOver string
}

func newPruneScene(t *testing.T) *pruneScene {
	t.Helper()
	s := &pruneScene{st: mem.New(), sums: map[string]ledger.Hash{}, own: map[string]string{}, leftOver: strings.Repeat("ab", packIDSize)}
	var refs []Ref
	shared := text(9, 100_000)
	for i, id := range []string{snap1, snap2, snap3} {
		before := inventory(t, s.st)
		sum := backup(t, storeSink{s.st}, options(id, loadBase(t, s.st, refs...)), stream{"s", slices.Concat(shared, text(uint64(i), 50_000))})
		refs = append([]Ref{ref(id, sum)}, refs...)
		s.sums[id] = sum.Manifest
		for _, p := range inventory(t, s.st).Packs {
			if _, ok := before.Pack(p.ID()); !ok {
				s.own[id] = p.ID()
			}
		}
	}
	put(t, s.st, PackName(testSource, s.leftOver), []byte("never finished"))
	return s
}

// counted are the manifests of the given snapshots.
func (s *pruneScene) counted(ids ...string) map[string]ledger.Hash {
	c := maps.Clone(s.sums)
	maps.DeleteFunc(c, func(id string, _ ledger.Hash) bool { return !slices.Contains(ids, id) })
	return c
}

func TestPlanPrune(t *testing.T) {
	const failed = "no snapshot needs it: left over from a run that failed"
	for _, tc := range []struct {
		name               string
		counted, forgotten []string
		change             func(*testing.T, *pruneScene)
		want               func(*pruneScene) []string // "name: reason", in order
	}{
		{
			name: "left-overs only", counted: []string{snap1, snap2, snap3},
			want: func(s *pruneScene) []string {
				return []string{PackName(testSource, s.leftOver) + ": " + failed}
			},
		},
		{
			name: "one forgotten", counted: []string{snap1, snap3}, forgotten: []string{snap2},
			want: func(s *pruneScene) []string {
				return []string{
					ManifestName(testSource, snap2) + ": manifest of forgotten snapshot " + snap2,
					PackName(testSource, s.own[snap2]) + ": only forgotten snapshot " + snap2 + " needs it",
					PackName(testSource, s.leftOver) + ": " + failed,
				}
			},
		},
		{
			name: "what is shared stays", counted: []string{snap3}, forgotten: []string{snap2, snap1},
			want: func(s *pruneScene) []string {
				return []string{
					ManifestName(testSource, snap1) + ": manifest of forgotten snapshot " + snap1,
					ManifestName(testSource, snap2) + ": manifest of forgotten snapshot " + snap2,
					PackName(testSource, s.own[snap2]) + ": only forgotten snapshot " + snap2 + " needs it",
					PackName(testSource, s.leftOver) + ": " + failed,
				}
			},
		},
		{
			name: "none counts", forgotten: []string{snap1, snap2}, // snap3 was never committed
			want: func(s *pruneScene) []string {
				all := "only forgotten snapshot " + snap1 + ", forgotten snapshot " + snap2 + " and a run that was never committed need it"
				return []string{
					ManifestName(testSource, snap1) + ": manifest of forgotten snapshot " + snap1,
					ManifestName(testSource, snap2) + ": manifest of forgotten snapshot " + snap2,
					ManifestName(testSource, snap3) + ": manifest of a run that was never committed",
					PackName(testSource, s.own[snap1]) + ": " + all,
					PackName(testSource, s.own[snap2]) + ": only forgotten snapshot " + snap2 + " needs it",
					PackName(testSource, s.own[snap3]) + ": only a run that was never committed needs it",
					PackName(testSource, s.leftOver) + ": " + failed,
				}
			},
		},
		{
			name: "marks", counted: []string{snap1, snap3}, forgotten: []string{snap2},
			change: func(t *testing.T, s *pruneScene) {
				for _, pack := range []string{s.own[snap2], s.own[snap3], strings.Repeat("cd", packIDSize)} {
					put(t, s.st, DamagedName(testSource, pack), nil)
				}
			},
			want: func(s *pruneScene) []string {
				why := ": mark of a damaged pack that goes, or is gone"
				return []string{
					ManifestName(testSource, snap2) + ": manifest of forgotten snapshot " + snap2,
					PackName(testSource, s.own[snap2]) + ": only forgotten snapshot " + snap2 + " needs it",
					PackName(testSource, s.leftOver) + ": " + failed,
					DamagedName(testSource, s.own[snap2]) + why,
					DamagedName(testSource, strings.Repeat("cd", packIDSize)) + why,
				}
			},
		},
		{
			name: "a damaged manifest of a forgotten one", counted: []string{snap1, snap3}, forgotten: []string{snap2},
			change: func(t *testing.T, s *pruneScene) { spoilObject(t, s.st, ManifestName(testSource, snap2)) },
			want: func(s *pruneScene) []string {
				return []string{
					ManifestName(testSource, snap2) + ": manifest of forgotten snapshot " + snap2,
					PackName(testSource, s.own[snap2]) + ": " + failed,
					PackName(testSource, s.leftOver) + ": " + failed,
				}
			},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s := newPruneScene(t)
			if tc.change != nil {
				tc.change(t, s)
			}
			held := inventory(t, s.st)
			p, err := PlanPrune(held, 3, s.counted(tc.counted...), tc.forgotten)
			if err != nil {
				t.Fatal(err)
			}
			var got, sorted []string
			var freed int64
			for _, o := range p.Delete {
				got = append(got, o.Name+": "+o.Reason)
				info, err := s.st.Stat(t.Context(), o.Name)
				if err != nil || info.Size != o.Size {
					t.Errorf("%s has %d bytes, planned are %d: %v", o.Name, info.Size, o.Size, err)
				}
				freed += info.Size
			}
			want := tc.want(s)
			sorted = slices.Sorted(slices.Values(want))
			if !slices.Equal(slices.Sorted(slices.Values(got)), sorted) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if !slices.IsSortedFunc(p.Delete, func(a, b PlannedObject) int { return rank(a.Name) - rank(b.Name) }) {
				t.Error("packs go before manifests, or marks before packs")
			}
			objects, size := stored(t, s.st, SourcesPrefix)
			if p.Freed() != freed || p.KeptObjects != objects-len(p.Delete) || p.KeptBytes != size-freed {
				t.Errorf("%d bytes freed, kept %d objects and %d bytes; have %d objects and %d bytes", p.Freed(), p.KeptObjects, p.KeptBytes, objects, size)
			}
			again, err := PlanPrune(inventory(t, s.st), 3, s.counted(tc.counted...), slices.Sorted(slices.Values(tc.forgotten)))
			a, sum, _ := p.Encode()
			b, _, _ := again.Encode()
			if err != nil || !bytes.Equal(a, b) {
				t.Errorf("the same gives another plan: %v", err)
			}
			if read, err := DecodePlan(a, sum); err != nil || len(read.Delete) != len(p.Delete) || read.Freed() != p.Freed() {
				t.Errorf("it does not come back: %v", err)
			}
		})
	}
}

func rank(name string) int {
	o, _ := ParseName(name)
	return slices.Index([]Kind{KindManifest, KindPack, KindDamaged}, o.Kind)
}

// spoilObject changes the last byte of an object.
func spoilObject(t *testing.T, st *mem.Store, name string) {
	t.Helper()
	b, err := readObject(t.Context(), st, testSource, name, 0, -1, 1<<30)
	if err == nil {
		err = st.Delete(t.Context(), name)
	}
	if err != nil {
		t.Fatal(err)
	}
	b = bytes.Clone(b)
	b[9] ^= 0xff // the header says no known codec, or length
	put(t, st, name, b[:len(b)-1])
}

// Without the manifest of a snapshot that is to be kept nobody knows what it needs.
func TestNothingIsPrunedWhenAManifestCannotBeRead(t *testing.T) {
	for name, spoil := range map[string]func(*testing.T, *pruneScene){
		"missing": func(t *testing.T, s *pruneScene) {
			if err := s.st.Delete(t.Context(), ManifestName(testSource, snap3)); err != nil {
				t.Fatal(err)
			}
		},
		"damaged": func(t *testing.T, s *pruneScene) { spoilObject(t, s.st, ManifestName(testSource, snap3)) },
		"another": func(_ *testing.T, s *pruneScene) { s.sums[snap3] = ledger.Hash{1} },
	} {
		t.Run(name, func(t *testing.T) {
			s := newPruneScene(t)
			spoil(t, s)
			p, err := PlanPrune(inventory(t, s.st), 3, s.counted(snap1, snap3), []string{snap2})
			if p != nil || problem.ReasonOf(err) != ReasonBlocked || !strings.Contains(problem.Text(err), snap3) {
				t.Errorf("%v, %v", p, err)
			}
		})
	}
}

func TestDecodePlanIsStrict(t *testing.T) {
	good := Plan{Format: planFormat, Version: planVersion, Source: testSource, Delete: []PlannedObject{{Name: ManifestName(testSource, snap1)}}}
	for name, spoil := range map[string]func(*Plan){
		"another source's":  func(p *Plan) { p.Delete[0].Name = ManifestName("blog", snap1) },
		"no source's":       func(p *Plan) { p.Source, p.Delete[0].Name = "", FormatName },
		"a ledger copy":     func(p *Plan) { p.Delete[0].Name = LedgerName(1) },
		"a strange name":    func(p *Plan) { p.Delete[0].Name = "../x" },
		"another format":    func(p *Plan) { p.Format = "x" },
		"a version to come": func(p *Plan) { p.Version = 2 },
	} {
		p := good
		p.Delete = slices.Clone(good.Delete)
		spoil(&p)
		object, sum, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := DecodePlan(object, sum); problem.CodeOf(err) != problem.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
	object, sum, _ := good.Encode()
	if _, err := DecodePlan(object, sum); err != nil {
		t.Error(err)
	}
	object[len(object)-3] ^= 1
	if _, err := DecodePlan(object, sum); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("changed: %v", err)
	}
}

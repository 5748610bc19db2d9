package rescue

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
)

func flip(b []byte) []byte { b[len(b)/2] ^= 1; return b }
func gone([]byte) []byte   { return nil }

// packOf gives the pack of a snapshot.
func (s *site) packOf(t *testing.T, source, snapshot string) string {
	t.Helper()
	snap, err := s.repo.OpenSnapshot(t.Context(), s, repo.Ref{Source: source, Snapshot: snapshot})
	if err != nil {
		t.Fatal(err)
	}
	return repo.PackName(source, snap.Header().Packs[0].ID)
}

func TestCheck(t *testing.T) {
	shopPack := func(t *testing.T, s *site) string { return s.packOf(t, "shop/db", shop1) }
	for name, tc := range map[string]struct {
		damage func(t *testing.T, s *site)
		depths []Depth // in which it is seen
		code   problem.Code
		want   string // in what is reported
		hurt   map[string]Condition
	}{
		"nothing": {damage: func(*testing.T, *site) {}, depths: nil},
		"pack missing": {
			damage: func(t *testing.T, s *site) { s.Change(shopPack(t, s), gone) },
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: "missing", hurt: map[string]Condition{shop1: Lost},
		},
		"pack cut short": {
			damage: func(t *testing.T, s *site) { s.Change(shopPack(t, s), func(b []byte) []byte { return b[:len(b)-1] }) },
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: "bytes, not", hurt: map[string]Condition{shop1: Lost},
		},
		"pack flipped": {
			damage: func(t *testing.T, s *site) {
				s.Change(shopPack(t, s), func(b []byte) []byte { b[40] ^= 1; return b })
			},
			depths: []Depth{Hashes, Full}, code: problem.PartlyFailed, want: "hash", hurt: map[string]Condition{shop1: Lost},
		},
		"manifest flipped": {
			damage: func(_ *testing.T, s *site) { s.Change(repo.ManifestName("blog", blog1), flip) },
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: "manifest", hurt: map[string]Condition{blog1: Lost},
		},
		"manifest cut": {
			damage: func(_ *testing.T, s *site) {
				s.Change(repo.ManifestName("blog", blog1), func(b []byte) []byte { return b[:50] })
			},
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: "cut short", hurt: map[string]Condition{blog1: Lost},
		},
		"ledger copy flipped": {
			damage: func(_ *testing.T, s *site) { s.Change(repo.LedgerName(2), flip) },
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: repo.LedgerName(2),
		},
		"ledger copy missing": {
			damage: func(_ *testing.T, s *site) { s.Change(repo.LedgerName(2), gone) },
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: "missing before it",
		},
		"format file damaged": {
			damage: func(_ *testing.T, s *site) { s.Change(repo.FormatName, func(b []byte) []byte { return b[:9] }) },
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: repo.FormatName,
		},
		"all ledger copies missing": {
			damage: func(_ *testing.T, s *site) {
				for i := range uint64(3) {
					s.Change(repo.LedgerName(i+1), gone)
				}
			},
			depths: []Depth{Quick, Hashes, Full}, code: problem.PartlyFailed, want: "no copy of a ledger entry",
		},
		"everything": {
			damage: func(t *testing.T, s *site) {
				var names []string
				_ = s.List(t.Context(), repo.SourcesPrefix, func(i store.Info) error {
					if o, err := repo.ParseName(i.Name); err == nil && o.Kind == repo.KindPack {
						names = append(names, i.Name)
					}
					return nil
				})
				for _, n := range names {
					s.Change(n, flip)
				}
			},
			depths: []Depth{Hashes, Full}, code: problem.Corrupt, want: "hash",
			hurt: map[string]Condition{shop1: Lost, shop2: Lost, shop3: Lost, blog1: Lost},
		},
		"a manifest that was forgotten": {
			damage: func(_ *testing.T, s *site) { s.Change(repo.ManifestName("blog", blog1), gone) },
		},
	} {
		for _, depth := range []Depth{Quick, Hashes, Full} {
			s := newSite(t)
			tc.damage(t, s)
			c, err := open(t, s).Check(t.Context(), depth, nil)
			if err != nil {
				t.Errorf("%s: %v", name, err)
				continue
			}
			seen := slices.Contains(tc.depths, depth)
			if code := problem.CodeOf(c.Err()); seen && code != tc.code || !seen && c.Err() != nil {
				t.Errorf("%s, depth %d: %v; %+v", name, depth, c.Err(), c)
			}
			text := strings.Join(c.Ledger, "\n")
			for _, d := range c.Damaged {
				text += "\n" + d.Object + ": " + d.Reason
				if len(d.Snapshots) == 0 && strings.HasPrefix(d.Object, repo.SourcesPrefix) {
					t.Errorf("%s: %s hurts nothing", name, d.Object)
				}
			}
			if seen != (text != "") || seen && !strings.Contains(text, tc.want) {
				t.Errorf("%s, depth %d: reports %q", name, depth, text)
			}
			for _, snap := range c.Snapshots {
				want := Fine
				if h, ok := tc.hurt[snap.Snapshot]; ok && seen {
					if want = h; depth == Quick && snap.Why == "" {
						want = Partly // how much is left was not looked at
					}
				}
				if snap.Condition != want {
					t.Errorf("%s, depth %d: %+v, want %s", name, depth, snap, want)
				}
				if depth == Full && snap.Why == "" && len(snap.Streams) != 1 {
					t.Errorf("%s: streams of %+v were not read", name, snap)
				}
			}
		}
	}
}

func TestCheckCounts(t *testing.T) {
	s := newSite(t)
	s.Change(repo.ManifestName("shop/db", shop1), gone)
	c, err := open(t, s).Check(t.Context(), Full, nil)
	if err != nil || c.Err() != nil {
		t.Fatal(err, c.Err())
	}
	if c.Entries != 3 || c.Gone != 1 || c.Packs.Objects != 4 || c.LeftOver.Objects != 1 || len(c.Snapshots) != 3 || c.Unknown.Objects != 0 {
		t.Errorf("%+v", c)
	}
	for _, snap := range c.Snapshots {
		if snap.Confirmed != (snap.Snapshot != shop3) {
			t.Errorf("%+v", snap)
		}
	}
}

// badSector is a store on a disk that cannot read an object any more.
type badSector struct {
	store.Store
	bad string
}

func (b badSector) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if name == b.bad {
		return nil, &fs.PathError{Op: "read", Path: name, Err: syscall.EIO}
	}
	return b.Store.Get(ctx, name, offset, length)
}

// A manifest that the disk cannot read is lost; the rest is looked at all the same.
func TestCheckOfADiskThatFails(t *testing.T) {
	s := newSite(t)
	r := open(t, s)
	r.store = badSector{s, repo.ManifestName("blog", blog1)}
	c, err := r.Check(t.Context(), Full, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, snap := range c.Snapshots {
		if (snap.Condition == Lost) != (snap.Snapshot == blog1) {
			t.Errorf("%+v", snap)
		}
	}
	if problem.CodeOf(c.Err()) != problem.PartlyFailed || len(c.Damaged) != 1 || len(c.Snapshots) != 4 {
		t.Errorf("%v, %+v", c.Err(), c)
	}
}

func TestCheckOfAStoreThatFails(t *testing.T) {
	s := newSite(t)
	for nth := 1; nth <= 20; nth++ {
		st := faulty.Wrap(s, faulty.Fault{Op: faulty.Get, Kind: faulty.Fail, Nth: nth})
		r, err := Open(t.Context(), s, s.key)
		if err != nil {
			t.Fatal(err)
		}
		r.store = st
		c, err := r.Check(t.Context(), Full, nil)
		if err == nil && c.Err() != nil && len(c.Ledger) == 0 {
			t.Errorf("get %d fails, and that is taken for damage: %+v", nth, c.Damaged)
		}
		if err != nil && !errors.Is(err, faulty.ErrFault) {
			t.Errorf("get %d: %v", nth, err)
		}
	}
}

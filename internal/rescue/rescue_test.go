package rescue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

const (
	shop1 = "01J00000000000000000000001"
	shop2 = "01J00000000000000000000002"
	shop3 = "01J00000000000000000000003" // never committed
	blog1 = "01J10000000000000000000001"
)

type sink struct{ store.Store }

func (s sink) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

// site is a store with three committed snapshots and one that is not.
type site struct {
	*mem.Store
	key  repo.KeyFile
	repo *repo.Repository
	last *ledger.Entry
}

func (s *site) backup(t *testing.T, src, snapshot, content string) repo.Summary {
	t.Helper()
	key, err := s.repo.SourceKey(src, 0)
	if err != nil {
		t.Fatal(err)
	}
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{Source: src, Snapshot: snapshot, Key: key}, sink{s.Store})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	sw, err := w.Stream(repo.StreamMeta{Name: "a.sql"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(sw, content); err != nil {
		t.Fatal(err)
	}
	if _, err := sw.Close(repo.Contents{}); err != nil {
		t.Fatal(err)
	}
	sum, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func (s *site) commit(t *testing.T, src, snapshot, content string) {
	t.Helper()
	sum := s.backup(t, src, snapshot, content)
	e := &ledger.Entry{Snapshot: snapshot, Source: src, Manifest: sum.Manifest, ManifestSize: sum.ManifestSize, Root: sum.Root, Streams: sum.Streams, CommitTime: time.Unix(1e9, 0)}
	if err := e.Seal(s.last); err != nil {
		t.Fatal(err)
	}
	s.last = e
	plain, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	object, err := s.repo.SealLedger(e.Index, plain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), repo.LedgerName(e.Index), bytes.NewReader(object)); err != nil {
		t.Fatal(err)
	}
}

func newSite(t *testing.T) *site {
	t.Helper()
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Store: mem.New(), key: key}
	if s.repo, err = repo.Create(t.Context(), s, key, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	s.commit(t, "shop/db", shop1, "one")
	s.commit(t, "blog", blog1, "blog")
	s.commit(t, "shop/db", shop2, "two")
	s.backup(t, "shop/db", shop3, "three")
	return s
}

func open(t *testing.T, s *site) *Rescue {
	t.Helper()
	r, err := Open(t.Context(), s, s.key)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func content(t *testing.T, s *repo.Snapshot) string {
	t.Helper()
	rc, err := s.Open(t.Context(), "a.sql")
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestListAndOpen(t *testing.T) {
	s := newSite(t)
	r := open(t, s)
	l, err := r.List(t.Context())
	if err != nil || len(l.Damaged) > 0 {
		t.Fatalf("%v, damaged %v", err, l.Damaged)
	}
	var got []string
	for _, f := range l.Snapshots {
		got = append(got, f.Source+" "+f.Snapshot+" "+f.Note)
		if f.Confirmed() != (f.Snapshot != shop3) {
			t.Errorf("%s: confirmed is %v", f.Snapshot, f.Confirmed())
		}
	}
	want := []string{"blog " + blog1 + " ", "shop/db " + shop1 + " ", "shop/db " + shop2 + " ", "shop/db " + shop3 + " no ledger entry confirms it: its run may have failed"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
	for ref, want := range map[string]string{
		shop1: "one", shop2: "two", shop3: "three", strings.ToLower(blog1): "blog", "01J1": "blog",
		"shop/db@latest": "two", "blog@latest": "blog",
	} {
		snap, f, err := r.OpenSnapshot(t.Context(), ref)
		if err != nil {
			t.Errorf("%s: %v", ref, err)
		} else if got := content(t, snap); got != want || f.Snapshot != snap.Header().Snapshot {
			t.Errorf("%s: %q, want %q", ref, got, want)
		}
	}
	for ref, want := range map[string]problem.Code{
		"01J0": problem.InvalidInput, "": problem.NotFound, "x": problem.NotFound, shop3[:25]: problem.InvalidInput, "none@latest": problem.NotFound, "@latest": problem.NotFound, "../@latest": problem.NotFound,
	} {
		if _, _, err := r.OpenSnapshot(t.Context(), ref); problem.CodeOf(err) != want {
			t.Errorf("%q: %v, want %s", ref, err, want)
		}
	}
}

func TestUnconfirmedNeedsItsWholeID(t *testing.T) {
	s := newSite(t)
	s.Change(repo.LedgerName(2), func([]byte) []byte { return nil }) // of blog1
	r := open(t, s)
	for _, ref := range []string{"blog@latest", "01J1"} {
		if _, _, err := r.OpenSnapshot(t.Context(), ref); problem.CodeOf(err) != problem.NotFound {
			t.Errorf("%s: %v", ref, err)
		}
	}
	snap, f, err := r.OpenSnapshot(t.Context(), blog1)
	if err != nil || f.Entry != nil || content(t, snap) != "blog" {
		t.Errorf("by its whole id: %+v, %v", f, err)
	}
}

// When the newest cannot be had, the one before it says so.
func TestLatestSaysThatThereIsANewerOne(t *testing.T) {
	s := newSite(t)
	for _, tt := range []struct{ goes, newer string }{{"", shop3}, {shop3, ""}, {shop2, shop2}} {
		s.Change(repo.ManifestName("shop/db", tt.goes), gone)
		_, f, err := open(t, s).OpenSnapshot(t.Context(), "shop/db@latest")
		if err != nil || !strings.Contains(f.Note, tt.newer) || (f.Note == "") != (tt.newer == "") {
			t.Errorf("without %q: %+v, %v", tt.goes, f, err)
		}
	}
}

// A copy of a manifest in another place does not hide the snapshot that the ledger records.
func TestAManifestInAnotherPlace(t *testing.T) {
	s := newSite(t)
	for _, other := range []string{"aa", "zz"} {
		rc, err := s.Get(t.Context(), repo.ManifestName("shop/db", shop1), 0, -1)
		if err == nil {
			_, err = s.Put(t.Context(), repo.ManifestName(other, shop1), rc)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if _, f, err := open(t, s).OpenSnapshot(t.Context(), shop1); err != nil || f.Source != "shop/db" {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestDamage(t *testing.T) {
	flip := func(b []byte) []byte { b[len(b)-1] ^= 1; return b }
	manifest1, manifest2 := repo.ManifestName("shop/db", shop1), repo.ManifestName("shop/db", shop2)
	for name, c := range map[string]struct {
		damage  func(*site)
		damaged string // in a line of Damaged
		ref     string
		want    problem.Code // of opening ref, empty: opens
	}{
		"ledger copy flipped":    {func(s *site) { s.Change(repo.LedgerName(1), flip) }, repo.LedgerName(1), "shop/db@latest", ""},
		"ledger copy truncated":  {func(s *site) { s.Change(repo.LedgerName(3), func(b []byte) []byte { return b[:9] }) }, repo.LedgerName(3), "blog@latest", ""},
		"ledger copy empty":      {func(s *site) { s.Change(repo.LedgerName(3), func([]byte) []byte { return []byte{} }) }, repo.LedgerName(3), shop2, ""},
		"ledger copies swapped":  {func(s *site) { s.replay(repo.LedgerName(2), repo.LedgerName(1)) }, repo.LedgerName(1), "shop/db@latest", ""},
		"manifest flipped":       {func(s *site) { s.Change(manifest2, flip) }, "", "shop/db@latest", problem.Corrupt},
		"manifest gone":          {func(s *site) { s.Change(manifest2, func([]byte) []byte { return nil }) }, "", shop2, problem.Corrupt},
		"manifest empty, latest": {func(s *site) { s.Change(manifest2, func([]byte) []byte { return []byte{} }) }, "", "shop/db@latest", problem.Corrupt},
		"manifest gone, latest":  {func(s *site) { s.Change(manifest2, func([]byte) []byte { return nil }) }, "", "shop/db@latest", ""},
		"manifest of another":    {func(s *site) { s.replay(manifest1, manifest2) }, "", shop2, problem.Corrupt},
		"stray objects": {func(s *site) {
			s.put("ledger/x", "?")
			s.put("sources/Z~z~z/manifests/"+shop1, "?")
			s.put("other", "?")
		}, "", "blog@latest", ""},
		"uncommitted is rubbish": {func(s *site) {
			s.Change(repo.ManifestName("shop/db", shop3), func([]byte) []byte { return []byte("?") })
		}, "", shop3, problem.Corrupt},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSite(t)
			c.damage(s)
			r := open(t, s)
			l, err := r.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if (c.damaged == "") != (len(l.Damaged) == 0) || !strings.Contains(strings.Join(l.Damaged, "\n"), c.damaged) {
				t.Errorf("damaged: %q, want %q", l.Damaged, c.damaged)
			}
			_, _, err = r.OpenSnapshot(t.Context(), c.ref)
			if c.want == "" && err != nil || c.want != "" && problem.CodeOf(err) != c.want {
				t.Errorf("open %s: %v, want %q", c.ref, err, c.want)
			}
		})
	}
}

func (s *site) put(name, content string) {
	_, _ = s.Put(context.Background(), name, strings.NewReader(content))
}

func (s *site) replay(from, to string) {
	rc, err := s.Get(context.Background(), from, 0, -1)
	if err != nil {
		return
	}
	b, _ := io.ReadAll(rc)
	s.Change(to, func([]byte) []byte { return b })
}

func TestChainBroken(t *testing.T) {
	s := newSite(t)
	// Entry 3 rewritten by somebody with the key, as if entry 2 had been another.
	e := *s.last
	e.Source = "shop/db"
	other := ledger.Entry{Index: 2, Hash: ledger.Hash{9}}
	if err := e.Seal(&other); err != nil {
		t.Fatal(err)
	}
	plain, _ := json.Marshal(e)
	object, err := s.repo.SealLedger(3, plain)
	if err != nil {
		t.Fatal(err)
	}
	s.Change(repo.LedgerName(3), func([]byte) []byte { return object })
	l, err := open(t, s).List(t.Context())
	if err != nil || len(l.Damaged) != 1 || !strings.Contains(l.Damaged[0], "does not follow") {
		t.Errorf("damaged %q, %v", l.Damaged, err)
	}
}

// What a later version has added to an entry is hashed with it, and passed over.
func TestAnEntryOfALaterVersion(t *testing.T) {
	e := ledger.Entry{Snapshot: shop1, Source: "shop/db"}
	if err := e.Seal(nil); err != nil {
		t.Fatal(err)
	}
	plain, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	field := func(h ledger.Hash) []byte { return []byte(`"hash":"` + h.String() + `"`) }
	later := bytes.Replace(plain, []byte(`"stores":`), []byte(`"weather":"fair","stores":`), 1)
	later = bytes.Replace(later, field(e.Hash), field(ledger.Hash{}), 1)
	sum := ledger.Hash(sha256.Sum256(later))
	later = bytes.Replace(later, field(ledger.Hash{}), field(sum), 1)
	if got, err := ParseEntry(1, later); err != nil || got.Hash != sum {
		t.Errorf("%v", err)
	}
	if _, err := ParseEntry(1, bytes.Replace(later, []byte("fair"), []byte("foul"), 1)); err == nil {
		t.Error("a changed entry passes")
	}
}

func TestWrongKey(t *testing.T) {
	s := newSite(t)
	other, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), s, other); problem.CodeOf(err) != problem.Denied || problem.ReasonOf(err) != repo.ReasonWrongKey {
		t.Errorf("%v", err)
	}
}

func FuzzParseEntry(f *testing.F) {
	e := ledger.Entry{Snapshot: shop1, Source: "shop/db"}
	if err := e.Seal(nil); err != nil {
		f.Fatal(err)
	}
	good, _ := json.Marshal(e)
	f.Add(uint64(1), good)
	f.Add(uint64(2), good)
	f.Add(uint64(1), []byte(`{"index":1,"source":"../x","snapshot":"y"}`))
	f.Fuzz(func(t *testing.T, index uint64, b []byte) {
		if e, err := ParseEntry(index, b); err == nil {
			if _, err := repo.ParseName(repo.ManifestName(e.Source, e.Snapshot)); err != nil || e.Index != index {
				t.Errorf("accepts %+v", e)
			}
		}
	})
}

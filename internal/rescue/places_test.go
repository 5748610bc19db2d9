package rescue

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// grown is a site with a history: dumps that change a little from one snapshot to
// the next, so that there are dictionaries, and packs that several need.
func grown(t *testing.T, random *rand.Rand) (*site, map[string]string) {
	t.Helper()
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{Store: mem.New(), key: key}
	if s.repo, err = repo.Create(t.Context(), s, key, time.Unix(1e9, 0)); err != nil {
		t.Fatal(err)
	}
	dumps := map[string]string{}
	for i, source := range []string{"shop/db", "blog"} {
		var rows []string
		for n := range 4000 {
			rows = append(rows, fmt.Sprintf("%d\t%x\tname %d\n", n, random.Uint64(), n))
		}
		for j := range 4 {
			for range 200 {
				rows[random.IntN(len(rows))] = fmt.Sprintf("changed\t%x\n", random.Uint64())
			}
			id := fmt.Sprintf("01J%d%022d", i, j+1)
			dumps[id] = strings.Join(rows, "")
			s.commit(t, source, id, dumps[id])
		}
	}
	return s, dumps
}

// copied is a site with the same objects.
func (s *site) copied(t *testing.T) *site {
	t.Helper()
	c := &site{Store: mem.New(), key: s.key, repo: s.repo, last: s.last}
	for _, name := range s.names(t) {
		if _, err := c.Put(t.Context(), name, bytes.NewReader(s.bytes(t, name))); err != nil {
			t.Fatal(err)
		}
	}
	return c
}

func (s *site) names(t *testing.T) (names []string) {
	t.Helper()
	if err := s.List(t.Context(), "", func(i store.Info) error { names = append(names, i.Name); return nil }); err != nil {
		t.Fatal(err)
	}
	return names
}

func (s *site) bytes(t *testing.T, name string) []byte {
	t.Helper()
	rc, err := s.Get(t.Context(), name, 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	b, err := io.ReadAll(rc)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// spoil damages a store in one place, in one of the ways in which stores and those
// who hold them do, and says what was done.
func (s *site) spoil(t *testing.T, random *rand.Rand) string {
	t.Helper()
	names := s.names(t)
	of := func(kind repo.Kind) (list []string) {
		for _, n := range names {
			if o, err := repo.ParseName(n); err == nil && o.Kind == kind {
				list = append(list, n)
			}
		}
		return list
	}
	any := func(list []string) string { return list[random.IntN(len(list))] }
	switch random.IntN(6) {
	case 0, 1:
		name := any(names)
		at := 0
		s.Change(name, func(b []byte) []byte {
			at = random.IntN(len(b) * 8)
			b[at/8] ^= 1 << (at % 8)
			return b
		})
		return fmt.Sprintf("bit %d of %s flipped", at, name)
	case 2:
		name := any(names)
		s.Change(name, func(b []byte) []byte { return b[:random.IntN(len(b))] })
		return name + " truncated"
	case 3:
		name := any(names)
		s.Change(name, gone)
		return name + " removed"
	case 4:
		packs := of(repo.KindPack)
		a, b := any(packs), any(packs)
		for a == b {
			b = any(packs)
		}
		was, is := s.bytes(t, a), s.bytes(t, b)
		s.Change(a, func([]byte) []byte { return is })
		s.Change(b, func([]byte) []byte { return was })
		return fmt.Sprintf("%s and %s swapped", a, b)
	}
	manifests := of(repo.KindManifest)
	old, name := any(manifests), any(manifests)
	for old == name {
		old = any(manifests)
	}
	was := s.bytes(t, old)
	s.Change(name, func([]byte) []byte { return was })
	return fmt.Sprintf("%s replayed as %s", old, name)
}

// TestDamageAtRandomPlaces damages a store in many places, one at a time: each is
// noticed, and whatever a snapshot gives is what was dumped, or nothing. Variables
// say in how many places, and repeat a run.
func TestDamageAtRandomPlaces(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("BAKTAINER_DAMAGE_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	places := 60
	if text := os.Getenv("BAKTAINER_DAMAGE_PLACES"); text != "" {
		places, _ = strconv.Atoi(text)
	}
	random := rand.New(rand.NewPCG(seed, 0))
	whole, dumps := grown(t, random)
	if c, err := open(t, whole).Check(t.Context(), Full, nil); err != nil || c.Err() != nil || len(c.Snapshots) != len(dumps) {
		t.Fatalf("before any damage: %+v, %v", c, err)
	}
	kinds, right, refused := map[string]int{}, 0, 0
	for range places {
		s := whole.copied(t)
		what := s.spoil(t, random)
		for _, kind := range []string{"flipped", "truncated", "removed", "swapped", "replayed"} {
			if strings.Contains(what, kind) {
				kinds[kind]++
			}
		}
		r, err := Open(t.Context(), s, s.key)
		if err != nil {
			refused += len(dumps)
			continue // it is noticed by everybody
		}
		c, err := r.Check(t.Context(), Full, nil)
		if err != nil {
			t.Fatalf("seed %d: %s: %v", seed, what, err)
		}
		noticed := c.Err() != nil || c.Gone > 0 || slices.ContainsFunc(c.Snapshots, func(k CheckedSnapshot) bool { return !k.Confirmed })
		if !noticed {
			t.Errorf("seed %d: %s: nobody notices", seed, what)
		}
		for id, dump := range dumps {
			snapshot, _, err := r.OpenSnapshot(t.Context(), id)
			if err != nil {
				refused++
				continue
			}
			rc, err := snapshot.Open(t.Context(), "a.sql")
			if err != nil {
				refused++
				continue
			}
			got, err := io.ReadAll(rc)
			_ = rc.Close()
			switch {
			case err != nil && !strings.HasPrefix(dump, string(got)):
				t.Errorf("seed %d: %s: %s gives what was never dumped, before it fails", seed, what, id)
			case err != nil:
				refused++
			case string(got) != dump:
				t.Errorf("seed %d: %s: %s gives what was never dumped", seed, what, id)
			default:
				right++
			}
		}
	}
	t.Logf("seed %d: %v; restores: %d right, %d refused", seed, kinds, right, refused)
}

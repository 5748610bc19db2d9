package member_test

import (
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

func repository(t *testing.T) (*mem.Store, repo.KeyFile, *repo.Repository) {
	t.Helper()
	st := mem.New()
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Create(t.Context(), st, key, epoch)
	if err != nil {
		t.Fatal(err)
	}
	return st, key, r
}

func TestEachControllerHasOneKeyOfItsOwn(t *testing.T) {
	t.Parallel()
	st, mine, r := repository(t)
	keys := &member.KeyFiles{Store: st, Key: func() (repo.Key, error) { return mine, nil }, Clock: clock.NewManual(epoch)}
	files := map[string][][]byte{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	for range 3 {
		for _, id := range []string{"c2", "c3"} {
			wg.Go(func() {
				file, err := keys.Issue(t.Context(), id)
				if err != nil {
					t.Errorf("%s: %v", id, err)
				}
				mu.Lock()
				defer mu.Unlock()
				files[id] = append(files[id], file)
			})
		}
	}
	wg.Wait()
	_, slots, err := repo.ListSlots(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	labels := map[string]int{}
	for _, s := range slots {
		labels[s.Label]++
	}
	if len(slots) != 3 || labels["controller c2"] != 1 || labels["controller c3"] != 1 {
		t.Errorf("slots %v", labels)
	}
	for id, all := range files {
		works := 0
		for _, text := range all {
			key, err := repo.ParseKeyFile(text)
			if err != nil {
				t.Fatal(err)
			}
			if opened, err := repo.Open(t.Context(), st, key); err == nil && opened.ID == r.ID {
				works++
			}
		}
		if works != 1 {
			t.Errorf("%d keys of %s work", works, id)
		}
	}
	broken := errors.New("the key file is gone")
	keys.Key = func() (repo.Key, error) { return nil, broken }
	if _, err := keys.Issue(t.Context(), "c2"); !errors.Is(err, broken) {
		t.Errorf("without a key of its own: %v", err)
	}
}

func TestAStoreIsOnesOwnWhenItHoldsTheRepository(t *testing.T) {
	t.Parallel()
	own, _, r := repository(t)
	other, _, _ := repository(t)
	peer := stored(t, map[string]string{"o": "of the peer"})
	for what, c := range map[string]struct {
		folder store.Store
		own    bool
	}{
		"no folder":                {nil, false},
		"the repository":           {own, true},
		"another repository":       {other, false},
		"an empty folder":          {mem.New(), false},
		"objects, and no format":   {stored(t, map[string]string{"o": "x"}), false},
		"a damaged format":         {stored(t, map[string]string{repo.FormatName: "{"}), false},
		"the repository, moved in": {own, true},
	} {
		reach := member.NewReach(c.folder, peer, func() string { return r.ID })
		if reach.Own() || reach.Local() != nil {
			t.Errorf("%s: used before anybody has looked", what)
		}
		got, err := reach.Look(t.Context())
		if got != c.own || reach.Own() != c.own || (reach.Local() != nil) != c.own || (err != nil) != (what == "a damaged format") {
			t.Errorf("%s: own %v, local %v, %v", what, got, reach.Local(), err)
		}
		if _, err := reach.Stat(t.Context(), "o"); (err == nil) == c.own {
			t.Errorf("%s: the wrong store is used: %v", what, err)
		}
	}
}

func TestAStoreMayChangeWhileItIsUsed(t *testing.T) {
	t.Parallel()
	folder, _, r := repository(t)
	peer := stored(t, map[string]string{"o": "of the peer"})
	id := "not known yet"
	reach := member.NewReach(folder, peer, func() string { return id })
	look := func(want bool) {
		t.Helper()
		if own, err := reach.Look(t.Context()); own != want || err != nil {
			t.Fatalf("own %v, want %v, %v", own, want, err)
		}
	}
	look(false)
	rc, err := reach.Get(t.Context(), "o", 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	defer rc.Close()
	id = r.ID
	look(true)
	if _, err := reach.Put(t.Context(), "p", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := folder.Stat(t.Context(), "p"); err != nil {
		t.Error(err)
	}
	begun := make([]byte, 20)
	if n, _ := rc.Read(begun); string(begun[:n]) != "of the peer" {
		t.Errorf("what had begun reads %q", begun[:n])
	}
	folder.Change(repo.FormatName, func([]byte) []byte { return nil }) // the disk is not mounted any more
	folder.Change(repo.FormatCopyName, func([]byte) []byte { return nil })
	look(false)
	if _, err := reach.Stat(t.Context(), "p"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("the folder is still used: %v", err)
	}
}

// Package storetest is the contract of package store as a test suite: every
// store runs it.
package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/store"
)

// Run holds a store against the contract. open gives an empty one each time.
func Run(t *testing.T, open func(t *testing.T) store.Store) {
	for _, c := range []struct {
		name string
		test func(*testing.T, store.Store)
	}{
		{"put and get", putAndGet},
		{"ranges", ranges},
		{"not there", notThere},
		{"never replaces", neverReplaces},
		{"failed put leaves nothing", failedPut},
		{"list", list},
		{"list stops", listStops},
		{"delete", remove},
		{"refuses names", refusesNames},
		{"context", ended},
		{"concurrent puts of one name", racingPuts},
		{"concurrent use", concurrentUse},
		{"describes itself", describes},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, open(t)) })
	}
}

func put(t *testing.T, s store.Store, name, content string) {
	t.Helper()
	info, err := s.Put(t.Context(), name, strings.NewReader(content))
	if err != nil {
		t.Fatalf("put %s: %v", name, err)
	}
	if info.Name != name || info.Size != int64(len(content)) {
		t.Errorf("put %s says %+v", name, info)
	}
}

func get(t *testing.T, s store.Store, name string, offset, length int64) (string, error) {
	t.Helper()
	rc, err := s.Get(t.Context(), name, offset, length)
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(rc)
	return string(b), errors.Join(err, rc.Close())
}

func names(t *testing.T, s store.Store, prefix string) []string {
	t.Helper()
	var got []string
	err := s.List(t.Context(), prefix, func(i store.Info) error {
		got = append(got, i.Name)
		if st, err := s.Stat(t.Context(), i.Name); err != nil || st.Size != i.Size {
			t.Errorf("list says %+v, stat %+v, %v", i, st, err)
		}
		return nil
	})
	if err != nil {
		t.Fatalf("list %q: %v", prefix, err)
	}
	return got
}

func putAndGet(t *testing.T, s store.Store) {
	for name, content := range map[string]string{
		"a": "", "b": "x", "deep/er/and/deeper": "content", "long": strings.Repeat("0123456789", 300_000),
		strings.Repeat("n", 100): "long name", "UPPER.lower_~-1": "every kind of character",
	} {
		put(t, s, name, content)
		if got, err := get(t, s, name, 0, -1); err != nil || got != content {
			t.Errorf("get %s: %d bytes, want %d; %v", name, len(got), len(content), err)
		}
		if info, err := s.Stat(t.Context(), name); err != nil || info.Name != name || info.Size != int64(len(content)) {
			t.Errorf("stat %s: %+v, %v", name, info, err)
		}
	}
}

func ranges(t *testing.T, s store.Store) {
	put(t, s, "r", "0123456789")
	for _, c := range []struct {
		offset, length int64
		want           string
		ok             bool
	}{
		{0, 10, "0123456789", true}, {0, 3, "012", true}, {4, 3, "456", true}, {9, 1, "9", true}, {7, -1, "789", true},
		{10, -1, "", true}, {5, 0, "", true},
		{0, 11, "", false}, {9, 2, "", false}, {11, -1, "", false}, {11, 0, "", false}, {-1, 3, "", false}, {0, -2, "", false},
		{1 << 62, 1 << 62, "", false},
	} {
		got, err := get(t, s, "r", c.offset, c.length)
		if (err == nil) != c.ok || got != c.want || !c.ok && !errors.Is(err, store.ErrRange) {
			t.Errorf("range %d+%d: %q, %v", c.offset, c.length, got, err)
		}
	}
}

func notThere(t *testing.T, s store.Store) {
	put(t, s, "dir/object", "x")
	for _, name := range []string{"none", "dir/none", "dir", "dir/object/below"} {
		if _, err := get(t, s, name, 0, -1); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("get %s: %v", name, err)
		}
		if _, err := s.Stat(t.Context(), name); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("stat %s: %v", name, err)
		}
	}
}

func neverReplaces(t *testing.T, s store.Store) {
	put(t, s, "d/once", "first")
	if _, err := s.Put(t.Context(), "d/once", strings.NewReader("second")); !errors.Is(err, store.ErrExists) {
		t.Errorf("second put: %v", err)
	}
	if got, err := get(t, s, "d/once", 0, -1); got != "first" {
		t.Errorf("after the second put: %q, %v", got, err)
	}
}

func failedPut(t *testing.T, s store.Store) {
	broken := errors.New("the sender is gone")
	for name, r := range map[string]io.Reader{
		"x/at-once": iotest.ErrReader(broken),
		"x/half":    io.MultiReader(strings.NewReader(strings.Repeat("half", 100_000)), iotest.ErrReader(broken)),
	} {
		if _, err := s.Put(t.Context(), name, r); !errors.Is(err, broken) {
			t.Errorf("put %s: %v", name, err)
		}
		if _, err := s.Stat(t.Context(), name); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("stat %s: %v", name, err)
		}
	}
	if got := names(t, s, ""); len(got) > 0 {
		t.Errorf("left behind: %v", got)
	}
	put(t, s, "x/half", "now whole")
}

func list(t *testing.T, s store.Store) {
	// '-' and '.' come before '/', '0' and letters after it.
	all := []string{"a-b", "a.b/c", "a/b", "a/b-c/d", "a/b.c", "a/c/d", "a/c/e", "a0", "b/1", "b/10", "b/2"}
	shuffled := slices.Clone(all)
	slices.Reverse(shuffled)
	for _, n := range shuffled {
		if n == "a/b" { // a directory and a file of one name cannot be in a file system
			n = "a/b-"
		}
		put(t, s, n, n)
	}
	all[2] = "a/b-"
	slices.Sort(all)
	for _, prefix := range []string{"", "a", "a/", "a/b", "a/b-", "a/c/", "a/c/e", "b/1", "none", "a/none/", "../", "/", "a//", ".", "a/../"} {
		var want []string
		for _, n := range all {
			if strings.HasPrefix(n, prefix) {
				want = append(want, n)
			}
		}
		if got := names(t, s, prefix); !slices.Equal(got, want) {
			t.Errorf("list %q: %v, want %v", prefix, got, want)
		}
	}
}

func listStops(t *testing.T, s store.Store) {
	for i := range 5 {
		put(t, s, fmt.Sprintf("d/%d", i), "")
	}
	enough, n := errors.New("enough"), 0
	err := s.List(t.Context(), "", func(store.Info) error {
		if n++; n == 2 {
			return enough
		}
		return nil
	})
	if !errors.Is(err, enough) || n != 2 {
		t.Errorf("list went on to %d: %v", n, err)
	}
}

func remove(t *testing.T, s store.Store) {
	put(t, s, "d/gone", "x")
	put(t, s, "d/stays", "y")
	for range 2 { // the second time there is nothing to delete
		if err := s.Delete(t.Context(), "d/gone"); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Stat(t.Context(), "d/gone"); !errors.Is(err, store.ErrNotExist) {
			t.Errorf("stat after delete: %v", err)
		}
	}
	if err := s.Delete(t.Context(), "never/was"); err != nil {
		t.Errorf("delete what never was: %v", err)
	}
	if got := names(t, s, ""); !slices.Equal(got, []string{"d/stays"}) {
		t.Errorf("left: %v", got)
	}
	put(t, s, "d/gone", "again")
}

func refusesNames(t *testing.T, s store.Store) {
	for _, name := range []string{
		"", "/", "/abs", "a/", "a//b", ".", "..", "../x", "a/../b", "a/..", ".hidden", "a/.tmp-1", ".tmp-x", "a b", "a\x00b", "a\\b", "é", "a\nb", "a:b",
		strings.Repeat("x/", 256) + "x",
	} {
		if _, err := s.Put(t.Context(), name, strings.NewReader("x")); err == nil {
			t.Errorf("put %q went through", name)
		}
		if _, err := get(t, s, name, 0, -1); err == nil {
			t.Errorf("get %q went through", name)
		}
		if _, err := s.Stat(t.Context(), name); err == nil {
			t.Errorf("stat %q went through", name)
		}
		if err := s.Delete(t.Context(), name); err == nil {
			t.Errorf("delete %q went through", name)
		}
	}
	if got := names(t, s, ""); len(got) > 0 {
		t.Errorf("made: %v", got)
	}
}

func ended(t *testing.T, s store.Store) {
	put(t, s, "there", "x")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.Put(ctx, "new", strings.NewReader("x")); !errors.Is(err, context.Canceled) {
		t.Errorf("put: %v", err)
	}
	if rc, err := s.Get(ctx, "there", 0, -1); err == nil {
		_, err = io.ReadAll(rc)
		if _ = rc.Close(); !errors.Is(err, context.Canceled) {
			t.Errorf("get: %v", err)
		}
	}
	if err := s.List(ctx, "", func(store.Info) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Errorf("list: %v", err)
	}
	if err := s.Delete(ctx, "there"); !errors.Is(err, context.Canceled) {
		t.Errorf("delete: %v", err)
	}
	if got := names(t, s, ""); !slices.Equal(got, []string{"there"}) {
		t.Errorf("objects: %v", got)
	}
}

func racingPuts(t *testing.T, s store.Store) {
	const n = 16
	var wg sync.WaitGroup
	errs := make([]error, n)
	for i := range n {
		wg.Go(func() {
			_, errs[i] = s.Put(t.Context(), "some/where/new/one", bytes.NewReader(bytes.Repeat([]byte{byte(i)}, 50_000)))
		})
	}
	wg.Wait()
	winner := -1
	for i, err := range errs {
		switch {
		case err == nil && winner < 0:
			winner = i
		case err == nil:
			t.Errorf("puts %d and %d both succeeded", winner, i)
		case !errors.Is(err, store.ErrExists):
			t.Errorf("put %d: %v", i, err)
		}
	}
	if winner < 0 {
		t.Fatal("no put succeeded")
	}
	if got, err := get(t, s, "some/where/new/one", 0, -1); err != nil || got != strings.Repeat(string([]byte{byte(winner)}), 50_000) {
		t.Errorf("the object is not what put %d wrote: %d bytes, %v", winner, len(got), err)
	}
}

func concurrentUse(t *testing.T, s store.Store) {
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 10 {
				name := fmt.Sprintf("p%d/q%d/%d", i%3, j%2, i*10+j)
				if _, err := s.Put(t.Context(), name, strings.NewReader(name)); err != nil {
					t.Errorf("put %s: %v", name, err)
				}
				if got, err := get(t, s, name, 0, -1); got != name {
					t.Errorf("get %s: %q, %v", name, got, err)
				}
				if err := s.List(t.Context(), "p", func(store.Info) error { return nil }); err != nil {
					t.Errorf("list: %v", err)
				}
				if j%2 == 0 {
					if err := s.Delete(t.Context(), name); err != nil {
						t.Errorf("delete %s: %v", name, err)
					}
				}
			}
		})
	}
	wg.Wait()
	if got := names(t, s, ""); len(got) != 40 || !slices.IsSorted(got) {
		t.Errorf("%d objects, want 40: %v", len(got), got)
	}
}

func describes(t *testing.T, s store.Store) {
	if s.Describe() == "" {
		t.Error("no description")
	}
	free, total, ok, err := s.Space(t.Context())
	if err != nil || ok && (free < 0 || total < free || total == 0) {
		t.Errorf("space: %d of %d, %v, %v", free, total, ok, err)
	}
}

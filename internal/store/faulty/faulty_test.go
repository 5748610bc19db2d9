package faulty_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/store/storetest"
)

const digits = "0123456789"

func TestContractWithoutFaults(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store { return faulty.Wrap(mem.New()) })
}

// A fault that does not come, limits that are not reached: all goes the long way round.
func TestContractWithAPlan(t *testing.T) {
	storetest.Run(t, func(*testing.T) store.Store {
		return faulty.New(mem.New(), faulty.Plan{Capacity: 1 << 30, Faults: []faulty.Fault{
			{Op: faulty.Put, Kind: faulty.Lost, Chance: 1e-12},
			{Op: faulty.Get, Kind: faulty.Slow, Gate: func(context.Context, faulty.Op, string) error { return nil }},
		}})
	})
}

// read gives what a store has under name, "-" for nothing.
func read(t *testing.T, s store.Store, name string) string {
	t.Helper()
	rc, err := s.Get(t.Context(), name, 0, -1)
	if errors.Is(err, store.ErrNotExist) {
		return "-"
	}
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

func put(t *testing.T, s store.Store, names ...string) {
	t.Helper()
	for _, n := range names {
		if _, err := s.Put(t.Context(), n, strings.NewReader(digits)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestPuts(t *testing.T) {
	garbled := "01234" + string([]byte{'5' ^ 0xff, '6' ^ 0xff, '7' ^ 0xff, '8' ^ 0xff, '9' ^ 0xff})
	for _, c := range []struct {
		kind  faulty.Kind
		err   error
		there string
	}{
		{faulty.Fail, faulty.ErrFault, "-"},
		{faulty.NoSpace, store.ErrNoSpace, "-"},
		{faulty.Torn, faulty.ErrFault, "01234"},
		{faulty.TornSilently, nil, "01234"},
		{faulty.Garbled, faulty.ErrFault, garbled},
		{faulty.GarbledSilently, nil, garbled},
		{faulty.LostAnswer, faulty.ErrFault, digits},
		{faulty.Lost, nil, "-"},
		{faulty.Hang, context.Canceled, "-"},
	} {
		t.Run(c.kind.String(), func(t *testing.T) {
			inner := mem.New()
			s := faulty.Wrap(inner, faulty.Fault{Op: faulty.Put, Kind: c.kind, Name: "b", Nth: 2})
			put(t, s, "a", "b1", "c", "d")
			ctx, cancel := context.WithCancel(t.Context())
			if c.kind == faulty.Hang {
				cancel()
			}
			info, err := s.Put(ctx, "b2", strings.NewReader(digits))
			if !errors.Is(err, c.err) || err == nil && (info.Name != "b2" || info.Size != 10) {
				t.Errorf("put: %+v, %v, want %v", info, err, c.err)
			}
			cancel()
			if got := read(t, inner, "b2"); got != c.there {
				t.Errorf("there is %q, want %q", got, c.there)
			}
			if got := s.Injected(); !maps.Equal(got, map[faulty.Kind]int{c.kind: 1}) {
				t.Errorf("injected %v", got)
			}
			if got := s.Lied(); c.kind.Lies() != slices.Equal(got, []string{"b2"}) || !c.kind.Lies() && len(got) > 0 {
				t.Errorf("lied about %v", got)
			}
			put(t, s, "b3")
			if got := read(t, s, "b3"); got != digits {
				t.Errorf("the third is %q", got)
			}
		})
	}
}

func TestGets(t *testing.T) {
	for name, c := range map[string]struct {
		fault    faulty.Fault
		want     string
		err      error
		injected int
	}{
		"short":        {faulty.Fault{Kind: faulty.Short}, "234", nil, 1},
		"broken":       {faulty.Fault{Kind: faulty.Broken}, "234", faulty.ErrFault, 1},
		"flip":         {faulty.Fault{Kind: faulty.Flip, Offset: 4}, "23$567", nil, 1},
		"flip outside": {faulty.Fault{Kind: faulty.Flip, Offset: 9}, "234567", nil, 0},
		"fail":         {faulty.Fault{Kind: faulty.Fail}, "", faulty.ErrFault, 1},
	} {
		t.Run(name, func(t *testing.T) {
			c.fault.Op = faulty.Get
			s := faulty.Wrap(mem.New(), c.fault)
			put(t, s, "a")
			var got []byte
			rc, err := s.Get(t.Context(), "a", 2, 6)
			if err == nil {
				got, err = io.ReadAll(rc)
			}
			if string(got) != c.want || !errors.Is(err, c.err) || s.Injected()[c.fault.Kind] != c.injected {
				t.Errorf("%q, %v, %v; want %q, %v", got, err, s.Injected(), c.want, c.err)
			}
		})
	}
}

func TestDeletes(t *testing.T) {
	for _, c := range []struct {
		kind  faulty.Kind
		err   error
		there string
	}{
		{faulty.Fail, faulty.ErrFault, digits},
		{faulty.LostAnswer, faulty.ErrFault, "-"},
		{faulty.Lost, nil, digits},
	} {
		inner := mem.New()
		s := faulty.Wrap(inner, faulty.Fault{Op: faulty.Delete, Kind: c.kind, Nth: 1})
		put(t, s, "a")
		if err := s.Delete(t.Context(), "a"); !errors.Is(err, c.err) {
			t.Errorf("%v: %v", c.kind, err)
		}
		if got := read(t, inner, "a"); got != c.there || s.Injected()[c.kind] != 1 {
			t.Errorf("%v: there is %q, injected %v", c.kind, got, s.Injected())
		}
		if err := s.Delete(t.Context(), "a"); err != nil || read(t, inner, "a") != "-" {
			t.Errorf("%v: again: %v", c.kind, err)
		}
	}
}

func TestSlow(t *testing.T) {
	waits, goOn := make(chan string), make(chan struct{})
	s := faulty.Wrap(mem.New(), faulty.Fault{Op: faulty.Put, Kind: faulty.Slow, Name: "slow", Gate: func(ctx context.Context, op faulty.Op, name string) error {
		waits <- fmt.Sprint(op, " ", name)
		select {
		case <-goOn:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}})
	for _, cut := range []bool{false, true} {
		name := fmt.Sprint("slow-", cut)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() {
			_, err := s.Put(ctx, name, strings.NewReader(digits))
			done <- err
		}()
		if got := <-waits; got != "put "+name {
			t.Errorf("waits: %s", got)
		}
		if got := read(t, s, name); got != "-" {
			t.Errorf("while it waits there is %q", got)
		}
		want := digits
		if cut {
			cancel()
			want = "-"
		} else {
			goOn <- struct{}{}
		}
		if err := <-done; (err != nil) != cut || cut && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		cancel()
		if got := read(t, s, name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if got := s.Injected()[faulty.Slow]; got != 2 {
		t.Errorf("injected %d", got)
	}
}

func TestCapacity(t *testing.T) {
	inner := mem.New()
	s := faulty.New(inner, faulty.Plan{Capacity: 25})
	put(t, s, "a", "b")
	if _, err := s.Put(t.Context(), "c", strings.NewReader(digits)); !errors.Is(err, store.ErrNoSpace) || read(t, inner, "c") != "-" {
		t.Errorf("the third: %v", err)
	}
	if _, err := s.Put(t.Context(), "small", strings.NewReader("12345")); err != nil {
		t.Errorf("what just fits: %v", err)
	}
	// What is refused for another reason takes no room.
	if err := s.Delete(t.Context(), "small"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Put(t.Context(), "a", strings.NewReader("x")); !errors.Is(err, store.ErrExists) {
		t.Errorf("a again: %v", err)
	}
	if _, err := s.Put(t.Context(), "small", strings.NewReader("12345")); err != nil {
		t.Errorf("the room of what was deleted: %v", err)
	}
	if err := s.Delete(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	put(t, s, "c")
	if got := s.Injected(); got[faulty.NoSpace] != 1 {
		t.Errorf("injected %v", got)
	}
}

func names(s store.Store) (got []string, err error) {
	err = s.List(context.Background(), "o/", func(i store.Info) error { got = append(got, i.Name); return nil })
	return got, err
}

func TestStaleLists(t *testing.T) {
	s := faulty.New(mem.New(), faulty.Plan{Lag: 2})
	put(t, s, "o/old", "p/other", "q/other", "o/new") // then the list is the first call after
	for i, want := range [][]string{{"o/old"}, {"o/old"}, {"o/new", "o/old"}} {
		if got, err := names(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("list %d: %v, %v; want %v", i, got, err, want)
		}
	}
	if err := s.Delete(t.Context(), "o/old"); err != nil {
		t.Fatal(err)
	}
	for i, want := range [][]string{{"o/new", "o/old"}, {"o/new", "o/old"}, {"o/new"}} {
		if got, err := names(s); err != nil || !slices.Equal(got, want) {
			t.Errorf("list %d after the delete: %v, %v; want %v", i, got, err, want)
		}
	}
	if got := s.Injected()[faulty.StaleList]; got != 4 {
		t.Errorf("injected %d", got)
	}
}

func TestListBreaks(t *testing.T) {
	s := faulty.Wrap(mem.New(), faulty.Fault{Op: faulty.List, Kind: faulty.Broken, Nth: 1})
	put(t, s, "o/1", "o/2", "o/3")
	if got, err := names(s); !errors.Is(err, faulty.ErrFault) || !slices.Equal(got, []string{"o/1"}) {
		t.Errorf("%v, %v", got, err)
	}
	if got, err := names(s); err != nil || len(got) != 3 {
		t.Errorf("again: %v, %v", got, err)
	}
}

// The same seed gives the same faults, at about the rate that was asked for, and
// damage in many places; another seed gives others.
func TestSeeds(t *testing.T) {
	run := func(seed uint64) (text string, injected map[faulty.Kind]int) {
		inner := mem.New()
		s := faulty.New(inner, faulty.Plan{Seed: seed, Faults: []faulty.Fault{
			{Op: faulty.Put, Kind: faulty.Torn, Chance: 0.25},
			{Op: faulty.Put, Kind: faulty.GarbledSilently, Chance: 0.25},
		}})
		for i := range 400 {
			name := fmt.Sprint("o", i)
			_, err := s.Put(t.Context(), name, strings.NewReader(digits))
			text += fmt.Sprintf("%s %v %q\n", name, err, read(t, inner, name))
		}
		return text, s.Injected()
	}
	first, injected := run(1)
	again, _ := run(1)
	other, _ := run(2)
	if first != again || first == other {
		t.Errorf("again the same: %v, with another seed the same: %v", first == again, first == other)
	}
	// 400 calls at 0.25, the second on the rest: 100 and 75, give or take four deviations.
	if n, m := injected[faulty.Torn], injected[faulty.GarbledSilently]; n < 65 || n > 135 || m < 43 || m > 107 {
		t.Errorf("injected %v", injected)
	}
	for i := range 10 {
		if !strings.Contains(first, fmt.Sprintf("%q\n", digits[:i])) {
			t.Errorf("none is cut at %d", i)
		}
	}
}

package plan

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

func make1(t *testing.T, o Options) []Fault {
	t.Helper()
	all, err := Make(o)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func TestSameSeedSamePlan(t *testing.T) {
	t.Parallel()
	a, b, c := make1(t, Options{Seed: 1, Each: 2}), make1(t, Options{Seed: 1, Each: 2}), make1(t, Options{Seed: 2, Each: 2})
	if !reflect.DeepEqual(a, b) {
		t.Error("the same seed gives two plans")
	}
	if reflect.DeepEqual(a, c) {
		t.Error("two seeds give the same plan")
	}
	if !reflect.DeepEqual(Short(1), Short(1)) || reflect.DeepEqual(Short(1), Short(2)) {
		t.Error("a short plan is not its seed's")
	}
}

// Every kind comes in each of its phases as often as was asked for.
func TestEach(t *testing.T) {
	t.Parallel()
	count := map[string]int{}
	for i, f := range make1(t, Options{Seed: 3, Each: 5, Only: []string{"*/*"}}) {
		count[f.Name()]++
		if f.N != i+1 {
			t.Errorf("fault %d has the number %d", i+1, f.N)
		}
		for _, s := range sorts {
			if s.kind == f.Kind && (f.Lasts < s.from || f.Lasts > s.to) {
				t.Errorf("%s lasts %v", f, f.Lasts)
			}
		}
	}
	for _, name := range Names() {
		if count[name] != 5 {
			t.Errorf("%s comes %d times", name, count[name])
		}
	}
	if len(count) != len(Names()) || len(Names()) < 30 {
		t.Errorf("%d kinds and phases of %d", len(count), len(Names()))
	}
	for _, kind := range []Kind{KillLeader, KillIngest, KillAgent} {
		for _, phase := range Phases() {
			if count[string(kind)+"/"+string(phase)] == 0 {
				t.Errorf("%s never comes in the phase %s", kind, phase)
			}
		}
	}
}

func TestOnly(t *testing.T) {
	t.Parallel()
	names := func(only ...string) []string {
		var found []string
		for _, f := range make1(t, Options{Only: only}) {
			found = append(found, f.Name())
		}
		slices.Sort(found)
		return found
	}
	if got := names("kill-leader/mid-pack"); !slices.Equal(got, []string{"kill-leader/mid-pack"}) {
		t.Errorf("one name: %v", got)
	}
	if got := names("kill-agent"); len(got) != 6 || got[0] != "kill-agent/commit" {
		t.Errorf("one kind: %v", got)
	}
	if got := names("kill-*/commit", "hand-over"); !slices.Equal(got, []string{"hand-over/commit", "hand-over/mid-pack", "kill-agent/commit", "kill-ingest/commit", "kill-leader/commit"}) {
		t.Errorf("patterns: %v", got)
	}
	for _, f := range make1(t, Options{}) {
		if f.NeedsClocks() {
			t.Errorf("%s is planned without having been asked for", f)
		}
	}
	if got := make1(t, Options{Only: []string{"step-*"}}); !got[0].NeedsClocks() {
		t.Error("a fault of clocks does not say so")
	}
	for _, bad := range []string{"[", "no-such-fault", "kill-leader/never"} {
		if _, err := Make(Options{Only: []string{bad}}); err == nil {
			t.Errorf("the pattern %q is taken", bad)
		}
	}
}

func TestMost(t *testing.T) {
	t.Parallel()
	if got := make1(t, Options{Each: 10, Most: 7}); len(got) != 7 || got[6].N != 7 {
		t.Errorf("got %d faults", len(got))
	}
}

func TestShort(t *testing.T) {
	t.Parallel()
	for seed := range uint64(50) {
		all := Short(seed)
		if len(all) != len(short) {
			t.Fatalf("%d faults, want %d: a kind is unknown", len(all), len(short))
		}
		for _, f := range all {
			if !slices.Contains(Names(), f.Name()) || f.NeedsClocks() {
				t.Errorf("%s has no place in a short plan", f)
			}
		}
	}
}

func TestString(t *testing.T) {
	t.Parallel()
	f := make1(t, Options{Only: []string{"isolate-leader/commit"}})[0]
	if s := f.String(); !strings.Contains(s, "  1 isolate-leader/commit for ") {
		t.Errorf("got %q", s)
	}
}

package figures

import (
	"math"
	"path/filepath"
	"reflect"
	"testing"
)

func TestMedian(t *testing.T) {
	for _, tt := range []struct {
		name string
		in   []float64
		want Value
	}{
		{"none", nil, Value{}},
		{"one", []float64{4}, Value{4, 1}},
		{"odd, unsorted", []float64{9, 1, 4}, Value{4, 3}},
		{"even: the mean of the middle two", []float64{8, 1, 2, 100}, Value{5, 4}},
	} {
		if got := median(tt.in); got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, got, tt.want)
		}
	}
}

// TestArithmetic: what is not known stays unknown, and never becomes a zero.
func TestArithmetic(t *testing.T) {
	a, b, none := Value{6, 3}, Value{4, 2}, Value{}
	for _, tt := range []struct {
		name      string
		got, want Value
	}{
		{"ratio", a.Over(b), Value{1.5, 2}},
		{"ratio to nothing", a.Over(none), none},
		{"ratio of nothing", none.Over(a), none},
		{"ratio to zero", a.Over(Value{0, 1}), none},
		{"sum", a.Plus(b), Value{10, 2}},
		{"sum with a gap", a.Plus(none), none},
		{"least", Least(a, none, b), b},
		{"least of nothing", Least(none, none), none},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestSamples(t *testing.T) {
	k := Key{"restic", "uniform", "day1"}
	sample := func(round int, wall float64, gap string) Sample {
		return Sample{Tool: k.Tool, History: k.History, Step: k.Step, Round: round, Wall: wall, Gap: gap, Parts: []Part{{"agent", wall / 2, int64(wall)}}}
	}
	f := &Figures{Samples: []Sample{sample(1, 10, ""), sample(2, 30, ""), sample(3, 0, "it broke"), sample(4, 20, ""), {Tool: "borg", History: k.History, Step: k.Step, Wall: 99}}}
	if got, want := f.Median(k, Wall), (Value{20, 3}); got != want {
		t.Errorf("median %v, want %v: a sample with a gap is not a zero", got, want)
	}
	if got, want := f.Most(k, PartRSS("agent")), (Value{30, 3}); got != want {
		t.Errorf("peak %v, want %v", got, want)
	}
	if got := f.Median(k, PartCPU("agent")); math.Abs(got.V-10) > 1e-9 {
		t.Errorf("CPU of the agent %v, want 10", got)
	}
	if got := f.Gaps(); len(got) != 1 || got[0].Gap != "it broke" {
		t.Errorf("gaps %v, want the one that broke", got)
	}
	path := filepath.Join(t.TempDir(), "figures.json")
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	if again, err := Load(path); err != nil || !reflect.DeepEqual(again, f) {
		t.Errorf("read %v (%v), want what was saved", again, err)
	}
}

package engine

import (
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
)

func TestSectionsAreGathered(t *testing.T) {
	t.Parallel()
	var s Sections
	s.Common(0, 10)
	s.Add("a", 10, 20)
	s.Add("a", 20, 25) // goes on
	s.Add("seq", 25, 30)
	s.Add("b", 30, 40)
	s.Add("nothing", 40, 40)
	s.Add("a", 50, 60)
	s.Move("seq", "b") // lies before what is there
	s.Move("unknown", "b")
	s.Common(60, 70)
	c := Contents{Objects: []Object{{Name: "b"}, {Name: "a"}, {Name: "a"}, {Name: "role"}}}
	s.Settle(&c)
	want := Contents{
		Common: []Section{{0, 10}, {60, 10}},
		Objects: []Object{
			{Name: "b", Sections: []Section{{25, 5}, {30, 10}}},
			{Name: "a", Sections: []Section{{10, 15}, {50, 10}}},
			{Name: "a"}, {Name: "role"},
		},
	}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v, want %+v", c, want)
	}
	if n := c.Objects[1].Bytes(); n != 25 {
		t.Errorf("a has %d bytes", n)
	}
}

// With too many sections nothing is known, rather than a part of it.
func TestTooManySections(t *testing.T) {
	t.Parallel()
	var s Sections
	for i := range int64(MaxSections + 2) {
		if i%2 == 0 {
			s.Common(2*i, 2*i+1)
		} else {
			s.Add("a", 2*i, 2*i+1)
		}
	}
	s.Move("a", "b")
	s.Add("a", 1<<40, 1<<41)
	c := Contents{Objects: []Object{{Name: "a"}}}
	s.Settle(&c)
	if c.Common != nil || c.Objects[0].Sections != nil {
		t.Errorf("%d sections common, %d of a", len(c.Common), len(c.Objects[0].Sections))
	}
}

func TestPart(t *testing.T) {
	t.Parallel()
	at := func(offset int64) []Section { return []Section{{offset, 5}} }
	c := Contents{
		Common: []Section{{0, 10}, {100, 10}},
		Objects: []Object{
			{Kind: "role", Name: "public.ghost"}, {Kind: "table", Name: "public.a", Sections: at(50)}, {Kind: "table", Name: "other.b", Sections: at(20)},
			{Kind: "table", Name: "public.b", Sections: at(60)}, {Kind: "table", Name: "b", Sections: at(70)}, {Kind: "table", Name: `public."x.a"`, Sections: at(80)},
		},
	}
	for _, tt := range []struct {
		names []string
		want  []Section
		text  string // of the error
	}{
		{[]string{"a"}, []Section{{0, 10}, {50, 5}, {100, 10}}, ""},
		{[]string{"a", "public.a"}, []Section{{0, 10}, {50, 5}, {100, 10}}, ""},
		{[]string{"b", "other.b"}, []Section{{0, 10}, {20, 5}, {70, 5}, {100, 10}}, ""},
		{[]string{"ghost"}, nil, "no table"},
		{[]string{"public.ghost"}, nil, "no table"},
		{[]string{"c"}, nil, "no table"},
		{[]string{""}, nil, "no table"},
	} {
		p, err := c.Part(tt.names...)
		if !reflect.DeepEqual(p.Sections, tt.want) || (err == nil) != (tt.text == "") || err != nil && !strings.Contains(err.Error(), tt.text) {
			t.Errorf("%q: %+v, %v", tt.names, p, err)
		}
		if err != nil && problem.ReasonOf(err) != ReasonNoPart {
			t.Errorf("%q: reason %q", tt.names, problem.ReasonOf(err))
		}
	}
	c.Objects[4].Name = "third.b"
	if _, err := c.Part("b"); problem.CodeOf(err) != problem.InvalidInput || !strings.Contains(problem.Text(err), "third.b") {
		t.Errorf("a name that means three: %v", err)
	}
	c.Common = nil
	if _, err := c.Part("a"); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("what cannot be taken apart: %v", err)
	}
}

func TestWhatWasLeftOutIsNoPart(t *testing.T) {
	var s Sections
	s.Common(0, 10)
	s.Add("log", 10, 20)
	c := Contents{Objects: []Object{{Kind: KindRowsLeftOut, Name: "log", Rows: -1}, {Kind: KindLeftOut, Name: "public.sessions", Rows: -1}, {Kind: "table", Name: "log"}}}
	s.Settle(&c)
	if p, err := c.Part("log"); err != nil || len(p.Objects) != 1 || p.Objects[0].Kind != "table" {
		t.Errorf("a table without rows: %+v, %v", p, err)
	}
	if _, err := c.Part("sessions"); problem.ReasonOf(err) != ReasonNoPart || !strings.Contains(err.Error(), "its labels left out public.sessions") {
		t.Errorf("a table that was left out: %v", err)
	}
}

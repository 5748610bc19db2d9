package uplink

import (
	"reflect"
	"slices"
	"testing"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func info(id, address string, leader bool) *pb.ControllerInfo {
	return &pb.ControllerInfo{Id: id, Address: address, Leader: leader}
}

func TestTheBookOfControllers(t *testing.T) {
	t.Parallel()
	type heard struct {
		from     string
		list     []*pb.ControllerInfo
		complete bool
		leader   string
	}
	two := []*pb.ControllerInfo{info("c2", "b:1", true), info("c1", "a:1", false)}
	for name, tc := range map[string]struct {
		known    []Controller
		heard    []heard
		all      []string
		remember [][]Controller
	}{
		"nothing heard":     {all: []string{"x:1", "y:1"}},
		"known from before": {known: []Controller{{"c1", "a:1"}, {"", "no id"}, {"no address", ""}}, all: []string{"x:1", "y:1", "a:1"}},
		"a list": {
			heard: []heard{{"x:1", two, false, "b:1"}}, all: []string{"x:1", "y:1", "a:1", "b:1"},
			remember: [][]Controller{{{"c1", "a:1"}, {"c2", "b:1"}}},
		},
		"the same again is remembered once": {
			heard: []heard{{"x:1", two, false, "b:1"}, {"y:1", two, true, "b:1"}}, all: []string{"x:1", "y:1", "a:1", "b:1"},
			remember: [][]Controller{{{"c1", "a:1"}, {"c2", "b:1"}}},
		},
		"what is not named is forgotten on the leader's word alone": {
			known: []Controller{{"c0", "z:1"}},
			heard: []heard{{"x:1", two, false, "b:1"}, {"b:1", two[:1], true, "b:1"}},
			all:   []string{"x:1", "y:1", "b:1"},
			remember: [][]Controller{
				{{"c0", "z:1"}, {"c1", "a:1"}, {"c2", "b:1"}}, {{"c2", "b:1"}},
			},
		},
		"one moves": {
			heard: []heard{{"x:1", two, true, "b:1"}, {"x:1", []*pb.ControllerInfo{info("c2", "n:1", true), info("c1", "a:1", false)}, false, "n:1"}},
			all:   []string{"x:1", "y:1", "a:1", "n:1"},
			remember: [][]Controller{
				{{"c1", "a:1"}, {"c2", "b:1"}}, {{"c1", "a:1"}, {"c2", "n:1"}},
			},
		},
		"one without an address is where it was heard of": {
			heard: []heard{{"x:1", []*pb.ControllerInfo{info("c1", "", true), info("c2", "b:1", false)}, true, "x:1"}},
			all:   []string{"x:1", "y:1", "b:1"}, remember: [][]Controller{{{"c2", "b:1"}}},
		},
		"one that is alone is where it answers": {
			heard: []heard{{"x:1", []*pb.ControllerInfo{info("c1", "3f2a:1", true)}, true, "x:1"}},
			all:   []string{"x:1", "y:1"}, remember: [][]Controller{{{"c1", "3f2a:1"}}},
		},
		"no leader":  {heard: []heard{{"x:1", []*pb.ControllerInfo{info("c1", "a:1", false), info("c2", "b:1", false)}, false, ""}}, all: []string{"x:1", "y:1", "a:1", "b:1"}, remember: [][]Controller{{{"c1", "a:1"}, {"c2", "b:1"}}}},
		"empty list": {heard: []heard{{"x:1", nil, true, ""}}, known: []Controller{{"c1", "a:1"}}, all: []string{"x:1", "y:1", "a:1"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var remembered [][]Controller
			b := newBook([]string{"x:1", "y:1"}, tc.known, func(cs []Controller) { remembered = append(remembered, cs) })
			for i, h := range tc.heard {
				if leader, _ := b.hear(h.from, h.list, h.complete); leader != h.leader {
					t.Errorf("list %d: the leader is at %q, want %q", i, leader, h.leader)
				}
			}
			if got := b.all(); !slices.Equal(got, tc.all) {
				t.Errorf("addresses %q, want %q", got, tc.all)
			}
			if !reflect.DeepEqual(remembered, tc.remember) {
				t.Errorf("remembered %v, want %v", remembered, tc.remember)
			}
		})
	}
}

func TestEveryAddressIsFirstInTurn(t *testing.T) {
	t.Parallel()
	b := newBook([]string{"x", "y", "x"}, []Controller{{"c1", "a"}, {"c2", "y"}}, nil)
	var first []string
	for range 4 {
		all := b.inTurn()
		if len(all) != 3 {
			t.Fatalf("addresses %q", all)
		}
		first = append(first, all[0])
	}
	if !slices.Equal(first, []string{"x", "y", "a", "x"}) {
		t.Errorf("first were %q", first)
	}
	if got := newBook(nil, nil, nil).inTurn(); len(got) != 0 {
		t.Errorf("an empty book has %q", got)
	}
}

func TestThePlacesForObjects(t *testing.T) {
	t.Parallel()
	b := newBook([]string{"x", "b"}, []Controller{{"c1", "a"}, {"c2", "b"}, {"c3", "c"}}, nil)
	for _, tc := range []struct {
		ids  []string
		want []place
	}{
		{nil, []place{{"c1", "a"}, {"c2", "b"}, {"c3", "c"}, {"x", "x"}}},
		{[]string{"c3", "c9", "c2", "c3"}, []place{{"c3", "c"}, {"c2", "b"}, {"c1", "a"}, {"x", "x"}}},
	} {
		if got := b.places(tc.ids); !slices.Equal(got, tc.want) {
			t.Errorf("%q: %v, want %v", tc.ids, got, tc.want)
		}
	}
}

package contents_test

import (
	"reflect"
	"testing"

	"github.com/baktainer/baktainer/internal/contents"
)

func table(name string, rows int64) contents.Object {
	return contents.Object{Stream: "shop.sql", Kind: "table", Name: name, Rows: rows}
}

func TestCompare(t *testing.T) {
	change := func(name string, k contents.Kind, before, after int64) contents.Change {
		return contents.Change{Stream: "shop.sql", Object: "table", Name: name, Kind: k, Before: before, After: after}
	}
	elsewhere := table("orders", 7)
	elsewhere.Stream = "old.sql"
	for name, tc := range map[string]struct {
		before, after []contents.Object
		most          int
		want          []contents.Change
		same          int
	}{
		"nothing":            {},
		"the same":           {before: []contents.Object{table("a", 1), table("b", 2)}, after: []contents.Object{table("b", 2), table("a", 1)}, same: 2},
		"fewer, more":        {before: []contents.Object{table("a", 10), table("b", 2)}, after: []contents.Object{table("a", 1), table("b", 3)}, want: []contents.Change{change("a", contents.Fewer, 10, 1), change("b", contents.More, 2, 3)}},
		"gone before new":    {before: []contents.Object{table("z", 5)}, after: []contents.Object{table("a", 4)}, want: []contents.Change{change("z", contents.Gone, 5, 0), change("a", contents.New, 0, 4)}},
		"rows not known":     {before: []contents.Object{table("a", -1), table("b", 2)}, after: []contents.Object{table("a", 1), table("b", -1)}, same: 2},
		"empty now":          {before: []contents.Object{table("a", 3)}, after: []contents.Object{table("a", 0)}, want: []contents.Change{change("a", contents.Fewer, 3, 0)}},
		"in parts":           {before: []contents.Object{table("a", 3), table("a", 4)}, after: []contents.Object{table("a", 7)}, same: 1},
		"a part not known":   {before: []contents.Object{table("a", 3), table("a", -1), table("a", 2)}, after: []contents.Object{table("a", 7)}, same: 1},
		"in another stream":  {before: []contents.Object{elsewhere}, after: []contents.Object{table("orders", 7)}, want: []contents.Change{{Stream: "old.sql", Object: "table", Name: "orders", Kind: contents.Gone, Before: 7}, change("orders", contents.New, 0, 7)}},
		"a list that is cut": {before: []contents.Object{table("a", 1), table("b", 1)}, after: []contents.Object{table("a", 2), table("c", 1)}, most: 2, want: []contents.Change{change("a", contents.More, 1, 2)}},
		"the later is cut":   {before: []contents.Object{table("a", 1)}, after: []contents.Object{table("b", 2), table("c", 1)}, most: 2, want: []contents.Change{change("b", contents.New, 0, 2), change("c", contents.New, 0, 1)}},
		"the earlier is cut": {before: []contents.Object{table("b", 2), table("c", 1)}, after: []contents.Object{table("a", 1)}, most: 2, want: []contents.Change{change("b", contents.Gone, 2, 0), change("c", contents.Gone, 1, 0)}},
	} {
		most := tc.most
		if most == 0 {
			most = 100
		}
		got, same := contents.Compare(tc.before, tc.after, most)
		if !reflect.DeepEqual(got, tc.want) || same != tc.same {
			t.Errorf("%s: %+v and %d unchanged, want %+v and %d", name, got, same, tc.want, tc.same)
		}
	}
}

func TestPercent(t *testing.T) {
	for _, tc := range []struct {
		kind          contents.Kind
		before, after int64
		want          float64
		ok            bool
	}{
		{contents.Fewer, 100, 10, -90, true},
		{contents.More, 4, 5, 25, true},
		{contents.More, 0, 5, 0, false},
		{contents.Gone, 4, 0, 0, false},
		{contents.New, 0, 4, 0, false},
	} {
		if got, ok := (contents.Change{Kind: tc.kind, Before: tc.before, After: tc.after}).Percent(); got != tc.want || ok != tc.ok {
			t.Errorf("%s from %d to %d: %g, %v", tc.kind, tc.before, tc.after, got, ok)
		}
	}
}

func TestStrange(t *testing.T) {
	for _, tc := range []struct {
		kind          contents.Kind
		before, after int64
		strange       bool
		text          string
	}{
		{contents.Gone, 7, 0, true, "table t is gone, and had 7 rows"},
		{contents.Gone, 0, 0, false, "table t is gone"},
		{contents.Gone, -1, 0, false, "table t is gone"},
		{contents.Fewer, 1000, 100, true, "table t has 100 rows, and had 1000"},
		{contents.Fewer, 1000, 101, false, "table t has 101 rows, and had 1000"},
		{contents.Fewer, 19, 0, false, "table t has 0 rows, and had 19"},
		{contents.Fewer, 20, 0, true, "table t has 0 rows, and had 20"},
		{contents.More, 1, 1000, false, "table t has 1000 rows, and had 1"},
		{contents.New, 0, 5, false, "table t is new"},
	} {
		c := contents.Change{Stream: "s", Object: "table", Name: "t", Kind: tc.kind, Before: tc.before, After: tc.after}
		if got := contents.Strange([]contents.Change{c}); (len(got) == 1) != tc.strange || c.String() != tc.text {
			t.Errorf("%+v: strange %v, %s", c, got, c)
		}
	}
}

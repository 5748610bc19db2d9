package engine

import (
	"context"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// plain is an engine that knows no label on what to dump; chooses is one that does.
type plain struct{}

func (plain) Name() string                         { return "plain" }
func (plain) Aliases() []string                    { return nil }
func (plain) Detect(Facts) bool                    { return false }
func (plain) Check(source.Spec, Facts) []Complaint { return nil }
func (plain) Open(context.Context, Instance, source.Spec) (Session, error) {
	return nil, problem.New(problem.Failed, "it cannot be opened")
}
func (plain) Blank(Facts, source.Spec, source.Secret) Blank { return Blank{} }

type chooses struct {
	plain
	options DumpOptions
}

func (c chooses) DumpOptions() DumpOptions { return c.options }

func patterns(t *testing.T, text string) []source.Pattern {
	t.Helper()
	if text == "" {
		return nil
	}
	list, err := source.ParsePatterns(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

func TestCheckOfSelections(t *testing.T) {
	all := source.Dump{
		Databases: source.Selection{Include: patterns(t, "a"), Exclude: patterns(t, "a")}, Schemas: source.Selection{Include: patterns(t, "a"), Exclude: patterns(t, "a")},
		Tables: source.Selection{Include: patterns(t, "a"), Exclude: patterns(t, "a")}, NoData: patterns(t, "a"), Args: []string{"--host=x"},
	}
	knows := chooses{options: DumpOptions{Databases: true, Schemas: 2, Tables: 3, Data: true, Args: []Arg{
		{Name: "--no-x", Example: "--no-x"}, {Name: "--time", Value: regexp.MustCompile(`^[0-9]+s$`), Example: "--time=9s"},
	}}}
	short := func(list []Complaint) (said []string) {
		for _, c := range list {
			said = append(said, strings.TrimPrefix(c.Label, labelDump))
			if c.Reason == "" || c.Suggestion == "" {
				t.Errorf("%+v lacks words", c)
			}
		}
		return said
	}
	for name, tc := range map[string]struct {
		engine Engine
		spec   source.Spec
		want   string
	}{
		"nothing":                {plain{}, source.Spec{}, ""},
		"knows nothing":          {plain{}, source.Spec{AllDatabases: true, Dump: all}, "include_databases exclude_databases include_schemas exclude_schemas include_tables exclude_tables exclude_data args"},
		"knows all":              {knows, source.Spec{AllDatabases: true, Dump: source.Dump{Databases: all.Databases, Schemas: all.Schemas, Tables: all.Tables, NoData: all.NoData, Args: []string{"--no-x", "--time=9s"}}}, ""},
		"of one database":        {knows, source.Spec{Database: "x", Dump: source.Dump{Databases: all.Databases}}, "include_databases exclude_databases"},
		"too many parts":         {knows, source.Spec{AllDatabases: true, Dump: source.Dump{Databases: source.Selection{Include: patterns(t, "a,a.b")}, Schemas: source.Selection{Exclude: patterns(t, "a.b.c")}, Tables: source.Selection{Exclude: patterns(t, "a.b.c,a.b.c.d")}, NoData: patterns(t, "a.b.c")}}, "include_databases exclude_schemas exclude_tables"},
		"arguments, one by one":  {knows, source.Spec{Dump: source.Dump{Args: []string{"--no-x=1", "--time", "--time=", "--time=9s --host=x", "--no-x ", "-n", "x", "--no", "--", ""}}}, "args"},
		"an argument's line end": {knows, source.Spec{Dump: source.Dump{Args: []string{"--time=9s\n"}}}, "args"},
	} {
		got := Check(tc.engine, tc.spec, Facts{})
		if strings.Join(short(got), " ") != tc.want {
			t.Errorf("%s: %+v, want %s", name, got, tc.want)
		}
	}
	c := Check(knows, source.Spec{Dump: source.Dump{Args: []string{"--host=evil", "--no-x", "--time"}}}, Facts{})
	want := []Complaint{{"baktainer.dump.args", `"--host=evil" is not among the arguments that are allowed; "--time" has no value that is allowed: write it as in --time=9s`, "allowed are --no-x, --time=9s"}}
	if !reflect.DeepEqual(c, want) {
		t.Errorf("%+v", c)
	}
}

func TestWhole(t *testing.T) {
	knows := chooses{options: DumpOptions{Args: []Arg{{Name: "--no-x", LeavesOut: "xs"}, {Name: "--time", Value: regexp.MustCompile(`.`)}}}}
	d := source.Dump{NoData: patterns(t, "a"), Args: []string{"--no-x", "--time=9s", "--other"}}
	if got := Whole(knows, d); !reflect.DeepEqual(got, source.Dump{Args: []string{"--time=9s"}}) {
		t.Errorf("%+v", got)
	}
	if got := Whole(plain{}, d); !reflect.DeepEqual(got, source.Dump{}) {
		t.Errorf("of an engine that knows nothing: %+v", got)
	}
}

func TestChooser(t *testing.T) {
	d := source.Dump{
		Databases: source.Selection{Exclude: patterns(t, "test*,none")},
		Schemas:   source.Selection{Include: patterns(t, "public,app")},
		Tables:    source.Selection{Include: patterns(t, "o*,log"), Exclude: patterns(t, "shop.public.old,nothing")},
		NoData:    patterns(t, "log,*_log"),
	}
	c := NewChooser(d)
	var got []string
	for _, db := range []string{"shop", "test_1"} {
		got = append(got, fmt.Sprint(c.Database(db)))
	}
	for _, schema := range []string{"public", "other"} {
		got = append(got, fmt.Sprint(c.Schema("shop", schema)))
	}
	for _, table := range []string{"orders", "old", "customers"} {
		got = append(got, fmt.Sprint(c.Table([]string{"shop", "public", table})))
	}
	part := [][]string{{"shop", "public", "p1"}, {"shop", "public", "log"}} // a partition goes with its table
	got = append(got, fmt.Sprint(c.Table(part...)), fmt.Sprint(c.Rows(part...)), fmt.Sprint(c.Rows([]string{"shop", "public", "orders"})))
	if want := "true false true false true false false true false true"; strings.Join(got, " ") != want {
		t.Errorf("chosen: %s, want %s", strings.Join(got, " "), want)
	}
	if _, err := c.Settle(); problem.ReasonOf(err) != ReasonSelection || !strings.Contains(problem.Text(err), "nothing matches app of the label baktainer.dump.include_schemas") {
		t.Errorf("a pattern that is to take something and does not: %v", err)
	}
	c.Schema("shop", "app")
	notes, err := c.Settle()
	want := []string{
		"nothing matches none of the label baktainer.dump.exclude_databases", "nothing matches nothing of the label baktainer.dump.exclude_tables",
		"nothing matches *_log of the label baktainer.dump.exclude_data",
	}
	if err != nil || !reflect.DeepEqual(notes, want) {
		t.Errorf("%q, %v", notes, err)
	}
}

func TestWrittenDown(t *testing.T) {
	var c Chosen
	c.Databases.Add(KindDatabaseLeftOut, "crm")
	c.Warnings = []string{"nothing matches x"}
	var o Omission
	for i := range maxLeftOut + 7 {
		o.Add(KindLeftOut, fmt.Sprint("t", i))
	}
	c.Of = map[string]Choice{"shop": {Omission: o}}
	shop, other := Stream{Name: "shop.sql", Database: "shop"}, Stream{Name: "other.sql", Database: "other"}
	c.Begins([]Stream{other, shop})
	var first, second Contents
	c.WriteDown(other, []Arg{{Name: "--a", LeavesOut: "comments"}, {Name: "--c", LeavesOut: "owners"}}, []string{"--a", "--b"}, &first)
	c.WriteDown(shop, nil, nil, &second)
	if said := LeftOut(first.Objects); !reflect.DeepEqual(said, []string{"the database crm", "comments"}) || !reflect.DeepEqual(first.Notes, []string{"nothing matches x", "dumped with --a --b"}) {
		t.Errorf("%q, %q", said, first.Notes)
	}
	if len(second.Objects) != maxLeftOut || !reflect.DeepEqual(second.Notes, []string{"left out are 7 more"}) {
		t.Errorf("%d objects, notes %q", len(second.Objects), second.Notes)
	}
	lost := RestoreOptions{LeftOut: map[string][]string{"shop.sql": LeftOut(second.Objects)}}
	if said := lost.Lost(shop); len(said) != 1 || !strings.Contains(said[0], `lost with database "shop": t0, t1, `) || !strings.Contains(said[0], "and 4980 more") || lost.Lost(other) != nil {
		t.Errorf("%q", said)
	}
	if lost.As = "beside"; lost.Lost(shop) != nil {
		t.Error("a database of another name has lost something")
	}
	var nothing Contents
	c = Chosen{}
	c.WriteDown(shop, []Arg{{Name: "--a", LeavesOut: "comments"}}, []string{"--a"}, &nothing) // of a restore
	c.Begins([]Stream{shop})
	c.WriteDown(shop, nil, nil, &nothing)
	if !reflect.DeepEqual(nothing, Contents{}) {
		t.Errorf("of a restore, and without labels: %+v", nothing)
	}
}

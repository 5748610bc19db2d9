package postgres

import (
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// sample is a database with all that matters for a choice.
func sample() inventory {
	i := inventory{Encoding: "UTF8"}
	for _, name := range []string{"public", `s"x`} {
		i.Schemas = append(i.Schemas, struct{ Name, Written string }{name, name})
	}
	for n, r := range []relation{
		{Schema: "public", Name: "orders", Kind: "r"},
		{Schema: "public", Name: "orders_id_seq", Kind: "S", Of: 1},
		{Schema: "public", Name: "standing", Kind: "S"},
		{Schema: "public", Name: "log", Kind: "p"},
		{Schema: `s"x`, Name: "log.1", Kind: "r", Of: 4},
		{Schema: `s"x`, Name: "own", Kind: "r"},
		{Schema: "public", Name: "v", Kind: "v"},
	} {
		r.ID, r.Written = int64(n+1), r.Schema+"."+r.Name
		i.Relations = append(i.Relations, r)
	}
	return i
}

func TestSortOut(t *testing.T) {
	for name, tc := range map[string]struct {
		dump source.Dump
		want string // what pg_dump is told
		kept int
	}{
		"nothing":   {source.Dump{}, "", 5},
		"a table":   {source.Dump{Tables: source.Selection{Exclude: enginetest.Patterns(t, "orders")}}, `--exclude-table="public"."orders" --exclude-table="public"."orders_id_seq"`, 4},
		"parts":     {source.Dump{Tables: source.Selection{Exclude: enginetest.Patterns(t, "shop.public.log")}}, `--exclude-table="public"."log" --exclude-table="s""x"."log.1"`, 3},
		"only one":  {source.Dump{Tables: source.Selection{Include: enginetest.Patterns(t, "orders")}}, `--exclude-table="public"."log" --exclude-table="s""x"."log.1" --exclude-table="s""x"."own" --exclude-table="public"."v"`, 1},
		"a schema":  {source.Dump{Schemas: source.Selection{Exclude: enginetest.Patterns(t, "s*")}}, `--exclude-schema="s""x"`, 3},
		"all of it": {source.Dump{Schemas: source.Selection{Exclude: enginetest.Patterns(t, "public")}}, `--exclude-schema="public" --exclude-table="s""x"."log.1"`, 1},
		"rows":      {source.Dump{NoData: enginetest.Patterns(t, "*")}, `--exclude-table-data="public"."orders" --exclude-table-data="public"."log" --exclude-table-data="s""x"."log.1" --exclude-table-data="s""x"."own"`, 5},
		"elsewhere": {source.Dump{Tables: source.Selection{Exclude: enginetest.Patterns(t, "crm.*.*")}}, "", 5},
	} {
		s := sortOut(engine.NewChooser(tc.dump), "shop", sample())
		made, err := s.choice("shop", "UTF8")
		if err != nil || strings.Join(made.Args, " ") != tc.want || s.kept != tc.kept || len(s.broken) > 0 {
			t.Errorf("%s: %q, %d kept, %q broken, %v; want %s and %d", name, made.Args, s.kept, s.broken, err, tc.want, tc.kept)
		}
	}
	s := sortOut(engine.NewChooser(source.Dump{Tables: source.Selection{Include: enginetest.Patterns(t, "log.1,\"log.1\"")}}), "shop", sample())
	if len(s.broken) != 1 || !strings.Contains(s.broken[0], "needs table public.log") {
		t.Errorf("a partition without its table: %q", s.broken)
	}
}

func TestChoicesThatCannotBeTold(t *testing.T) {
	odd := sorted{out: []relation{{Schema: "public", Name: "größe", Kind: "r"}}}
	if _, err := odd.choice("shop", "LATIN1"); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Errorf("a name that pg_dump would read otherwise: %v", err)
	}
	if _, err := odd.choice("shop", "UTF8"); err != nil {
		t.Error(err)
	}
	many := sorted{out: slices.Repeat([]relation{{Schema: "public", Name: strings.Repeat("x", 60), Kind: "r"}}, 10_000)}
	if _, err := many.choice("shop", "UTF8"); problem.ReasonOf(err) != engine.ReasonSelection {
		t.Errorf("more than fits: %v", err)
	}
}

func TestArguments(t *testing.T) {
	spec := source.Spec{Database: "shop", Dump: source.Dump{Args: []string{"--no-comments", "--lock-wait-timeout=5min"}}}
	if c := engine.Check(New(), spec, engine.Facts{}); len(c) > 0 {
		t.Fatalf("%+v", c)
	}
	inst := scripted(nil, true, "shop")
	session, err := New().Open(t.Context(), inst, spec)
	if err != nil {
		t.Fatal(err)
	}
	streams, err := session.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Dump(t.Context(), streams[0]); err != nil {
		t.Fatal(err)
	}
	calls := inst.Calls()
	if argv := calls[len(calls)-1].Argv; !slices.Equal(argv[len(argv)-2:], spec.Dump.Args) {
		t.Errorf("argv %q", argv)
	}
	for _, arg := range []string{
		"--file=/tmp/x", "-f/tmp/x", "--format=custom", "-Fc", "--host=x", "--username=x", "--role=x", "--dbname=x", "shop", "--data-only", "--schema-only", "--clean",
		"--no-create", "--section=data", "--snapshot=x", "--serializable-deferrable", "--jobs=2", "--compress=9", "--exclude-table=x", "--table=x", "--encoding=LATIN1",
		"--no-password", "--password", "--enable-row-security", "--inserts", "--quote-all-identifiers", "--lock-wait-timeout=1 --file=x", "--extra-float-digits=4", "--filter=x",
	} {
		spec.Dump.Args = []string{arg}
		if c := engine.Check(New(), spec, engine.Facts{}); len(c) != 1 || c[0].Label != "baktainer.dump.args" || !strings.Contains(c[0].Reason+c[0].Suggestion, "--") {
			t.Errorf("%s: %+v", arg, c)
		}
	}
}

package restore_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// lines is the inspector of a dump whose first and last line are common, and of
// which every other line is a row of the table that it begins with.
type lines struct{ text bytes.Buffer }

func (l *lines) Write(p []byte) (int, error) { return l.text.Write(p) }

func (l *lines) Finish() (engine.Contents, error) {
	var c engine.Contents
	at := int64(0)
	for line := range strings.Lines(l.text.String()) {
		end := at + int64(len(line))
		switch table, _, isRow := strings.Cut(line, ":"); {
		case !isRow:
			c.Common = append(c.Common, engine.Section{Offset: at, Length: end - at})
		case len(c.Objects) > 0 && c.Objects[len(c.Objects)-1].Name == table:
			o := &c.Objects[len(c.Objects)-1]
			o.Rows++
			o.Sections[0].Length += end - at
		default:
			c.Objects = append(c.Objects, engine.Object{Kind: "table", Name: table, Rows: 1, Sections: []engine.Section{{Offset: at, Length: end - at}}})
		}
		at = end
	}
	return c, nil
}

// lined is a target whose dumps are lines.
type lined struct{ target }

func (d *lined) Open(context.Context, engine.Instance, source.Spec) (engine.Session, error) {
	return d, nil
}

func (d *lined) Inspect(engine.Stream) engine.Inspector { return &lines{} }

// linesStored is a store with a snapshot of dumps by database. wrong, if not nil,
// changes what was noted of each.
func linesStored(t *testing.T, dumps map[string]string, wrong func(*engine.Contents)) (*mem.Store, repo.Ref) {
	t.Helper()
	st := mem.New()
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{Source: theSource, Snapshot: theSnapshot, Key: key}, sink{st})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for database, dump := range dumps {
		var l lines
		_, _ = l.Write([]byte(dump))
		seen, _ := l.Finish()
		if wrong != nil {
			wrong(&seen)
		}
		sw, err := w.Stream(engine.Stream{Name: database + ".sql", Kind: "database", Database: database, Format: "lines"})
		if err == nil {
			_, err = sw.Write([]byte(dump))
		}
		if err == nil {
			_, err = sw.Close(seen)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sum, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st, repo.Ref{Source: theSource, Snapshot: theSnapshot, Manifest: sum.Manifest, Size: sum.ManifestSize}
}

const shopLines = "begin\npublic.a:1\npublic.a:2\npublic.b:1\npublic.c:1\nother.c:2\nend\n"

func restoreTables(t *testing.T, st *mem.Store, ref repo.Ref, d engine.Engine, o engine.RestoreOptions, chosen []string, tables ...string) ([]string, error) {
	t.Helper()
	done, err := restore.Run(t.Context(), restore.Work{
		Snapshot: ref, Key: key, Select: chosen, Tables: tables, Options: o, Engine: d,
	}, st, &report{}, slog.New(slog.DiscardHandler))
	return done.Report, err
}

func TestSingleTables(t *testing.T) {
	t.Parallel()
	zoo := "begin\npublic.ape:1\npublic.b:9\nend\n"
	for name, tt := range map[string]struct {
		chosen, tables []string
		fed            string
		only           []string
		reason         problem.Reason
	}{
		"one":                       {nil, []string{"public.a"}, "begin\npublic.a:1\npublic.a:2\nend\n", []string{"public.a"}, ""},
		"by its last name":          {nil, []string{"a"}, "begin\npublic.a:1\npublic.a:2\nend\n", []string{"public.a"}, ""},
		"two, in the dump's order":  {nil, []string{"other.c", "a"}, "begin\npublic.a:1\npublic.a:2\nother.c:2\nend\n", []string{"public.a", "other.c"}, ""},
		"of the other database":     {nil, []string{"ape"}, "begin\npublic.ape:1\nend\n", []string{"public.ape"}, ""},
		"of one that is chosen":     {[]string{"zoo"}, []string{"b"}, "begin\npublic.b:9\nend\n", []string{"public.b"}, ""},
		"in two databases":          {nil, []string{"b"}, "", nil, engine.ReasonNoPart},
		"in two schemas":            {nil, []string{"c"}, "", nil, engine.ReasonNoPart},
		"nowhere":                   {nil, []string{"x"}, "", nil, engine.ReasonNoPart},
		"one of them nowhere":       {nil, []string{"a", "x"}, "", nil, engine.ReasonNoPart},
		"not in the one that is":    {[]string{"zoo"}, []string{"a"}, "", nil, engine.ReasonNoPart},
		"in no dump both of them":   {nil, []string{"a", "ape"}, "", nil, engine.ReasonNoPart},
		"a whole name beats others": {nil, []string{"other.c"}, "begin\nother.c:2\nend\n", []string{"other.c"}, ""},
	} {
		st, ref := linesStored(t, map[string]string{"shop": shopLines, "zoo": zoo}, nil)
		d := &lined{}
		report, err := restoreTables(t, st, ref, d, engine.RestoreOptions{Overwrite: true}, tt.chosen, tt.tables...)
		if problem.ReasonOf(err) != tt.reason || (err == nil) != (tt.reason == "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			if len(d.prepared) > 0 {
				t.Errorf("%s: the target was looked at", name)
			}
			continue
		}
		if len(d.order) != 1 || string(d.fed[d.order[0]]) != tt.fed || !slices.Equal(d.options[0].Only, tt.only) || !slices.Equal(d.prepared[0].Only, tt.only) {
			t.Errorf("%s: fed %q as %q, want %q as %q", name, d.fed, d.options[0].Only, tt.fed, tt.only)
		}
		if len(report) != len(tt.only)+1 || !strings.HasPrefix(report[0], "Restored table "+tt.only[0]) {
			t.Errorf("%s: report %q", name, report)
		}
	}
}

// A part that does not hold what was seen is refused: before anything is replaced,
// or by a reader that fails where the end would be.
func TestAPartThatIsNotWhatWasSeen(t *testing.T) {
	t.Parallel()
	for name, wrong := range map[string]func(*engine.Contents){
		"other rows":    func(c *engine.Contents) { c.Objects[0].Rows++ },
		"another place": func(c *engine.Contents) { c.Objects[0].Sections = c.Objects[1].Sections },
		"half of it":    func(c *engine.Contents) { c.Objects[0].Sections[0].Length /= 2 },
	} {
		st, ref := linesStored(t, map[string]string{"shop": shopLines}, wrong)
		d := &lined{}
		_, err := restoreTables(t, st, ref, d, engine.RestoreOptions{}, nil, "a")
		if problem.CodeOf(err) != problem.Corrupt || problem.CodeOf(d.fedErr) != problem.Corrupt {
			t.Errorf("%s: %v, the engine got %v", name, err, d.fedErr)
		}
		d = &lined{}
		if _, err := restoreTables(t, st, ref, d, engine.RestoreOptions{Overwrite: true}, nil, "a"); problem.CodeOf(err) != problem.Corrupt || len(d.prepared) > 0 {
			t.Errorf("%s: %v; the target was prepared %d times", name, err, len(d.prepared))
		}
	}
}

// A dump of which it was not noted where things are can only be restored whole.
func TestADumpThatCannotBeTakenApart(t *testing.T) {
	t.Parallel()
	st, ref := stored(t)
	d := &lined{}
	_, err := restoreTables(t, st, ref, d, engine.RestoreOptions{Overwrite: true}, nil, "a")
	if problem.ReasonOf(err) != engine.ReasonNoPart || problem.CodeOf(err) != problem.InvalidInput || len(d.prepared) > 0 {
		t.Errorf("%v", err)
	}
}

// renaming is a target that can restore under another name.
type renaming struct{ lined }

func (d *renaming) Open(context.Context, engine.Instance, source.Spec) (engine.Session, error) {
	return d, nil
}

func (d *renaming) MayRename(engine.Stream) error { return nil }

// A restore under another name is asked of those alone who can do it, and for one
// database.
func TestAnotherName(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		target interface {
			engine.Engine
			engine.Session
		}
		as     string
		chosen []string
		code   problem.Code
	}{
		"one":            {&renaming{}, "shop_before", []string{"shop"}, ""},
		"one of several": {&renaming{}, "shop_before", nil, problem.InvalidInput},
		"a bad name":     {&renaming{}, "shop'; --", []string{"shop"}, problem.InvalidInput},
		"who cannot":     {&lined{}, "shop_before", []string{"shop"}, problem.InvalidInput},
	} {
		st, ref := linesStored(t, map[string]string{"shop": shopLines, "zoo": "begin\nape:1\nend\n"}, nil)
		_, err := restore.Run(t.Context(), restore.Work{
			Snapshot: ref, Key: key, Select: tt.chosen, As: tt.as, Engine: tt.target,
		}, st, &report{}, slog.New(slog.DiscardHandler))
		if (err == nil) != (tt.code == "") || err != nil && problem.CodeOf(err) != tt.code {
			t.Errorf("%s: %v", name, err)
		}
		var prepared []engine.RestoreOptions
		switch d := tt.target.(type) {
		case *renaming:
			prepared = d.prepared
		case *lined:
			prepared = d.prepared
		}
		if (len(prepared) > 0) != (tt.code == "") || len(prepared) > 0 && prepared[0].As != tt.as {
			t.Errorf("%s: prepared with %+v", name, prepared)
		}
	}
}

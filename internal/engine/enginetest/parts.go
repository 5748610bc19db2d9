package enginetest

import (
	"bytes"
	"errors"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// parts proves that what an inspector says of where things are is so: a part of a
// dump is a dump of what it is to be of, comes back over what is there and in place
// of what is lost, and leaves all else as it is.
func (f Fixture) parts(t *testing.T, session engine.Session, dumps []dumped, full string) {
	apart := 0
	for _, d := range dumps {
		if len(d.contents.Common) == 0 {
			continue
		}
		var names []string
		for _, o := range d.contents.Objects {
			if len(o.Sections) > 0 && !slices.Contains(names, o.Name) {
				names = append(names, o.Name)
			}
		}
		for _, name := range names {
			d.isPart(t, session, name)
		}
		if len(names) > 1 {
			d.isPart(t, session, names...)
		}
		restored := 0
		for _, name := range names {
			if f.partComesBack(t, d, name, full) {
				restored++
			}
		}
		t.Logf("%s: %d parts, %d of which came back over what is there", d.stream.Name, len(names), restored)
		apart += restored
	}
	if apart == 0 {
		t.Fatal("the fixture tells how to lose an object, and none came back by itself")
	}
	stream, name := f.Lose(t)
	i := slices.IndexFunc(dumps, func(d dumped) bool { return d.stream.Name == stream })
	if i < 0 {
		t.Fatalf("the fixture loses something of %q, which is no stream", stream)
	}
	if f.Fingerprint(t) == full {
		t.Fatal("the fixture is broken: Lose changes nothing in the fingerprint")
	}
	if _, err := f.restorePart(t, dumps[i], name, engine.RestoreOptions{}); err != nil {
		t.Fatalf("%s, which is lost: %s", name, problem.Text(err))
	}
	f.unchanged(t, full)
}

// cut gives the bytes of a part.
func (d dumped) cut(p engine.Part) []byte {
	var b []byte
	for _, s := range p.Sections {
		b = append(b, d.data[s.Offset:s.Offset+s.Length]...)
	}
	return b
}

// isPart checks that the part of some objects is a whole dump of them alone.
func (d dumped) isPart(t *testing.T, session engine.Session, names ...string) {
	t.Helper()
	p, err := d.contents.Part(names...)
	if err != nil {
		t.Fatal(err)
	}
	inspector := session.Inspect(d.stream)
	_, _ = inspector.Write(d.cut(p))
	got, err := inspector.Finish()
	if err != nil {
		t.Fatalf("the part of %q is no whole dump: %v", names, err)
	}
	type counted struct {
		kind, name string
		rows       int64
	}
	list := func(objects []engine.Object) (all []counted) {
		for _, o := range objects {
			all = append(all, counted{o.Kind, o.Name, o.Rows})
		}
		return all
	}
	if got, want := list(got.Objects), list(p.Objects); !slices.Equal(got, want) {
		t.Fatalf("the part of %q has %+v, want %+v", names, got, want)
	}
}

// partComesBack restores an object over itself, which must change nothing. It is
// false when the engine says that this one cannot be replaced by itself.
func (f Fixture) partComesBack(t *testing.T, d dumped, name, full string) bool {
	t.Helper()
	if _, err := f.restorePart(t, d, name, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Fatalf("%s over data without Overwrite: %v, want reason %s", name, err, engine.ReasonTargetNotEmpty)
	}
	plan, err := f.restorePart(t, d, name, engine.RestoreOptions{DryRun: true, Overwrite: true})
	refused := problem.ReasonOf(err) == engine.ReasonUnsupported
	switch {
	case refused:
		t.Logf("%s: %v", name, err)
	case err != nil || len(plan.Steps) == 0 || len(plan.Replaces) != 1:
		t.Fatalf("%s, dry run: plan %+v, error %v; want steps and the one thing that is replaced", name, plan, err)
	case !f.KeepsHalfPart:
		p, _ := d.contents.Part(name)
		o := engine.RestoreOptions{Overwrite: true, Only: []string{name}}
		if err := f.open(t).Restore(t.Context(), d.stream, halfWay(d.cut(p)), o); !errors.Is(err, errHalfWay) {
			t.Fatalf("%s from a failing reader: %v, want its error wrapped", name, err)
		}
	}
	f.unchangedBy(t, name+" that was not restored", full)
	if refused {
		return false
	}
	if _, err = f.restorePart(t, d, name, engine.RestoreOptions{Overwrite: true}); err != nil {
		t.Fatalf("%s over data: %s", name, problem.Text(err))
	}
	f.unchangedBy(t, name, full)
	return true
}

func (f Fixture) unchangedBy(t *testing.T, what, full string) {
	t.Helper()
	if got := f.Fingerprint(t); got != full {
		t.Fatalf("%s changes the database:\n%s\nit was:\n%s", what, got, full)
	}
}

// restorePart prepares and, unless that is all that was asked for, restores.
func (f Fixture) restorePart(t *testing.T, d dumped, name string, o engine.RestoreOptions) (engine.RestorePlan, error) {
	t.Helper()
	o.Only = []string{name}
	p, err := d.contents.Part(name)
	if err != nil {
		t.Fatal(err)
	}
	session := f.open(t)
	plan, err := session.Prepare(t.Context(), []engine.Stream{d.stream}, o)
	if err != nil || o.DryRun {
		return plan, err
	}
	return plan, session.Restore(t.Context(), d.stream, bytes.NewReader(d.cut(p)), o)
}

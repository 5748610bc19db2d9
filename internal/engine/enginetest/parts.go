package enginetest

import (
	"bytes"
	"errors"
	"fmt"
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
				d.isPart(t, session, o.Name)
			}
		}
		if len(names) > 1 {
			d.isPart(t, session, names...)
		}
		asked := f.open(t)
		names = slices.DeleteFunc(names, func(name string) bool { return !f.mayComeBack(t, asked, d, name) })
		f.unchangedBy(t, "what was refused, only asked for, or broke off", full)
		for _, name := range names {
			if _, err := f.restorePart(t, asked, d, name, engine.RestoreOptions{Overwrite: true}); err != nil {
				t.Fatalf("%s over data: %s", name, problem.Text(err))
			}
		}
		f.unchangedBy(t, fmt.Sprintf("one of %q, which were restored over themselves,", names), full)
		t.Logf("%s: %d parts came back over what is there", d.stream.Name, len(names))
		apart += len(names)
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
	if _, err := f.restorePart(t, f.open(t), dumps[i], name, engine.RestoreOptions{}); err != nil {
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

// mayComeBack does with an object that is there all that must change nothing. It is
// false when the engine says that this one cannot be replaced by itself.
func (f Fixture) mayComeBack(t *testing.T, session engine.Session, d dumped, name string) bool {
	t.Helper()
	if _, err := f.restorePart(t, session, d, name, engine.RestoreOptions{}); problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
		t.Fatalf("%s over data without Overwrite: %v, want reason %s", name, err, engine.ReasonTargetNotEmpty)
	}
	plan, err := f.restorePart(t, session, d, name, engine.RestoreOptions{DryRun: true, Overwrite: true})
	switch {
	case problem.ReasonOf(err) == engine.ReasonUnsupported:
		t.Logf("%s: %v", name, err)
		return false
	case err != nil || len(plan.Steps) == 0 || len(plan.Replaces) != 1:
		t.Fatalf("%s, dry run: plan %+v, error %v; want steps and the one thing that is replaced", name, plan, err)
	case !f.KeepsHalfPart:
		p, _ := d.contents.Part(name)
		o := engine.RestoreOptions{Overwrite: true, Only: []string{name}}
		if err := session.Restore(t.Context(), d.stream, halfWay(d.cut(p)), o); !errors.Is(err, errHalfWay) {
			t.Fatalf("%s from a failing reader: %v, want its error wrapped", name, err)
		}
	}
	return true
}

func (f Fixture) unchangedBy(t *testing.T, what, full string) {
	t.Helper()
	if got := f.Fingerprint(t); got != full {
		t.Fatalf("%s changed the database:\n%s\nit was:\n%s", what, got, full)
	}
}

// restorePart prepares and, unless that is all that was asked for, restores.
func (f Fixture) restorePart(t *testing.T, session engine.Session, d dumped, name string, o engine.RestoreOptions) (engine.RestorePlan, error) {
	t.Helper()
	o.Only = []string{name}
	p, err := d.contents.Part(name)
	if err != nil {
		t.Fatal(err)
	}
	plan, err := session.Prepare(t.Context(), []engine.Stream{d.stream}, o)
	if err != nil || o.DryRun {
		return plan, err
	}
	return plan, session.Restore(t.Context(), d.stream, bytes.NewReader(d.cut(p)), o)
}

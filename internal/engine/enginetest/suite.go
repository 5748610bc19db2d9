package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// Run drives an engine through its whole life against a real instance. The
// steps build on each other: the first that fails ends the suite.
func Run(t *testing.T, f Fixture) {
	recorder := Record(f.Instance, f.Secrets...)
	f.Instance = recorder
	t.Cleanup(func() {
		for _, leak := range recorder.Leaks() {
			t.Error(leak)
		}
	})
	step := func(name string, run func(t *testing.T)) {
		if t.Failed() {
			return
		}
		t.Run(name, run)
	}
	f.Wreck(t)
	f.Seed(t)
	full := f.Fingerprint(t)

	step("recognised", f.recognised)
	whole := t.Context() // a session is used in several steps
	var session engine.Session
	var dumps []dumped
	step("dump", func(t *testing.T) {
		session, dumps = f.dumpAll(whole, t)
		checkNames(t, dumps)
		if got := f.Fingerprint(t); got != full {
			t.Fatalf("a dump changed the database:\n%s\nwas\n%s", got, full)
		}
	})
	step("cut short", func(t *testing.T) { f.cutShort(t, session, dumps) })
	step("empty and garbage", func(t *testing.T) { f.garbage(t, session, dumps) })
	step("tool missing", f.toolMissing)
	if f.WrongPassword != nil {
		step("wrong password", f.wrongPassword)
	}
	step("refuses to overwrite", func(t *testing.T) {
		_, err := f.open(t).Prepare(t.Context(), streamsOf(dumps), engine.RestoreOptions{})
		if problem.ReasonOf(err) != engine.ReasonTargetNotEmpty {
			t.Fatalf("Prepare over data without Overwrite: %v, want reason %s", err, engine.ReasonTargetNotEmpty)
		}
		f.unchanged(t, full)
	})
	step("dry run over data", func(t *testing.T) {
		plan, err := f.open(t).Prepare(t.Context(), streamsOf(dumps), engine.RestoreOptions{DryRun: true, Overwrite: true})
		if err != nil || len(plan.Steps) == 0 || len(plan.Replaces) == 0 {
			t.Fatalf("dry run: plan %+v, error %v; want steps and what is replaced", plan, err)
		}
		f.unchanged(t, full)
	})
	step("dry run on nothing", func(t *testing.T) {
		f.Wreck(t)
		wrecked := f.Fingerprint(t)
		if wrecked == full {
			t.Fatal("the fixture is broken: Wreck changes nothing in the fingerprint")
		}
		plan, err := f.open(t).Prepare(t.Context(), streamsOf(dumps), engine.RestoreOptions{DryRun: true})
		if err != nil || len(plan.Steps) == 0 {
			t.Fatalf("dry run: plan %+v, error %v", plan, err)
		}
		f.unchanged(t, wrecked)
		f.lacksNothing(t, dumps)
		f.unchanged(t, wrecked)
	})
	step("restore that breaks half-way", func(t *testing.T) { f.halfWay(t, dumps) })
	step("restore", func(t *testing.T) {
		f.restore(t, dumps, engine.RestoreOptions{})
		f.unchanged(t, full)
	})
	step("restore over data", func(t *testing.T) {
		f.restore(t, dumps, engine.RestoreOptions{Overwrite: true})
		f.unchanged(t, full)
	})
	if f.Lose != nil {
		step("parts", func(t *testing.T) { f.parts(t, session, dumps, full) })
	}
	step("killed tool", f.killed)
	f.Wreck(t)
}

func (f Fixture) recognised(t *testing.T) {
	facts := f.Instance.Facts()
	if !f.Engine.Detect(facts) {
		t.Errorf("%s does not recognise its own image %q", f.Engine.Name(), facts.Image)
	}
	if complaints := engine.Check(f.Engine, f.Spec, facts); len(complaints) > 0 {
		t.Errorf("Check complains of a good spec: %+v", complaints)
	}
	if server := f.open(t).Server(); strings.TrimSpace(server) == "" {
		t.Error("Server is empty")
	}
}

// lacksNothing says that what is about to be restored is not refused before.
func (f Fixture) lacksNothing(t *testing.T, dumps []dumped) {
	surveyor, can := f.open(t).(engine.Surveyor)
	if !can {
		return
	}
	var all []engine.Dumped
	for _, d := range dumps {
		all = append(all, engine.Dumped{Stream: d.stream, Size: int64(len(d.data)), Contents: d.contents})
	}
	found, err := surveyor.Survey(t.Context(), all, engine.RestoreOptions{})
	if err != nil || len(found.Missing) > 0 {
		t.Fatalf("what was dumped here cannot be restored here: %+v, error %v", found, err)
	}
	t.Logf("warnings: %q", found.Warnings)
}

func checkNames(t *testing.T, dumps []dumped) {
	seen := map[string]bool{}
	for _, d := range dumps {
		name := d.stream.Name
		if seen[name] || name == "" || strings.HasPrefix(name, ".") || strings.ContainsAny(name, "/\\\x00\n") || len(name) > 255 {
			t.Errorf("stream name %q is taken or no file name", name)
		}
		if d.stream.Kind == "" || d.stream.Format == "" {
			t.Errorf("stream %q lacks kind or format", name)
		}
		seen[name] = true
		t.Logf("%s: %d bytes, %d objects, notes %q", name, len(d.data), len(d.contents.Objects), d.contents.Notes)
	}
}

// cutShort proves that no proper beginning of a dump passes for a whole one.
func (f Fixture) cutShort(t *testing.T, session engine.Session, dumps []dumped) {
	const spread, closeToEnd = 64, 256
	for _, d := range dumps {
		last := len(d.data) - 1 - f.Slack
		var cuts []int
		for i := range spread {
			cuts = append(cuts, i*last/spread)
		}
		for n := max(0, last-closeToEnd); n <= last; n++ {
			cuts = append(cuts, n)
		}
		for _, n := range cuts {
			err := inspect(session, d.stream, d.data[:n])
			if reason := problem.ReasonOf(err); reason != engine.ReasonTruncated && reason != engine.ReasonEmpty {
				t.Fatalf("%s cut at %d of %d bytes: %v, want reason %s\nIt ends in %q",
					d.stream.Name, n, len(d.data), err, engine.ReasonTruncated, tailOf(d.data[:n]))
			}
		}
		t.Logf("%s: %d cuts caught", d.stream.Name, len(cuts))
	}
}

func (f Fixture) garbage(t *testing.T, session engine.Session, dumps []dumped) {
	for _, d := range dumps {
		if err := inspect(session, d.stream, nil); problem.ReasonOf(err) != engine.ReasonEmpty {
			t.Errorf("%s, no bytes: %v, want reason %s", d.stream.Name, err, engine.ReasonEmpty)
		}
		for _, junk := range []string{"\n", "garbage\n", "Error: out of memory\n", strings.Repeat("\x00\xff", 4096)} {
			if err := inspect(session, d.stream, []byte(junk)); err == nil {
				t.Errorf("%s: %.20q passes for a dump", d.stream.Name, junk)
			}
		}
		if err := inspect(session, d.stream, append([]byte("warning: something\n"), d.data...)); err == nil {
			t.Errorf("%s: a dump with a foreign line before it passes", d.stream.Name)
		}
	}
}

func (f Fixture) toolMissing(t *testing.T) {
	session, err := f.Engine.Open(t.Context(), bare{f.Instance}, f.Spec)
	if err == nil {
		var streams []engine.Stream
		if streams, err = session.Streams(t.Context()); err == nil {
			_, err = session.Dump(t.Context(), streams[0])
		}
	}
	if problem.ReasonOf(err) != engine.ReasonToolMissing {
		t.Fatalf("an image without tools: %v, want reason %s", err, engine.ReasonToolMissing)
	}
}

func (f Fixture) wrongPassword(t *testing.T) {
	inst, spec := f.WrongPassword(t)
	inst = Record(inst, spec.Password.Reveal())
	err := openAndDump(t.Context(), f.Engine, inst, spec)
	if problem.ReasonOf(err) != engine.ReasonWrongPassword {
		t.Fatalf("a wrong password: %v, want reason %s", err, engine.ReasonWrongPassword)
	}
	text := problem.Text(err)
	if strings.Contains(text, spec.Password.Reveal()) {
		t.Errorf("the error tells the password: %s", text)
	}
	t.Logf("what the user reads:\n%s", text)
}

// halfWay restores up to the largest stream, and that from a reader that fails.
func (f Fixture) halfWay(t *testing.T, dumps []dumped) {
	largest := 0
	for i, d := range dumps {
		if len(d.data) > len(dumps[largest].data) {
			largest = i
		}
	}
	session, d := f.open(t), dumps[largest]
	if _, err := session.Prepare(t.Context(), streamsOf(dumps[:largest+1]), engine.RestoreOptions{}); err != nil {
		t.Fatalf("prepare: %v", err)
	}
	for _, d := range dumps[:largest] {
		if err := session.Restore(t.Context(), d.stream, bytes.NewReader(d.data), engine.RestoreOptions{}); err != nil {
			t.Fatalf("restore %s: %s", d.stream.Name, problem.Text(err))
		}
	}
	before := f.Fingerprint(t)
	err := session.Restore(t.Context(), d.stream, halfWay(d.data), engine.RestoreOptions{})
	if !errors.Is(err, errHalfWay) {
		t.Fatalf("restore from a failing reader: %v, want its error wrapped", err)
	}
	if !f.KeepsHalf {
		f.unchanged(t, before)
	}
	f.Wreck(t)
}

func (f Fixture) restore(t *testing.T, dumps []dumped, o engine.RestoreOptions) {
	t.Helper()
	session := f.open(t)
	plan, err := session.Prepare(t.Context(), streamsOf(dumps), o)
	if err != nil {
		t.Fatalf("prepare: %v", err)
	}
	t.Logf("plan: %q, replaces %q", plan.Steps, plan.Replaces)
	for _, d := range dumps {
		if err := session.Restore(t.Context(), d.stream, bytes.NewReader(d.data), o); err != nil {
			t.Fatalf("restore %s: %s", d.stream.Name, problem.Text(err))
		}
	}
}

func (f Fixture) unchanged(t *testing.T, want string) {
	t.Helper()
	if got := f.Fingerprint(t); got != want {
		t.Fatalf("fingerprint:\n%s\nwant:\n%s", got, want)
	}
}

// killed ends the dump tool while it writes: it must not look like a success.
func (f Fixture) killed(t *testing.T) {
	f.Bulk(t)
	session := f.open(t)
	streams, err := session.Streams(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	const some, lots = 1 << 20, 32 << 20
	for _, s := range streams {
		p, err := session.Dump(t.Context(), s)
		if err != nil {
			t.Fatalf("dump %s: %v", s.Name, err)
		}
		inspector := session.Inspect(s)
		n, err := io.CopyN(inspector, p, some)
		if errors.Is(err, io.EOF) {
			_, _ = p.Wait()
			continue // a small stream, for example the globals
		}
		p.Kill()
		rest, _ := io.Copy(inspector, p)
		exit, err := p.Wait()
		if err == nil && exit.Status == 0 {
			t.Fatalf("%s: the killed tool ended with status 0 after %d bytes", s.Name, n+rest)
		}
		if _, finished := inspector.Finish(); finished == nil {
			t.Fatalf("%s: the dump of a killed tool passes for a whole one (%d bytes)", s.Name, n+rest)
		}
		if rest > lots {
			t.Errorf("%s: %d more bytes came after Kill: does it reach the tool?", s.Name, rest)
		}
		t.Logf("%s: killed after %d bytes, %d more came, status %d, error %v", s.Name, n, rest, exit.Status, err)
		return
	}
	t.Fatal("the fixture is broken: no stream is larger than 1 MiB after Bulk")
}

// openAndDump runs a whole backup, discarding it, and returns the first failure.
func openAndDump(ctx context.Context, e engine.Engine, inst engine.Instance, spec source.Spec) error {
	session, err := e.Open(ctx, inst, spec)
	if err != nil {
		return err
	}
	streams, err := session.Streams(ctx)
	if err != nil {
		return err
	}
	for _, s := range streams {
		p, err := session.Dump(ctx, s)
		if err != nil {
			return err
		}
		_, _ = io.Copy(io.Discard, p)
		exit, err := p.Wait()
		if err != nil {
			return err
		}
		if exit.Status != 0 {
			return session.Explain(exit)
		}
	}
	return nil
}

package enginetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
)

// Fixture is one engine with one running instance of its database.
type Fixture struct {
	Engine   engine.Engine
	Instance engine.Instance
	// Spec is what labels ask for, usually nothing.
	Spec source.Spec
	// Secrets must never show in an argv or in what is kept of stderr.
	Secrets []string

	// Seed fills the database, hostile names and contents included. The dump stays
	// small (under 8 MiB), since the suite holds it in memory.
	Seed func(testing.TB)
	// Bulk adds so much that a dump of it exceeds 64 MiB. It is called last.
	Bulk func(testing.TB)
	// Fingerprint tells all that a restore must bring back: row counts and content
	// hashes. It also works on a wrecked database.
	Fingerprint func(testing.TB) string
	// Wreck loses all that Seed and Bulk made, as an accident would.
	Wreck func(testing.TB)
	// WrongPassword gives an instance and a spec with which the server refuses the
	// password. nil for engines that know no password.
	WrongPassword func(testing.TB) (engine.Instance, source.Spec)

	// Lose loses one object that can be restored by itself, and names it and its
	// stream. nil for engines whose dumps cannot be taken apart, and where that they
	// can is shown by another fixture.
	Lose func(testing.TB) (stream, name string)

	// KeepsHalf says that a restore that fails half-way may leave a part behind, and
	// KeepsHalfPart that one of a single object may.
	KeepsHalf, KeepsHalfPart bool
	// Slack is how many bytes at a stream's end may be lost without loss of data
	// and without notice. 0 for engines that notice everything.
	Slack int
}

// dumped is one stream with its content.
type dumped struct {
	stream   engine.Stream
	data     []byte
	contents engine.Contents
}

// dumpAll opens a session and dumps every stream into memory.
func (f Fixture) dumpAll(ctx context.Context, t *testing.T) (engine.Session, []dumped) {
	t.Helper()
	session, err := f.Engine.Open(ctx, f.Instance, f.Spec)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	streams, err := session.Streams(t.Context())
	if err != nil {
		t.Fatalf("list streams: %v", err)
	}
	if len(streams) == 0 {
		t.Fatal("no streams")
	}
	var all []dumped
	for _, s := range streams {
		p, err := session.Dump(t.Context(), s)
		if err != nil {
			t.Fatalf("dump %s: %v", s.Name, err)
		}
		var data bytes.Buffer
		inspector := session.Inspect(s)
		_, err = io.Copy(io.MultiWriter(&data, inspector), p)
		exit, waitErr := p.Wait()
		if err != nil || waitErr != nil || exit.Status != 0 {
			t.Fatalf("dump %s: read: %v, wait: %v, status %d, stderr: %s", s.Name, err, waitErr, exit.Status, exit.Stderr)
		}
		contents, err := inspector.Finish()
		if err != nil {
			t.Fatalf("inspect %s: %v\nThe dump ends in %q", s.Name, err, tailOf(data.Bytes()))
		}
		all = append(all, dumped{s, data.Bytes(), contents})
	}
	return session, all
}

func (f Fixture) open(t *testing.T) engine.Session {
	t.Helper()
	session, err := f.Engine.Open(t.Context(), f.Instance, f.Spec)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return session
}

// inspect gives the verdict on data as the content of a stream.
func inspect(session engine.Session, s engine.Stream, data []byte) error {
	inspector := session.Inspect(s)
	if n, err := inspector.Write(data); n != len(data) || err != nil {
		return errors.New("an inspector's Write failed; it must keep its verdict for Finish")
	}
	_, err := inspector.Finish()
	return err
}

func streamsOf(dumps []dumped) []engine.Stream {
	var all []engine.Stream
	for _, d := range dumps {
		all = append(all, d.stream)
	}
	return all
}

func tailOf(b []byte) []byte { return b[max(0, len(b)-200):] }

// errHalfWay is what a broken reader fails with.
var errHalfWay = errors.New("the reader failed half-way")

// halfWay reads the first half of data and then fails.
func halfWay(data []byte) io.Reader {
	return io.MultiReader(bytes.NewReader(data[:len(data)/2]), failing{})
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errHalfWay }

// bare is an instance whose image has no program at all.
type bare struct{ engine.Instance }

func (bare) Exec(_ context.Context, cmd engine.Command) (engine.Process, error) {
	return nil, missing(cmd)
}

func (bare) Helper(_ context.Context, cmd engine.Command) (engine.Process, error) {
	return nil, missing(cmd)
}

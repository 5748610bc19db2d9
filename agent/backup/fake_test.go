package backup_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/baktainer/baktainer/agent/backup"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// database is an engine, its session and its only instance in one. What is not
// implemented here is not a backup's to call.
type database struct {
	engine.Engine
	engine.Session
	streams                       []engine.Stream
	openErr, streamsErr, startErr error
	inspected                     error // what every inspector finds wrong
	inspectorErr                  error // what its Write fails with, though none should
	tool                          func(engine.Stream) *tool
	started                       []*tool
}

func (d *database) Name() string   { return "fake" }
func (d *database) Server() string { return "Fake 1.0" }

func (d *database) Blank(_ engine.Facts, s source.Spec, _ source.Secret) engine.Blank {
	return engine.Blank{Spec: s}
}

func (d *database) Open(context.Context, engine.Instance, source.Spec) (engine.Session, error) {
	return d, d.openErr
}

func (d *database) Streams(context.Context) ([]engine.Stream, error) { return d.streams, d.streamsErr }

func (d *database) Dump(_ context.Context, s engine.Stream) (engine.Process, error) {
	if d.startErr != nil {
		return nil, d.startErr
	}
	t := d.tool(s)
	d.started = append(d.started, t)
	return t, nil
}

func (d *database) Explain(e engine.Exit) *problem.Problem {
	return problem.New(problem.Failed, "the tool said: %s", e.Stderr).WithReason(engine.ReasonToolFailed)
}

func (d *database) Inspect(engine.Stream) engine.Inspector {
	return &inspector{err: d.inspected, writeErr: d.inspectorErr}
}

type inspector struct {
	bytes         int64
	err, writeErr error
}

func (i *inspector) Write(p []byte) (int, error) {
	i.bytes += int64(len(p))
	return len(p), i.writeErr
}

func (i *inspector) Finish() (engine.Contents, error) {
	return engine.Contents{Objects: []engine.Object{{Kind: "bytes", Name: "all", Rows: i.bytes}}}, i.err
}

// tool is a dump tool at work. It goes on until its output ends or it is killed.
type tool struct {
	output  io.Reader
	exit    engine.Exit
	waitErr error

	kills, waits int
}

func (t *tool) Read(p []byte) (int, error) {
	if t.kills > 0 {
		return 0, io.EOF
	}
	return t.output.Read(p)
}

func (t *tool) Wait() (engine.Exit, error) {
	t.waits++
	if t.kills > 0 && t.waitErr == nil {
		return engine.Exit{Status: 137, Stderr: "killed"}, nil
	}
	return t.exit, t.waitErr
}

func (t *tool) Kill() { t.kills++ }

// endless is output that never ends and never repeats.
func endless() io.Reader { return rand.NewChaCha8([32]byte{1}) }

// noise is n bytes that no compression makes smaller; each seed has its own.
func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// failing is a reader that gives some bytes and then fails.
func failing(data string, err error) io.Reader {
	return io.MultiReader(strings.NewReader(data), readerFunc(func([]byte) (int, error) { return 0, err }))
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// objects is a controller's store without a controller.
type objects struct {
	*mem.Store
	t      *testing.T
	putErr error // of every pack
	getErr error
	// hangs, unless it is nil, is closed by the first put; that one waits until it is given up.
	hangs  chan struct{}
	atWork atomic.Int32
}

func (o *objects) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	o.atWork.Add(1)
	defer o.atWork.Add(-1)
	if o.hangs != nil {
		close(o.hangs)
		<-ctx.Done()
		return context.Cause(ctx)
	}
	if o.putErr != nil && strings.Contains(name, "/packs/") {
		return o.putErr
	}
	if sha256.Sum256(data) != sum {
		o.t.Errorf("%s is put with a wrong hash", name)
	}
	_, err := o.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

func (o *objects) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if o.getErr != nil {
		return nil, o.getErr
	}
	return o.Store.Get(ctx, name, offset, length)
}

func (o *objects) names(prefix string) []string {
	o.t.Helper()
	var out []string
	if err := o.List(context.Background(), prefix, func(i store.Info) error {
		out = append(out, i.Name)
		return nil
	}); err != nil {
		o.t.Fatal(err)
	}
	return out
}

// report is what a run reports.
type report struct {
	phases []string
	watch  func() (raw, sent int64)
}

func (r *report) Phase(what string)             { r.phases = append(r.phases, what) }
func (r *report) Watch(f func() (int64, int64)) { r.watch = f }

var (
	errStore  = errors.New("no space left")
	errCause  = errors.New("somebody wants it to stop")
	masterKey = repo.MasterKey{7}
)

const (
	theSource = "shop/db"
	first     = "01JZ0000000000000000000001"
	second    = "01JZ0000000000000000000002"
	third     = "01JZ0000000000000000000003"
)

// run makes one backup of d and returns the log besides.
func run(ctx context.Context, t *testing.T, d *database, o *objects, snapshot string, base ...repo.Ref) (backup.Result, *report, string, error) {
	t.Helper()
	return runWork(ctx, t, backup.Work{Snapshot: snapshot, Base: base, Spec: source.Spec{Compress: source.CompressOff}}, d, o)
}

func runWork(ctx context.Context, t *testing.T, w backup.Work, d *database, o *objects) (backup.Result, *report, string, error) {
	t.Helper()
	w.Source, w.Key, w.Engine = theSource, masterKey.Source(theSource), d
	var log bytes.Buffer
	var mu sync.Mutex
	rep := &report{}
	result, err := backup.Run(ctx, w, o, rep, slog.New(slog.NewTextHandler(&locked{&mu, &log}, &slog.HandlerOptions{Level: slog.LevelDebug})))
	if n := o.atWork.Load(); n != 0 {
		t.Errorf("%d objects are still on their way", n)
	}
	for i, p := range d.started {
		if p.waits != 1 {
			t.Errorf("Wait of tool %d was called %d times", i, p.waits)
		}
	}
	return result, rep, log.String(), err
}

// kept is a cache of packs.
type kept struct {
	*mem.Store
	t *testing.T
}

func (k kept) Put(name string, data []byte) {
	if o, err := repo.ParseName(name); err != nil || o.Kind != repo.KindPack {
		return
	}
	if _, err := k.Store.Put(context.Background(), name, bytes.NewReader(data)); err != nil {
		k.t.Error(err)
	}
}

type locked struct {
	mu *sync.Mutex
	w  io.Writer
}

func (l *locked) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.w.Write(p)
}

func refOf(snapshot string, s repo.Summary) repo.Ref {
	return repo.Ref{Source: theSource, Snapshot: snapshot, Manifest: s.Manifest, Size: s.ManifestSize}
}

// stored reads a snapshot back, by stream.
func stored(t *testing.T, o *objects, ref repo.Ref) map[string][]byte {
	t.Helper()
	s, err := repo.OpenSnapshot(t.Context(), o, masterKey.Source(theSource), ref)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]byte{}
	for _, info := range s.Streams() {
		r, err := s.Open(t.Context(), info.Name)
		if err != nil {
			t.Fatal(err)
		}
		if out[info.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
		if got := info.Contents.Objects; len(got) != 1 || got[0].Rows != int64(len(out[info.Name])) {
			t.Errorf("%s: contents %+v, want what the inspector saw", info.Name, got)
		}
	}
	return out
}

// dumps is a database with these streams.
func dumps(content map[string][]byte, names ...string) *database {
	d := &database{tool: func(s engine.Stream) *tool { return &tool{output: bytes.NewReader(content[s.Name])} }}
	for _, n := range names {
		d.streams = append(d.streams, engine.Stream{Name: n, Kind: "database", Database: strings.TrimSuffix(n, ".sql"), Format: "plain"})
	}
	return d
}

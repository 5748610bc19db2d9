package agent_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// host is a provider whose containers are what a test says.
type host struct {
	name string
	news chan []provider.Container

	mu     sync.Mutex
	others []provider.Container // found by name only
	known  []provider.Container
}

func newHost(name string) *host { return &host{name: name, news: make(chan []provider.Container)} }

func (h *host) Name() string { return h.name }

func (h *host) Watch(ctx context.Context, changed func([]provider.Container)) error {
	for {
		select {
		case cs := <-h.news:
			h.mu.Lock()
			h.known = cs
			h.mu.Unlock()
			changed(cs)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (h *host) Find(_ context.Context, nameOrID string) (provider.Container, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range slices.Concat(h.known, h.others) {
		if c.ID == nameOrID || c.Name == nameOrID {
			return c, nil
		}
	}
	return provider.Container{}, problem.New(problem.NotFound, "%s has no container %s", h.name, nameOrID)
}

func (h *host) Instance(id string) engine.Instance {
	c, _ := h.Find(context.Background(), id)
	return enginetest.NewScript(c.Facts)
}

func (h *host) Health() provider.Health { return provider.Health{Healthy: true} }

// labelled is a running container that asks to be backed up as the source of that name.
func labelled(name string) provider.Container {
	return provider.Container{
		ID: "id-" + name, Name: name, Labels: map[string]string{"baktainer.backup": "true", "baktainer.name": name},
		Facts: engine.Facts{Image: "fake:1", Running: true},
	}
}

// database is an engine and its sessions; every instance holds the same.
type database struct {
	engine.Engine
	engine.Session
	name string // of the engine; its image is the same
	dump []byte

	mu       sync.Mutex
	open     func(context.Context) error // done first by Open
	start    func(context.Context) error // done first by Dump
	restored map[string]string
	opened   int
	dumps    int
	output   func(io.Reader) io.Reader // what is made of a dump
}

func (d *database) Name() string                                       { return d.name }
func (d *database) Aliases() []string                                  { return nil }
func (d *database) Detect(f engine.Facts) bool                         { return f.Image == d.name+":1" }
func (d *database) Check(source.Spec, engine.Facts) []engine.Complaint { return nil }
func (d *database) Server() string                                     { return "Fake 1.0" }
func (d *database) Inspect(engine.Stream) engine.Inspector             { return inspector{} }
func (d *database) Explain(engine.Exit) *problem.Problem {
	return problem.New(problem.Failed, "it failed")
}

func (d *database) Blank(_ engine.Facts, s source.Spec, _ source.Secret) engine.Blank {
	return engine.Blank{Spec: s}
}

func (d *database) Open(ctx context.Context, _ engine.Instance, _ source.Spec) (engine.Session, error) {
	d.mu.Lock()
	d.opened++
	open := d.open
	d.mu.Unlock()
	if open != nil {
		if err := open(ctx); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// opening makes Open do f first from now on.
func (d *database) opening(f func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.open = f
}

// starting makes Dump do f first from now on.
func (d *database) starting(f func(context.Context) error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.start = f
}

func (d *database) Streams(context.Context) ([]engine.Stream, error) {
	return []engine.Stream{{Name: "shop.sql", Kind: "database", Database: "shop", Format: "plain"}}, nil
}

func (d *database) Dump(ctx context.Context, _ engine.Stream) (engine.Process, error) {
	d.mu.Lock()
	start, output := d.start, d.output
	d.dumps++
	d.mu.Unlock()
	if start != nil {
		if err := start(ctx); err != nil {
			return nil, err
		}
	}
	if output != nil {
		return &process{output(bytes.NewReader(d.dump))}, nil
	}
	return &process{bytes.NewReader(d.dump)}, nil
}

func (d *database) Prepare(context.Context, []engine.Stream, engine.RestoreOptions) (engine.RestorePlan, error) {
	return engine.RestorePlan{Steps: []string{"Fill it."}}, nil
}

func (d *database) Restore(_ context.Context, s engine.Stream, r io.Reader, _ engine.RestoreOptions) error {
	b, err := io.ReadAll(r)
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.restored == nil {
		d.restored = map[string]string{}
	}
	d.restored[s.Name] = string(b)
	return err
}

// started is how often a dump was begun.
func (d *database) started() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.dumps
}

func (d *database) has() map[string]string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.restored
}

type process struct{ io.Reader }

func (*process) Wait() (engine.Exit, error) { return engine.Exit{}, nil }
func (*process) Kill()                      {}

type inspector struct{}

func (inspector) Write(p []byte) (int, error)      { return len(p), nil }
func (inspector) Finish() (engine.Contents, error) { return engine.Contents{}, nil }

// world is one agent between a controller and a host that do as they are told.
type world struct {
	t          *testing.T
	controller *uplinktest.Cluster
	hosts      []*host
	db, other  *database
	store      *mem.Store
	stop       func() // ends the agent and waits for it
	cancel     context.CancelFunc
}

func newWorld(t *testing.T, hosts ...*host) *world {
	t.Helper()
	return newWorldOf(t, 1, nil, hosts...)
}

// newWorldOf has so many controllers, one being one that knows of no address of
// its own, and an agent with options of the test's choice.
func newWorldOf(t *testing.T, controllers int, choose func(*agent.Options), hosts ...*host) *world {
	t.Helper()
	w := &world{t: t, hosts: hosts, store: mem.New(), db: &database{name: "fake", dump: []byte("CREATE TABLE shop;\n")}, other: &database{name: "other"}}
	if len(hosts) == 0 {
		w.hosts = []*host{newHost("docker")}
	}
	if controllers == 1 {
		w.controller = uplinktest.Start(t, w.store)
	} else {
		w.controller = uplinktest.StartCluster(t, w.store, controllers)
	}
	var providers []provider.Provider
	for _, h := range w.hosts {
		providers = append(providers, h)
	}
	o := agent.Options{
		Host: "h1", Version: "test", Controller: w.controller.Client("a1", clock.System{}), Providers: providers,
		Engines: []engine.Engine{w.db, w.other}, Concurrency: 2, Compress: source.CompressOff, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
	}
	if choose != nil {
		choose(&o)
	}
	a := agent.New(o)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	w.cancel = cancel
	w.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(w.stop)
	return w
}

// tell says what containers the first host has.
func (w *world) tell(cs ...provider.Container) { w.hosts[0].news <- cs }

// settled tells the containers and waits until the controller knows.
func (w *world) settled(cs ...provider.Container) {
	w.t.Helper()
	w.tell(cs...)
	w.controller.Await("the inventory", func(h uplinktest.Heard) bool {
		return len(h.Inventories) > 0 && len(h.Sources) == len(cs)
	})
}

const (
	snapshotID = "01JZ0000000000000000000001"
	fireTime   = "2026-06-01T12:00:00Z"
)

func keyOf(name string) repo.SourceKey { return repo.MasterKey{7}.Source(name) }

func backupOf(name, run string, epoch uint64) uplink.Assignment {
	at, _ := time.Parse(time.RFC3339, fireTime)
	return uplink.Assignment{
		Lease: uplink.Lease{Run: run, Epoch: epoch}, Source: name, Duration: time.Minute, Key: keyOf(name),
		Backup: &uplink.BackupWork{Snapshot: snapshotID, FireTime: at},
	}
}

// blocks is an opening that goes on until it is stopped; its channels tell of
// each that has begun, and why each was stopped.
func blocks() (open func(context.Context) error, begun chan struct{}, stopped chan error) {
	begun, stopped = make(chan struct{}, 10), make(chan error, 10)
	return func(ctx context.Context) error {
		begun <- struct{}{}
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return ctx.Err()
	}, begun, stopped
}

var (
	errNoAnswer = problem.New(problem.Unavailable, "no leader")
	errLost     = problem.New(problem.Unavailable, "the controller goes away")
	errBroken   = problem.New(problem.Failed, "the database is broken").WithReason(engine.ReasonNoConnection)
)

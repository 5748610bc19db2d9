package docker

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
)

// watched is what a watch has told, of containers whose name has a prefix:
// other tests' containers are on the same Engine.
type watched struct {
	mu   sync.Mutex
	list []provider.Container
	n    int
}

func watch(t *testing.T, p *Provider) *watched {
	w := &watched{}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- p.Watch(ctx, func(list []provider.Container) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.list, w.n = list, w.n+1
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Errorf("Watch ended with %v", err)
		}
	})
	return w
}

func (w *watched) find(name string) (provider.Container, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.list, func(c provider.Container) bool { return c.Name == name })
	if i < 0 {
		return provider.Container{}, false
	}
	return w.list[i], true
}

func (w *watched) running(name string) bool {
	c, found := w.find(name)
	return found && c.Facts.Running
}

var labelled = map[string]string{"baktainer.backup": "true"}

func TestWatch(t *testing.T) {
	p := newProvider(t)
	first, second, plain := uniqueName(t)+"-1", uniqueName(t)+"-2", uniqueName(t)+"-3"
	id := run(t, p, first, labelled, func(c *container.Config, h *container.HostConfig) {
		c.Env = []string{"A=b=c"}
		c.Volumes = map[string]struct{}{"/vol": {}}
	})
	run(t, p, plain, nil)
	helper := uniqueName(t) + "-h"
	run(t, p, helper, map[string]string{"baktainer.backup": "true", label.KeyHelper: "1"})
	w := watch(t, p)
	until(t, "the first container is there", func() bool { return w.running(first) })
	c, _ := w.find(first)
	if c.ID != id || c.Labels["baktainer.backup"] != "true" || c.Facts.Image != probeImage || !strings.HasPrefix(c.Facts.ImageDigest, "sha256:") ||
		c.Facts.Env["A"] != "b=c" || !slices.Equal(c.Facts.Args, []string{"/probe", "wait"}) || !slices.Equal(c.Facts.Mounts, []string{"/vol"}) {
		t.Errorf("got %+v", c)
	}
	if c, found := w.find(plain); !found || !c.Facts.Running || c.Facts.Image != probeImage || c.Facts.Env != nil {
		t.Errorf("a container without labels, of which the list tells enough: %+v", c)
	}
	if _, found := w.find(helper); found {
		t.Error("a helper is listed")
	}
	if !p.Health().Healthy {
		t.Errorf("%+v", p.Health())
	}

	run(t, p, second, labelled)
	until(t, "a new container is picked up", func() bool { return w.running(second) })
	kill(t, p, id)
	until(t, "a stop is picked up", func() bool { c, found := w.find(first); return found && !c.Facts.Running })
	if err := p.client.ContainerStart(t.Context(), id, container.StartOptions{}); err != nil {
		t.Fatal(err)
	}
	until(t, "a start is picked up", func() bool { return w.running(first) })
	if err := p.client.ContainerRename(t.Context(), id, first+"x"); err != nil {
		t.Fatal(err)
	}
	until(t, "a new name is picked up", func() bool { return w.running(first + "x") })
	// Other labels need another container under the same name, in Docker.
	if err := p.client.ContainerRemove(t.Context(), id, container.RemoveOptions{Force: true}); err != nil {
		t.Fatal(err)
	}
	until(t, "a removal is picked up", func() bool { _, found := w.find(first + "x"); return !found })
	run(t, p, first+"x", map[string]string{"baktainer.backup": "true", "baktainer.db.name": "shop"})
	until(t, "other labels are picked up", func() bool { c, _ := w.find(first + "x"); return c.Labels["baktainer.db.name"] == "shop" })

	found, err := p.Find(t.Context(), plain)
	if err != nil || found.Name != plain || !found.Facts.Running {
		t.Errorf("Find = %+v, %v", found, err)
	}
	if byID, err := p.Find(t.Context(), found.ID[:12]); err != nil || byID.ID != found.ID {
		t.Errorf("Find by id = %+v, %v", byID, err)
	}
	if _, err := p.Find(t.Context(), "no-such-container"); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("Find: %v", err)
	}
}

func TestWatchEngineAway(t *testing.T) {
	needDocker(t)
	g := newGate(t, nil)
	p := newProvider(t, func(o *Options) { o.Host = "tcp://" + g.addr })
	direct := newProvider(t)
	first, second := uniqueName(t)+"-1", uniqueName(t)+"-2"
	run(t, direct, first, labelled)
	w := watch(t, p)
	until(t, "the first container is there", func() bool { return w.running(first) })
	proc := start(t, p, first, "/probe", "drip")
	if _, err := io.CopyN(io.Discard, proc, 1<<20); err != nil {
		t.Fatal(err)
	}

	g.shut()
	until(t, "the loss is seen", func() bool { return !p.Health().Healthy })
	h := p.Health()
	if h.Detail == "" || h.Since.IsZero() {
		t.Errorf("%+v", h)
	}
	t.Log(h.Detail)
	run(t, direct, second, labelled)
	exit, err := proc.Wait()
	if problem.ReasonOf(err) != engine.ReasonStreamLost {
		t.Errorf("Wait = %+v, %v", exit, err)
	}
	if _, err := p.Find(t.Context(), first); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("Find: %v", err)
	}
	if n := count(t, direct, first, "drip"); n != "0" {
		t.Errorf("%s of the program go on after its stream was lost", n)
	}

	g.open()
	until(t, "what happened meanwhile is seen", func() bool { return w.running(second) })
	if !p.Health().Healthy {
		t.Errorf("%+v", p.Health())
	}
	third := uniqueName(t) + "-3"
	run(t, direct, third, labelled)
	until(t, "events arrive again", func() bool { return w.running(third) })
}

func TestOrphansAreRemoved(t *testing.T) {
	later := laterClock{2 * orphanAge}
	p := newProvider(t, func(o *Options) { o.Clock = later })
	direct := newProvider(t)
	orphan, alive := uniqueName(t)+"-orphan", uniqueName(t)+"-alive"
	kill(t, direct, run(t, direct, orphan, map[string]string{label.KeyHelper: "1", "test": orphan}))
	run(t, direct, alive, map[string]string{label.KeyHelper: "1"})
	p.removeOrphans(t.Context())
	if _, err := direct.Find(t.Context(), orphan); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("the orphan: %v", err)
	}
	if _, err := direct.Find(t.Context(), alive); err != nil {
		t.Errorf("one at work: %v", err)
	}
}

type laterClock struct{ by time.Duration }

func (c laterClock) Now() time.Time { return time.Now().Add(c.by) }

func TestTLSEngine(t *testing.T) {
	needDocker(t)
	ca := newAuthority(t, "engine CA")
	server := ca.issue(t, certSpec{name: "127.0.0.1"})
	pool := x509.NewCertPool()
	pool.AddCert(ca.cert)
	pair, err := tls.X509KeyPair([]byte(server.cert), []byte(server.key))
	if err != nil {
		t.Fatal(err)
	}
	g := newGate(t, &tls.Config{Certificates: []tls.Certificate{pair}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: pool})
	mine := ca.issue(t, certSpec{name: "agent"})

	for _, scheme := range []string{"tcp://", "https://"} {
		p := newProvider(t, func(o *Options) {
			o.Host = scheme + g.addr
			o.TLS = TLS{CA: ca.pem, Cert: mine.cert, Key: mine.key}
		})
		name := uniqueName(t)
		id := run(t, p, name, labelled)
		w := watch(t, p)
		until(t, "the container is there", func() bool { return w.running(name) })
		proc, err := p.Instance(id).Exec(t.Context(), engine.Command{Argv: []string{"/probe", "echo"}, Stdin: generated(20 << 20)})
		if err != nil {
			t.Fatal(err)
		}
		if got, want := sum(t, proc), sum(t, generated(20<<20)); got != want {
			t.Error("what came back is not what was fed")
		}
		if exit, err := proc.Wait(); err != nil || exit.Status != 0 {
			t.Errorf("Wait = %+v, %v", exit, err)
		}
	}

	stranger := newAuthority(t, "another CA")
	other := stranger.issue(t, certSpec{name: "agent"})
	refusals := map[string]struct {
		tls  TLS
		hint string
	}{
		"we do not know the Engine's CA": {TLS{CA: stranger.pem}, "not signed by the CA given"},
		"the Engine does not know ours":  {TLS{CA: ca.pem + stranger.pem, Cert: other.cert, Key: other.key}, ""},
		"no certificate":                 {TLS{CA: ca.pem}, ""},
	}
	for name, r := range refusals {
		p := newProvider(t, func(o *Options) { o.Host, o.TLS = "tcp://"+g.addr, r.tls })
		w := watch(t, p)
		until(t, name, func() bool {
			return strings.Contains(p.Health().Detail, "tls") || strings.Contains(p.Health().Detail, "x509")
		})
		t.Logf("%s: %s", name, p.Health().Detail)
		if !strings.Contains(p.Health().Detail, r.hint) || p.Health().Healthy || w.n != 0 {
			t.Errorf("%s: %+v", name, p.Health())
		}
	}
}

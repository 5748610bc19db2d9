// Package docker is the provider for a Docker Engine: it watches labelled
// containers over the Engine's API and runs programs in them with exec. It
// works with Engines from API version 1.41 (20.10) on.
package docker

import (
	"context"
	"io"
	"log/slog"
	"net/url"
	"sync"
	"time"

	"github.com/docker/docker/client"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
)

// DefaultHost is where a Docker Engine listens when nothing else is said.
const DefaultHost = "unix:///var/run/docker.sock"

// Options say which Docker Engine to use, and how.
type Options struct {
	// Host is a URL: unix, tcp, http or https. Empty means DefaultHost.
	Host string
	// TLS is used for tcp and https when any of its fields is set.
	TLS TLS
	// APIVersion pins the API's version ("1.41"); empty negotiates it.
	APIVersion string
	// HelperBinary opens this program's own static binary, from which the helper
	// image is made when it is first needed. nil means that there is none. The
	// program must carry out "helper kill-exec MARK" with mark.Main.
	HelperBinary func() (io.ReadCloser, error)
	// Owner tells this provider's throwaway containers from those of others on the
	// same Engine, from one start of this program to the next. Without blanks.
	Owner string
	// Only are labels, KEY or KEY=VALUE, without all of which a container is not
	// among those that Watch reports.
	Only []string
	// Clock and Logger may be nil: the system's clock, and no logs.
	Clock  clock.Clock
	Logger *slog.Logger
}

// TLS holds the certificates for talking to a Docker Engine, each either the
// path of a PEM file or the PEM itself.
type TLS struct {
	CA, Cert, Key string
}

// Provider is a provider.Provider over one Docker Engine.
type Provider struct {
	client   *client.Client
	base     *url.URL // of the API, without its version
	helper   helperImage
	clock    clock.Clock
	log      *slog.Logger
	proc     string // where this process sees processes
	patience patience
	owner    string
	only     []string
	began    time.Time

	mu     sync.Mutex
	health provider.Health
	known  map[string]provider.Container // by id, as last seen
	images map[string]string             // digest by image id
	rooms  map[string]bool               // ids of throwaway containers in use
}

var _ provider.Provider = (*Provider)(nil)

// New checks the options, all of them at once, and does not connect yet.
func New(o Options) (*Provider, error) {
	if o.Clock == nil {
		o.Clock = clock.System{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	c, base, err := connect(o)
	if err != nil {
		return nil, err
	}
	p := &Provider{
		client: c, base: base, clock: o.Clock, log: o.Logger, proc: "/proc", patience: usualPatience,
		health: provider.Health{Detail: "not connected yet", Since: o.Clock.Now()},
		known:  map[string]provider.Container{},
		images: map[string]string{}, rooms: map[string]bool{}, owner: o.Owner, only: o.Only, began: o.Clock.Now(),
	}
	p.helper = helperImage{client: c, open: o.HelperBinary}
	return p, nil
}

// Name implements provider.Provider.
func (p *Provider) Name() string { return "docker" }

// Health implements provider.Provider.
func (p *Provider) Health() provider.Health {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.health
}

// Instance implements provider.Provider.
func (p *Provider) Instance(id string) engine.Instance { return &instance{p: p, id: id} }

// Find implements provider.Provider.
func (p *Provider) Find(ctx context.Context, nameOrID string) (provider.Container, error) {
	c, err := p.inspect(ctx, nameOrID)
	if err != nil {
		return provider.Container{}, failure(err, "look for container %q", nameOrID)
	}
	p.mu.Lock()
	p.known[c.ID] = c
	p.mu.Unlock()
	return c, nil
}

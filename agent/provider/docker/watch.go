package docker

import (
	"cmp"
	"context"
	"io"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/events"
	"github.com/docker/docker/api/types/filters"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	quiet     = 200 * time.Millisecond // without events, before the containers are listed anew
	impatient = 2 * time.Second        // of events without such quiet
	resync    = 3 * time.Minute        // whatever the events say
	orphanAge = time.Minute

	// With the randomness of half of it either way, no wait is above 30 s.
	firstWait, longestWait = 500 * time.Millisecond, 20 * time.Second
)

// interesting are the events after which the list of containers may differ.
// Execs, health checks and pauses are many, and change nothing of ours.
var interesting = []events.Action{
	events.ActionCreate, events.ActionStart, events.ActionDie, events.ActionStop, events.ActionDestroy, events.ActionRename, events.ActionUpdate,
}

// Watch implements provider.Provider.
func (p *Provider) Watch(ctx context.Context, changed func([]provider.Container)) error {
	w := &watcher{p: p, changed: changed}
	waits := backoff.NewExponentialBackOff()
	waits.InitialInterval, waits.MaxInterval = firstWait, longestWait
	for {
		err := w.follow(ctx, waits.Reset)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		p.unhealthy(err)
		if err := clock.Sleep(ctx, waits.NextBackOff()); err != nil {
			return err
		}
	}
}

type watcher struct {
	p       *Provider
	changed func([]provider.Container)
	known   bool
	last    []provider.Container
}

// follow lists the containers and then listens for what changes, until
// something fails. connected is called each time that the Engine has answered.
func (w *watcher) follow(ctx context.Context, connected func()) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// First listen, then list: what happens in between is not missed.
	args := filters.NewArgs(filters.Arg("type", string(events.ContainerEventType)))
	for _, a := range interesting {
		args.Add("event", string(a))
	}
	messages, failed, err := w.listen(ctx, args)
	if err != nil {
		return err
	}
	if err := w.sync(ctx); err != nil {
		return err
	}
	w.p.removeOrphans(ctx)
	w.p.removeRooms(ctx)
	connected()

	const never = time.Duration(1<<63 - 1)
	due, late, again := time.NewTimer(never), time.NewTimer(never), time.NewTicker(resync)
	defer due.Stop()
	defer late.Stop()
	defer again.Stop()
	pending := false
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case err := <-failed:
			return problem.Wrap(problem.Unavailable, cmp.Or(err, io.EOF), "the Docker Engine's stream of events was lost")
		case <-messages:
			due.Reset(quiet)
			if !pending {
				late.Reset(impatient)
			}
			pending = true
			continue
		case <-due.C:
		case <-late.C:
		case <-again.C:
			w.p.removeRooms(ctx)
		}
		due.Reset(never)
		late.Reset(never)
		pending = false
		if err := w.sync(ctx); err != nil {
			return err
		}
		connected()
	}
}

// listen subscribes to events and returns when the Engine has agreed. One that
// accepts the connection and then says nothing does not hold us up for ever.
func (w *watcher) listen(ctx context.Context, args filters.Args) (<-chan events.Message, <-chan error, error) {
	type stream struct {
		messages <-chan events.Message
		failed   <-chan error
	}
	agreed := make(chan stream, 1)
	go func() {
		messages, failed := w.p.client.Events(ctx, events.ListOptions{Filters: args})
		agreed <- stream{messages, failed}
	}()
	patience := time.NewTimer(callPatience)
	defer patience.Stop()
	select {
	case s := <-agreed:
		return s.messages, s.failed, nil
	case <-patience.C:
		return nil, nil, problem.New(problem.Unavailable, "ask for events: the Docker Engine does not answer")
	case <-ctx.Done():
		return nil, nil, ctx.Err()
	}
}

// sync lists the containers and reports them when they are not as before.
func (w *watcher) sync(ctx context.Context) error {
	found, err := w.p.list(ctx)
	if err != nil {
		return err
	}
	w.p.healthy(found)
	if !w.known || !reflect.DeepEqual(found, w.last) {
		w.known, w.last = true, found
		w.changed(slices.Clone(found))
	}
	return nil
}

// list gives every container, by name, and reads those whose labels may be meant
// for us.
func (p *Provider) list(ctx context.Context) ([]provider.Container, error) {
	listing, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	all, err := p.client.ContainerList(listing, container.ListOptions{All: true})
	if err != nil {
		return nil, failure(err, "list containers")
	}
	var found []provider.Container
	for _, summary := range all {
		summary.Labels = label.Of(summary.Labels, nameOf(summary))
		if _, ours := summary.Labels[label.KeyHelper]; ours || !carries(summary.Labels, p.only) {
			continue
		}
		if !label.Concerns(summary.Labels) {
			found = append(found, fromSummary(summary))
			continue
		}
		one, cancel := context.WithTimeout(ctx, callPatience)
		c, err := p.inspect(one, summary.ID)
		cancel()
		if errdefs.IsNotFound(err) {
			continue // gone meanwhile
		}
		if errdefs.IsPermissionDenied(err) {
			// A socket proxy shows only what was given to us. That one container is
			// hidden must not hide the others.
			c, err = fromSummary(summary), nil
		}
		if err != nil {
			return nil, failure(err, "inspect container %s", strings.TrimPrefix(strings.Join(summary.Names, ","), "/"))
		}
		found = append(found, c)
	}
	slices.SortFunc(found, func(a, b provider.Container) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID))
	})
	return found, nil
}

// carries says whether all of the wanted labels, KEY or KEY=VALUE, are there.
func carries(labels map[string]string, wanted []string) bool {
	for _, w := range wanted {
		key, value, exact := strings.Cut(w, "=")
		if got, there := labels[key]; !there || exact && got != value {
			return false
		}
	}
	return true
}

// fromSummary is what the list alone tells of a container.
func fromSummary(s container.Summary) provider.Container {
	return provider.Container{ID: s.ID, Name: nameOf(s), Labels: s.Labels, Facts: engine.Facts{Image: s.Image, Running: s.State == "running"}}
}

func nameOf(s container.Summary) string {
	if len(s.Names) == 0 {
		return ""
	}
	return strings.TrimPrefix(s.Names[0], "/")
}

func (p *Provider) healthy(found []provider.Container) {
	p.mu.Lock()
	defer p.mu.Unlock()
	clear(p.known)
	for _, c := range found {
		if label.Concerns(c.Labels) {
			p.known[c.ID] = c
		}
	}
	if !p.health.Healthy {
		p.health = provider.Health{Healthy: true, Since: p.clock.Now()}
		p.log.Info("connected to the Docker Engine", "containers", len(found))
	}
}

func (p *Provider) unhealthy(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	detail := strings.Join(strings.Fields(problem.Text(err)), " ") // one line, for tables
	if p.health.Healthy || detail != p.health.Detail {
		p.log.Warn("the Docker Engine cannot be reached; trying again", "error", err)
	}
	since := p.health.Since
	if p.health.Healthy {
		since = p.clock.Now()
	}
	p.health = provider.Health{Detail: detail, Since: since}
}

// removeOrphans removes helper containers that a crash of ours left behind.
func (p *Provider) removeOrphans(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	args := filters.NewArgs(filters.Arg("label", label.KeyHelper), filters.Arg("status", "exited"), filters.Arg("status", "created"), filters.Arg("status", "dead"))
	orphans, err := p.client.ContainerList(ctx, container.ListOptions{All: true, Filters: args})
	if err != nil {
		p.log.Warn("could not look for left-over helper containers", "error", err)
		return
	}
	for _, o := range orphans {
		if _, _, room := roomMark(o); room || p.clock.Now().Sub(time.Unix(o.Created, 0)) < orphanAge {
			continue
		}
		(&helper{p: p, id: o.ID}).close(ctx)
	}
}

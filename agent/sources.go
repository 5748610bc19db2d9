package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/baktainer/baktainer/agent/inventory"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// sources is what the providers found last, as sources.
type sources struct {
	engines   []engine.Engine
	providers []provider.Provider

	mu      sync.Mutex
	found   map[provider.Provider][]provider.Container
	all     []inventory.Source
	known   bool          // every provider has reported once
	changed chan struct{} // closed and replaced at each update
}

func newSources(ps []provider.Provider, es []engine.Engine) *sources {
	return &sources{engines: es, providers: ps, found: map[provider.Provider][]provider.Container{}, changed: make(chan struct{})}
}

func (s *sources) update(p provider.Provider, cs []provider.Container) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.found[p] = cs
	var all []provider.Container
	for _, q := range s.providers {
		all = append(all, s.found[q]...)
	}
	s.all = inventory.Resolve(all, s.engines)
	s.known = len(s.found) == len(s.providers)
	close(s.changed)
	s.changed = make(chan struct{})
}

// list gives all sources, whether they are known yet (before that, silence says
// nothing about what is gone), and a channel that closes when there is news.
func (s *sources) list() (all []inventory.Source, known bool, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.all), s.known, s.changed
}

// place is where a run does its work.
type place struct {
	engine    engine.Engine
	spec      source.Spec
	instance  engine.Instance
	container provider.Container
}

// bySource finds the container that a source runs in at present.
func (s *sources) bySource(name string) (place, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range s.all {
		if src.Name != name {
			continue
		}
		if err := usable(src); err != nil {
			return place{}, err
		}
		for p, cs := range s.found {
			if slices.ContainsFunc(cs, func(c provider.Container) bool { return c.ID == src.Container.ID }) {
				return placeOf(src, p), nil
			}
		}
	}
	return place{}, problem.New(problem.Unavailable, "no container of this source is on this host").
		WithReason(engine.ReasonNotRunning).WithHint("Start its container, or remove the source's label if it is gone for good.")
}

// byContainer finds a container by its name or id, labelled or not.
func (s *sources) byContainer(ctx context.Context, nameOrID string) (place, error) {
	var failures []error
	for _, p := range s.providers {
		c, err := p.Find(ctx, nameOrID)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		// It is read as if it carried the label: the same detection serves both.
		c.Labels = maps.Clone(c.Labels)
		if c.Labels == nil {
			c.Labels = map[string]string{}
		}
		c.Labels["baktainer.backup"] = "true"
		resolved := inventory.Resolve([]provider.Container{c}, s.engines)
		if len(resolved) != 1 {
			return place{}, problem.New(problem.InvalidInput, "container %s cannot be a target", nameOrID)
		}
		if err := usable(resolved[0]); err != nil {
			return place{}, err
		}
		return placeOf(resolved[0], p), nil
	}
	if len(failures) == 0 {
		return place{}, problem.New(problem.NotFound, "there is nothing to find container %s with", nameOrID)
	}
	return place{}, errors.Join(failures...)
}

func placeOf(src inventory.Source, p provider.Provider) place {
	return place{engine: src.Engine, spec: src.Spec, instance: p.Instance(src.Container.ID), container: src.Container}
}

// usable says why a source cannot be worked with, nil when it can.
func usable(src inventory.Source) error {
	switch src.State {
	case inventory.Ready:
		return nil
	case inventory.Stopped:
		return problem.New(problem.Unavailable, "container %s is not running", src.Container.Name).
			WithReason(engine.ReasonNotRunning).WithHint("Start it and try again.")
	}
	p := problem.New(problem.InvalidInput, "the labels of container %s are not valid", src.Container.Name)
	for _, lp := range src.Problems {
		if !lp.Warning {
			p.WithDetails(fmt.Sprintf("%s=%q: %s", lp.Label, lp.Value, lp.Reason))
		}
	}
	return p
}

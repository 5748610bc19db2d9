package agent

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/baktainer/baktainer/agent/around"
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
	all     inventory.Inventory
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
	s.all = inventory.Inventory{Sources: inventory.Resolve(all, s.engines), Unlabelled: inventory.FindUnlabelled(all, s.engines)}
	s.known = len(s.found) == len(s.providers)
	close(s.changed)
	s.changed = make(chan struct{})
}

// list gives what is there, whether it is known yet (before that, silence says
// nothing about what is gone), and a channel that closes when there is news.
func (s *sources) list() (all inventory.Inventory, known bool, news <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all, s.known, s.changed // a new one is made at each update
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
	for _, src := range s.all.Sources {
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

// about gives what the labels of a source and its container tell, whether that
// runs or not; the engine is nil when there is no such source, or when something
// is wrong with its labels.
func (s *sources) about(name string) (engine.Engine, source.Spec, engine.Facts) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, src := range s.all.Sources {
		if src.Name == name && src.State != inventory.Invalid {
			return src.Engine, src.Spec, src.Container.Facts
		}
	}
	return nil, source.Spec{}, engine.Facts{}
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

// companions are the containers on this host that take part in the backups of a
// source, by name. One with wrong labels is an error: what it would have had done
// may be what the backup depends on.
func (s *sources) companions(of string) ([]around.Companion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []around.Companion
	var wrong []string
	for p, cs := range s.found {
		for _, c := range inventory.Companions(cs, s.engines) {
			if slices.Contains(c.Spec.Companion.Of, of) {
				for _, problem := range c.Problems {
					if !problem.Warning && c.Container.Facts.Running {
						wrong = append(wrong, c.Container.Name+": "+problem.String())
					}
				}
				list = append(list, around.Companion{
					Place: around.Place{Name: c.Container.Name, Instance: p.Instance(c.Container.ID), Hooks: c.Spec.Hooks},
					ID:    c.Container.ID, Action: c.Spec.Companion.Action, Resting: !c.Container.Facts.Running,
				})
			}
		}
	}
	if len(wrong) > 0 {
		slices.Sort(wrong)
		return nil, problem.New(problem.InvalidInput, "the labels of what belongs to it are not valid").WithReason(around.ReasonCompanion).WithDetails(wrong...)
	}
	slices.SortFunc(list, func(a, b around.Companion) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.ID, b.ID)) })
	return list, nil
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

// Package inventory makes sources out of containers: it joins what a provider
// found with what the labels ask for and what the engines recognise. It is
// pure: the same containers always give the same sources, with reasons.
package inventory

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/source"
)

// State says whether a source can be backed up.
type State string

// The states.
const (
	Ready   State = "ready"   // it can be backed up now
	Stopped State = "stopped" // it could be, were its container running
	Invalid State = "invalid" // something is wrong with it; Problems says what
)

// Source is a container that asks to be backed up.
type Source struct {
	// Name identifies the source. Invalid ones may share a name.
	Name      string
	State     State
	Container provider.Container
	// Engine is nil when none could be told.
	Engine engine.Engine
	// Spec is complete, with Name and Engine filled in, unless State is Invalid.
	Spec source.Spec
	// Problems are errors (then State is Invalid) and warnings.
	Problems []label.Problem
}

// Inventory is what there is on a host.
type Inventory struct {
	Sources    []Source
	Unlabelled []Unlabelled
}

const (
	labelName   = label.Prefix + "name"
	labelEngine = label.Prefix + "db.engine"
)

// Resolve makes sources of the containers that ask to be backed up, sorted by
// name. Running containers that claim one name are all invalid; a stopped one
// gives way to a running one.
func Resolve(containers []provider.Container, engines []engine.Engine) []Source {
	schema := schemaOf(engines)
	var sources []Source
	for _, c := range containers {
		if passing(c.Labels) {
			continue
		}
		if s, asks := resolve(c, schema, engines); asks {
			sources = append(sources, s)
		}
	}
	slices.SortFunc(sources, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Container.Name, b.Container.Name), cmp.Compare(a.Container.ID, b.Container.ID))
	})
	sources = leaveOutReplaced(sources)
	refuseClashes(sources)
	for i := range sources {
		sources[i].State = state(sources[i])
	}
	return sources
}

// schemaOf is what labels are checked against when there are these engines.
func schemaOf(engines []engine.Engine) label.Schema {
	schema := label.Schema{Engines: map[string]string{}}
	for _, e := range engines {
		schema.Engines[e.Name()] = e.Name()
		for _, alias := range e.Aliases() {
			schema.Engines[alias] = e.Name()
		}
	}
	return schema
}

// Companion is a container that takes part in the backups of sources: it runs, or
// may have been stopped for one.
type Companion struct {
	Container provider.Container
	Spec      source.Spec
	Problems  []label.Problem
}

// Companions are those among the containers, in the order of the containers. One
// whose labels are wrong is among them, with its problems, and with what of them
// can be read.
func Companions(containers []provider.Container, engines []engine.Engine) []Companion {
	schema := schemaOf(engines)
	var list []Companion
	for _, c := range containers {
		if _, is := c.Labels[label.KeyCompanion]; !is || passing(c.Labels) {
			continue
		}
		spec, _, problems := schema.Parse(c.Labels)
		if !c.Facts.Running && spec.Companion.Action != source.ActionStop {
			continue
		}
		list = append(list, Companion{Container: c, Spec: spec, Problems: problems})
	}
	return list
}

// Unlabelled is a database that runs and that nobody has labelled.
type Unlabelled struct {
	Container provider.Container
	// Engine is the name of the one that recognises it.
	Engine string
}

// FindUnlabelled are those among the containers, in their order. One that carries
// any label of ours is none of them: somebody has thought about it.
func FindUnlabelled(containers []provider.Container, engines []engine.Engine) []Unlabelled {
	var list []Unlabelled
	for _, c := range containers {
		if label.Concerns(c.Labels) || passing(c.Labels) || !c.Facts.Running {
			continue
		}
		if i := slices.IndexFunc(engines, func(e engine.Engine) bool { return e.Detect(c.Facts) }); i >= 0 {
			list = append(list, Unlabelled{Container: c, Engine: engines[i].Name()})
		}
	}
	return list
}

// passing says whether a container carries a source's labels without being
// one: our own helpers, and the one-off containers of "docker compose run",
// which copy the labels of their service.
func passing(labels map[string]string) bool {
	_, helper := labels[label.KeyHelper]
	return helper || strings.EqualFold(labels["com.docker.compose.oneoff"], "true")
}

func resolve(c provider.Container, schema label.Schema, engines []engine.Engine) (_ Source, asks bool) {
	spec, asks, problems := schema.Parse(c.Labels)
	if !asks {
		return Source{}, false
	}
	s := Source{Container: c, Spec: spec, Problems: problems}
	s.name()
	s.engine(engines)
	if s.Engine != nil {
		s.Spec.Engine = s.Engine.Name()
		for _, complaint := range engine.Check(s.Engine, s.Spec, c.Facts) {
			s.complain(complaint)
		}
	}
	return s, true
}

// name gives the source its name; one that cannot be used is a problem, and
// the container's own name stands in, so that the problem can be shown somewhere.
func (s *Source) name() {
	s.Name = source.Name(s.Spec.Name, s.Container.Labels, s.Container.Name)
	if err := source.CheckName(s.Name); err != nil {
		s.Problems = append(s.Problems, label.Problem{
			Label: labelName, Value: label.Shown(labelName, s.Name),
			Reason:     fmt.Sprintf("the name that follows from the container cannot be used: %v", err),
			Suggestion: "set baktainer.name",
		})
		s.Name = strings.TrimPrefix(s.Container.Name, "/")
	}
	s.Spec.Name = s.Name
}

// engine picks the engine that the label names, else the only one that
// recognises the container.
func (s *Source) engine(engines []engine.Engine) {
	if _, named := s.Container.Labels[labelEngine]; named {
		// A name that is not known is a problem already.
		i := slices.IndexFunc(engines, func(e engine.Engine) bool { return e.Name() == s.Spec.Engine })
		if i >= 0 {
			s.Engine = engines[i]
		}
		return
	}
	var fits, names []string
	for _, e := range engines {
		names = append(names, e.Name())
		if e.Detect(s.Container.Facts) {
			fits = append(fits, e.Name())
			s.Engine = e
		}
	}
	problem := label.Problem{Label: labelEngine}
	switch len(fits) {
	case 1:
		return
	case 0:
		problem.Reason = fmt.Sprintf("no engine recognises the image %q", s.Container.Facts.Image)
		problem.Suggestion = "set it to one of " + strings.Join(names, ", ")
	default:
		s.Engine = nil
		problem.Reason = fmt.Sprintf("more than one engine recognises the image %q", s.Container.Facts.Image)
		problem.Suggestion = "set it to one of " + strings.Join(fits, ", ")
	}
	s.Problems = append(s.Problems, problem)
}

// complain adds an engine's complaint, unless the label at fault is known to be
// wrong already: two problems with one cause confuse.
func (s *Source) complain(c engine.Complaint) {
	for _, p := range s.Problems {
		if p.Label == c.Label && !p.Warning {
			return
		}
	}
	p := label.Problem{Label: c.Label, Reason: c.Reason, Suggestion: c.Suggestion}
	if raw, given := s.Container.Labels[c.Label]; given {
		p.Value = label.Shown(c.Label, raw)
	}
	s.Problems = append(s.Problems, p)
}

// leaveOutReplaced drops stopped containers whose name another one claims: what
// is left of a container that was replaced, as Swarm keeps its old tasks. Only of
// a source with no running container is one that is stopped shown.
func leaveOutReplaced(sorted []Source) []Source {
	running := map[string]bool{}
	for _, s := range sorted {
		if s.Container.Facts.Running {
			running[s.Name] = true
		}
	}
	shown := map[string]bool{}
	return slices.DeleteFunc(sorted, func(s Source) bool {
		if s.Container.Facts.Running {
			return false
		}
		replaced := running[s.Name] || shown[s.Name]
		shown[s.Name] = true
		return replaced
	})
}

// refuseClashes makes sources with one name invalid: which of them a backup or
// a restore would mean must not depend on luck.
func refuseClashes(sorted []Source) {
	for i := 0; i < len(sorted); {
		j := i + 1
		for j < len(sorted) && sorted[j].Name == sorted[i].Name {
			j++
		}
		for k := i; j-i > 1 && k < j; k++ {
			var others []string
			for o := i; o < j; o++ {
				if o != k {
					others = append(others, strings.TrimPrefix(sorted[o].Container.Name, "/"))
				}
			}
			sorted[k].Problems = append(sorted[k].Problems, label.Problem{
				Label: labelName, Value: label.Shown(labelName, sorted[k].Name),
				Reason:     "the name is also claimed by container " + listed(others),
				Suggestion: "give each its own baktainer.name, or remove the containers that are no longer needed",
			})
		}
		i = j
	}
}

// listed joins at most three names.
func listed(names []string) string {
	if len(names) > 3 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:3], ", "), len(names)-3)
	}
	return strings.Join(names, ", ")
}

func state(s Source) State {
	switch {
	case slices.ContainsFunc(s.Problems, func(p label.Problem) bool { return !p.Warning }):
		return Invalid
	case !s.Container.Facts.Running:
		return Stopped
	}
	return Ready
}

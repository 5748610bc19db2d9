// Package plugin is the engine for what a program beside the agent knows: an
// executable baktainer-engine-NAME in a folder that the operator names. It is asked
// what to dump, whether a dump is whole, and how to restore it, and answers in JSON;
// docs/plugins.md is the protocol. What is to run in the container it only names:
// the agent runs it, so that a plugin works wherever the agent does.
//
// One question is one process. What is asked stands in its environment, so that
// its stdin is free for bytes (a dump that is to be checked, the output of what it
// wanted to look at), and its stdout for the answer: a shell script needs no more.
// Nothing that it says is believed unchecked, and nothing that it does takes
// another engine with it.
package plugin

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// prefix makes a file in the folder a plugin.
const prefix = "baktainer-engine-"

// labelEngine is the label that names a plugin.
const labelEngine = "baktainer.db.engine"

var namePattern = regexp.MustCompile(`^[a-z][a-z0-9-]{0,31}$`)

// The bounds of time. Only tests have others.
type limits struct {
	// answer is how long a plugin may think.
	answer time.Duration
	// stall is how long it may leave a dump unread, and verdict how long it may
	// think after the last byte of one.
	stall, verdict time.Duration
}

var usual = limits{answer: 30 * time.Second, stall: 2 * time.Minute, verdict: 10 * time.Minute}

// Find asks every plugin in the folder what it is. The error is one of the folder.
// A plugin that cannot be used is among the engines all the same, and says why to
// the sources that want it; its fault is among those returned, for the log. One
// whose name means another engine already is left out.
func Find(ctx context.Context, dir string, known []engine.Engine) (found []engine.Engine, faults []error, err error) {
	return find(ctx, dir, known, usual)
}

func find(ctx context.Context, dir string, known []engine.Engine, l limits) (found []engine.Engine, faults []error, err error) {
	dir, err = checkFolder(dir)
	if err != nil {
		return nil, nil, problem.Wrap(problem.InvalidInput, err, "look for engine plugins").WithReason("bad-settings").
			WithHint("The setting engine-plugins names a folder that is there and that only root, or the user that the agent runs as, can write to.")
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, problem.Wrap(problem.InvalidInput, err, "look for engine plugins").WithReason("bad-settings")
	}
	taken := map[string]bool{}
	for _, e := range known {
		for _, name := range append(e.Aliases(), e.Name()) {
			taken[name] = true
		}
	}
	for _, entry := range entries {
		name, is := strings.CutPrefix(entry.Name(), prefix)
		if !is {
			continue
		}
		p := program{path: filepath.Join(dir, entry.Name()), limits: l}
		switch {
		case !namePattern.MatchString(name):
			faults = append(faults, fmt.Errorf("%s: %q is no name for an engine: small letters, digits and -, 32 at most, a letter first", p.path, name))
			continue
		case taken[name]:
			faults = append(faults, fmt.Errorf("%s: the name %s is that of another engine already", p.path, name))
			continue
		}
		e := &pluginEngine{name: name, program: p, known: known}
		if e.says, err = p.describe(ctx, taken); err != nil {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			e.fault = err
			faults = append(faults, fmt.Errorf("the engine %s cannot be used: %w", name, err))
		}
		taken[name] = true
		for _, alias := range e.says.Aliases {
			taken[alias] = true
		}
		found = append(found, e)
	}
	return found, faults, nil
}

// describe asks the plugin what it is.
func (p program) describe(ctx context.Context, taken map[string]bool) (description, error) {
	data, err := p.ask(ctx, question{verb: "describe"})
	if err != nil {
		return description{}, err
	}
	d, err := parseDescription(data)
	if err != nil {
		return description{}, p.wrong("describe", err)
	}
	for _, alias := range d.Aliases {
		if taken[alias] {
			return description{}, p.wrong("describe", complaints{fmt.Sprintf("aliases: %q means another engine already", alias)})
		}
	}
	return d, nil
}

// pluginEngine is one plugin.
type pluginEngine struct {
	name    string
	program program
	says    description
	// fault says why it cannot be used, if so.
	fault error
	// known are the engines that come first.
	known []engine.Engine
}

func (e *pluginEngine) Name() string      { return e.name }
func (e *pluginEngine) Aliases() []string { return e.says.Aliases }

// Detect goes by the image's name. What an engine of our own recognises stays with
// that: a plugin that is put into the folder takes no source away from anyone.
func (e *pluginEngine) Detect(f engine.Facts) bool {
	whole, last := engine.ImagePath(f.Image)
	fits := func(pattern string) bool {
		name := last
		if strings.Contains(pattern, "/") {
			name = whole
		}
		ok, err := path.Match(pattern, name)
		return ok && err == nil
	}
	return slices.ContainsFunc(e.says.Images, fits) &&
		!slices.ContainsFunc(e.known, func(k engine.Engine) bool { return k.Detect(f) })
}

func (e *pluginEngine) Check(_ source.Spec, f engine.Facts) []engine.Complaint {
	if e.fault != nil {
		text := strings.Join(strings.Fields(problem.Text(e.fault)), " ")
		return []engine.Complaint{{
			Label: labelEngine, Reason: "the plugin cannot be used: " + text,
			Suggestion: "put it right and start the agent anew",
		}}
	}
	if slices.ContainsFunc(f.Mounts, func(m string) bool { return strings.Contains(m, "\n") }) {
		return []engine.Complaint{{
			Label: labelEngine, Reason: "the path of a volume holds a line break, and plugins are told one a line",
			Suggestion: "mount the volume elsewhere",
		}}
	}
	return nil
}

// Blank is like the source's container, with what the plugin says in addition.
func (e *pluginEngine) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	vars := e.says.variables()
	b := engine.Like(f, spec, vars, secret)
	if spec.Password+source.Secret(spec.PasswordFile+spec.PasswordEnv) != "" {
		// The password of the labels is none of the blank instance's.
		b.Spec.Password = secret
		if len(vars.Password) > 0 {
			b.Env[vars.Password[0]] = secret.Reveal()
		}
	}
	for name, value := range e.says.Blank.Env {
		b.Env[name] = value
	}
	if len(e.says.Blank.Args) > 0 {
		b.Args, b.Notes = e.says.Blank.Args, nil // the note is on the source's
	}
	b.Volumes = e.says.Blank.Volumes
	return b
}

func (e *pluginEngine) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	if e.fault != nil {
		return nil, fmt.Errorf("use the plugin: %w", e.fault)
	}
	for _, c := range e.Check(spec, inst.Facts()) {
		return nil, problem.New(problem.InvalidInput, "%s: %s", c.Label, c.Reason).WithReason(engine.ReasonUnsupported).WithHint("%s", c.Suggestion)
	}
	credentials, err := engine.ResolveCredentials(ctx, inst, spec, e.says.variables())
	if err != nil {
		return nil, err
	}
	s := &session{
		ctx: ctx, engine: e, inst: inst, spec: spec, credentials: credentials,
		dumps: map[string]command{}, restores: map[string]answer{}, server: "the plugin " + e.name,
	}
	if e.says.answers("ask") {
		return asking{s}, nil
	}
	return s, nil
}

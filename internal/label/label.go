// Package label turns a container's labels into a source.Spec. One schema, in
// schema.go, says which labels there are; parsing, checking, suggestions and the
// table in docs/labels.md all follow from it.
package label

import (
	"fmt"
	"maps"
	"slices"

	"github.com/baktainer/baktainer/internal/source"
)

// Prefix is what every label of ours begins with.
const Prefix = "baktainer."

// MaxProblems bounds what Parse lists for one container.
const MaxProblems = 64

// Problem is one thing that is wrong, or worth knowing, about a label.
type Problem struct {
	// Label is the full key: "baktainer.db.engine".
	Label string
	// Value is the offending value, safe to show: shortened, control characters
	// escaped, and "[hidden]" for a secret.
	Value string
	// Reason says what is wrong, Suggestion what to do instead (may be empty).
	Reason, Suggestion string
	// Warning: the source can be backed up nevertheless.
	Warning bool
}

// String is the problem on one line.
func (p Problem) String() string {
	s := p.Label
	if p.Value != "" {
		s += "=" + p.Value
	}
	s += ": " + p.Reason
	if p.Suggestion != "" {
		s += "; " + p.Suggestion
	}
	return s
}

// Schema is what the labels are checked against.
type Schema struct {
	// Engines maps each engine's name and aliases to its canonical name.
	Engines map[string]string
}

// Parse reads the labels of one container. enabled says whether the container
// asks to be backed up, be it with a mistake in the asking. problems lists
// everything that is wrong at once: known labels in the schema's order, then
// unknown ones. The spec is complete only when no problem is an error; a label
// that is refused leaves its field empty.
func (s Schema) Parse(labels map[string]string) (spec source.Spec, enabled bool, problems []Problem) {
	for _, l := range schema {
		raw, given := labels[l.Key]
		if !given || l.put != nil {
			continue
		}
		v, f := s.check(l, raw)
		if f != nil {
			problems = append(problems, Problem{
				Label: l.Key, Value: Shown(l.Key, raw),
				Reason: f.reason, Suggestion: f.suggestion, Warning: f.warning || l.NoEffect != "",
			})
		}
		if l.NoEffect != "" {
			problems = append(problems, Problem{
				Label: l.Key, Value: Shown(l.Key, raw),
				Reason: "it has no effect", Suggestion: l.NoEffect, Warning: true,
			})
			continue
		}
		if l.Key == keyBackup {
			// A value that cannot be read is more likely a slip than a no.
			enabled = f != nil || v.yes
		}
		if f == nil || f.warning {
			l.set(&spec, v)
		}
	}
	var wrong []Problem
	spec.Schedules, wrong = s.schedules(labels)
	problems = append(problems, wrong...)
	spec.Drill.Assertions, wrong = s.assertions(labels)
	problems = append(problems, wrong...)
	unknown, asks := s.unknown(labels)
	problems = append(problems, together(labels, spec)...)
	problems = append(problems, unknown...)
	_, said := labels[keyBackup]
	enabled = enabled || (asks && !said)
	return spec, enabled, bounded(problems)
}

func bounded(problems []Problem) []Problem {
	if len(problems) <= MaxProblems {
		return problems
	}
	rest := problems[MaxProblems-1:]
	harmless := !slices.ContainsFunc(rest, func(p Problem) bool { return !p.Warning })
	return append(problems[:MaxProblems-1:MaxProblems-1], Problem{
		Label: Prefix + "*", Reason: fmt.Sprintf("there are %d more problems", len(rest)), Warning: harmless,
	})
}

// Concerns says whether any of the labels may be meant for Baktainer.
func Concerns(labels map[string]string) bool {
	for key := range labels {
		if ours(key) || near(key, keyBackup) {
			return true
		}
	}
	return false
}

// Asks says whether a container's owner gave it to Baktainer: whether
// baktainer.backup is set and true.
func Asks(labels map[string]string) bool {
	v, f := checkBool(labels[keyBackup])
	return f == nil && v.yes
}

// together checks labels that are right each by itself.
func together(labels map[string]string, spec source.Spec) []Problem {
	var ps []Problem
	var passwords []string
	for _, key := range []string{keyPassword, keyPasswordFile, keyPasswordEnv} {
		if _, given := labels[key]; given {
			passwords = append(passwords, key)
		}
	}
	for _, key := range passwords[min(1, len(passwords)):] {
		ps = append(ps, Problem{
			Label: key, Value: Shown(key, labels[key]),
			Reason:     fmt.Sprintf("the password is already given by %s", passwords[0]),
			Suggestion: "keep one of the two",
		})
	}
	if _, given := labels[keyRetention]; given {
		for _, key := range []string{keyDays, keyCount} {
			if raw, also := labels[key]; also {
				ps = append(ps, Problem{Label: key, Value: Shown(key, raw), Warning: true, Reason: "it has no effect beside " + keyRetention, Suggestion: "remove it"})
			}
		}
	}
	for _, key := range []string{keyCommand, keyRestore} {
		raw, given := labels[key]
		engine, named := labels[keyEngine]
		switch {
		case !given || spec.Engine == "custom":
		case !named:
			ps = append(ps, Problem{
				Label: key, Value: Shown(key, raw),
				Reason:     "only the engine custom reads it",
				Suggestion: "add baktainer.db.engine=custom, or remove this label",
			})
		case spec.Engine != "":
			ps = append(ps, Problem{
				Label: key, Value: Shown(key, raw), Warning: true,
				Reason:     fmt.Sprintf("only the engine custom reads it, and the engine is %s", Shown(keyEngine, engine)),
				Suggestion: "remove it, or set baktainer.db.engine=custom",
			})
		}
	}
	return ps
}

// unknown lists the labels of ours that do not exist, and says whether one of
// them was probably meant to be baktainer.backup=true.
func (s Schema) unknown(labels map[string]string) (ps []Problem, asks bool) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		if _, known := lookUp(key); known {
			continue
		}
		if !ours(key) && !near(key, keyBackup) {
			continue
		}
		// What an unknown label holds may be a password under a misspelt key.
		p := Problem{Label: shorten(printable(key)), Value: hidden, Reason: "there is no such label", Suggestion: "see docs/labels.md for those there are", Warning: true}
		if meant, ok := similarSchedule(key); ok {
			p.Warning, p.Suggestion = false, meant
		} else if meant := similarKey(key); meant != "" {
			p.Warning = false
			p.Suggestion = fmt.Sprintf("did you mean %s?", meant)
			asks = asks || meant == keyBackup
		}
		ps = append(ps, p)
	}
	return ps, asks
}

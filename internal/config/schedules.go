package config

import (
	"fmt"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
)

// sectionSchedules is the one name in the file that is no setting: a mapping of
// names to schedules of several sources.
const sectionSchedules = "schedules"

// usualSchedule is what the schedule of the setting schedule is called.
const usualSchedule = "default"

type scheduleKey struct {
	name string
	of   func(*schedule.Spec) *string
}

// scheduleKeys are what may be said of a schedule, in the words of labels.
var scheduleKeys = []scheduleKey{
	{"cron", func(s *schedule.Spec) *string { return &s.Cron }},
	{"timezone", func(s *schedule.Spec) *string { return &s.Timezone }},
	{"splay", func(s *schedule.Spec) *string { return &s.Splay }},
	{"blackout", func(s *schedule.Spec) *string { return &s.Blackout }},
	{"starting_deadline", func(s *schedule.Spec) *string { return &s.Deadline }},
	{"catch_up", func(s *schedule.Spec) *string { return &s.CatchUp }},
	{"concurrency", func(s *schedule.Spec) *string { return &s.Concurrency }},
	{"priority", func(s *schedule.Spec) *string { return &s.Priority }},
	{"retention", func(s *schedule.Spec) *string { return &s.Retention }},
}

// keySources is the key of the sources' names, or patterns of them.
const keySources = "sources"

// fileSchedule is a schedule of the file, and where it says which policy it has.
type fileSchedule struct {
	schedule.Several
	policyAt string
}

// section reads the schedules of the file.
type section struct {
	file string
	say  func(line int, format string, args ...any)
}

func (s section) read(node *yaml.Node) (list []fileSchedule) {
	if node.Kind != yaml.MappingNode {
		s.say(node.Line, "%s: want a mapping of names to schedules", sectionSchedules)
		return nil
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolved(node.Content[i+1])
		name := key.Value
		first, again := seen[name]
		seen[name] = key.Line
		err := schedule.CheckName(name)
		switch {
		case key.Kind != yaml.ScalarNode || err != nil:
			s.say(key.Line, "%s: %.80q: %v", sectionSchedules, name, err)
		case name == usualSchedule:
			s.say(key.Line, "%s: %s is what the setting schedule makes; this one needs another name", sectionSchedules, name)
		case again:
			s.say(key.Line, "schedule %s: is in line %d already", name, first)
		case value.Kind != yaml.MappingNode:
			s.say(value.Line, "schedule %s: want a mapping with at least cron", name)
		default:
			list = append(list, s.one(key, value))
		}
	}
	return list
}

// one reads one schedule.
func (s section) one(name, node *yaml.Node) fileSchedule {
	f := fileSchedule{Several: schedule.Several{Spec: schedule.Spec{Name: name.Value}}}
	lines := map[string]int{}
	for i := 0; i+1 < len(node.Content); i += 2 {
		key, value := node.Content[i], resolved(node.Content[i+1])
		first, again := lines[key.Value]
		at := slices.IndexFunc(scheduleKeys, func(k scheduleKey) bool { return k.name == key.Value })
		switch {
		case again:
			s.say(key.Line, "schedule %s: %.40s is in line %d already", name.Value, key.Value, first)
		case key.Value == keySources:
			f.Sources = s.patterns(name.Value, value)
		case at < 0:
			s.say(key.Line, "schedule %s: %.80q is no part of a schedule%s", name.Value, key.Value, didYouMean(key.Value, keysOfSchedules()))
		case value.Kind != yaml.ScalarNode || value.ShortTag() == "!!null":
			s.say(value.Line, "schedule %s: %s: want a single value", name.Value, key.Value)
		default:
			*scheduleKeys[at].of(&f.Spec) = value.Value
		}
		lines[key.Value] = key.Line
	}
	if lines["cron"] == 0 {
		s.say(name.Line, "schedule %s: cron is missing, such as cron: \"0 3 * * *\"", name.Value)
	}
	_, faults := f.Order(nil)
	for _, fault := range faults {
		if fault.Field == "cron" && f.Cron == "" {
			continue // it was told
		}
		s.say(lines[fault.Field], "schedule %s: %s: %v", name.Value, fault.Field, fault.Err)
	}
	f.policyAt = fmt.Sprintf("%s:%d: schedule %s: retention", s.file, lines["retention"], name.Value)
	return f
}

// patterns reads one name or a list of names, each of which may have stars.
func (s section) patterns(name string, node *yaml.Node) (list []string) {
	items := []*yaml.Node{node}
	if node.Kind == yaml.SequenceNode {
		items = node.Content
	}
	if len(items) == 0 || len(items) > schedule.MaxPatterns {
		s.say(node.Line, "schedule %s: %s: want 1 to %d names; leave the line out for all sources", name, keySources, schedule.MaxPatterns)
		return nil
	}
	for _, item := range items {
		item = resolved(item)
		text := item.Value
		// A star stands for what a name may have, and is none itself.
		err := source.CheckName(strings.ReplaceAll(text, "*", "x"))
		if item.Kind != yaml.ScalarNode || err != nil {
			s.say(item.Line, "schedule %s: %s: %.80q is neither the name of a source nor one with stars, such as shop/*", name, keySources, text)
			continue
		}
		list = append(list, text)
	}
	return list
}

func keysOfSchedules() (names []string) {
	for _, k := range scheduleKeys {
		names = append(names, k.name)
	}
	return append(names, keySources)
}

// resolved follows an alias.
func resolved(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode && n.Alias != nil {
		return n.Alias
	}
	return n
}

// schedules takes those of the file, when all policies are known.
func (l *loader) schedules(c *Config) {
	for _, f := range l.fileSchedules {
		if f.Retention != "" {
			if _, err := c.Retention.Policies.Find(f.Retention); err != nil {
				l.wrong = append(l.wrong, fmt.Sprintf("%s: %v", f.policyAt, err))
			}
		}
		c.Schedules = append(c.Schedules, f.Several)
	}
}

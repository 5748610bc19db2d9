package label

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
)

// Unnamed is the name of the schedule whose labels name none.
const Unnamed = "main"

// parsers check the values that package schedule knows how to read.
var parsers = map[Kind]func(string) error{
	Cron:      func(s string) error { _, err := schedule.Parse(s, nil); return err },
	Zone:      func(s string) error { _, err := schedule.ParseZone(s); return err },
	Splay:     func(s string) error { _, err := schedule.ParseSplay(s); return err },
	Deadline:  func(s string) error { _, err := schedule.ParseDeadline(s); return err },
	Windows:   func(s string) error { _, err := schedule.ParseWindows(s); return err },
	CatchUp:   func(s string) error { _, err := schedule.ParseCatchUp(s); return err },
	Retention: retention.Check,
}

// named takes baktainer.schedule.NAME.KEY apart: base is the label that the key
// is in the table as.
func named(key string) (name, base string, ok bool) {
	rest, ok := strings.CutPrefix(key, keySchedule+".")
	if !ok {
		return "", "", false
	}
	name, last, ok := strings.Cut(rest, ".")
	if !ok || strings.Contains(last, ".") {
		return "", "", false
	}
	if last == "cron" {
		return name, keySchedule, true
	}
	return name, keySchedule + "." + last, true
}

// schedules reads the labels of all schedules. They come by name.
func (s Schema) schedules(labels map[string]string) (list []schedule.Spec, problems []Problem) {
	specs := map[string]*schedule.Spec{}
	say := func(key, reason, suggestion string) {
		problems = append(problems, Problem{Label: key, Value: Shown(key, labels[key]), Reason: reason, Suggestion: suggestion})
	}
	broken := map[string]bool{} // what has a problem already
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		l, known := lookUp(key)
		if !known || l.put == nil {
			continue
		}
		name, _, isNamed := named(key)
		if !isNamed {
			name = Unnamed
		}
		if err := schedule.CheckName(name); err != nil {
			say(key, err.Error(), "")
			continue
		}
		if name == schedule.Drill {
			say(key, "the schedule of that name is that of drills", "see baktainer.drill.schedule, or give it another name")
			continue
		}
		if specs[name] == nil {
			specs[name] = &schedule.Spec{Name: name}
		}
		v, f := s.check(l, labels[key])
		if f != nil {
			say(key, f.reason, f.suggestion)
			broken[name] = true
			continue
		}
		before := *specs[name]
		if l.put(specs[name], value{}); *specs[name] != before {
			say(key, "the schedule main is the one without a name, and that has this already", "keep one of the two")
			broken[name] = true
		}
		l.put(specs[name], v)
	}
	for _, name := range slices.Sorted(maps.Keys(specs)) {
		if specs[name].Cron == "" && !broken[name] {
			key := cmp.Or(map[string]string{Unnamed: keySchedule}[name], keySchedule+"."+name+".cron")
			problems = append(problems, Problem{Label: key, Reason: "it is missing, and other labels are about that schedule", Suggestion: "say when it fires, for example 0 3 * * *"})
			continue
		}
		list = append(list, *specs[name])
	}
	if len(specs) > schedule.MaxPerSource {
		problems = append(problems, Problem{Label: keySchedule, Reason: fmt.Sprintf("there are %d schedules, more than %d", len(specs), schedule.MaxPerSource)})
	}
	return list, problems
}

// similarSchedule says what a label was probably meant to be that begins as
// those of schedules do, and is none.
func similarSchedule(key string) (suggestion string, ok bool) {
	rest, ok := strings.CutPrefix(key, keySchedule+".")
	if !ok {
		return "", false
	}
	var keys []string
	for _, l := range schema {
		if last, ok := strings.CutPrefix(l.Key, keySchedule+"."); ok && l.put != nil {
			keys = append(keys, last)
		}
	}
	name, last, hasName := strings.Cut(rest, ".")
	if !hasName {
		if meant := closest(rest, keys); meant != "" {
			return fmt.Sprintf("did you mean %s.%s?", keySchedule, meant), true
		}
		if schedule.CheckName(rest) == nil {
			return fmt.Sprintf("a schedule of that name is given by %s.%s.cron", keySchedule, rest), true
		}
	}
	if meant := closest(last, append(keys, "cron")); meant != "" {
		return fmt.Sprintf("did you mean %s.%s.%s?", keySchedule, shorten(printable(name)), meant), true
	}
	return fmt.Sprintf("a schedule has cron, %s", strings.Join(keys, ", ")), true
}

func checkSources(l Label, raw string) (value, *fault) {
	var list []string
	for part := range strings.SplitSeq(raw, ",") {
		name := strings.TrimSpace(part)
		if err := source.CheckName(name); err != nil {
			return value{}, refuse("for example "+l.Example, "%s: %v", shorten(printable(name)), err)
		}
		if !slices.Contains(list, name) {
			list = append(list, name)
		}
	}
	if len(list) > schedule.MaxUpstream {
		return value{}, refuse("", "it names %d sources, more than %d", len(list), schedule.MaxUpstream)
	}
	return value{list: list}, nil
}

package label

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
)

// databasePrefix is the name of a database before a query. No query that any
// engine takes begins so.
var databasePrefix = regexp.MustCompile(`^([A-Za-z0-9_.$-]+):\s+(.*)$`)

// parseAssertion reads "[DATABASE: ]QUERY[ => ANSWER]".
func parseAssertion(name, text string) (source.Assertion, error) {
	a := source.Assertion{Name: name, Query: strings.TrimSpace(text)}
	if i := strings.LastIndex(a.Query, "=>"); i >= 0 {
		a.Want = strings.TrimSpace(a.Query[i+2:])
		if a.Query = strings.TrimSpace(a.Query[:i]); a.Want == "" {
			return a, errors.New("the answer after => is missing")
		}
	}
	if m := databasePrefix.FindStringSubmatch(a.Query); m != nil {
		a.Database, a.Query = m[1], m[2]
	}
	if a.Query == "" {
		return a, errors.New("the query is missing")
	}
	return a, nil
}

// assertions reads the labels of all assertions. They come by name.
func (s Schema) assertions(labels map[string]string) (list []source.Assertion, problems []Problem) {
	for _, key := range slices.Sorted(maps.Keys(labels)) {
		name, is := strings.CutPrefix(key, keyAssert)
		l, known := lookUp(key)
		if !is || !known {
			continue
		}
		say := func(reason, suggestion string) {
			problems = append(problems, Problem{Label: shorten(printable(key)), Value: Shown(key, labels[key]), Reason: reason, Suggestion: suggestion})
		}
		if err := schedule.CheckName(name); err != nil {
			say("the name of an assertion has 1 to 40 lower-case letters, digits, '_' and '-', first a letter or digit", "")
			continue
		}
		if _, f := s.check(l, labels[key]); f != nil {
			say(f.reason, f.suggestion)
			continue
		}
		a, err := parseAssertion(name, labels[key])
		if err != nil { // check has seen it
			continue
		}
		list = append(list, a)
	}
	if len(list) > source.MaxAssertions {
		problems = append(problems, Problem{Label: keyAssert + "*", Reason: fmt.Sprintf("there are %d assertions, more than %d", len(list), source.MaxAssertions)})
	}
	return list, problems
}

package schedule

import (
	"slices"
	"strings"
)

// Upstream says what a source waits for: the names of others.
type Upstream func(source string) []string

// MaxUpstream is how many sources one may depend on.
const MaxUpstream = 32

// maxFollowed bounds how far dependencies are followed, in sources.
const maxFollowed = 1000

// Above lists all that a source waits for, directly or through others, without
// what waits for the source itself: a dependency within a cycle is refused, so
// that nobody waits for ever.
func Above(source string, up Upstream) []string {
	var all []string
	for _, name := range reach(source, up) {
		if name != source && !slices.Contains(reach(name, up), source) {
			all = append(all, name)
		}
	}
	slices.Sort(all)
	return all
}

// reach lists what can be come to from a source by its dependencies, itself
// only when it is on a cycle.
func reach(source string, up Upstream) []string {
	var all []string
	seen := map[string]bool{}
	for next := slices.Clone(up(source)); len(next) > 0 && len(all) < maxFollowed; next = next[1:] {
		if name := next[0]; !seen[name] {
			seen[name] = true
			all = append(all, name)
			next = append(next, up(name)...)
		}
	}
	return all
}

// Cycle gives a shortest way from a source through its dependencies back to it:
// "a → b → a"; "" when there is none.
func Cycle(source string, up Upstream) string {
	from := map[string]string{}
	queue := []string{source}
	for i := 0; i < len(queue) && i < maxFollowed; i++ {
		for _, name := range up(queue[i]) {
			if name == source {
				path := []string{source}
				for at := queue[i]; at != source; at = from[at] {
					path = append(path, at)
				}
				path = append(path, source)
				slices.Reverse(path)
				return strings.Join(path, " → ")
			}
			if _, seen := from[name]; !seen {
				from[name] = queue[i]
				queue = append(queue, name)
			}
		}
	}
	return ""
}

// Matches says whether a source's name matches a pattern, in which '*' stands
// for any characters, also none and also '/', and '?' for one.
func Matches(pattern, name string) bool {
	star, mark := -1, 0
	p, n := 0, 0
	for n < len(name) {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, mark = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p, n = p+1, n+1
		case star >= 0:
			mark++
			p, n = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

package label

import (
	"maps"
	"slices"
	"strings"

	"github.com/agnivade/levenshtein"
)

// maxCompared bounds the strings whose distance is computed: the cost is their product.
const maxCompared = 64

// ours says whether a key was meant for us, in whatever case and with
// whatever follows the name: "Baktainer_backup".
func ours(key string) bool {
	const name = "baktainer"
	return len(key) >= len(name) && strings.EqualFold(key[:len(name)], name)
}

// near says whether a looks like a slip for b: one or two letters off.
func near(a, b string) bool {
	if a == b || len(a) > maxCompared || len(b) > maxCompared {
		return false
	}
	allowed := 2
	if len(b) < 6 {
		allowed = 1
	}
	return levenshtein.ComputeDistance(strings.ToLower(a), strings.ToLower(b)) <= allowed
}

// similarKey finds the label that an unknown key was probably meant to be.
func similarKey(key string) string {
	norm := strings.NewReplacer("_", ".", "-", ".", "/", ".").Replace(strings.ToLower(key))
	for _, l := range schema {
		if norm == strings.NewReplacer("_", ".", "-", ".").Replace(l.Key) {
			return l.Key
		}
	}
	best, distance := "", maxCompared
	for _, l := range schema {
		if l.Kind == Internal || !near(key, l.Key) && !near(short(key), short(l.Key)) {
			continue
		}
		if d := levenshtein.ComputeDistance(key, l.Key); d < distance {
			best, distance = l.Key, d
		}
	}
	if best != "" {
		return best
	}
	// The right word in the wrong place (baktainer.password), or cut short or
	// drawn out (baktainer.db.pass, baktainer.db.username).
	for _, l := range schema {
		if l.Kind == Internal || l.NoEffect != "" {
			continue
		}
		last := norm[strings.LastIndexByte(norm, '.')+1:]
		word := l.Key[strings.LastIndexByte(l.Key, '.')+1:]
		cut := len(last) >= 4 && strings.HasPrefix(word, last)
		drawn := len(word) >= 4 && strings.HasPrefix(last, word)
		if last != "" && (last == word || cut || drawn) {
			return l.Key
		}
	}
	return ""
}

// closest finds the one of the candidates that word was probably meant to be;
// of equally likely ones the first.
func closest(word string, candidates []string) string {
	best, distance := "", maxCompared
	for _, c := range candidates {
		if !near(word, c) {
			continue
		}
		if d := levenshtein.ComputeDistance(strings.ToLower(word), c); d < distance {
			best, distance = c, d
		}
	}
	return best
}

// canonical lists the engines once each, sorted.
func (s Schema) canonical() []string {
	names := map[string]bool{}
	for _, name := range s.Engines {
		names[name] = true
	}
	return slices.Sorted(maps.Keys(names))
}

package api

import (
	"strings"

	"github.com/agnivade/levenshtein"
)

// nearest returns the name that was most likely meant, empty when none is near.
func nearest(given string, names []string) string {
	best, distance := "", len(given)/3+2
	for _, name := range names {
		d := levenshtein.ComputeDistance(strings.ToLower(given), strings.ToLower(name))
		if _, last, ok := strings.Cut(name, "/"); ok && strings.EqualFold(given, last) {
			d = 0 // the service alone, without its project
		}
		if d < distance {
			best, distance = name, d
		}
	}
	return best
}

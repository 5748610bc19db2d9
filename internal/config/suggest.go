package config

import (
	"fmt"
	"strings"

	"github.com/agnivade/levenshtein"
)

// didYouMean names the word nearest to the wrong one as the end of a sentence,
// or is empty when none is near.
func didYouMean(wrong string, words []string) string {
	best, nearest := 1+max(1, len(wrong)/3), ""
	for _, w := range words {
		if d := levenshtein.ComputeDistance(strings.ToLower(wrong), strings.ToLower(w)); d < best {
			best, nearest = d, w
		}
	}
	if nearest == "" {
		return ""
	}
	return fmt.Sprintf(" (did you mean %s?)", nearest)
}

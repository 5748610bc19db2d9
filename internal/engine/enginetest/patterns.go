package enginetest

import (
	"testing"

	"github.com/baktainer/baktainer/internal/source"
)

// Patterns are what a label has; none for an empty text.
func Patterns(t testing.TB, text string) []source.Pattern {
	t.Helper()
	if text == "" {
		return nil
	}
	list, err := source.ParsePatterns(text)
	if err != nil {
		t.Fatal(err)
	}
	return list
}

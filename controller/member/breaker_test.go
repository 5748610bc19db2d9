package member

import (
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

func TestWhoDoesNotAnswerIsAskedLast(t *testing.T) {
	c := clock.NewManual(time.Unix(1_800_000_000, 0))
	var b breaker
	order := func() string { return join(b.order([]string{"1", "2", "3"}, c.Now())) }
	steps := []struct {
		what   string
		do     func()
		wanted string
	}{
		{"at first", func() {}, "123"},
		{"1 is silent", func() { b.note("1", false, c) }, "231"},
		{"2 is silent a little later", func() { c.Advance(time.Millisecond); b.note("2", false, c) }, "312"},
		{"3 too: all are asked, the first to come back first", func() { c.Advance(time.Millisecond); b.note("3", false, c) }, "123"},
		{"1 is silent again, and rests for longer", func() { b.note("1", false, c) }, "231"},
		{"2 answers", func() { b.note("2", true, c) }, "231"},
		{"after the rests", func() { c.Advance(maxRest) }, "123"},
		{"1 is silent for the third time", func() { b.note("1", false, c) }, "231"},
	}
	for _, s := range steps {
		s.do()
		if got := order(); got != s.wanted {
			t.Errorf("%s: %s, want %s", s.what, got, s.wanted)
		}
	}
	for range 40 { // a rest stays short
		b.note("1", false, c)
	}
	c.Advance(maxRest)
	if got := order(); got != "123" {
		t.Errorf("after the longest rest: %s", got)
	}
}

func join(ids []string) (s string) {
	for _, id := range ids {
		s += id
	}
	return s
}

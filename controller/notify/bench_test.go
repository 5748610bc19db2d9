package notify

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkJudge is what a leader does every five seconds at most.
func BenchmarkJudge(b *testing.B) {
	n := newNode(b)
	var names []string
	for i := range 2_000 {
		names = append(names, fmt.Sprintf("s%05d", i))
	}
	n.sources(names...)
	for range 8 {
		for _, name := range names {
			n.succeed(name)
		}
	}
	settings := usual(b)
	for b.Loop() {
		v := n.View()
		f := Facts{Sources: (&Notifier{}).sources(v)}
		if changes := Judge(v.Conditions(), f, settings, time.Now()); len(changes) > 0 {
			b.Fatal(short(changes))
		}
	}
}

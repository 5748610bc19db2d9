package uplink_test

import (
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
)

func TestPausesGrowToABoundAndBeginAnew(t *testing.T) {
	t.Parallel()
	b := uplink.Backoff{Most: time.Second}
	for i, nominal := range []time.Duration{200, 400, 800, 1000, 1000} {
		nominal *= time.Millisecond
		if b.Long(nominal) {
			t.Errorf("pause %d is said to be longer than %v", i, nominal)
		}
		if got := b.Next(); got < nominal/2 || got >= nominal*3/2 {
			t.Errorf("pause %d is %v, want about %v", i, got, nominal)
		}
	}
	if !b.Long(900 * time.Millisecond) {
		t.Error("the pauses are not said to be long")
	}
	b.Reset()
	if got := b.Next(); got >= uplink.MinPause*3/2 {
		t.Errorf("after Reset the pause is %v", got)
	}
}

func TestPausesDifferBetweenAgents(t *testing.T) {
	t.Parallel()
	seen := map[time.Duration]bool{}
	for range 50 {
		b := uplink.Backoff{Most: uplink.MaxPause}
		seen[b.Next()] = true
	}
	if len(seen) < 10 {
		t.Errorf("50 agents make %d different pauses", len(seen))
	}
}

package run_test

import (
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/run"
)

func TestMayBecome(t *testing.T) {
	all := []run.State{run.Queued, run.Leased, run.Succeeded, run.Failed, run.Cancelled}
	allowed := map[run.State][]run.State{
		run.Queued: {run.Leased, run.Failed, run.Cancelled},
		run.Leased: {run.Queued, run.Succeeded, run.Failed, run.Cancelled},
	}
	for _, from := range all {
		for _, to := range append(all, "", "unheard-of") {
			want := false
			for _, a := range allowed[from] {
				want = want || a == to
			}
			if got := from.MayBecome(to) == nil; got != want {
				t.Errorf("%s → %s: allowed %t, want %t", from, to, got, want)
			}
		}
	}
	if run.State("unheard-of").MayBecome(run.Leased) == nil {
		t.Error("an unknown state may become leased")
	}
}

func TestIDDependsOnEachPartAndNothingElse(t *testing.T) {
	fire := time.Date(2026, 3, 1, 2, 0, 0, 0, time.UTC)
	id := run.ID("default", "shop", fire)
	if id != run.ID("default", "shop", fire.In(time.FixedZone("x", 7200))) {
		t.Error("the zone changes the id")
	}
	for name, other := range map[string]string{
		"schedule": run.ID("other", "shop", fire),
		"source":   run.ID("default", "shop2", fire),
		"time":     run.ID("default", "shop", fire.Add(time.Second)),
		"split":    run.ID("default shop", "", fire),
	} {
		if other == id {
			t.Errorf("another %s gives the same id", name)
		}
	}
	if len(id) != 16 {
		t.Errorf("id %q", id)
	}
}

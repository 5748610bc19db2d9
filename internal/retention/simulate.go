package retention

import (
	"fmt"
	"slices"
	"time"
)

// Simulation is a what-if: which snapshots there would be.
type Simulation struct {
	Policy Policy
	// Now are the snapshots there at the beginning, Fires when others are made. All
	// of these turn out right.
	Now   []Snapshot
	Fires []time.Time
	Zone  *time.Location
}

// Day is what there is at the end of a day.
type Day struct {
	Date            string // 2026-11-20, in the zone
	Made, Forgotten int
	Kept            []Snapshot // newest first
}

// MaxFires bounds what is simulated.
const MaxFires = 50_000

// Simulate goes through a calendar day by day, and forgets at the end of each.
// Days on which nothing happens are left out.
func Simulate(sim Simulation) ([]Day, error) {
	if len(sim.Fires) > MaxFires {
		return nil, fmt.Errorf("%d backups are more than the %d that are simulated: take a shorter time", len(sim.Fires), MaxFires)
	}
	zone := sim.Zone
	if zone == nil {
		zone = time.UTC
	}
	fires := slices.Clone(sim.Fires)
	slices.SortFunc(fires, time.Time.Compare)
	kept := slices.Clone(sim.Now)
	place := uint64(0)
	for _, s := range kept {
		place = max(place, s.Place)
	}
	var days []Day
	for next := 0; next < len(fires); {
		date := fires[next].In(zone).Format(time.DateOnly)
		day := Day{Date: date}
		var now time.Time
		for ; next < len(fires) && fires[next].In(zone).Format(time.DateOnly) == date; next++ {
			place++
			now = fires[next]
			kept = append(kept, Snapshot{ID: "at " + now.In(zone).Format("2006-01-02 15:04"), Time: now, Place: place, Verified: true})
			day.Made++
		}
		decided := Decide(Question{Policy: sim.Policy, Snapshots: kept, Now: now, Zone: zone})
		kept = kept[:0:0]
		for _, d := range decided {
			if d.Keep {
				kept = append(kept, d.Snapshot)
			} else {
				day.Forgotten++
			}
		}
		day.Kept = slices.Clone(kept)
		days = append(days, day)
	}
	return days, nil
}

package schedule_test

import (
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/schedule/oracle"
)

var (
	yearFrom = time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)
	yearTo   = time.Date(2019, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Over a virtual year 500 schedules in six zones fire when an oracle says that
// goes through every minute of the year.
func TestAVirtualYear(t *testing.T) {
	const each = 84 // 504 in all
	fires, schedules := 0, 0
	var mu sync.Mutex
	t.Run("zones", func(t *testing.T) {
		for i, name := range oracle.Zones {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				z := zone(t, name)
				clock := oracle.NewClock(z, yearFrom, yearTo)
				r := rand.New(rand.NewPCG(2018, uint64(i)))
				for k := range each {
					expr := oracle.Expression(r, true)
					if k < len(always) {
						expr = always[k]
					}
					if k == len(always) && name == "Australia/Lord_Howe" {
						expr = "* * * * *"
					}
					want, err := clock.Fires(expr)
					if err != nil {
						t.Fatal(err)
					}
					c, err := schedule.Parse(expr, z)
					if err != nil {
						t.Fatal(err)
					}
					got := 0
					for at := c.Next(yearFrom.Add(-time.Nanosecond)); !at.IsZero() && at.Before(yearTo); at = c.Next(at) {
						if got >= len(want) || !at.Equal(want[got]) {
							t.Fatalf("%q in %s: fire %d is %s, the oracle has %v", expr, name, got, at.In(z), want[min(got, len(want)):min(got+1, len(want))])
						}
						got++
					}
					if got != len(want) {
						t.Fatalf("%q in %s: %d fires, the oracle has %d", expr, name, got, len(want))
					}
					mu.Lock()
					fires, schedules = fires+got, schedules+1
					mu.Unlock()
				}
			})
		}
	})
	if schedules < 500 || fires < 500_000 {
		t.Errorf("only %d schedules and %d fires", schedules, fires)
	}
	t.Logf("%d schedules, %d fires, no difference", schedules, fires)
}

// always are expressions that no zone goes without.
var always = []string{
	"30 2 * * *", "30 1 * * *", "0 0 * * *", "15 2 * * *", "45 1 * * *", "30 23 * * *", "*/5 * * * *", "*/30 * * * *", "0 * * * *", "0 */2 * * *",
	"*/10 1-3 * * *", "*/15 30 1,2 * * *", "0-59/30 * 2 * * SUN", "59 59 23 * * *", "@every 7m", "@hourly", "@daily", "0 0 L * *", "0 0 1 * SUN",
}

package schedule

import (
	"fmt"
	"time"
)

// maxSteps bounds the search for the next fire time: each step passes a change
// of clocks, or one time that a change has skipped or repeated.
const maxSteps = 3000

// Next returns the first fire time after the given instant, in UTC; zero when
// the expression never fires again.
func (c Cron) Next(after time.Time) time.Time {
	at, _ := c.next(after)
	return at
}

// next also gives the time that the expression means, as the clocks would show
// it, as if it were UTC.
func (c Cron) next(after time.Time) (at, shown time.Time) {
	switch {
	case c.every > 0:
		at = nextEvery(after, c.every)
		return at, naive(at.In(c.zone))
	case c.zone == nil || c.off:
		return time.Time{}, time.Time{}
	case c.everyHour:
		at = c.nextElapsed(after)
		return at, naive(at.In(c.zone))
	}
	return c.nextWallClock(after)
}

// nextEvery is the first multiple of the interval, counted in real time from the
// Unix epoch, so that whoever counts, and from whenever, comes to the same.
func nextEvery(after time.Time, every time.Duration) time.Time {
	step := int64(every / time.Second)
	n := after.Unix() / step
	if after.Unix() < 0 && after.Unix()%step != 0 {
		n-- // rounded down, not towards the epoch
	}
	return time.Unix((n+1)*step, 0).UTC()
}

// nextWallClock reads the expression on a clock without daylight saving and
// then finds the instant at which the zone's clocks show that time.
func (c Cron) nextWallClock(after time.Time) (at, shown time.Time) {
	shown = naive(after.In(c.zone))
	for range maxSteps {
		shown = c.expr.Next(shown)
		if shown.IsZero() {
			return time.Time{}, time.Time{}
		}
		if at := instant(shown, c.zone); at.After(after) {
			return at, shown
		}
		// Clocks were put back lately, and this is shown for the second time: so is
		// all up to what they showed when they were put back.
		if begin, _ := after.In(c.zone).ZoneBounds(); !begin.IsZero() {
			shown = later(shown, naive(begin.Add(-time.Nanosecond).In(c.zone)))
		}
	}
	return time.Time{}, time.Time{}
}

// nextElapsed reads the expression on the clock as it runs between two changes,
// and starts again at each change.
func (c Cron) nextElapsed(after time.Time) time.Time {
	for range maxSteps {
		local := after.In(c.zone)
		shown := c.expr.Next(naive(local))
		if shown.IsZero() {
			return time.Time{}
		}
		_, offset := local.Zone()
		at := shown.Add(-time.Duration(offset) * time.Second)
		_, change := local.ZoneBounds()
		if change.IsZero() || at.Before(change) {
			return at.UTC()
		}
		// The change itself may be the next fire time.
		if first := naive(change.In(c.zone)); c.expr.Next(first.Add(-time.Second)).Equal(first) {
			return change.UTC()
		}
		after = change
	}
	return time.Time{}
}

// shift says how a fire time differs from what the expression means, because of
// a change of clocks; "" when it does not.
func (c Cron) shift(at, shown time.Time) string {
	if c.every > 0 || c.everyHour || c.zone == nil {
		return ""
	}
	const minute, day = "15:04:05", "2006-01-02"
	local := at.In(c.zone)
	begin, end := local.ZoneBounds()
	if !naive(local).Equal(shown) {
		before := naive(begin.Add(-time.Nanosecond).In(c.zone)).Add(time.Nanosecond)
		return fmt.Sprintf("%s is not shown on %s: clocks go from %s to %s, so it fires right after", shown.Format(minute), shown.Format(day),
			before.Format(minute), naive(begin.In(c.zone)).Format(minute))
	}
	if end.IsZero() {
		return ""
	}
	// Shown again after the end of this period?
	_, offset := end.In(c.zone).Zone()
	if again := shown.Add(-time.Duration(offset) * time.Second); !again.Before(end) && naive(again.In(c.zone)).Equal(shown) {
		return fmt.Sprintf("%s is shown twice on %s: it fires the first time", shown.Format(minute), shown.Format(day))
	}
	return ""
}

// naive is what the clock shows at t, as if it were UTC.
func naive(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// instant is the first instant at which the zone's clocks show the naive time,
// or, when they never do, the change that skips it.
func instant(shown time.Time, zone *time.Location) time.Time {
	near := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), shown.Second(), shown.Nanosecond(), zone)
	start, end := near.ZoneBounds()
	var first, skips time.Time
	try := func(at time.Time) { // the offset in force at some instant near by
		_, offset := at.In(zone).Zone()
		candidate := shown.Add(-time.Duration(offset) * time.Second)
		if naive(candidate.In(zone)).Equal(shown) && (first.IsZero() || candidate.Before(first)) {
			first = candidate
		}
	}
	try(near)
	for _, change := range []time.Time{start, end} {
		if change.IsZero() {
			continue
		}
		before := change.Add(-time.Nanosecond)
		try(before)
		try(change)
		if !shown.Before(naive(before.In(zone))) && shown.Before(naive(change.In(zone))) {
			skips = change
		}
	}
	if first.IsZero() {
		first = skips
	}
	return first.UTC()
}

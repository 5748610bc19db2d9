package schedule

import "time"

// maxSteps bounds the search for the next fire time. A change of clocks skips
// or repeats at most a day, which has 1,440 minutes.
const maxSteps = 3000

// Next returns the first fire time after the given instant, in UTC; zero when
// the expression never fires again.
func (c Cron) Next(after time.Time) time.Time {
	if c.zone == nil {
		return time.Time{}
	}
	if c.everyHour {
		return c.nextElapsed(after)
	}
	return c.nextWallClock(after)
}

// nextWallClock reads the expression on a clock without daylight saving and
// then finds the instant at which the zone's clocks show that time.
func (c Cron) nextWallClock(after time.Time) time.Time {
	shown := naive(after.In(c.zone))
	for range maxSteps {
		shown = c.expr.Next(shown)
		if shown.IsZero() {
			return time.Time{}
		}
		if at := instant(shown, c.zone); at.After(after) {
			return at
		}
	}
	return time.Time{}
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

// naive is what the clock shows at t, as if it were UTC.
func naive(t time.Time) time.Time {
	return time.Date(t.Year(), t.Month(), t.Day(), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), time.UTC)
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

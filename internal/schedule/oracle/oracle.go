// Package oracle says, for tests alone, when a schedule fires: by going through
// every minute of a year as the clocks of a zone show it, with a reader of
// cron fields of its own. It shares nothing with package schedule but the
// semantics in docs/schedules.md, and Go's database of time zones.
package oracle

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Clock is what the clocks of a zone show over some time, minute by minute.
type Clock struct {
	zone     *time.Location
	from, to time.Time
	real     []wall       // what is shown in each minute that passes
	first    map[wall]int // the first minute that shows it
	shown    []time.Time  // every minute of the calendar, as if in UTC
	skipped  map[wall]int // minutes of the calendar that are never shown: the first minute after
	minutes  []time.Time  // the minutes that pass
}

// wall is a minute of the calendar.
type wall struct {
	year, month, day, hour, minute, weekday int
}

func wallOf(t time.Time) wall {
	return wall{t.Year(), int(t.Month()), t.Day(), t.Hour(), t.Minute(), int(t.Weekday())}
}

// NewClock goes through the time from from on and before to.
func NewClock(zone *time.Location, from, to time.Time) *Clock {
	c := &Clock{zone: zone, from: from, to: to, first: map[wall]int{}, skipped: map[wall]int{}}
	for t := from; t.Before(to); t = t.Add(time.Minute) {
		w := wallOf(t.In(zone))
		if _, seen := c.first[w]; !seen {
			c.first[w] = len(c.real)
		}
		c.real = append(c.real, w)
		c.minutes = append(c.minutes, t.UTC())
	}
	// The calendar has every minute once; what no clock shows fires at the next that one shows.
	begin, end := from.In(zone), to.In(zone)
	next := -1
	last := time.Date(end.Year(), end.Month(), end.Day(), end.Hour(), end.Minute(), 0, 0, time.UTC)
	start := time.Date(begin.Year(), begin.Month(), begin.Day(), begin.Hour(), begin.Minute(), 0, 0, time.UTC)
	for t := last.Add(-time.Minute); !t.Before(start); t = t.Add(-time.Minute) {
		w := wallOf(t)
		if i, ok := c.first[w]; ok {
			next = i
		} else if next >= 0 {
			c.skipped[w] = next
		}
		c.shown = append(c.shown, t)
	}
	return c
}

// Fires lists when an expression fires in the clock's time, in order.
func (c *Clock) Fires(text string) ([]time.Time, error) {
	text = strings.TrimSpace(text)
	if every, ok := strings.CutPrefix(text, "@every "); ok {
		d, err := time.ParseDuration(every)
		if err != nil {
			return nil, err
		}
		var list []time.Time
		for _, t := range c.minutes {
			if t.Unix()%int64(d/time.Second) == 0 {
				list = append(list, t)
			}
		}
		return list, nil
	}
	for macro, fields := range map[string]string{"@hourly": "0 * * * *", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@weekly": "0 0 * * 0", "@monthly": "0 0 1 * *", "@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *"} {
		if text == macro {
			text = fields
		}
	}
	f := strings.Fields(text)
	if len(f) == 5 {
		f = append([]string{"0"}, f...)
	}
	if len(f) != 6 {
		return nil, fmt.Errorf("%q: %d fields", text, len(f))
	}
	seconds, minutes, hours, months := set(f[0], 0, 59, nil), set(f[1], 0, 59, nil), set(f[2], 0, 23, nil), set(f[4], 1, 12, monthNames)
	hits := func(w wall) bool {
		return minutes[w.minute] && hours[w.hour] && months[w.month] && day(f[3], f[5], w)
	}
	var list []time.Time
	if f[2] == "*" { // real time
		for i, w := range c.real {
			if hits(w) {
				list = append(list, within(c.minutes[i], seconds)...)
			}
		}
		return list, nil
	}
	for _, t := range c.shown {
		w := wallOf(t)
		if !hits(w) {
			continue
		}
		if i, ok := c.first[w]; ok {
			list = append(list, within(c.minutes[i], seconds)...)
		} else if i, ok := c.skipped[w]; ok {
			list = append(list, c.minutes[i])
		}
	}
	slices.SortFunc(list, time.Time.Compare)
	return slices.CompactFunc(list, time.Time.Equal), nil
}

// within lists the seconds of one minute.
func within(minute time.Time, seconds map[int]bool) (list []time.Time) {
	for s := range 60 {
		if seconds[s] {
			list = append(list, minute.Add(time.Duration(s)*time.Second))
		}
	}
	return list
}

var (
	monthNames = []string{"", "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"}
	dayNames   = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
)

func number(text string, names []string) int {
	if i := slices.Index(names, strings.ToLower(text)); i >= 0 && text != "" {
		return i
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		return -1
	}
	return n
}

// set reads a list of numbers, ranges and steps.
func set(text string, least, most int, names []string) map[int]bool {
	in := map[int]bool{}
	for part := range strings.SplitSeq(text, ",") {
		span, stepText, stepped := strings.Cut(part, "/")
		step := 1
		if stepped {
			step = number(stepText, nil)
		}
		low, high := least, most
		if span != "*" {
			from, to, isRange := strings.Cut(span, "-")
			low = number(from, names)
			high = low
			if isRange {
				high = number(to, names)
			} else if stepped {
				high = most
			}
		}
		for n := low; n >= 0 && n <= high && step > 0; n += step {
			in[n] = true
		}
	}
	return in
}

// day says whether the two fields of the day let a day through: either of them
// when both say something, else the one that does.
func day(month, week string, w wall) bool {
	if month == "?" {
		month = "*"
	}
	if week == "?" {
		week = "*"
	}
	switch {
	case month == "*" && week == "*":
		return true
	case month == "*":
		return dayOfWeek(week, w)
	case week == "*":
		return dayOfMonth(month, w)
	}
	return dayOfMonth(month, w) || dayOfWeek(week, w)
}

func dayOfMonth(text string, w wall) bool {
	length := time.Date(w.year, time.Month(w.month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	for part := range strings.SplitSeq(text, ",") {
		switch {
		case part == "L":
			if w.day == length {
				return true
			}
		case strings.HasSuffix(part, "W"):
			if want := number(strings.TrimSuffix(part, "W"), nil); want <= length && w.day == nearestWeekday(w, want, length) {
				return true
			}
		case set(part, 1, 31, nil)[w.day]:
			return true
		}
	}
	return false
}

// nearestWeekday is the day from Monday to Friday that is nearest to one of the
// month, within the month.
func nearestWeekday(w wall, want, length int) int {
	for _, by := range []int{0, -1, 1, -2, 2} {
		d := want + by
		if d < 1 || d > length {
			continue
		}
		if wd := time.Date(w.year, time.Month(w.month), d, 0, 0, 0, 0, time.UTC).Weekday(); wd != time.Saturday && wd != time.Sunday {
			return d
		}
	}
	return 0
}

func dayOfWeek(text string, w wall) bool {
	length := time.Date(w.year, time.Month(w.month)+1, 0, 0, 0, 0, 0, time.UTC).Day()
	for part := range strings.SplitSeq(text, ",") {
		name, nth, isNth := strings.Cut(part, "#")
		switch {
		case isNth:
			if w.weekday == number(name, dayNames)%7 && (w.day+6)/7 == number(nth, nil) {
				return true
			}
		case strings.HasSuffix(part, "L"):
			if w.weekday == number(strings.TrimSuffix(part, "L"), dayNames)%7 && w.day+7 > length {
				return true
			}
		default:
			days := set(part, 0, 6, dayNames)
			if days[w.weekday] || w.weekday == 0 && days[7] {
				return true
			}
		}
	}
	return false
}

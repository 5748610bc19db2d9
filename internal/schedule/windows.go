package schedule

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Windows are spans of the week, by the clock on the wall, in which no run
// begins.
type Windows struct {
	text  string
	spans []span
}

// span is one window: minutes from midnight, on the days on which it begins. It
// goes on into the next day when end is not after start.
type span struct {
	days       [7]bool
	start, end int
}

const (
	minutesOfDay = 24 * 60
	// maxWindows bounds how many windows there are, maxWindowsText their text in bytes.
	maxWindows     = 32
	maxWindowsText = 512
)

var dayNames = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}

// ParseWindows reads windows, separated by semicolons: "22:00-02:00" for every
// day, "Mon-Fri 08:00-18:00", "Sat,Sun 00:00-24:00". One that ends before it
// begins goes on into the next day; its days are those on which it begins.
// Windows that leave no minute of the week free are refused.
func ParseWindows(text string) (Windows, error) {
	if len(text) > maxWindowsText {
		return Windows{}, fmt.Errorf("it has more than %d bytes", maxWindowsText)
	}
	w := Windows{text: strings.TrimSpace(text)}
	for part := range strings.SplitSeq(text, ";") {
		s, ok := parseSpan(strings.Fields(part))
		if !ok {
			return Windows{}, fmt.Errorf("%q: want windows such as \"22:00-02:00\" or \"Mon-Fri 08:00-18:00; Sat,Sun 10:00-12:00\"", strings.TrimSpace(part))
		}
		if w.spans = append(w.spans, s); len(w.spans) > maxWindows {
			return Windows{}, fmt.Errorf("there are more than %d windows", maxWindows)
		}
	}
	for minute := range 7 * minutesOfDay {
		if _, in := w.remaining(minute/minutesOfDay, minute%minutesOfDay); !in {
			return w, nil
		}
	}
	return Windows{}, fmt.Errorf("%q covers the whole week: nothing would ever begin", w.text)
}

// String is the windows as they were written.
func (w Windows) String() string { return w.text }

func parseSpan(words []string) (s span, ok bool) {
	switch len(words) {
	case 1:
		s.days = [7]bool{true, true, true, true, true, true, true}
	case 2:
		if s.days, ok = parseDays(words[0]); !ok {
			return span{}, false
		}
	default:
		return span{}, false
	}
	from, to, ok := strings.Cut(words[len(words)-1], "-")
	start, ok1 := parseMinute(from)
	end, ok2 := parseMinute(to)
	if !ok || !ok1 || !ok2 || start == end || start == minutesOfDay {
		return span{}, false
	}
	s.start, s.end = start, end
	return s, true
}

// parseDays reads days and ranges of days: "Mon-Fri,Sun", "Fri-Mon".
func parseDays(text string) (days [7]bool, ok bool) {
	for part := range strings.SplitSeq(strings.ToLower(text), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, ok1 := dayOf(from)
		last, ok2 := dayOf(to)
		if !ok1 || !ok2 {
			return days, false
		}
		for d := first; ; d = (d + 1) % 7 {
			days[d] = true
			if d == last {
				break
			}
		}
	}
	return days, true
}

func dayOf(name string) (int, bool) {
	for i, d := range dayNames {
		if d == name {
			return i, true
		}
	}
	return 0, false
}

// parseMinute reads HH:MM up to 24:00.
func parseMinute(text string) (int, bool) {
	if len(text) != 5 || text[2] != ':' {
		return 0, false
	}
	hour, err1 := strconv.ParseUint(text[:2], 10, 8)
	minute, err2 := strconv.ParseUint(text[3:], 10, 8)
	at := int(hour)*60 + int(minute)
	return at, err1 == nil && err2 == nil && minute < 60 && at <= minutesOfDay
}

// remaining says whether a minute of the day is in a window, and how many
// minutes are left of the longest.
func (w Windows) remaining(day, minute int) (left int, in bool) {
	for _, s := range w.spans {
		end := s.end
		if end <= s.start {
			end += minutesOfDay // of the next day
		}
		if s.days[day] && minute >= s.start && minute < end {
			left = max(left, end-minute)
		}
		if s.days[(day+6)%7] && minute+minutesOfDay < end {
			left = max(left, end-minutesOfDay-minute)
		}
	}
	return left, left > 0
}

// In says whether the clocks of the zone show a time in one of the windows.
func (w Windows) In(t time.Time, zone *time.Location) bool {
	local := t.In(zone)
	_, in := w.remaining(int(local.Weekday()), local.Hour()*60+local.Minute())
	return in
}

// Leave gives the first instant from t on at which no window is open.
func (w Windows) Leave(t time.Time, zone *time.Location) time.Time {
	for range maxSteps {
		local := t.In(zone)
		left, in := w.remaining(int(local.Weekday()), local.Hour()*60+local.Minute())
		if !in {
			return t.UTC()
		}
		next := t.Truncate(time.Second).Add(time.Duration(left)*time.Minute - time.Duration(local.Second())*time.Second)
		if _, change := local.ZoneBounds(); !change.IsZero() && next.After(change) {
			next = change // the clocks show something else from then on
		}
		t = next
	}
	return t.UTC()
}

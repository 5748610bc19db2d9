package retention

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Span is a stretch of the calendar: a month back from 31 May is 1 May (there is
// no 31 April, and time.AddDate goes on), a day back is yesterday at the same
// time on the clock.
type Span struct{ Years, Months, Days, Hours int }

// maxSpan bounds each number of a span.
const maxSpan = 10_000

func (s Span) zero() bool { return s == Span{} }

// Before is the moment that lies the span before t.
func (s Span) Before(t time.Time) time.Time {
	return t.AddDate(-s.Years, -s.Months, -s.Days).Add(-time.Duration(s.Hours) * time.Hour)
}

// After is the moment that lies the span after t.
func (s Span) After(t time.Time) time.Time {
	return t.AddDate(s.Years, s.Months, s.Days).Add(time.Duration(s.Hours) * time.Hour)
}

// String is the span as ParseSpan reads it.
func (s Span) String() string {
	var b strings.Builder
	for _, part := range []struct {
		n    int
		unit string
	}{{s.Years, "y"}, {s.Months, "mo"}, {s.Days, "d"}, {s.Hours, "h"}} {
		if part.n > 0 {
			fmt.Fprintf(&b, "%d%s", part.n, part.unit)
		}
	}
	if b.Len() == 0 {
		return "0h"
	}
	return b.String()
}

// ParseSpan reads a span such as 48h, 30d, 6w, 3mo, 1y or 1y6mo: years, months,
// weeks, days, hours.
func ParseSpan(text string) (Span, error) {
	bad := func() (Span, error) {
		return Span{}, fmt.Errorf("%.40q is no length of time such as 48h, 30d, 6w, 3mo or 1y6mo", text)
	}
	var s Span
	seen := map[string]bool{}
	for rest := text; rest != ""; {
		digits := len(rest) - len(strings.TrimLeft(rest, "0123456789"))
		n, err := strconv.Atoi(rest[:digits])
		if err != nil || n > maxSpan {
			return bad()
		}
		rest = rest[digits:]
		letters := len(rest) - len(strings.TrimLeft(rest, "abcdefghijklmnopqrstuvwxyz"))
		unit := rest[:letters]
		rest = rest[letters:]
		if seen[unit] {
			return bad()
		}
		seen[unit] = true
		switch unit {
		case "y":
			s.Years = n
		case "mo":
			s.Months = n
		case "w":
			s.Days += 7 * n
		case "d":
			s.Days += n
		case "h":
			s.Hours = n
		case "m":
			return Span{}, fmt.Errorf("%.40q: m may mean months or minutes: write mo for months, h for hours", text)
		default:
			return bad()
		}
	}
	if s.zero() {
		return bad()
	}
	return s, nil
}

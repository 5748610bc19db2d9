// Package schedule holds the words for standing orders: when a cron expression
// fires, also across changes of daylight saving time, and what follows from a
// fire: when its run begins, what is caught up after an absence, what waits for
// what. It is pure: it reads no clock, and gives its reasons.
//
// A wall-clock time that a change of clocks skips fires at the first instant
// after it, one that a change repeats fires once, the first time. An expression
// for every hour follows real time instead, so that it neither skips nor
// bunches up.
package schedule

import (
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hashicorp/cronexpr"
)

// Cron is a parsed expression in its time zone. The zero value never fires.
type Cron struct {
	text      string
	zone      *time.Location
	expr      cronexpr.Expression // by value: its Next writes to it, and a Cron may be shared
	everyHour bool
	every     time.Duration // of @every; then there is no expr
	off       bool          // never fires
}

// maxExpression bounds what is parsed, in bytes.
const maxExpression = 512

// MinEvery and MaxEvery bound the interval of @every.
const (
	MinEvery = time.Minute
	MaxEvery = MaxDuration
)

var macros = map[string]string{
	"@yearly": "0 0 1 1 *", "@annually": "0 0 1 1 *", "@monthly": "0 0 1 * *",
	"@weekly": "0 0 * * 0", "@daily": "0 0 * * *", "@midnight": "0 0 * * *", "@hourly": "0 * * * *",
}

var fields = []struct{ name, allowed, alphabet string }{
	{"second", "0–59", "0123456789*,-/"},
	{"minute", "0–59", "0123456789*,-/"},
	{"hour", "0–23", "0123456789*,-/"},
	{"day of the month", "1–31, L (last day), 15W (weekday nearest to the 15th)", "0123456789*,-/LW?"},
	{"month", "1–12 or JAN–DEC", "0123456789*,-/ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
	{"day of the week", "0–7 (0 and 7 are Sunday) or SUN–SAT, 5L (last Friday), 1#2 (second Monday)", "0123456789*,-/#?ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
}

// Parse reads an expression of five fields (minute, hour, day of the month,
// month, day of the week), of six (a second before them), one of @yearly,
// @monthly, @weekly, @daily, @hourly and their like, or @every with an interval
// of at least MinEvery; or the word off, which never fires. A prefix CRON_TZ=Area/City (or TZ=) takes precedence
// over zone; a nil zone is UTC.
func Parse(text string, zone *time.Location) (Cron, error) {
	if len(text) > maxExpression {
		return Cron{}, fmt.Errorf("the schedule is longer than %d bytes", maxExpression)
	}
	if zone == nil {
		zone = time.UTC
	}
	parts := strings.Fields(text)
	if len(parts) > 0 {
		if key, name, ok := strings.Cut(parts[0], "="); ok {
			named, err := loadZone(key, name)
			if err != nil {
				return Cron{}, err
			}
			zone, parts = named, parts[1:]
		}
	}
	if len(parts) == 1 && strings.EqualFold(parts[0], "off") {
		return Cron{text: text, zone: zone, off: true}, nil
	}
	if len(parts) > 0 && strings.EqualFold(parts[0], "@every") {
		every, err := parseEvery(parts[1:])
		return Cron{text: text, zone: zone, every: every}, err
	}
	if len(parts) == 1 && strings.HasPrefix(parts[0], "@") {
		macro, ok := macros[strings.ToLower(parts[0])]
		if !ok {
			return Cron{}, fmt.Errorf("the schedule %q is not known: want @hourly, @daily, @weekly, @monthly, @yearly or @every 90m, or five fields", parts[0])
		}
		parts = strings.Fields(macro)
	}
	switch len(parts) {
	case len(fields) - 1:
		parts = append([]string{"0"}, parts...)
	case len(fields):
	default:
		return Cron{}, fmt.Errorf("the schedule has %d fields: want five (minute, hour, day of the month, month, day of the week), for example \"0 3 * * *\", or six with the second first", len(parts))
	}
	for i := range parts {
		parts[i] = strings.ToUpper(parts[i])
		if err := checkField(i, parts[i]); err != nil {
			return Cron{}, err
		}
	}
	// Seven fields leave nothing to guess: seconds first, years last.
	expr, err := cronexpr.Parse(strings.Join(parts, " ") + " *")
	if err != nil {
		return Cron{}, fmt.Errorf("the schedule %q: %w", text, err)
	}
	return Cron{text: text, zone: zone, expr: *expr, everyHour: parts[2] == "*" || parts[2] == "*/1" || parts[2] == "0-23"}, nil
}

// String is the expression as it was written.
func (c Cron) String() string { return c.text }

// Zone is the time zone in which the expression is read.
func (c Cron) Zone() *time.Location { return c.zone }

func parseEvery(parts []string) (time.Duration, error) {
	if len(parts) != 1 {
		return 0, errors.New("the schedule @every wants one interval, for example @every 90m")
	}
	every, err := ParseDuration(parts[0])
	if err != nil {
		return 0, fmt.Errorf("the schedule's interval %.80q: %w", parts[0], err)
	}
	if every < MinEvery || every > MaxEvery {
		return 0, fmt.Errorf("the schedule's interval %.80q: want at least 1m and at most 366d", parts[0])
	}
	return every, nil
}

// checkField tries one field on its own, so that the error can name it.
func checkField(i int, text string) error {
	f := fields[i]
	alone := []string{"0", "*", "*", "*", "*", "*", "*"}
	alone[i] = text
	_, err := cronexpr.Parse(strings.Join(alone, " "))
	if err != nil || strings.Trim(text, f.alphabet) != "" {
		return fmt.Errorf("the schedule's %s is %q: want %s; lists (1,2), ranges (1-5), steps (*/5) or *", f.name, text, f.allowed)
	}
	return nil
}

func loadZone(key, name string) (*time.Location, error) {
	if key != "CRON_TZ" && key != "TZ" {
		return nil, fmt.Errorf("the schedule begins with %q: only CRON_TZ= and TZ= may come before the fields", key+"=")
	}
	if name == "Local" {
		name = ""
	}
	return ParseZone(name)
}

// ParseZone reads the name of a time zone; Local is that of the machine.
func ParseZone(name string) (*time.Location, error) {
	if name == "" {
		return nil, errors.New("the schedule's time zone is empty: want a name such as Europe/Berlin or UTC")
	}
	zone, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("the schedule's time zone %.80q is not known: want a name such as Europe/Berlin or UTC", name)
	}
	return zone, nil
}

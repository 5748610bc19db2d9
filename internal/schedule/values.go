package schedule

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// MaxDuration bounds every length of time in an order.
const MaxDuration = 366 * 24 * time.Hour

// units are those of durations, largest first, as they follow each other.
var units = []struct {
	name byte
	size time.Duration
}{{'w', 7 * 24 * time.Hour}, {'d', 24 * time.Hour}, {'h', time.Hour}, {'m', time.Minute}, {'s', time.Second}}

var errDuration = errors.New("want a length of time such as 90m, 2h, 1d or 1h30m, at most 366d")

// ParseDuration reads a length of time in whole weeks, days (of 24 hours),
// hours, minutes and seconds, larger ones first: 90m, 2h, 1d12h. It is at least
// a second, and at most MaxDuration.
func ParseDuration(text string) (time.Duration, error) {
	var sum time.Duration
	rest, unit := text, 0
	for rest != "" {
		digits := 0
		for digits < len(rest) && rest[digits] >= '0' && rest[digits] <= '9' {
			digits++
		}
		n, err := strconv.ParseInt(rest[:digits], 10, 32)
		if err != nil || digits == len(rest) {
			return 0, errDuration
		}
		for unit < len(units) && units[unit].name != rest[digits] {
			unit++
		}
		if unit == len(units) || time.Duration(n) > MaxDuration/units[unit].size {
			return 0, errDuration
		}
		if sum += time.Duration(n) * units[unit].size; sum > MaxDuration {
			return 0, errDuration
		}
		rest, unit = rest[digits+1:], unit+1
	}
	if sum <= 0 {
		return 0, errDuration
	}
	return sum, nil
}

// FormatDuration is the inverse of ParseDuration.
func FormatDuration(d time.Duration) string {
	var b strings.Builder
	for _, u := range units {
		if n := d / u.size; n > 0 {
			fmt.Fprintf(&b, "%d%c", n, u.name)
			d -= n * u.size
		}
	}
	return b.String()
}

// CatchUp says what becomes of fire times that passed while nobody was there.
type CatchUp struct {
	// Most is how many of them are caught up, the newest ones: 0 for none, 1 for
	// the latest alone.
	Most int
}

// Bounds of catching up.
const (
	// UsualCatchUp is how many are caught up by "all" without a number, and
	// MaxCatchUp how many at most.
	UsualCatchUp = 24
	MaxCatchUp   = 1000
)

// ParseCatchUp reads latest, none, all, or all with a maximum: "all:7".
func ParseCatchUp(text string) (CatchUp, error) {
	switch lower := strings.ToLower(text); lower {
	case "latest":
		return CatchUp{1}, nil
	case "none":
		return CatchUp{0}, nil
	case "all":
		return CatchUp{UsualCatchUp}, nil
	default:
		if number, ok := strings.CutPrefix(lower, "all:"); ok {
			if n, err := strconv.Atoi(number); err == nil && n >= 1 && n <= MaxCatchUp {
				return CatchUp{n}, nil
			}
		}
	}
	return CatchUp{}, fmt.Errorf("want latest, none, all (at most %d), or all:N with N from 1 to %d", UsualCatchUp, MaxCatchUp)
}

// Concurrency says what a fire does while a backup of its source is queued or
// at work.
type Concurrency string

// The policies.
const (
	Forbid  Concurrency = "forbid"  // it is passed over
	Queue   Concurrency = "queue"   // it waits, unless one waits already
	Replace Concurrency = "replace" // it cancels what schedules began, and takes its place
	Allow   Concurrency = "allow"   // it waits, however many do
)

// Policies lists the concurrency policies.
var Policies = []string{string(Forbid), string(Queue), string(Replace), string(Allow)}

// ParseConcurrency reads a policy.
func ParseConcurrency(text string) (Concurrency, error) {
	lower := strings.ToLower(text)
	if !slices.Contains(Policies, lower) {
		return "", fmt.Errorf("want one of %s", strings.Join(Policies, ", "))
	}
	return Concurrency(lower), nil
}

// Priorities are how much a run matters beside others that wait, least first.
var Priorities = []string{"low", "normal", "high", "critical"}

// Drill is the name of the schedule of a source's drills, and DrillPriority the
// priority of these: who waits for a backup goes first.
const (
	Drill         = "drill"
	DrillPriority = "low"
)

// ParsePriority reads one of Priorities.
func ParsePriority(text string) (string, error) {
	lower := strings.ToLower(text)
	if !slices.Contains(Priorities, lower) {
		return "", fmt.Errorf("want one of %s", strings.Join(Priorities, ", "))
	}
	return lower, nil
}

// MaxRetention bounds the text of a retention policy, in bytes.
const MaxRetention = 512

// CheckRetention says whether text may be carried as a retention policy: what it
// means is not known here.
func CheckRetention(text string) error {
	switch {
	case len(text) > MaxRetention:
		return fmt.Errorf("it has more than %d bytes", MaxRetention)
	case strings.ContainsFunc(text, func(r rune) bool { return r < ' ' || r == 0x7f }):
		return errors.New("it has more than one line, or control characters")
	}
	return nil
}

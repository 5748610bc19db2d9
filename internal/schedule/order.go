package schedule

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Spec is a standing order as a user writes it, be it in labels, in the
// configuration or over the API. An empty field was not given.
type Spec struct {
	// Name tells the schedules of one source apart.
	Name string
	// Cron is the expression, see Parse; Timezone the zone in which it and the
	// blackout windows are read.
	Cron, Timezone string
	// Splay, Blackout, Deadline, CatchUp, Concurrency and Priority are described
	// at Order.
	Splay, Blackout, Deadline, CatchUp, Concurrency, Priority string
	// Retention is a policy that is only carried here.
	Retention string
}

// Several is a standing order for several sources.
type Several struct {
	Spec
	// Sources are patterns of their names, see Matches; none: all.
	Sources []string
}

// MaxPatterns is how many patterns one order may have.
const MaxPatterns = 100

// Order is a standing order that has been checked.
type Order struct {
	Cron Cron
	// Once is the only fire time, of an order without an expression.
	Once time.Time
	// Zone is that of the expression, and of the blackout windows.
	Zone *time.Location
	// Splay is by how much runs begin later at most: see Delay.
	Splay time.Duration
	// Blackout are the windows in which no run begins.
	Blackout Windows
	// Deadline is how long after the moment for which it was meant a run may still
	// begin; 0: for ever.
	Deadline    time.Duration
	CatchUp     CatchUp
	Concurrency Concurrency
	// Priority is one of Priorities; empty: the source's.
	Priority string
}

// Bounds of orders.
const (
	MaxSplay    = 24 * time.Hour
	MinDeadline = time.Minute
	// Grace is how late a fire may be and still be on time: a leader that fails is
	// replaced within it, and that loses no fire, whatever is said of catching up.
	Grace = time.Minute
)

// MaxPerSource is how many schedules one source may have.
const MaxPerSource = 16

// MaxName bounds the name of a schedule, in bytes.
const MaxName = 40

// CheckName says whether a name can tell a source's schedules apart.
func CheckName(name string) error {
	valid := name != "" && len(name) <= MaxName && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789_-") == "" && name[0] != '-' && name[0] != '_'
	if !valid {
		return fmt.Errorf("a schedule's name has 1 to %d lower-case letters, digits, '_' and '-', first a letter or digit", MaxName)
	}
	return nil
}

// Fault is one thing that is wrong with a Spec.
type Fault struct {
	// Field is the key of the value, as in labels: "cron", "starting_deadline".
	Field string
	Err   error
}

// Order checks a Spec; usual is the zone when it names none. All that is wrong
// is told at once.
func (s Spec) Order(usual *time.Location) (Order, []Fault) {
	o := Order{Zone: usual, CatchUp: CatchUp{1}, Concurrency: Forbid}
	if usual == nil {
		o.Zone = time.UTC
	}
	var faults []Fault
	read := func(field, text string, parse func() error) {
		if text == "" {
			return
		}
		if err := parse(); err != nil {
			faults = append(faults, Fault{field, err})
		}
	}
	read("timezone", s.Timezone, func() error {
		zone, err := ParseZone(s.Timezone)
		if err == nil {
			o.Zone = zone
		}
		return err
	})
	cron, err := Parse(s.Cron, o.Zone)
	if err != nil {
		faults = append(faults, Fault{"cron", err})
	} else {
		o.Cron, o.Zone = cron, cron.Zone() // CRON_TZ= holds for the windows, too
	}
	read("splay", s.Splay, func() (err error) {
		o.Splay, err = ParseSplay(s.Splay)
		return err
	})
	read("blackout", s.Blackout, func() (err error) {
		o.Blackout, err = ParseWindows(s.Blackout)
		return err
	})
	read("starting_deadline", s.Deadline, func() (err error) {
		o.Deadline, err = ParseDeadline(s.Deadline)
		return err
	})
	read("catch_up", s.CatchUp, func() (err error) {
		o.CatchUp, err = ParseCatchUp(s.CatchUp)
		return err
	})
	read("concurrency", s.Concurrency, func() (err error) {
		o.Concurrency, err = ParseConcurrency(s.Concurrency)
		return err
	})
	read("priority", s.Priority, func() (err error) {
		o.Priority, err = ParsePriority(s.Priority)
		return err
	})
	read("retention", s.Retention, func() error { return CheckRetention(s.Retention) })
	return o, faults
}

// ParseSplay reads a splay, at most MaxSplay.
func ParseSplay(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err == nil && d > MaxSplay {
		err = errors.New("a splay is at most 24h")
	}
	return d, err
}

// ParseDeadline reads a starting deadline, at least MinDeadline.
func ParseDeadline(text string) (time.Duration, error) {
	d, err := ParseDuration(text)
	if err == nil && d < MinDeadline {
		err = errors.New("a starting deadline is at least 1m")
	}
	return d, err
}

// Next returns the first fire time after the given instant; zero when there is none.
func (o Order) Next(after time.Time) time.Time {
	if !o.Once.IsZero() {
		if o.Once.After(after) {
			return o.Once
		}
		return time.Time{}
	}
	return o.Cron.Next(after)
}

// Delay is the splay of one fire of a key (schedule and source): from 0 to splay
// in whole seconds, spread evenly, and always the same for the same fire.
func Delay(key string, fire time.Time, splay time.Duration) time.Duration {
	seconds := uint64(splay / time.Second)
	if seconds == 0 {
		return 0
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d", key, fire.Unix()))
	return time.Duration(binary.BigEndian.Uint64(sum[:8])%(seconds+1)) * time.Second
}

// Fire is one fire time with what follows from it.
type Fire struct {
	// At is the fire time: what the run is known by.
	At time.Time
	// Start is when the run may begin, and StartBy until when; StartBy is zero
	// when there is no deadline.
	Start, StartBy time.Time
	// Reasons say why Start is not the time that the expression means.
	Reasons []string
}

// Fire says when the run of a fire time begins for a key.
func (o Order) Fire(key string, at time.Time) Fire {
	f := Fire{At: at, Start: at}
	if d := Delay(key, at, o.Splay); d > 0 {
		f.Start = at.Add(d)
		f.Reasons = append(f.Reasons, fmt.Sprintf("splay: %s later", FormatDuration(d)))
	}
	if left := o.Blackout.Leave(f.Start, o.Zone); !left.Equal(f.Start) {
		f.Start = left
		f.Reasons = append(f.Reasons, fmt.Sprintf("blackout %s: not before %s", o.Blackout, left.In(o.Zone).Format("2006-01-02 15:04:05 MST")))
	}
	if o.Deadline > 0 {
		f.StartBy = f.Start.Add(o.Deadline)
	}
	return f
}

// Preview gives the next n fires for a key, with the reasons for every shift.
func (o Order) Preview(key string, after time.Time, n int) []Fire {
	var fires []Fire
	for len(fires) < n {
		at, why := o.Next(after), ""
		if o.Once.IsZero() {
			var shown time.Time
			at, shown = o.Cron.next(after)
			why = o.Cron.shift(at, shown)
		}
		if at.IsZero() {
			break
		}
		f := o.Fire(key, at)
		if why != "" {
			f.Reasons = append([]string{why}, f.Reasons...)
		}
		fires = append(fires, f)
		after = at
	}
	return fires
}

// Due is what is to be done at a moment.
type Due struct {
	// Fires are to be made into runs, oldest first.
	Fires []time.Time
	// Passed are passed over, oldest first; at most one for each reason.
	Passed []Passed
	// Next is the fire time after now; zero when there is none.
	Next time.Time
}

// Passed is a number of fire times that are passed over for one reason.
type Passed struct {
	// Last is the latest of them, Count how many there are; More says that there
	// are more than that.
	Last   time.Time
	Count  int
	More   bool
	Reason string
}

// counted bounds how many passed fire times are counted one by one.
const counted = 10_000

// Due says what is due at now when the first fire time that was not dealt with
// is cursor. Fires that are late by no more than Grace are on time and all
// fired; of older ones the newest are, as many as CatchUp says: and of these one
// alone does not fire when there is a newer one.
func (o Order) Due(cursor, now time.Time) Due {
	d := Due{Next: o.Next(now)}
	if cursor.IsZero() || cursor.After(now) {
		return d
	}
	recent := o.between(later(cursor, now.Add(-Grace)), now)
	missed, more := o.newest(cursor, now.Add(-Grace))
	keep := o.CatchUp.Most
	if keep == 1 && len(recent) > 0 {
		keep = 0
	}
	keep = min(keep, len(missed))
	passed := missed[:len(missed)-keep]
	d.Fires = append(append(d.Fires, missed[len(missed)-keep:]...), recent...)
	if len(passed) > 0 {
		reason := "missed while nobody was there to fire: only the latest is caught up"
		switch {
		case o.CatchUp.Most == 0:
			reason = "missed while nobody was there to fire: nothing is caught up"
		case o.CatchUp.Most > 1:
			reason = fmt.Sprintf("missed while nobody was there to fire: at most %d are caught up", o.CatchUp.Most)
		}
		d.Passed = append(d.Passed, Passed{Last: passed[len(passed)-1], Count: len(passed), More: more, Reason: reason})
	}
	return d
}

// between lists the fire times from from to to, both included.
func (o Order) between(from, to time.Time) (list []time.Time) {
	for at := o.Next(from.Add(-time.Nanosecond)); !at.IsZero() && !at.After(to); at = o.Next(at) {
		list = append(list, at)
	}
	return list
}

// newest lists the fire times from cursor on and before end, oldest first; when
// there are more than counted, the newest of them.
func (o Order) newest(cursor, end time.Time) (list []time.Time, more bool) {
	if !cursor.Before(end) {
		return nil, false
	}
	// Look back over ever longer times, so that a year of absence costs no more
	// than there are fires to count.
	for back := time.Hour; ; back *= 4 {
		from := end.Add(-back)
		whole := !from.After(cursor)
		if whole {
			from = cursor
		}
		list = o.between(from, end.Add(-time.Nanosecond))
		if len(list) > counted {
			return list[len(list)-counted:], true
		}
		if whole {
			return list, false
		}
	}
}

// Begin says when a run may begin that is made at now: not before its Start, and
// not within a blackout window. It is false when that is too late.
func (o Order) Begin(f Fire, now time.Time) (start time.Time, ok bool) {
	start = f.Start
	if now.After(start) {
		start = o.Blackout.Leave(now, o.Zone)
	}
	return start, f.StartBy.IsZero() || !start.After(f.StartBy)
}

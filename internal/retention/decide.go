package retention

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Snapshot is what a decision needs to know of one.
type Snapshot struct {
	ID string
	// Time is what hours, days … are told from.
	Time time.Time
	// Place in the ledger; the newest snapshot is the one with the highest.
	Place uint64
	// Verified: it was read again and found right, and not found damaged since.
	// Only such a snapshot counts towards a rule.
	Verified bool
	// Damaged: bytes of it were found damaged or missing.
	Damaged bool
	Tags    []string
	// Schedule is the id of the schedule that it comes from, empty for one that was
	// asked for by hand.
	Schedule string
	// HoldUntil is when a hold ends, zero for none, and HoldReason what it is for.
	HoldUntil  time.Time
	HoldReason string
}

// Question is what Decide answers: the snapshots of one source and what holds
// for them.
type Question struct {
	Policy Policy
	// Least is kept too, whatever Policy and those of Schedules say, unless one keeps
	// everything: for policies that somebody sets who is not to decide alone.
	Least Policy
	// Schedules are the policies of schedules that have one, by id. What such a
	// schedule made is judged by it, and by Least, apart from the rest.
	Schedules map[string]Policy
	Snapshots []Snapshot
	Now       time.Time
	// Zone is where days begin; nil: UTC.
	Zone *time.Location
	// Frozen says why nothing of the source may be forgotten now; empty: it may.
	Frozen string
}

// Decision is what becomes of one snapshot.
type Decision struct {
	Snapshot Snapshot
	Keep     bool
	// Verify: it is kept for the present, since a rule would keep it if it were
	// verified. To verify it makes it count.
	Verify bool
	// Reasons say why it is kept, or the one why it is not.
	Reasons []string
}

// maxAhead is how far a snapshot's time may be ahead of the clock before nothing
// is trusted to be told from it.
const maxAhead = 24 * time.Hour

// Decide says of each snapshot whether it is kept, newest first. The same
// question has the same answer.
func Decide(q Question) []Decision {
	if q.Zone == nil {
		q.Zone = time.UTC
	}
	d := &deciding{Question: q}
	list := slices.Clone(q.Snapshots)
	slices.SortStableFunc(list, newestFirst)
	for _, s := range list {
		d.all = append(d.all, Decision{Snapshot: s})
	}
	for _, group := range d.groups() {
		d.judge(group.policy, group.members, "")
		if !group.policy.Empty() && !d.Least.Empty() {
			d.judge(d.Least, group.members, "at least: ")
		}
	}
	d.protect()
	for i := range d.all {
		c := &d.all[i]
		if c.Keep = len(c.Reasons) > 0; !c.Keep {
			c.Reasons = []string{forgottenBecause(c.Snapshot)}
		}
	}
	return d.all
}

func newestFirst(a, b Snapshot) int {
	return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(b.Place, a.Place), strings.Compare(b.ID, a.ID))
}

func forgottenBecause(s Snapshot) string {
	switch {
	case s.Damaged:
		return "no rule would keep it, even if it were not damaged"
	case !s.Verified:
		return "no rule would keep it, even if it were verified"
	}
	return "no rule keeps it"
}

type deciding struct {
	Question
	all []Decision // newest first
}

func (d *deciding) keep(i int, format string, args ...any) {
	d.all[i].Reasons = append(d.all[i].Reasons, fmt.Sprintf(format, args...))
}

// group is what is judged by one policy.
type group struct {
	policy  Policy
	members []int
}

func (d *deciding) groups() []group {
	rest := group{policy: d.Policy}
	var ids []string
	own := map[string]*group{}
	for i, c := range d.all {
		id := c.Snapshot.Schedule
		p, ok := d.Schedules[id]
		if id == "" || !ok {
			rest.members = append(rest.members, i)
			continue
		}
		if own[id] == nil {
			own[id] = &group{policy: p}
			ids = append(ids, id)
		}
		own[id].members = append(own[id].members, i)
	}
	slices.Sort(ids)
	all := []group{rest}
	for _, id := range ids {
		all = append(all, *own[id])
	}
	return all
}

// judge applies a policy: to what is verified, then as if what is not were, too,
// and as if nothing were damaged. What only those keep takes nobody's place: it is
// kept until it is known whether it is right, or for what is left of it.
func (d *deciding) judge(p Policy, members []int, by string) {
	if p.Empty() {
		for _, i := range members {
			d.keep(i, "no policy says what to forget")
		}
		return
	}
	of := func(wanted func(Snapshot) bool) map[int][]string {
		var list []int
		for _, i := range members {
			if wanted(d.all[i].Snapshot) {
				list = append(list, i)
			}
		}
		why := map[int][]string{}
		d.apply(p, list, func(i int, reason string) { why[i] = append(why[i], by+reason) })
		return why
	}
	verified := of(func(s Snapshot) bool { return s.Verified })
	hoped := of(func(s Snapshot) bool { return !s.Damaged })
	all := of(func(Snapshot) bool { return true })
	for _, i := range members {
		switch s := d.all[i].Snapshot; {
		case s.Verified:
			d.all[i].Reasons = append(d.all[i].Reasons, verified[i]...)
		case s.Damaged && all[i] != nil:
			d.keep(i, "damaged, and does not count: what is left of it is kept as %s", all[i][0])
		case !s.Damaged && hoped[i] != nil:
			d.all[i].Verify = true
			d.keep(i, "not verified yet, and does not count: kept as %s until it is", hoped[i][0])
		}
	}
}

// apply goes through snapshots, newest first, and tells which of them each rule keeps.
func (d *deciding) apply(p Policy, list []int, keep func(i int, why string)) {
	if len(list) == 0 {
		return
	}
	newest := d.all[list[0]].Snapshot.Time.In(d.Zone)
	var used [rules]int
	var lastCount, lastWithin [rules]string
	for nr, i := range list {
		s := d.all[i].Snapshot
		at := s.Time.In(d.Zone)
		if set := tagged(p, s); set != nil {
			keep(i, "tag "+strings.Join(set, "+"))
		}
		for r := range rules {
			if p.Count[r] != All && used[r] >= p.Count[r] {
				continue
			}
			if key := r.period(at, nr); key != lastCount[r] {
				lastCount[r] = key
				used[r]++
				keep(i, counted(r, used[r], p.Count[r], key))
			}
		}
		for r := range rules {
			if p.Within[r].zero() || !at.After(p.Within[r].Before(newest)) {
				continue
			}
			if key := r.period(at, nr); key != lastWithin[r] {
				lastWithin[r] = key
				keep(i, within(r, p.Within[r], key))
			}
		}
	}
}

// period names the hour, day … that a moment is in; of Last, each is its own.
func (r Rule) period(at time.Time, nr int) string {
	switch r {
	case Hourly:
		return at.Format("2006-01-02 15h")
	case Daily:
		return at.Format(time.DateOnly)
	case Weekly:
		year, week := at.ISOWeek()
		return fmt.Sprintf("%04d-W%02d", year, week)
	case Monthly:
		return at.Format("2006-01")
	case Yearly:
		return at.Format("2006")
	}
	return fmt.Sprint(nr)
}

func counted(r Rule, n, of int, key string) string {
	text := fmt.Sprintf("%s %d", r, n)
	if of != All {
		text += fmt.Sprintf(" of %d", of)
	}
	if r == Last {
		return text
	}
	return text + ", " + key
}

func within(r Rule, s Span, key string) string {
	if r == Last {
		return fmt.Sprintf("within %s of the newest", s)
	}
	return fmt.Sprintf("%s within %s, %s", r, s, key)
}

func tagged(p Policy, s Snapshot) []string {
	for _, set := range p.Tags {
		if !slices.ContainsFunc(set, func(tag string) bool { return !slices.Contains(s.Tags, tag) }) {
			return set
		}
	}
	return nil
}

// protect adds what holds whatever the policy says.
func (d *deciding) protect() {
	newest, ahead := -1, -1
	verified := uint64(0) // place of the newest that is
	any := false
	for i, c := range d.all {
		if newest < 0 || c.Snapshot.Place > d.all[newest].Snapshot.Place {
			newest = i
		}
		if c.Snapshot.Verified {
			any, verified = true, max(verified, c.Snapshot.Place)
		}
		if ahead < 0 && c.Snapshot.Time.After(d.Now.Add(maxAhead)) {
			ahead = i
		}
	}
	floor := d.Floor()
	for i := range d.all {
		s := d.all[i].Snapshot
		if i == newest {
			d.keep(i, "the newest of its source")
		}
		switch {
		case s.Verified && floor > 0:
			if floor--; len(d.all[i].Reasons) == 0 {
				d.keep(i, "one of the last %d verified", d.Floor())
			}
		case !any:
			d.keep(i, "no snapshot of its source has been verified")
		case !s.Verified && s.Place > verified:
			d.keep(i, "newer than the last verified")
		}
		if s.HoldUntil.After(d.Now) {
			d.keep(i, "on hold until %s%s", s.HoldUntil.In(d.Zone).Format("2006-01-02 15:04"), because(s.HoldReason))
		}
		switch {
		case d.Frozen != "":
			d.keep(i, "frozen: %s", d.Frozen)
		case ahead >= 0:
			d.keep(i, "frozen: snapshot %s is of a time to come, %s: a clock is or was wrong", d.all[ahead].Snapshot.ID, d.all[ahead].Snapshot.Time.In(d.Zone).Format("2006-01-02 15:04"))
		}
	}
}

func because(reason string) string {
	if reason == "" {
		return ""
	}
	return ": " + reason
}

// Floor is how many verified snapshots the source keeps at least.
func (q Question) Floor() int {
	n := max(q.Policy.Floor(), q.Least.Floor())
	for _, p := range q.Schedules {
		n = max(n, p.Floor())
	}
	return n
}

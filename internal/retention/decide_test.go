package retention_test

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/retention"
)

func when(text string) time.Time {
	at, err := time.Parse("2006-01-02 15:04", text)
	if err != nil {
		panic(err)
	}
	return at
}

func policy(t testing.TB, text string) retention.Policy {
	t.Helper()
	p, err := retention.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// days makes a verified snapshot at noon of each of the last n days, "d1" the newest.
func days(n int) []retention.Snapshot {
	var list []retention.Snapshot
	for i := range n {
		list = append(list, retention.Snapshot{
			ID: fmt.Sprintf("d%d", i+1), Time: when("2026-11-20 12:00").AddDate(0, 0, -i), Place: uint64(1000 - i), Verified: true,
		})
	}
	return list
}

// explained is what Decide says, a line for each snapshot.
func explained(q retention.Question) string {
	var b strings.Builder
	for _, d := range retention.Decide(q) {
		mark := "-"
		if d.Keep {
			mark = "+"
		}
		if d.Verify {
			mark = "?"
		}
		fmt.Fprintf(&b, "%s%s %s\n", mark, d.Snapshot.ID, strings.Join(d.Reasons, " & "))
	}
	return b.String()
}

// Every decision, with its reasons, as a person reads them.
func TestDecideExplains(t *testing.T) {
	now := when("2026-11-20 13:00")
	change := func(n int, what func(list []retention.Snapshot)) []retention.Snapshot {
		list := days(n)
		what(list)
		return list
	}
	tests := []struct {
		name string
		q    retention.Question
		want string
	}{
		{"no policy", retention.Question{Snapshots: days(2)}, `
+d1 no policy says what to forget & the newest of its source
+d2 no policy says what to forget
`},
		{"rules", retention.Question{Policy: policy(t, "daily=2 weekly=2 within=12h tag=golden+x"), Snapshots: change(9, func(l []retention.Snapshot) { l[7].Tags = []string{"x", "golden"} })}, `
+d1 daily 1 of 2, 2026-11-20 & weekly 1 of 2, 2026-W47 & within 12h of the newest & the newest of its source
+d2 daily 2 of 2, 2026-11-19
-d3 no rule keeps it
-d4 no rule keeps it
-d5 no rule keeps it
+d6 weekly 2 of 2, 2026-W46
-d7 no rule keeps it
+d8 tag golden+x
-d9 no rule keeps it
`},
		{"what is not verified does not count, and waits for it", retention.Question{Policy: policy(t, "daily=2"), Snapshots: change(6, func(l []retention.Snapshot) {
			l[0].Verified, l[1].Verified, l[4].Verified = false, false, false
		})}, `
?d1 not verified yet, and does not count: kept as daily 1 of 2, 2026-11-20 until it is & the newest of its source & newer than the last verified
?d2 not verified yet, and does not count: kept as daily 2 of 2, 2026-11-19 until it is & newer than the last verified
+d3 daily 1 of 2, 2026-11-18
+d4 daily 2 of 2, 2026-11-17
-d5 no rule would keep it, even if it were verified
-d6 no rule keeps it
`},
		{"damaged ones do not count", retention.Question{Policy: policy(t, "last=1"), Snapshots: change(4, func(l []retention.Snapshot) {
			l[0].Verified, l[0].Damaged, l[2].Verified, l[2].Damaged = false, true, false, true
		})}, `
+d1 damaged, and does not count: what is left of it is kept as last 1 of 1 & the newest of its source & newer than the last verified
+d2 last 1 of 1
-d3 no rule would keep it, even if it were not damaged
-d4 no rule keeps it
`},
		{"nothing was ever verified", retention.Question{Policy: policy(t, "last=1"), Snapshots: change(3, func(l []retention.Snapshot) {
			for i := range l {
				l[i].Verified = false
			}
		})}, `
?d1 not verified yet, and does not count: kept as last 1 of 1 until it is & the newest of its source & no snapshot of its source has been verified
+d2 no snapshot of its source has been verified
+d3 no snapshot of its source has been verified
`},
		{"a floor", retention.Question{Policy: policy(t, "tag=none at-least=2"), Snapshots: change(4, func(l []retention.Snapshot) { l[0].Verified = false })}, `
+d1 the newest of its source & newer than the last verified
+d2 one of the last 2 verified
+d3 one of the last 2 verified
-d4 no rule keeps it
`},
		{"holds", retention.Question{Policy: policy(t, "last=1"), Snapshots: change(4, func(l []retention.Snapshot) {
			l[1].HoldUntil, l[1].HoldReason = when("2026-12-24 00:00"), "audit of 2026"
			l[2].HoldUntil = when("2026-11-20 13:00")
			l[3].HoldUntil = when("2026-11-20 13:01")
		})}, `
+d1 last 1 of 1 & the newest of its source
+d2 on hold until 2026-12-24 00:00: audit of 2026
-d3 no rule keeps it
+d4 on hold until 2026-11-20 13:01
`},
		{"frozen", retention.Question{Policy: policy(t, "last=1"), Snapshots: days(2), Frozen: "the newest 2 runs failed"}, `
+d1 last 1 of 1 & the newest of its source & frozen: the newest 2 runs failed
+d2 frozen: the newest 2 runs failed
`},
		{"a clock that was ahead", retention.Question{Policy: policy(t, "within=30d"), Snapshots: change(2, func(l []retention.Snapshot) {
			l[0].Time = when("2036-01-01 00:00")
		})}, `
+d1 within 30d of the newest & the newest of its source & frozen: snapshot d1 is of a time to come, 2036-01-01 00:00: a clock is or was wrong
+d2 frozen: snapshot d1 is of a time to come, 2036-01-01 00:00: a clock is or was wrong
`},
		{"a schedule of its own", retention.Question{
			Policy: policy(t, "last=1"), Schedules: map[string]retention.Policy{"nightly": policy(t, "last=2"), "unused": policy(t, "last=9")},
			Snapshots: change(7, func(l []retention.Snapshot) {
				l[0].Schedule = "hourly"
				for _, i := range []int{1, 3, 5} {
					l[i].Schedule = "nightly"
				}
			}),
		}, `
+d1 last 1 of 1 & the newest of its source
+d2 last 1 of 2
-d3 no rule keeps it
+d4 last 2 of 2
-d5 no rule keeps it
-d6 no rule keeps it
-d7 no rule keeps it
`},
		{"at least", retention.Question{Policy: policy(t, "last=1"), Least: policy(t, "daily=2 at-least=2"), Snapshots: change(3, func(l []retention.Snapshot) { l[1].Verified = false })}, `
+d1 last 1 of 1 & at least: daily 1 of 2, 2026-11-20 & the newest of its source
?d2 not verified yet, and does not count: kept as at least: daily 2 of 2, 2026-11-19 until it is
+d3 at least: daily 2 of 2, 2026-11-18
`},
		{"at least, of what a schedule of its own made", retention.Question{
			Least: policy(t, "daily=2"), Schedules: map[string]retention.Policy{"nightly": policy(t, "last=1")},
			Snapshots: change(4, func(l []retention.Snapshot) {
				for i := range 3 {
					l[i].Schedule = "nightly"
				}
			}),
		}, `
+d1 last 1 of 1 & at least: daily 1 of 2, 2026-11-20 & the newest of its source
+d2 at least: daily 2 of 2, 2026-11-19
-d3 no rule keeps it
+d4 no policy says what to forget
`},
		{"at least, and all", retention.Question{Least: policy(t, "daily=1"), Snapshots: days(2)}, `
+d1 no policy says what to forget & the newest of its source
+d2 no policy says what to forget
`},
		{"the newest is told by the ledger, not by the clock", retention.Question{Policy: policy(t, "last=1"), Snapshots: change(3, func(l []retention.Snapshot) {
			l[2].Place = 5000
		})}, `
+d1 last 1 of 1
-d2 no rule keeps it
+d3 the newest of its source
`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.q.Now = now
			if got := "\n" + explained(tt.q); got != tt.want {
				t.Errorf("got%s\nwant%s", got, tt.want)
			}
		})
	}
}

// Days begin where the user is.
func TestDecideInAZone(t *testing.T) {
	vienna, err := time.LoadLocation("Europe/Vienna")
	if err != nil {
		t.Fatal(err)
	}
	q := retention.Question{Policy: policy(t, "daily=2"), Now: when("2026-07-03 00:00"), Snapshots: []retention.Snapshot{
		{ID: "a", Time: when("2026-07-01 21:30"), Place: 1, Verified: true}, // 23:30 of 1 July in Vienna
		{ID: "b", Time: when("2026-07-01 22:30"), Place: 2, Verified: true}, // 0:30 of 2 July
		{ID: "c", Time: when("2026-07-02 10:00"), Place: 3, Verified: true},
	}}
	if got := explained(q); !strings.Contains(got, "-a") || !strings.Contains(got, "+b") {
		t.Errorf("in UTC: %s", got)
	}
	q.Zone = vienna
	if got := explained(q); !strings.Contains(got, "+a daily 2 of 2, 2026-07-01") || !strings.Contains(got, "-b") {
		t.Errorf("in Vienna: %s", got)
	}
	q.Snapshots[2].Time = when("2026-07-01 23:00")
	q.Policy = policy(t, "daily=1 last=1")
	if got := explained(q); !strings.Contains(got, "+c last 1 of 1 & daily 1 of 1, 2026-07-02") {
		t.Errorf("in Vienna: %s", got)
	}
}

// What holds for all policies and all snapshots.
func TestDecideKeepsItsPromises(t *testing.T) {
	now := when("2026-11-20 12:00")
	for seed := range uint64(3000) {
		rnd := rand.New(rand.NewPCG(seed, 9))
		p := randomPolicy(rnd)
		p.AtLeast = rnd.IntN(4)
		list := history(rnd)
		for i := range list {
			s := &list[i]
			s.ID = fmt.Sprint(i)
			s.Verified = rnd.IntN(3) > 0
			s.Damaged = !s.Verified && rnd.IntN(3) == 0
			if rnd.IntN(9) == 0 {
				s.HoldUntil = now.Add(time.Duration(rnd.IntN(100)-50) * time.Hour)
			}
			if rnd.IntN(40) == 0 { // a clock stepped
				s.Time = s.Time.Add(time.Duration(rnd.IntN(20_000)-10_000) * time.Hour)
			}
			s.Place = uint64(i + 1)
		}
		q := retention.Question{Policy: p, Snapshots: list, Now: now}
		first := retention.Decide(q)
		slices.Reverse(q.Snapshots)
		if again := retention.Decide(q); !reflect.DeepEqual(first, again) {
			t.Fatalf("seed %d: the order of the question changed the answer", seed)
		}
		verified, left := 0, 0
		var kept []retention.Snapshot
		for _, d := range first {
			s := d.Snapshot
			if len(d.Reasons) == 0 || d.Verify && (!d.Keep || s.Verified) {
				t.Errorf("seed %d: %+v", seed, d)
			}
			if s.Verified {
				verified++
				if d.Keep {
					left++
				}
			}
			if !d.Keep && (s.HoldUntil.After(now) || s.Place == uint64(len(list))) {
				t.Errorf("seed %d: %s would not keep %+v", seed, p, s)
			}
			if d.Keep {
				kept = append(kept, s)
			}
		}
		if left < min(verified, p.Floor()) {
			t.Errorf("seed %d: %d of %d verified ones are left, at least %d were to be", seed, left, verified, p.Floor())
		}
		// What is there after the forgetting stays: nothing is forgotten bit by bit.
		q.Snapshots = kept
		for _, d := range retention.Decide(q) {
			if !d.Keep {
				t.Errorf("seed %d: %s keeps %s, and then does not: %v", seed, p, d.Snapshot.ID, d.Reasons)
			}
		}
		// And nobody loses anything by a verification of another.
		for i := range q.Snapshots {
			if q.Snapshots[i].Verified {
				continue
			}
			verifiedNow := slices.Clone(q.Snapshots)
			verifiedNow[i].Verified, verifiedNow[i].Damaged = true, false
			n := 0
			for _, d := range retention.Decide(retention.Question{Policy: p, Snapshots: verifiedNow, Now: now}) {
				if d.Keep && d.Snapshot.Verified {
					n++
				}
			}
			if n < min(left, p.Floor()) {
				t.Errorf("seed %d: verifying %s leaves %d", seed, q.Snapshots[i].ID, n)
			}
		}
	}
}

func TestSimulate(t *testing.T) {
	var fires []time.Time
	for at := when("2026-01-01 00:00"); at.Before(when("2027-01-01 00:00")); at = at.Add(6 * time.Hour) {
		fires = append(fires, at)
	}
	result, err := retention.Simulate(retention.Simulation{Policy: policy(t, "last=4 daily=7 weekly=4 monthly=6"), Fires: fires})
	if err != nil || len(result) != 365 {
		t.Fatalf("%d days, %v", len(result), err)
	}
	end := result[364]
	var left []string
	for _, s := range end.Kept {
		left = append(left, s.Time.Format("01-02 15h"))
	}
	want := []string{
		"12-31 18h", "12-31 12h", "12-31 06h", "12-31 00h", "12-30 18h", "12-29 18h", "12-28 18h", "12-27 18h", "12-26 18h", "12-25 18h",
		"12-20 18h", "12-13 18h", "11-30 18h", "10-31 18h", "09-30 18h", "08-31 18h", "07-31 18h",
	}
	if end.Date != "2026-12-31" || end.Made != 4 || !slices.Equal(left, want) {
		t.Errorf("at the end of the year: %s, %d made, %v", end.Date, end.Made, left)
	}
	if _, err := retention.Simulate(retention.Simulation{Fires: make([]time.Time, retention.MaxFires+1)}); err == nil {
		t.Error("there is no end to it")
	}
}

package schedule_test

import (
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/schedule"
)

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC) // a Monday

func order(t testing.TB, s schedule.Spec) schedule.Order {
	t.Helper()
	o, faults := s.Order(nil)
	if len(faults) > 0 {
		t.Fatal(faults)
	}
	return o
}

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"90m": 90 * time.Minute, "2h": 2 * time.Hour, "1d": 24 * time.Hour, "1w2d": 9 * 24 * time.Hour, "1h30m10s": 5410 * time.Second, "366d": schedule.MaxDuration,
	} {
		got, err := schedule.ParseDuration(text)
		if err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
		if again, err := schedule.ParseDuration(schedule.FormatDuration(got)); err != nil || again != got {
			t.Errorf("%q: %s, %v", schedule.FormatDuration(got), again, err)
		}
	}
	for _, text := range []string{"", "0s", "5", "-1h", "1.5h", "1h 30m", "30m1h", "1h1h", "367d", "99999999999h", "1y", "h", "1H", "9223372036854775807w"} {
		if d, err := schedule.ParseDuration(text); err == nil {
			t.Errorf("%q: %s", text, d)
		}
	}
}

func TestPolicies(t *testing.T) {
	for text, most := range map[string]int{"latest": 1, "none": 0, "all": schedule.UsualCatchUp, "ALL:7": 7, "all:1000": 1000} {
		if got, err := schedule.ParseCatchUp(text); err != nil || got.Most != most {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "some", "all:0", "all:1001", "all:-1", "all:", "all:x"} {
		if got, err := schedule.ParseCatchUp(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

// A Spec tells all that is wrong with it at once, field by field.
func TestSpecFaults(t *testing.T) {
	_, faults := schedule.Spec{
		Cron: "x", Timezone: "Mars/Olympus", Splay: "25h", Blackout: "Mon-Sun 00:00-24:00", Deadline: "30s", CatchUp: "some", Concurrency: "maybe", Priority: "urgent", Retention: "a\nb",
	}.Order(nil)
	want := []string{
		"timezone: not known", "cron: 1 fields", "splay: at most 24h", "blackout: the whole week", "starting_deadline: at least 1m", "catch_up: latest, none", "concurrency: one of forbid",
		"priority: one of low", "retention: more than one line",
	}
	if len(faults) != len(want) {
		t.Fatalf("%v", faults)
	}
	for i, w := range want {
		field, words, _ := strings.Cut(w, ": ")
		if faults[i].Field != field || !strings.Contains(faults[i].Err.Error(), words) {
			t.Errorf("%s: %v, want %q", faults[i].Field, faults[i].Err, w)
		}
	}
}

func TestWindows(t *testing.T) {
	// 2026-03-02 is a Monday.
	for _, tc := range []struct {
		text, zone, at, want string
	}{
		{"22:00-02:00", "UTC", "2026-03-02 21:59:59", "2026-03-02 21:59:59"},
		{"22:00-02:00", "UTC", "2026-03-02 22:00:00", "2026-03-03 02:00:00"},
		{"22:00-02:00", "UTC", "2026-03-03 01:59:59", "2026-03-03 02:00:00"},
		{"22:00-02:00", "UTC", "2026-03-03 02:00:00", "2026-03-03 02:00:00"},
		{"Mon-Fri 08:00-18:00", "UTC", "2026-03-06 12:00:00", "2026-03-06 18:00:00"},
		{"Mon-Fri 08:00-18:00", "UTC", "2026-03-07 12:00:00", "2026-03-07 12:00:00"},
		{"fri 20:00-06:00", "UTC", "2026-03-07 05:00:00", "2026-03-07 06:00:00"},
		{"fri 20:00-06:00", "UTC", "2026-03-06 05:00:00", "2026-03-06 05:00:00"},
		{"Sat-Mon 00:00-24:00", "UTC", "2026-03-07 05:00:00", "2026-03-10 00:00:00"},
		{"08:00-12:00; 12:00-14:00; 13:00-15:30", "UTC", "2026-03-07 09:00:00", "2026-03-07 15:30:00"},
		{"22:00-02:30", "America/New_York", "2026-03-07 23:00:00", "2026-03-08 03:00:00"}, // 02:30 is not shown
		{"22:00-01:30", "America/New_York", "2026-10-31 23:00:00", "2026-11-01 01:30:00"}, // the first 01:30 ends it …
		{"01:10-01:20", "America/New_York", "2026-11-01 01:15:00", "2026-11-01 01:20:00"},
	} {
		z := zone(t, tc.zone)
		w, err := schedule.ParseWindows(tc.text)
		if err != nil {
			t.Fatal(err)
		}
		at, err := time.ParseInLocation(time.DateTime, tc.at, z)
		if err != nil {
			t.Fatal(err)
		}
		if got := w.Leave(at, z).In(z).Format(time.DateTime); got != tc.want {
			t.Errorf("%q at %s: %s, want %s", tc.text, tc.at, got, tc.want)
		}
	}
	for _, text := range []string{"", ";", "8:00-18:00", "08:00", "08:00-08:00", "08:60-09:00", "24:00-02:00", "25:00-26:00", "Mon 08:00-09:00 x", "Foo 08:00-09:00",
		"Mon- 08:00-09:00", "08:00-24:01", "00:00-24:00", "00:00-12:00;12:00-24:00", strings.Repeat("01:00-02:00;", 33) + "01:00-02:00", strings.Repeat(" ", 600)} {
		if w, err := schedule.ParseWindows(text); err == nil {
			t.Errorf("%q: %v", text, w)
		}
	}
}

// Leaving a window is leaving it minute by minute, also where clocks change.
func TestLeaveAgainstEveryMinute(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for _, name := range []string{"America/New_York", "Australia/Lord_Howe", "America/Sao_Paulo", "Europe/Berlin"} {
		z := zone(t, name)
		for _, text := range []string{"22:00-02:30", "Sun 00:30-03:15; Sat 23:00-00:30", "01:15-01:45;01:45-02:10", "Sat,Sun 00:00-24:00"} {
			w, err := schedule.ParseWindows(text)
			if err != nil {
				t.Fatal(err)
			}
			for at := time.Date(2018, 1, 1, 0, 0, 0, 0, z); at.Year() < 2019; at = at.Add(time.Duration(30+r.IntN(90)) * time.Minute) {
				want := at
				for w.In(want, z) {
					want = want.Add(time.Minute)
				}
				if got := w.Leave(at.Add(30*time.Second), z); !w.In(at, z) != got.Equal(at.Add(30*time.Second)) || w.In(at, z) && !got.Equal(want) {
					t.Fatalf("%q in %s at %s: %s, want %s", text, name, at, got.In(z), want)
				}
			}
		}
	}
}

func TestDelayIsSpreadAndStable(t *testing.T) {
	var low, high int
	for i := range 1000 {
		at := noon.Add(time.Duration(i) * time.Hour)
		d := schedule.Delay("default shop", at, time.Hour)
		if d != schedule.Delay("default shop", at.In(zone(t, "Asia/Kathmandu")), time.Hour) || d < 0 || d > time.Hour || d%time.Second != 0 {
			t.Fatalf("%s at %s", d, at)
		}
		if d < 30*time.Minute {
			low++
		} else {
			high++
		}
	}
	if low < 400 || high < 400 {
		t.Errorf("%d in the first half, %d in the second", low, high)
	}
	if schedule.Delay("a", noon, time.Hour) == schedule.Delay("b", noon, time.Hour) || schedule.Delay("a", noon, 0) != 0 {
		t.Error("the key does not count, or a splay of nothing is something")
	}
}

func TestDue(t *testing.T) {
	hours := func(list ...int) (all []time.Time) {
		for _, h := range list {
			all = append(all, noon.Add(time.Duration(h)*time.Hour))
		}
		return all
	}
	for _, tc := range []struct {
		name, cron, catchUp string
		away                time.Duration // since noon, the cursor
		want                []time.Time
		passed              int
		next                time.Time
	}{
		{"on time", "@hourly", "", 0, hours(0), 0, hours(1)[0]},
		{"a little late", "@hourly", "none", time.Minute, hours(0), 0, hours(1)[0]},
		{"late", "@hourly", "", 30 * time.Minute, hours(0), 0, hours(1)[0]},
		{"late, none", "@hourly", "none", 30 * time.Minute, nil, 1, hours(1)[0]},
		{"latest of five", "@hourly", "", 4*time.Hour + 30*time.Minute, hours(4), 4, hours(5)[0]},
		{"latest is on time", "@hourly", "", 4 * time.Hour, hours(4), 4, hours(5)[0]},
		{"none but what is on time", "@hourly", "none", 4 * time.Hour, hours(4), 4, hours(5)[0]},
		{"all", "@hourly", "all", 4*time.Hour + time.Minute + time.Second, hours(0, 1, 2, 3, 4), 0, hours(5)[0]},
		{"all, at most two", "@hourly", "all:2", 4*time.Hour + 30*time.Minute, hours(3, 4), 3, hours(5)[0]},
		{"two missed and one on time", "@hourly", "all:2", 4 * time.Hour, hours(2, 3, 4), 2, hours(5)[0]},
		{"dense, within grace all fire", "*/10 * * * * *", "", 30 * time.Second, []time.Time{noon, noon.Add(10 * time.Second), noon.Add(20 * time.Second), noon.Add(30 * time.Second)}, 0, noon.Add(40 * time.Second)},
		{"not due", "@hourly", "", -time.Second, nil, 0, noon},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := order(t, schedule.Spec{Cron: tc.cron, CatchUp: tc.catchUp})
			d := o.Due(noon, noon.Add(tc.away))
			passed := 0
			for _, p := range d.Passed {
				passed += p.Count
			}
			if !slices.EqualFunc(d.Fires, tc.want, time.Time.Equal) || passed != tc.passed || !d.Next.Equal(tc.next) {
				t.Errorf("%+v, want %v, %d passed, next %s", d, tc.want, tc.passed, tc.next)
			}
		})
	}
}

func TestDueAfterAYearOfEverySecond(t *testing.T) {
	o := order(t, schedule.Spec{Cron: "* * * * * *"})
	d := o.Due(noon, noon.Add(365*24*time.Hour))
	if len(d.Fires) != 61 || len(d.Passed) != 1 || !d.Passed[0].More || d.Passed[0].Count != 10_000 {
		t.Errorf("%d fires, passed %+v", len(d.Fires), d.Passed)
	}
}

func TestOnce(t *testing.T) {
	o := schedule.Order{Once: noon, Zone: time.UTC}
	if !o.Next(noon.Add(-time.Hour)).Equal(noon) || !o.Next(noon).IsZero() {
		t.Error("a one-shot fires at its time alone")
	}
	if d := o.Due(noon, noon.Add(time.Second)); len(d.Fires) != 1 || !d.Next.IsZero() {
		t.Errorf("%+v", d)
	}
}

func TestPreviewGivesReasons(t *testing.T) {
	o := order(t, schedule.Spec{Cron: "30 2 * * *", Timezone: "America/New_York", Splay: "30m", Blackout: "Sun 02:00-05:00"})
	fires := o.Preview("shop/db:main shop/db", time.Date(2026, 3, 7, 12, 0, 0, 0, time.UTC), 2)
	if len(fires) != 2 {
		t.Fatalf("%+v", fires)
	}
	all := strings.Join(fires[0].Reasons, "\n")
	for _, want := range []string{"02:30:00 is not shown on 2026-03-08: clocks go from 02:00:00 to 03:00:00", "splay: ", "blackout Sun 02:00-05:00: not before 2026-03-08 05:00:00 EDT"} {
		if !strings.Contains(all, want) {
			t.Errorf("reasons %q lack %q", all, want)
		}
	}
	if len(fires[1].Reasons) != 1 || !strings.HasPrefix(fires[1].Reasons[0], "splay") {
		t.Errorf("the day after: %v", fires[1].Reasons)
	}
	o = order(t, schedule.Spec{Cron: "30 1 * * *", Timezone: "America/New_York", Deadline: "2h"})
	fires = o.Preview("x", time.Date(2026, 10, 31, 12, 0, 0, 0, time.UTC), 2)
	if len(fires) != 2 || len(fires[0].Reasons) != 1 || !strings.Contains(fires[0].Reasons[0], "01:30:00 is shown twice on 2026-11-01") || len(fires[1].Reasons) != 0 {
		t.Errorf("%+v", fires)
	}
	if !fires[0].StartBy.Equal(fires[0].At.Add(2 * time.Hour)) {
		t.Errorf("start by %s", fires[0].StartBy)
	}
}

func TestDependencies(t *testing.T) {
	for _, tc := range []struct {
		name   string
		edges  string // "a:b,c d:a"
		source string
		above  string
		cycle  string
	}{
		{"alone", "", "a", "", ""},
		{"chain", "a:b b:c", "a", "b,c", ""},
		{"diamond", "a:b,c b:d c:d", "a", "b,c,d", ""},
		{"itself", "a:a", "a", "", "a → a"},
		{"a ring", "a:b b:c c:a", "b", "", "b → c → a → b"},
		{"the shortest ring", "a:b,c b:d d:a c:a", "a", "", "a → c → a"},
		{"before a ring", "x:a a:b b:a", "x", "a,b", ""},
		{"after a ring", "a:b,x b:a x:y", "a", "x,y", "a → b → a"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			edges := map[string][]string{}
			for part := range strings.FieldsSeq(tc.edges) {
				from, to, _ := strings.Cut(part, ":")
				edges[from] = strings.Split(to, ",")
			}
			up := func(s string) []string { return edges[s] }
			if got := strings.Join(schedule.Above(tc.source, up), ","); got != tc.above {
				t.Errorf("above %q, want %q", got, tc.above)
			}
			if got := schedule.Cycle(tc.source, up); got != tc.cycle {
				t.Errorf("cycle %q, want %q", got, tc.cycle)
			}
		})
	}
}

// Whatever the dependencies: those that are honoured have no cycle.
func TestNoDependencyIsHonouredOnACycle(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		edges := map[string][]string{}
		name := func() string { return string(rune('a' + r.IntN(6))) }
		for range r.IntN(12) {
			from := name()
			edges[from] = append(edges[from], name())
		}
		waits := func(s string) []string { return schedule.Above(s, func(s string) []string { return edges[s] }) }
		for s := 'a'; s <= 'f'; s++ {
			if c := schedule.Cycle(string(s), waits); c != "" {
				t.Fatalf("%v: %s", edges, c)
			}
		}
	}
}

func TestMatches(t *testing.T) {
	for _, tc := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "shop/db", true}, {"shop/*", "shop/db", true}, {"shop/*", "shopping/db", false}, {"*/db", "shop/db", true}, {"*db", "shop/dbx", false}, {"shop?db", "shop/db", true},
		{"a*b*c", "aXbYbZc", true}, {"a*b*c", "aXbY", false}, {"", "", true}, {"", "a", false}, {"db", "db", true}, {"DB", "db", false}, {"**", "x", true}, {"?", "", false},
	} {
		if got := schedule.Matches(tc.pattern, tc.name); got != tc.want {
			t.Errorf("%q %q: %t", tc.pattern, tc.name, got)
		}
	}
}

func TestCheckName(t *testing.T) {
	for name, ok := range map[string]bool{
		"weekly": true, "a-b_c9": true, "9": true, "": false, "-a": false, "_a": false, "A": false, "a.b": false, "a/b": false, "a:b": false, strings.Repeat("a", 40): true, strings.Repeat("a", 41): false,
	} {
		if (schedule.CheckName(name) == nil) != ok {
			t.Errorf("%q", name)
		}
	}
}

func FuzzParseDuration(f *testing.F) {
	for _, s := range []string{"90m", "1d12h", "0s", "9223372036854775807w", "1h1h", "1w2d3h4m5s"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		d, err := schedule.ParseDuration(text)
		if err != nil {
			return
		}
		if again, err := schedule.ParseDuration(schedule.FormatDuration(d)); d <= 0 || d > schedule.MaxDuration || err != nil || again != d {
			t.Errorf("%q: %s, then %s, %v", text, d, again, err)
		}
	})
}

func FuzzParseWindows(f *testing.F) {
	for _, s := range []string{"22:00-02:00", "Mon-Fri 08:00-18:00; Sat,Sun 10:00-12:00", "Fri-Mon 00:00-24:00", "00:00-12:00;12:01-24:00", ";", "Mon 24:00-00:00"} {
		f.Add(s, int64(1_520_700_000))
	}
	z := zone(f, "America/New_York")
	f.Fuzz(func(t *testing.T, text string, unix int64) {
		w, err := schedule.ParseWindows(text)
		if err != nil {
			return
		}
		at := time.Unix(unix%4_000_000_000, 0)
		if left := w.Leave(at, z); left.Before(at) || w.In(left, z) || left.Sub(at) > 9*24*time.Hour {
			t.Errorf("%q at %s: %s", text, at, left)
		}
	})
}

func FuzzSpec(f *testing.F) {
	f.Add("0 3 * * *", "Europe/Berlin", "1h", "22:00-02:00", "2h", "all:3", "queue", "high", "7d")
	f.Add("@every 90m", "", "", "", "", "", "", "", "")
	f.Add("CRON_TZ=Asia/Kathmandu */10 * * * * *", "UTC", "24h", "Sun 01:00-02:00", "1m", "none", "allow", "low", "x\ny")
	f.Fuzz(func(t *testing.T, cron, zone, splay, blackout, deadline, catchUp, concurrency, priority, retention string) {
		o, faults := schedule.Spec{Cron: cron, Timezone: zone, Splay: splay, Blackout: blackout, Deadline: deadline, CatchUp: catchUp, Concurrency: concurrency, Priority: priority, Retention: retention}.Order(nil)
		if len(faults) > 0 {
			return
		}
		now := noon.Add(3 * time.Hour)
		d := o.Due(noon, now)
		if !slices.IsSortedFunc(d.Fires, time.Time.Compare) || !d.Next.IsZero() && !d.Next.After(now) {
			t.Errorf("%+v", d)
		}
		for _, at := range d.Fires {
			if fire := o.Fire("x", at); at.Before(noon) || at.After(now) || fire.Start.Before(at) {
				t.Errorf("%+v", fire)
			}
		}
		for _, fire := range o.Preview("x", noon, 3) {
			if !fire.At.After(noon) {
				t.Errorf("%+v", fire)
			}
		}
	})
}

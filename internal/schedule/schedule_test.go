package schedule_test

import (
	"strings"
	"testing"
	"time"

	_ "time/tzdata" // the tests do not depend on the machine's zones

	"github.com/baktainer/baktainer/internal/schedule"
)

func zone(t testing.TB, name string) *time.Location {
	t.Helper()
	z, err := time.LoadLocation(name)
	if err != nil {
		t.Fatal(err)
	}
	return z
}

// Each case lists the fire times in a row, as the zone's clocks show them.
func TestNext(t *testing.T) {
	const form = "2006-01-02 15:04:05 -0700"
	for _, tc := range []struct {
		name, expr, zone, after string
		want                    []string
	}{
		{"plain", "0 0 * * *", "UTC", "2026-01-30 00:00:00 +0000", []string{"2026-01-31 00:00:00 +0000", "2026-02-01 00:00:00 +0000"}},
		{"after a fraction of a second", "@hourly", "UTC", "2026-01-30 00:59:59 +0000", []string{"2026-01-30 01:00:00 +0000", "2026-01-30 02:00:00 +0000"}},
		{"either day field", "0 4 13 * 5", "UTC", "2026-02-12 00:00:00 +0000", []string{"2026-02-13 04:00:00 +0000", "2026-02-20 04:00:00 +0000"}},
		{"sunday twice named", "0 0 * * 7", "UTC", "2026-03-01 00:00:00 +0000", []string{"2026-03-08 00:00:00 +0000"}},
		{"lower-case names", "0 0 * feb mon", "UTC", "2026-01-01 00:00:00 +0000", []string{"2026-02-02 00:00:00 +0000"}},
		{"leap day", "0 0 29 2 *", "UTC", "2026-01-01 00:00:00 +0000", []string{"2028-02-29 00:00:00 +0000"}},

		{"New York, gap", "30 2 * * *", "America/New_York", "2026-03-07 03:00:00 -0500",
			[]string{"2026-03-08 03:00:00 -0400", "2026-03-09 02:30:00 -0400"}},
		{"New York, overlap", "30 1 * * *", "America/New_York", "2026-10-31 02:00:00 -0400",
			[]string{"2026-11-01 01:30:00 -0400", "2026-11-02 01:30:00 -0500"}},
		{"New York, from within the second occurrence", "30 1 * * *", "America/New_York", "2026-11-01 01:10:00 -0500",
			[]string{"2026-11-02 01:30:00 -0500"}},
		{"New York, several in the gap fire once", "0,15,30 2,3 8 3 *", "America/New_York", "2026-03-08 01:00:00 -0500",
			[]string{"2026-03-08 03:00:00 -0400", "2026-03-08 03:15:00 -0400", "2026-03-08 03:30:00 -0400"}},
		{"New York, every half hour over the gap", "*/30 * * * *", "America/New_York", "2026-03-08 01:00:00 -0500",
			[]string{"2026-03-08 01:30:00 -0500", "2026-03-08 03:00:00 -0400", "2026-03-08 03:30:00 -0400"}},
		{"New York, every half hour over the overlap", "*/30 * * * *", "America/New_York", "2026-11-01 01:00:00 -0400",
			[]string{"2026-11-01 01:30:00 -0400", "2026-11-01 01:00:00 -0500", "2026-11-01 01:30:00 -0500", "2026-11-01 02:00:00 -0500"}},

		{"Berlin, gap", "30 2 * * *", "Europe/Berlin", "2026-03-28 12:00:00 +0100",
			[]string{"2026-03-29 03:00:00 +0200", "2026-03-30 02:30:00 +0200"}},
		{"Berlin, overlap", "30 2 * * *", "Europe/Berlin", "2026-10-24 12:00:00 +0200",
			[]string{"2026-10-25 02:30:00 +0200", "2026-10-26 02:30:00 +0100"}},
		{"Berlin, every other hour in the overlap fires once", "0 */2 * * *", "Europe/Berlin", "2026-10-25 00:00:00 +0200",
			[]string{"2026-10-25 02:00:00 +0200", "2026-10-25 04:00:00 +0100"}},

		{"Lord Howe, gap of half an hour", "15 2 * * *", "Australia/Lord_Howe", "2026-10-03 12:00:00 +1030",
			[]string{"2026-10-04 02:30:00 +1100", "2026-10-05 02:15:00 +1100"}},
		{"Lord Howe, overlap of half an hour", "45 1 * * *", "Australia/Lord_Howe", "2026-04-04 12:00:00 +1100",
			[]string{"2026-04-05 01:45:00 +1100", "2026-04-06 01:45:00 +1030"}},
		{"Lord Howe, every hour over the overlap", "@hourly", "Australia/Lord_Howe", "2026-04-05 01:00:00 +1100",
			[]string{"2026-04-05 02:00:00 +1030", "2026-04-05 03:00:00 +1030"}},
		{"Lord Howe, every hour over the gap", "0 * * * *", "Australia/Lord_Howe", "2026-10-04 01:00:00 +1030",
			[]string{"2026-10-04 03:00:00 +1100"}},

		{"São Paulo, no midnight", "@daily", "America/Sao_Paulo", "2018-11-03 00:00:00 -0300",
			[]string{"2018-11-04 01:00:00 -0200", "2018-11-05 00:00:00 -0200"}},
		{"São Paulo, midnight twice", "30 23 * * *", "America/Sao_Paulo", "2018-02-17 12:00:00 -0200",
			[]string{"2018-02-17 23:30:00 -0200", "2018-02-18 23:30:00 -0300"}},
		{"Kathmandu", "15 3 * * *", "Asia/Kathmandu", "2026-06-01 03:15:00 +0545",
			[]string{"2026-06-02 03:15:00 +0545"}},
		{"Apia, a day that never was", "0 5 * * *", "Pacific/Apia", "2011-12-29 05:00:00 -1000",
			[]string{"2011-12-31 00:00:00 +1400", "2011-12-31 05:00:00 +1400"}},
		{"the prefix wins", "CRON_TZ=Asia/Kathmandu 0 3 * * *", "UTC", "2026-06-01 00:00:00 +0000",
			[]string{"2026-06-01 21:15:00 +0000"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			z := zone(t, tc.zone)
			c, err := schedule.Parse(tc.expr, z)
			if err != nil {
				t.Fatal(err)
			}
			at, err := time.Parse(form, tc.after)
			if err != nil {
				t.Fatal(err)
			}
			for _, want := range tc.want {
				at = c.Next(at)
				if got := at.In(z).Format(form); got != want {
					t.Fatalf("got %s, want %s", got, want)
				}
			}
		})
	}
}

// Over a year a daily schedule fires once on each date, whatever the zone does.
func TestAYearOfDaysFiresOnceADay(t *testing.T) {
	for _, name := range []string{"America/New_York", "Europe/Berlin", "Australia/Lord_Howe", "America/Sao_Paulo", "Asia/Kathmandu"} {
		z := zone(t, name)
		for _, expr := range []string{"0 0 * * *", "30 1 * * *", "15 2 * * *", "30 2 * * *", "59 23 * * *"} {
			c, err := schedule.Parse(expr, z)
			if err != nil {
				t.Fatal(err)
			}
			at := time.Date(2018, 1, 1, 0, 0, 0, 0, z).Add(-time.Second)
			for day := time.Date(2018, 1, 1, 12, 0, 0, 0, time.UTC); day.Year() == 2018; day = day.AddDate(0, 0, 1) {
				at = c.Next(at)
				if got, want := at.In(z).Format(time.DateOnly), day.Format(time.DateOnly); got != want {
					t.Fatalf("%s in %s: fires on %s, want %s", expr, name, got, want)
				}
			}
		}
	}
}

func TestParseNamesTheField(t *testing.T) {
	for expr, want := range map[string]string{
		"":                              "0 fields",
		"* * * *":                       "4 fields",
		"0 0 0 0 * * *":                 "7 fields",
		"60 0 0 * * *":                  "second",
		"60 * * * *":                    "minute",
		"0 25 * * *":                    "hour",
		"0 -1 * * *":                    "hour",
		"0 0 32 * *":                    "day of the month",
		"0 0 * 13 *":                    "month",
		"0 0 * * 9":                     "day of the week",
		"0 0 * * FOO":                   "day of the week",
		"a b c d e":                     "minute",
		"@every":                        "one interval",
		"@every 1h 2h":                  "one interval",
		"@every 59s":                    "at least 1m",
		"@every 400d":                   "at most 366d",
		"@every 1.5h":                   "length of time",
		"@reboot":                       "@daily",
		"TZ=0":                          "time zone",
		"TZ=":                           "time zone",
		"TZ=Local 0 0 * * *":            "time zone",
		"CRON_TZ=../../etc/passwd * * ": "time zone",
		"CRON_TZ=Europe/Berlin":         "0 fields",
		"X=1 0 0 * * *":                 "CRON_TZ=",
		strings.Repeat("1,", 400):       "longer",
	} {
		if _, err := schedule.Parse(expr, nil); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: error %v, want one that says %q", expr, err, want)
		}
	}
}

func TestAnExpressionThatNeverMatches(t *testing.T) {
	for _, expr := range []string{"0 0 31 2 *", "0 0 30 2 *", "* * 31 2,4 *"} {
		c, err := schedule.Parse(expr, zone(t, "America/New_York"))
		if err != nil {
			t.Fatal(err)
		}
		if next := c.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)); !next.IsZero() {
			t.Errorf("%q fires at %s", expr, next)
		}
	}
	if !(schedule.Cron{}).Next(time.Now()).IsZero() {
		t.Error("the zero value fires")
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range []string{"0 0 * * *", "TZ=0", "CRON_TZ= * * * * *", "@daily", "*/5 1-5 L JAN-MAR 5L", "0 0 31 2 *", "0 0 15W * 1#2", "? ? ? ? ?", "*/0 * * * *", "5-1 * * * *", "0 0 1-99999999 * *"} {
		f.Add(s, int64(1_800_000_000))
	}
	f.Fuzz(func(t *testing.T, expr string, unix int64) {
		c, err := schedule.Parse(expr, zone(t, "Australia/Lord_Howe"))
		if err != nil {
			return
		}
		after := time.Unix(unix%4_000_000_000, 0)
		next := c.Next(after)
		if !next.IsZero() && !next.After(after) {
			t.Errorf("%q after %s: %s", expr, after, next)
		}
		if next.IsZero() {
			return
		}
		if again := c.Next(next.Add(-time.Second)); !again.Equal(next) {
			t.Errorf("%q: %s, but a second before it %s", expr, next, again)
		}
	})
}

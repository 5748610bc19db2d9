package config

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
)

func loadFile(t *testing.T, text string) (Config, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := Load(LoadOptions{Environ: []string{"HOME=/h"}, File: file})
	return c, err
}

func TestSchedulesOfTheFile(t *testing.T) {
	c, err := loadFile(t, `
schedules:
  nightly: &usual
    cron: 0 3 * * *
    sources: [shop/*, blog]
    timezone: Europe/Vienna
    splay: 30m
    blackout: Mon-Fri 08:00-18:00
    starting_deadline: 2h
    catch_up: all:3
    concurrency: queue
    priority: low
    retention: gold
  all:
    cron: "@weekly"
  one: {cron: "off", sources: wiki}
  twin: *usual
retention-policies: "gold: daily=14"
`)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	nightly := schedule.Spec{
		Name: "nightly", Cron: "0 3 * * *", Timezone: "Europe/Vienna", Splay: "30m", Blackout: "Mon-Fri 08:00-18:00",
		Deadline: "2h", CatchUp: "all:3", Concurrency: "queue", Priority: "low", Retention: "gold",
	}
	twin := nightly
	twin.Name = "twin"
	want := []schedule.Several{
		{Spec: nightly, Sources: []string{"shop/*", "blog"}},
		{Spec: schedule.Spec{Name: "all", Cron: "@weekly"}},
		{Spec: schedule.Spec{Name: "one", Cron: "off"}, Sources: []string{"wiki"}},
		{Spec: twin, Sources: []string{"shop/*", "blog"}},
	}
	if !reflect.DeepEqual(c.Schedules, want) {
		t.Errorf("got  %+v\nwant %+v", c.Schedules, want)
	}
}

func TestWrongSchedulesOfTheFile(t *testing.T) {
	_, err := loadFile(t, `schedules:
  Nightly: {cron: "@daily"}
  default: {cron: "@daily"}
  a: "0 3 * * *"
  b:
    cron: 0 25 * * *
    timezone: Mars/North
    splay: soon
    concurency: queue
    sources: [ok, "", UPPER/x/y, {a: b}]
    retention: silver
  c: {sources: []}
  d: {cron: [1], splay: , cron: x}
  d: {cron: "@daily"}
schedule: off
schedules: {}
`)
	got := problem.Text(err)
	for _, want := range []string{
		`:2: schedules: "Nightly": a schedule's name has`,
		":3: schedules: default is what the setting schedule makes",
		":4: schedule a: want a mapping with at least cron",
		":6: schedule b: cron: the schedule's hour is",
		`:7: schedule b: timezone: the schedule's time zone "Mars/North"`,
		":8: schedule b: splay: ",
		`:9: schedule b: "concurency" is no part of a schedule (did you mean concurrency?)`,
		`:10: schedule b: sources: "" is neither`,
		`:10: schedule b: sources: "UPPER/x/y" is neither`,
		`:11: schedule b: retention: there is no policy named "silver"`,
		":12: schedule c: sources: want 1 to 100 names",
		":12: schedule c: cron is missing",
		":13: schedule d: cron: want a single value",
		":13: schedule d: splay: want a single value",
		":13: schedule d: cron is in line 13 already",
		":14: schedule d: is in line 13 already",
		":16: schedules: is set in line 1 already",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%q is not said in\n%s", want, got)
		}
	}
	for _, text := range []string{"schedules: x", "schedules:", "schedules: [a]"} {
		if _, err := loadFile(t, text); err == nil || !strings.Contains(problem.Text(err), "want a mapping of names to schedules") {
			t.Errorf("%s: %v", text, err)
		}
	}
	if _, err := loadFile(t, "schedulse: {}"); err == nil || !strings.Contains(problem.Text(err), "did you mean schedule") {
		t.Errorf("a typing mistake: %v", err)
	}
}

package label

import (
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/schedule"
)

func TestSchedules(t *testing.T) {
	spec, enabled, problems := testSchema.Parse(labels(
		"backup=true", "schedule=0 3 * * *", "schedule.timezone=Europe/Berlin", "schedule.splay=30m", "schedule.retention=7d",
		"schedule.weekly.cron=CRON_TZ=UTC 0 4 * * 0", "schedule.weekly.concurrency=Queue", "schedule.weekly.catch_up=all:3", "schedule.weekly.blackout=Mon-Fri 08:00-18:00",
		"schedule.weekly.starting_deadline=2h", "schedule.weekly.priority=HIGH", "schedule.off.cron=off",
		"depends_on=shop/queue, files,files", "depends_on.on_failure=skip", "backup.priority=critical",
	))
	want := []schedule.Spec{
		{Name: "main", Cron: "0 3 * * *", Timezone: "Europe/Berlin", Splay: "30m", Retention: "7d"},
		{Name: "off", Cron: "off"},
		{
			Name: "weekly", Cron: "CRON_TZ=UTC 0 4 * * 0", Concurrency: "queue", CatchUp: "all:3", Blackout: "Mon-Fri 08:00-18:00",
			Deadline: "2h", Priority: "high",
		},
	}
	if !enabled || len(problems) != 0 || !reflect.DeepEqual(spec.Schedules, want) {
		t.Errorf("%+v, %v", spec.Schedules, problems)
	}
	if !reflect.DeepEqual(spec.DependsOn, []string{"shop/queue", "files"}) || spec.OnUpstreamFailure != "skip" || spec.Priority != "critical" {
		t.Errorf("%+v", spec)
	}
}

// The name main in a label is the schedule without a name.
func TestTheScheduleWithoutANameIsCalledMain(t *testing.T) {
	spec, _, problems := testSchema.Parse(labels("backup=true", "schedule.main.cron=@daily", "schedule.splay=1h"))
	if len(problems) != 0 || len(spec.Schedules) != 1 || spec.Schedules[0] != (schedule.Spec{Name: "main", Cron: "@daily", Splay: "1h"}) {
		t.Errorf("%+v, %v", spec.Schedules, problems)
	}
}

func TestScheduleProblems(t *testing.T) {
	for name, tc := range map[string]struct {
		labels []string
		want   string // label=value: words
	}{
		"a bad expression":        {[]string{"schedule=0 25 * * *"}, "baktainer.schedule=0 25 * * *: the schedule's hour"},
		"a bad named one":         {[]string{"schedule.weekly.cron=x"}, "baktainer.schedule.weekly.cron=x: the schedule has 1 fields"},
		"an unknown zone":         {[]string{"schedule=@daily", "schedule.timezone=Mars/Olympus"}, "baktainer.schedule.timezone=Mars/Olympus: the schedule's time zone"},
		"an endless splay":        {[]string{"schedule=@daily", "schedule.splay=2d"}, "baktainer.schedule.splay=2d: a splay is at most 24h"},
		"never anything":          {[]string{"schedule=@daily", "schedule.blackout=00:00-24:00"}, "covers the whole week"},
		"a policy of no kind":     {[]string{"schedule=@daily", "schedule.concurrency=forbit"}, "did you mean forbid?"},
		"no expression":           {[]string{"schedule.weekly.splay=1h"}, "baktainer.schedule.weekly.cron: it is missing"},
		"no expression, unnamed":  {[]string{"schedule.splay=1h"}, "baktainer.schedule: it is missing"},
		"a name alone":            {[]string{"schedule.weekly=@weekly"}, "is given by baktainer.schedule.weekly.cron"},
		"a slip in a key":         {[]string{"schedule=@daily", "schedule.timzone=UTC"}, "did you mean baktainer.schedule.timezone?"},
		"a slip in a named key":   {[]string{"schedule.weekly.crn=@daily"}, "did you mean baktainer.schedule.weekly.cron?"},
		"nothing like a key":      {[]string{"schedule.weekly.colour=red"}, "a schedule has cron, timezone"},
		"a bad name":              {[]string{"schedule.Weekly.cron=@daily"}, "lower-case letters"},
		"twice":                   {[]string{"schedule=@daily", "schedule.main.cron=@weekly"}, "that has this already"},
		"a bad upstream":          {[]string{"depends_on=shop/db,a b"}, "baktainer.depends_on=shop/db,a b: a b: the name may hold"},
		"an upstream without end": {[]string{"depends_on=" + strings.Repeat("a,", 40)}, "the name is empty"},
		"too many upstream":       {[]string{"depends_on=a" + manyNames(40)}, "more than 32"},
		"too many schedules":      {manySchedules(17), "there are 17 schedules"},
	} {
		t.Run(name, func(t *testing.T) {
			_, enabled, problems := testSchema.Parse(labels(append(tc.labels, "backup=true")...))
			if !enabled || len(problems) != 1 || problems[0].Warning || !strings.Contains(problems[0].String(), tc.want) {
				t.Errorf("%v, want one that says %q", problems, tc.want)
			}
		})
	}
}

func manyNames(n int) (text string) {
	for i := range n {
		text += ",s" + strings.Repeat("a", i)
	}
	return text
}

func manySchedules(n int) (list []string) {
	for i := range n {
		list = append(list, "schedule.s"+strings.Repeat("a", i)+".cron=@daily")
	}
	return list
}

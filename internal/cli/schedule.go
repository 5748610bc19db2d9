package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// scheduleView is what `schedule ls -o json` prints of each schedule.
type scheduleView struct {
	ID               string        `json:"id" doc:"default, NAME of a schedule of several sources, or SOURCE:NAME"`
	State            string        `json:"state" doc:"active, paused, resting (its source is gone), off (it never fires) or broken (see problems)"`
	Origin           string        `json:"origin" doc:"where it comes from: setting, label or api"`
	Cron             string        `json:"cron" doc:"the expression; empty for a one-shot"`
	OnceAt           *time.Time    `json:"once_at,omitempty" doc:"the only time of a one-shot"`
	Timezone         string        `json:"timezone" doc:"the zone that it is read in"`
	Splay            string        `json:"splay" doc:"by how much a backup begins later at most"`
	Blackout         string        `json:"blackout" doc:"windows in which no backup begins"`
	StartingDeadline string        `json:"starting_deadline" doc:"how late a backup may begin; empty: whenever there is room"`
	CatchUp          string        `json:"catch_up" doc:"what is caught up after an absence: latest, none, all or all:N; empty: latest"`
	Concurrency      string        `json:"concurrency" doc:"forbid, queue, replace or allow; empty: forbid"`
	Priority         string        `json:"priority" doc:"low, normal, high or critical; empty: the source's"`
	Retention        string        `json:"retention" doc:"policy for the snapshots that it makes"`
	Patterns         []string      `json:"patterns" doc:"of which sources it is, when it is of several"`
	Sources          []string      `json:"sources" doc:"the sources that it holds for now"`
	NextFireAt       *time.Time    `json:"next_fire_at,omitempty" doc:"when it fires next"`
	LastFireAt       *time.Time    `json:"last_fire_at,omitempty" doc:"when it fired last"`
	PausedAt         *time.Time    `json:"paused_at,omitempty" doc:"since when it is paused"`
	PausedBy         string        `json:"paused_by" doc:"who paused it"`
	Skipped          []skippedView `json:"skipped" doc:"what was passed over lately: fire_time, source (empty: all), fires (how many), reason"`
	Problems         []string      `json:"problems" doc:"what is wrong with it"`
}

type skippedView struct {
	FireTime *time.Time `json:"fire_time,omitempty"`
	Source   string     `json:"source"`
	Fires    int64      `json:"fires"`
	Reason   string     `json:"reason"`
}

// plannedView is what `schedule preview -o json` prints of each fire.
type plannedView struct {
	Schedule   string     `json:"schedule" doc:"the schedule"`
	FireTime   *time.Time `json:"fire_time,omitempty" doc:"when it fires: what the backup is known by"`
	Start      *time.Time `json:"start,omitempty" doc:"when the backup may begin"`
	StartBy    *time.Time `json:"start_by,omitempty" doc:"until when it has to begin"`
	Timezone   string     `json:"timezone" doc:"the zone that the schedule is read in"`
	FireLocal  string     `json:"fire_local" doc:"fire_time as the clocks of the zone show it"`
	StartLocal string     `json:"start_local" doc:"start as the clocks of the zone show it"`
	Reasons    []string   `json:"reasons" doc:"why it begins at no other time, in words"`
}

func viewSchedule(st *pb.ScheduleStatus) *scheduleView {
	s := st.GetSchedule()
	v := &scheduleView{
		ID: s.GetId(), State: st.GetState(), Origin: word(s.GetOrigin().String(), "SCHEDULE_ORIGIN_"), Cron: s.GetCron(), OnceAt: moment(s.GetOnceAt()),
		Timezone: s.GetTimezone(), Splay: s.GetSplay(), Blackout: s.GetBlackout(), StartingDeadline: s.GetStartingDeadline(), CatchUp: s.GetCatchUp(),
		Concurrency: s.GetConcurrency(), Priority: s.GetPriority(), Retention: s.GetRetention(), Patterns: list(s.GetPatterns()), Sources: list(st.GetSources()),
		NextFireAt: moment(s.GetNextFireAt()), LastFireAt: moment(s.GetLastFireAt()), PausedAt: moment(s.GetPausedAt()), PausedBy: s.GetPausedBy(),
		Skipped: []skippedView{}, Problems: list(st.GetProblems()),
	}
	if s.GetOrigin() == pb.ScheduleOrigin_SCHEDULE_ORIGIN_UNSPECIFIED {
		v.Origin = "setting"
	}
	for _, f := range s.GetSkipped() {
		v.Skipped = append(v.Skipped, skippedView{moment(f.GetFireTime()), f.GetSource(), f.GetFires(), f.GetReason()})
	}
	return v
}

func viewPlanned(p *pb.PlannedFire) *plannedView {
	return &plannedView{
		Schedule: p.GetSchedule(), FireTime: moment(p.GetFireTime()), Start: moment(p.GetStart()), StartBy: moment(p.GetStartBy()),
		Timezone: p.GetTimezone(), FireLocal: p.GetFireLocal(), StartLocal: p.GetStartLocal(), Reasons: list(p.GetReasons()),
	}
}

func (a *app) scheduleCommand() *cobra.Command {
	return group("schedule", "When sources are backed up", `When sources are backed up: by the default schedule, by those that a source's labels name, and by those that are set here, of
one source or of several. docs/schedules.md has what they mean.`,
		a.scheduleList(), a.scheduleShow(), a.schedulePreview(), a.schedulePause(false), a.schedulePause(true), a.scheduleOnce(), a.scheduleSet(), a.scheduleRemove())
}

// withSchedules is withController for schedules.
func (a *app) withSchedules(cmd *cobra.Command, work func(context.Context, pb.ScheduleServiceClient) error) error {
	return a.connected(cmd, with(pb.NewScheduleServiceClient, work))
}

func (a *app) scheduleList() *cobra.Command {
	return &cobra.Command{
		Use: "ls [SOURCE]", Aliases: []string{"list"}, Short: "List schedules, or those that hold for a source", Args: arguments(0, 1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
				resp, err := client.ListSchedules(ctx, &pb.ListSchedulesRequest{Source: strings.Join(args, "")})
				if err != nil {
					return err
				}
				return a.printSchedules(views(resp.GetSchedules(), viewSchedule))
			})
		},
	}
}

// printSchedules prints several schedules.
func (a *app) printSchedules(all []*scheduleView) error {
	ids := make([]string, len(all))
	for i, s := range all {
		ids[i] = s.ID
	}
	return a.print(all, ids, func() {
		if len(all) == 0 {
			a.say("There is no schedule: nothing is backed up by itself.")
			return
		}
		rows := make([][]string, len(all))
		for i, s := range all {
			rows[i] = []string{s.ID, s.expression(a), s.Timezone, s.State, s.Origin, s.of(), a.when(s.NextFireAt), a.when(s.LastFireAt)}
		}
		a.table([]string{"SCHEDULE", "WHEN", "ZONE", "STATE", "FROM", "SOURCES", "NEXT", "LAST"}, rows)
		for _, s := range all {
			for _, p := range s.Problems {
				fmt.Fprintf(a.out, "%s %s\n", a.paint(a.out, "problem:", red), printable(s.ID+": "+p))
			}
		}
	})
}

func (s *scheduleView) expression(a *app) string {
	if s.OnceAt != nil {
		return "once, " + s.OnceAt.In(a.zone).Format("2006-01-02 15:04:05 MST")
	}
	return s.Cron
}

// of says which sources it holds for, in few words.
func (s *scheduleView) of() string {
	if len(s.Sources) == 1 {
		return s.Sources[0]
	}
	return several(int64(len(s.Sources)), "source")
}

func (a *app) scheduleShow() *cobra.Command {
	return &cobra.Command{
		Use: "show SCHEDULE", Short: "Show one schedule, and what it passed over lately", Args: arguments(1, 1), ValidArgsFunction: a.completeSchedules,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
				resp, err := client.GetSchedule(ctx, &pb.GetScheduleRequest{Id: args[0]})
				if err != nil {
					return err
				}
				return a.printSchedule(resp.GetSchedule())
			})
		},
	}
}

// printSchedule prints all of one schedule.
func (a *app) printSchedule(st *pb.ScheduleStatus) error {
	v := viewSchedule(st)
	return a.print(v, []string{v.ID}, func() { a.showSchedule(v) })
}

func (a *app) showSchedule(s *scheduleView) {
	paused := ""
	if s.PausedAt != nil {
		paused = a.at(s.PausedAt) + " by " + cmp.Or(s.PausedBy, "somebody")
	}
	a.facts("schedule", s.ID, "state", s.State, "when", s.expression(a), "zone", s.Timezone, "from", s.Origin, "splay", s.Splay, "blackout", s.Blackout,
		"deadline", s.StartingDeadline, "catch-up", cmp.Or(s.CatchUp, "latest"), "concurrency", cmp.Or(s.Concurrency, "forbid"), "priority", s.Priority,
		"retention", s.Retention, "patterns", strings.Join(s.Patterns, ", "), "sources", strings.Join(s.Sources, ", "), "paused", paused,
		"next", a.at(s.NextFireAt), "last", a.at(s.LastFireAt))
	for _, p := range s.Problems {
		fmt.Fprintf(a.out, "%s %s\n", a.paint(a.out, "problem:", red), printable(p))
	}
	if len(s.Skipped) == 0 {
		return
	}
	fmt.Fprintln(a.out)
	rows := make([][]string, len(s.Skipped))
	for i, f := range s.Skipped {
		rows[i] = []string{f.FireTime.In(a.zone).Format("2006-01-02 15:04:05 MST"), cmp.Or(f.Source, "all"), fmt.Sprint(f.Fires), f.Reason}
	}
	a.table([]string{"PASSED OVER", "SOURCE", "FIRES", "REASON"}, rows)
}

func (a *app) completeSchedules(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context, conn grpc.ClientConnInterface) (found []string, err error) {
		resp, err := pb.NewScheduleServiceClient(conn).ListSchedules(ctx, &pb.ListSchedulesRequest{})
		for _, s := range views(resp.GetSchedules(), viewSchedule) {
			found = append(found, cobra.CompletionWithDesc(s.ID, s.expression(a)+", "+s.State))
		}
		return found, err
	})
}

package cli

import (
	"context"
	"crypto/rand"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// specFlags are the flags that say what a schedule is.
func specFlags(flags *pflag.FlagSet) *pb.ScheduleSpec {
	s := &pb.ScheduleSpec{}
	flags.StringVar(&s.Cron, "cron", "", `when: "0 3 * * *", six fields with the second first, @daily, "@every 90m", or off`)
	flags.StringVar(&s.Timezone, "timezone", "", "zone that it is read in, such as Europe/Vienna; the setting timezone by default")
	flags.StringVar(&s.Splay, "splay", "", "begin up to so much later, such as 30m")
	flags.StringVar(&s.Blackout, "blackout", "", `when no backup begins: "Mon-Fri 08:00-18:00; 22:00-02:00"`)
	return s
}

// moreSpecFlags are those that do not move fire times.
func moreSpecFlags(flags *pflag.FlagSet, s *pb.ScheduleSpec) {
	flags.StringVar(&s.StartingDeadline, "starting-deadline", "", "how late a backup may begin, such as 2h; for ever by default")
	flags.StringVar(&s.CatchUp, "catch-up", "", "what is caught up after an absence: latest (the default), none, all or all:N")
	flags.StringVar(&s.Concurrency, "concurrency", "", "while a backup of the source is queued or at work: forbid (the default), queue, replace or allow")
	flags.StringVar(&s.Priority, "priority", "", "low, normal, high or critical; the source's by default")
	flags.StringVar(&s.Retention, "retention", "", "policy for the snapshots that it makes")
}

func (a *app) schedulePreview() *cobra.Command {
	var count int32
	var after string
	cmd := &cobra.Command{
		Use: "preview [SCHEDULE|SOURCE]", Short: "Say when the next backups will begin, and why then",
		Long: `Say when the next backups will begin, with the zone, and the reason for every shift: a time that clocks skip or show
twice, a splay, a blackout window. Of a schedule, of all that hold for a source, or of an expression that --cron gives.`,
		Example: examples("baktainer schedule preview shop/db", "baktainer schedule preview default -n 3",
			`baktainer schedule preview --cron "30 2 * * *" --timezone Europe/Berlin --after 2026-03-28`),
		Args: arguments(0, 1), ValidArgsFunction: a.completeSchedules,
	}
	spec := specFlags(cmd.Flags())
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		req := &pb.PreviewSchedulesRequest{Count: count}
		if (spec.GetCron() == "") == (len(args) == 0) {
			return problem.New(problem.InvalidInput, "name a schedule or a source, or give an expression with --cron").
				WithHint("`baktainer schedule ls` lists the schedules.")
		}
		if count < 1 || count > 1000 {
			return problem.New(problem.InvalidInput, "--number %d: want a number from 1 to 1000", count)
		}
		if after != "" {
			at, err := parseMoment(after, a.clock.Now(), a.zone)
			if err != nil {
				return problem.Wrap(problem.InvalidInput, err, "--after %q", after)
			}
			req.After = timestamppb.New(at)
		}
		if len(args) == 0 {
			req.Spec = spec
		}
		return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
			resp, err := preview(ctx, client, req, args)
			if err != nil {
				return err
			}
			return a.printPlanned(views(resp.GetFires(), viewPlanned))
		})
	}
	cmd.Flags().Int32VarP(&count, "number", "n", 10, "how many, up to 1000")
	cmd.Flags().StringVar(&after, "after", "", "the first after this time: 2026-03-28, \"2026-03-28 12:00\", +2h, RFC 3339")
	return cmd
}

// preview takes the argument for a schedule, else for a source.
func preview(ctx context.Context, client pb.ScheduleServiceClient, req *pb.PreviewSchedulesRequest, args []string) (*pb.PreviewSchedulesResponse, error) {
	if len(args) == 0 {
		return client.PreviewSchedules(ctx, req)
	}
	req.Schedule = args[0]
	resp, err := client.PreviewSchedules(ctx, req)
	if problem.CodeOf(err) != problem.NotFound || strings.Contains(args[0], ":") {
		return resp, err
	}
	req.Schedule, req.Source = "", args[0]
	resp, err = client.PreviewSchedules(ctx, req)
	if problem.CodeOf(err) == problem.NotFound {
		return nil, problem.New(problem.NotFound, "%.200q is neither a schedule nor a source", args[0]).
			WithHint("`baktainer schedule ls` lists the schedules, `baktainer source ls` the sources.")
	}
	return resp, err
}

func (a *app) printPlanned(all []*plannedView) error {
	times, rows := make([]string, len(all)), make([][]string, len(all))
	for i, p := range all {
		times[i] = p.FireTime.Format(time.RFC3339)
		begins := ""
		if !p.Start.Equal(*p.FireTime) {
			begins = p.StartLocal
		}
		rows[i] = []string{p.FireLocal, p.Timezone, begins, p.Schedule, strings.Join(p.Reasons, "; ")}
	}
	return a.print(all, times, func() {
		if len(all) == 0 {
			a.say("It never fires.")
			return
		}
		a.table([]string{"FIRES", "ZONE", "BEGINS", "SCHEDULE", "WHY"}, rows)
	})
}

func (a *app) schedulePause(resume bool) *cobra.Command {
	cmd := &cobra.Command{
		Use: "pause SCHEDULE…", Short: "Keep schedules from firing until they are resumed",
		Long: `Keep schedules from firing until ` + "`schedule resume`" + `. Backups that are queued or at work go on. What falls into the pause is not
caught up. Either all are paused, or none.`,
		Args: arguments(1, -1), ValidArgsFunction: a.completeSchedules,
	}
	if resume {
		cmd.Use, cmd.Short = "resume SCHEDULE…", "Let paused schedules fire again"
		cmd.Long = "Let paused schedules fire again, from now on: what fell into the pause is not caught up, but for a one-shot."
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
			if resume {
				resp, err := client.ResumeSchedules(ctx, &pb.ResumeSchedulesRequest{Ids: args})
				if err != nil {
					return err
				}
				return a.printSchedules(views(resp.GetSchedules(), viewSchedule))
			}
			resp, err := client.PauseSchedules(ctx, &pb.PauseSchedulesRequest{Ids: args})
			if err != nil {
				return err
			}
			return a.printSchedules(views(resp.GetSchedules(), viewSchedule))
		})
	}
	return cmd
}

func (a *app) scheduleOnce() *cobra.Command {
	var at, priority, retention string
	cmd := &cobra.Command{
		Use: "once SOURCE --at TIME", Short: "Back a source up once, at a time to come",
		Long: `Back a source up once, at a time to come, beside its schedules. The schedule is removed when it has fired; until then
` + "`schedule rm`" + ` takes it back. After an absence of the controller it fires late rather than never.`,
		Example: examples(`baktainer schedule once shop/db --at 23:30`, `baktainer schedule once shop/db --at "2026-03-28 04:00"`, `baktainer schedule once shop/db --at +2h`),
		Args:    arguments(1, 1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			if at == "" {
				return problem.New(problem.InvalidInput, "say when").WithHint("Want --at TIME; `baktainer backup %s` does it now.", args[0])
			}
			moment, err := parseMoment(at, a.clock.Now(), a.zone)
			if err != nil {
				return problem.Wrap(problem.InvalidInput, err, "--at %q", at)
			}
			return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
				resp, err := client.ScheduleOnce(ctx, &pb.ScheduleOnceRequest{
					Source: args[0], At: timestamppb.New(moment), Priority: priority, Retention: retention, RequestId: rand.Text(),
				})
				if err != nil {
					return err
				}
				return a.printSchedule(resp.GetSchedule())
			})
		},
	}
	cmd.Flags().StringVar(&at, "at", "", "when: 23:30 (the next), \"2026-03-28 04:00\", +2h, RFC 3339")
	cmd.Flags().StringVar(&priority, "priority", "", "low, normal, high or critical; the source's by default")
	cmd.Flags().StringVar(&retention, "retention", "", "policy for the snapshot that it makes")
	return cmd
}

// parseMoment reads a time as people write it: the clock's next HH:MM, a date
// with or without a time, +DURATION, or RFC 3339.
func parseMoment(text string, now time.Time, zone *time.Location) (time.Time, error) {
	if ahead, ok := strings.CutPrefix(text, "+"); ok {
		d, err := schedule.ParseDuration(ahead)
		return now.Add(d), err
	}
	if at, ok := readMoment(text, zone, append([]string{time.DateOnly}, clockForms...)...); ok {
		return at, nil
	}
	if clock, err := time.Parse("15:04", text); err == nil {
		local := now.In(zone)
		for day := range 3 {
			at := time.Date(local.Year(), local.Month(), local.Day()+day, clock.Hour(), clock.Minute(), 0, 0, zone)
			if at.After(now) {
				return at, nil
			}
		}
	}
	return time.Time{}, fmt.Errorf("want a time such as 23:30, \"2026-03-28 04:00\", +2h or %s", "2026-03-28T04:00:00Z")
}

func (a *app) scheduleSet() *cobra.Command {
	var patterns []string
	var dry bool
	cmd := &cobra.Command{
		Use: "set SCHEDULE --cron WHEN", Short: "Set a schedule, of one source or of several",
		Long: `Set a schedule: SOURCE:NAME for one source, NAME for several (those that --source names, or all), or default. It goes
before what labels or settings say of the same schedule, until ` + "`schedule rm`" + `. Flags that are not given have their defaults.`,
		Example: examples(`baktainer schedule set shop/db:weekly --cron "0 4 * * 0" --timezone Europe/Vienna`, `baktainer schedule set nightly --cron @daily --splay 1h --source 'shop/*'`),
		Args:    arguments(1, 1), ValidArgsFunction: a.completeSchedules,
	}
	spec := specFlags(cmd.Flags())
	moreSpecFlags(cmd.Flags(), spec)
	cmd.Flags().StringSliceVar(&patterns, "source", nil, "of which sources it is: names in which * and ? stand for others; may be repeated")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "check it, and change nothing")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if spec.GetCron() == "" {
			return problem.New(problem.InvalidInput, "say when").WithHint("Want --cron, for example --cron \"0 3 * * *\".")
		}
		return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
			resp, err := client.SetSchedule(ctx, &pb.SetScheduleRequest{Id: args[0], Spec: spec, Patterns: patterns, DryRun: dry})
			if err != nil {
				return err
			}
			return a.printSchedule(resp.GetSchedule())
		})
	}
	return cmd
}

func (a *app) scheduleRemove() *cobra.Command {
	return &cobra.Command{
		Use: "rm SCHEDULE", Aliases: []string{"remove"}, Short: "Remove a schedule that was set, or a one-shot",
		Long: "Remove a schedule that was set with `schedule set`, or a one-shot. What labels or settings say of the same schedule holds again.",
		Args: arguments(1, 1), ValidArgsFunction: a.completeSchedules,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withSchedules(cmd, func(ctx context.Context, client pb.ScheduleServiceClient) error {
				if _, err := client.RemoveSchedule(ctx, &pb.RemoveScheduleRequest{Id: args[0]}); err != nil {
					return err
				}
				return a.print(map[string]string{"id": args[0]}, args, func() { fmt.Fprintf(a.out, "schedule %s: removed\n", printable(args[0])) })
			})
		},
	}
}

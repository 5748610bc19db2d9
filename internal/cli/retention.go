package cli

import (
	"cmp"
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// previewView is what `retention preview -o json` prints of each source.
type previewView struct {
	Source       string            `json:"source" doc:"the source"`
	Policy       string            `json:"policy" doc:"what it is judged by; off: everything is kept"`
	Origin       string            `json:"origin" doc:"where the policy comes from"`
	Schedules    map[string]string `json:"schedules" doc:"policies of schedules that have their own"`
	Frozen       string            `json:"frozen,omitempty" doc:"why nothing of the source is forgotten at present"`
	Keep         int               `json:"keep" doc:"how many snapshots stay"`
	Forget       int               `json:"forget" doc:"how many would be forgotten now"`
	Decisions    []decisionView    `json:"decisions" doc:"of each snapshot, newest first: snapshot, made_at, keep, verify (it counts once it was verified), reasons"`
	Forgotten    []forgottenView   `json:"forgotten" doc:"forgotten before and not deleted yet: snapshot, made_at, forgotten_at, undo_until, reason"`
	FreedObjects int64             `json:"freed_objects" doc:"with --space: objects that would be deleted in the end"`
	FreedBytes   int64             `json:"freed_bytes" doc:"with --space: their size"`
	KeptBytes    int64             `json:"kept_bytes" doc:"with --space: size of what stays"`
	Failure      *failureView      `json:"failure,omitempty" doc:"why the space cannot be told: code, reason, message, hint, details, source"`
}

type decisionView struct {
	Snapshot string     `json:"snapshot"`
	MadeAt   *time.Time `json:"made_at,omitempty"`
	Keep     bool       `json:"keep"`
	Verify   bool       `json:"verify"`
	Reasons  []string   `json:"reasons"`
}

type forgottenView struct {
	Snapshot    string     `json:"snapshot"`
	MadeAt      *time.Time `json:"made_at,omitempty"`
	ForgottenAt *time.Time `json:"forgotten_at,omitempty"`
	UndoUntil   *time.Time `json:"undo_until,omitempty"`
	Reason      string     `json:"reason"`
}

// simulationView is what `retention simulate -o json` prints.
type simulationView struct {
	Policy    string             `json:"policy" doc:"the policy"`
	Days      []simulatedDayView `json:"days" doc:"what there would be at the end of each day on which something happens: date, made, forgotten, kept, oldest"`
	Snapshots []time.Time        `json:"snapshots" doc:"when those were made that there would be at the end, newest first"`
}

type simulatedDayView struct {
	Date      string     `json:"date"`
	Made      int32      `json:"made"`
	Forgotten int32      `json:"forgotten"`
	Kept      int32      `json:"kept"`
	Oldest    *time.Time `json:"oldest,omitempty"`
}

func (a *app) retentionCommand() *cobra.Command {
	return group("retention", "What is kept, how long, and why", "", a.retentionPreview(), a.retentionSimulate())
}

func (a *app) retentionPreview() *cobra.Command {
	var policy string
	var space, changes bool
	cmd := &cobra.Command{
		Use: "preview [SOURCE…]", Short: "Say of each snapshot whether it would be kept now, and why",
		Long: `Say of each snapshot what its policy would do with it now, with all reasons for which it is kept, or the one for
which it is not. Nothing is changed. With --policy, judge by another policy than the one that is set.`,
		Example: examples("baktainer retention preview shop/db", "baktainer retention preview --policy 'daily=7 weekly=4' --space"),
		Args:    arguments(0, -1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRetention(cmd, func(ctx context.Context, client pb.RetentionServiceClient) error {
				resp, err := client.PreviewRetention(ctx, &pb.PreviewRetentionRequest{Sources: args, Policy: policy, Space: space})
				if err != nil {
					return err
				}
				all := views(resp.GetPreviews(), viewPreview)
				var ids []string
				for _, v := range all {
					for _, d := range v.Decisions {
						if !d.Keep {
							ids = append(ids, d.Snapshot)
						}
					}
				}
				return a.print(all, ids, func() { a.showPreviews(all, space, changes) })
			})
		},
	}
	cmd.Flags().StringVar(&policy, "policy", "", "judge by this policy, or the one of that name")
	cmd.Flags().BoolVar(&space, "space", false, "say what deleting would free, too")
	cmd.Flags().BoolVar(&changes, "changes", false, "show only what would be forgotten, and what has been")
	return cmd
}

func viewPreview(p *pb.RetentionPreview) *previewView {
	v := &previewView{
		Source: p.GetSource(), Policy: p.GetPolicy(), Origin: p.GetOrigin(), Schedules: p.GetSchedules(), Frozen: p.GetFrozen(),
		Decisions: []decisionView{}, Forgotten: []forgottenView{},
		FreedObjects: p.GetFreedObjects(), FreedBytes: p.GetFreedBytes(), KeptBytes: p.GetKeptBytes(), Failure: viewFailure(p.GetFailure()),
	}
	if v.Schedules == nil {
		v.Schedules = map[string]string{}
	}
	for _, d := range p.GetDecisions() {
		if d.GetKeep() {
			v.Keep++
		} else {
			v.Forget++
		}
		v.Decisions = append(v.Decisions, decisionView{d.GetSnapshot().GetId(), moment(d.GetSnapshot().GetFireTime()), d.GetKeep(), d.GetVerify(), list(d.GetReasons())})
	}
	for _, s := range p.GetForgotten() {
		v.Forgotten = append(v.Forgotten, forgottenView{s.GetId(), moment(s.GetFireTime()), moment(s.GetForgottenAt()), moment(s.GetUndoUntil()), s.GetForgetReason()})
	}
	return v
}

func (a *app) showPreviews(all []*previewView, space, changes bool) {
	if len(all) == 0 {
		a.say("There is no source yet.")
		return
	}
	var rows [][]string
	for _, v := range all {
		for _, d := range v.Decisions {
			becomes := "keep"
			switch {
			case !d.Keep:
				becomes = "forget"
			case d.Verify:
				becomes = "verify"
			}
			if !changes || !d.Keep {
				rows = append(rows, []string{v.Source, d.Snapshot, a.day(d.MadeAt), becomes, strings.Join(d.Reasons, "; ")})
			}
		}
		for _, f := range v.Forgotten {
			why := cmp.Or(f.Reason, "somebody asked for it")
			if f.UndoUntil != nil && f.UndoUntil.After(a.clock.Now()) {
				why += "; can be taken back for sure until " + f.UndoUntil.In(a.zone).Format("2006-01-02 15:04")
			}
			rows = append(rows, []string{v.Source, f.Snapshot, a.day(f.MadeAt), "forgotten", why})
		}
	}
	if len(rows) > 0 {
		a.table([]string{"SOURCE", "SNAPSHOT", "MADE", "BECOMES", "REASON"}, rows)
	}
	for _, v := range all {
		line := fmt.Sprintf("%s: %d kept, %d to be forgotten, by %s (%s)", v.Source, v.Keep, v.Forget, v.Policy, v.Origin)
		switch {
		case v.Failure != nil:
			line += "; what that frees cannot be told: " + v.Failure.Message
		case space:
			line += fmt.Sprintf("; frees %s in the end, and %s stay", size(v.FreedBytes), size(v.KeptBytes))
		}
		a.say("%s.", line)
		if v.Frozen != "" {
			a.say("%s is frozen: %s.", v.Source, v.Frozen)
		}
	}
}

// day is a time to the minute, for tables in which the calendar matters.
func (a *app) day(t *time.Time) string {
	if t == nil {
		return ""
	}
	return t.In(a.zone).Format("Mon 2006-01-02 15:04")
}

func (a *app) retentionSimulate() *cobra.Command {
	req := &pb.SimulateRetentionRequest{}
	var from string
	cmd := &cobra.Command{
		Use: "simulate POLICY", Short: "Say what a policy would leave over a calendar",
		Long: `Say what a policy, or the one of that name, would leave if backups were made by a calendar: by a cron expression, or
every so many hours. Nothing is changed. It shows the last day of each month, with --verbose every day, and what there
would be at the end.`,
		Example: examples("baktainer retention simulate 'daily=7 weekly=4 monthly=12' --every-hours 6", "baktainer retention simulate gold --cron '0 3 * * *' --source shop/db --days 90"),
		Args:    arguments(1, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			req.Policy = args[0]
			if req.GetCron() == "" && req.GetEveryHours() == 0 {
				req.Cron = "0 0 * * *"
			}
			if from != "" {
				at, err := time.ParseInLocation(time.DateOnly, from, a.zone)
				if err != nil {
					return problem.New(problem.InvalidInput, "--from %.40q: want a day such as 2027-01-31", from)
				}
				req.From = timestamppb.New(at)
			}
			return a.withRetention(cmd, func(ctx context.Context, client pb.RetentionServiceClient) error {
				resp, err := client.SimulateRetention(ctx, req)
				if err != nil {
					return err
				}
				v := viewSimulation(resp)
				var ids []string
				for _, at := range v.Snapshots {
					ids = append(ids, at.Format(time.RFC3339))
				}
				return a.print(v, ids, func() { a.showSimulation(v) })
			})
		},
	}
	cmd.Flags().StringVar(&req.Cron, "cron", "", "when backups are made; else every midnight")
	cmd.Flags().StringVar(&req.Timezone, "timezone", "", "time zone of the expression; else the controller's")
	cmd.Flags().Int32Var(&req.EveryHours, "every-hours", 0, "a backup every so many hours, instead of --cron")
	cmd.Flags().StringVar(&from, "from", "", "first day; else now")
	cmd.Flags().Int32Var(&req.Days, "days", 365, "for so many days")
	cmd.Flags().StringVar(&req.Source, "source", "", "begin with the snapshots that this source has")
	return cmd
}

func viewSimulation(r *pb.SimulateRetentionResponse) *simulationView {
	v := &simulationView{Policy: r.GetPolicy(), Days: []simulatedDayView{}, Snapshots: []time.Time{}}
	for _, d := range r.GetDays() {
		v.Days = append(v.Days, simulatedDayView{d.GetDate(), d.GetMade(), d.GetForgotten(), d.GetKept(), moment(d.GetOldest())})
		for _, at := range d.GetSnapshots() {
			v.Snapshots = append(v.Snapshots, at.AsTime())
		}
	}
	return v
}

func month(date string) string { return date[:min(len(date), len("2006-01"))] }

func (a *app) showSimulation(v *simulationView) {
	if len(v.Days) == 0 {
		a.say("No backup would be made in that time.")
		return
	}
	var rows [][]string
	var made, forgotten int64
	for i, d := range v.Days {
		made, forgotten = made+int64(d.Made), forgotten+int64(d.Forgotten)
		last := i == len(v.Days)-1
		if a.verbose || last || month(v.Days[i+1].Date) != month(d.Date) {
			rows = append(rows, []string{d.Date, strconv.FormatInt(made, 10), strconv.FormatInt(forgotten, 10), strconv.Itoa(int(d.Kept)), a.day(d.Oldest)})
		}
	}
	a.table([]string{"DAY", "MADE SO FAR", "FORGOTTEN SO FAR", "THERE", "OLDEST"}, rows)
	a.say("At the end of %s there would be, by %s:", v.Days[len(v.Days)-1].Date, v.Policy)
	rows = rows[:0]
	for _, at := range v.Snapshots {
		rows = append(rows, []string{a.day(&at)})
	}
	a.table([]string{"MADE"}, rows)
}

package cli

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) drillCommand() *cobra.Command {
	return group("drill", "Restore snapshots into throwaway containers, to see that it works",
		"Restore snapshots into throwaway containers, to see that it works.\n\n"+
			"A drill makes a container from the very image that the snapshot was taken from, without network, restores into it, counts what is there\n"+
			"against what was seen while dumping, asks the assertions of the source, and removes the container. By themselves drills are held by the\n"+
			"setting drill-schedule, or by the label baktainer.drill.schedule.",
		a.drillRun(), a.drillList())
}

func (a *app) drillRun() *cobra.Command {
	var agent string
	var detach bool
	cmd := &cobra.Command{
		Use: "run SNAPSHOT|SOURCE…", Short: "Hold drills now, and wait for them",
		Long: "Hold drills now, and wait for them. SOURCE alone means its latest snapshot.\n\n" +
			"Exit status: 0 all can be restored, 1 none can, 2 bad input, 3 some can.",
		Example: examples("baktainer drill run shop/db", "baktainer drill run wiki/db@latest-verified --agent spare-host"),
		Args:    arguments(1, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				req := &pb.StartDrillRequest{Agent: agent, RequestId: rand.Text()}
				for _, ref := range args {
					snap, err := a.findSnapshot(ctx, client, ref)
					if err != nil {
						return err
					}
					a.noteMarks(snap)
					req.Snapshots = append(req.Snapshots, snap.GetId())
				}
				resp, err := client.StartDrill(ctx, req)
				if err != nil {
					return err
				}
				if detach {
					return a.showStarted(resp.GetRuns(), false)
				}
				ended, err := a.watch(ctx, client, resp.GetRuns())
				if err != nil {
					return err
				}
				if err := a.showDrills(ended); err != nil {
					return err
				}
				return verdict("drills", ended)
			})
		},
	}
	cmd.Flags().StringVar(&agent, "agent", "", "on whose host; default: that of the source. It is given the source's key")
	cmd.Flags().BoolVar(&detach, "detach", false, "do not wait")
	return cmd
}

func (a *app) drillList() *cobra.Command {
	var limit int32
	cmd := &cobra.Command{
		Use: "ls [SOURCE]", Aliases: []string{"list"}, Short: "List drills, newest first", Args: arguments(0, 1), ValidArgsFunction: a.completeSources,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := checkNumber("limit", limit, 1000); err != nil {
				return err
			}
			return a.withController(cmd, func(ctx context.Context, client pb.AdminServiceClient) error {
				req := &pb.ListRunsRequest{Limit: limit, Kind: pb.RunKind_RUN_KIND_DRILL}
				if len(args) > 0 {
					req.Source = args[0]
				}
				resp, err := client.ListRuns(ctx, req)
				if err != nil {
					return err
				}
				return a.showDrills(resp.GetRuns())
			})
		},
	}
	cmd.Flags().Int32VarP(&limit, "limit", "n", 50, "at most this many, up to 1000")
	return cmd
}

// drillView is what came of a drill.
type drillView struct {
	Passed     bool     `json:"passed"`
	Ready      *float64 `json:"ready_seconds,omitempty"`
	Restored   *float64 `json:"restored_seconds,omitempty"`
	Objects    int64    `json:"objects"`
	Rows       int64    `json:"rows"`
	Assertions int32    `json:"assertions"`
	Image      string   `json:"image"`
}

func viewDrill(d *pb.DrillResult) *drillView {
	if d == nil {
		return nil
	}
	return &drillView{
		Passed: d.GetPassed(), Ready: secondsOf(d.GetReady()), Restored: secondsOf(d.GetRestored()),
		Objects: d.GetObjects(), Rows: d.GetRows(), Assertions: d.GetAssertions(), Image: d.GetImage(),
	}
}

func (a *app) showDrills(runs []*pb.Run) error {
	all := views(runs, viewRun)
	ids := make([]string, len(all))
	rows := make([][]string, len(all))
	for i, r := range all {
		ids[i] = r.ID
		rows[i] = []string{r.Source, r.State, a.when(cmp.Or(r.EndedAt, r.QueuedAt)), "", "", "", "", r.Snapshot, ""}
		if r.Failure != nil {
			rows[i][8] = cmp.Or(r.Failure.Reason, r.Failure.Code)
		}
		if d := r.DrillResult; d != nil && d.Passed {
			rows[i][3], rows[i][4], rows[i][5], rows[i][6] = recovery(d.Ready, d.Restored), strconv.FormatInt(d.Objects, 10), strconv.FormatInt(d.Rows, 10), strconv.Itoa(int(d.Assertions))
		}
	}
	return a.print(all, ids, func() {
		if len(all) == 0 {
			a.say("No drill yet. `baktainer drill run SOURCE` holds one.")
			return
		}
		a.table([]string{"SOURCE", "RESULT", "WHEN", "RECOVERY", "OBJECTS", "ROWS", "ASSERTIONS", "SNAPSHOT", "REASON"}, rows)
	})
}

// recovery is how long it took from nothing to all data.
func recovery(ready, restored *float64) string {
	if ready == nil || restored == nil {
		return ""
	}
	both := *ready + *restored
	return seconds(&both)
}

// seconds is a length of time for people, empty when it is not known.
func seconds(s *float64) string {
	if s == nil {
		return ""
	}
	return fmt.Sprint(time.Duration(*s * float64(time.Second)).Round(100 * time.Millisecond))
}

// drillProof says in a word whether a drill has restored a snapshot, nothing when
// there was none.
func (a *app) drillProof(s *snapshotView) string {
	if s.DrillFailedAt != nil {
		return "failed"
	}
	return a.when(s.DrilledAt)
}

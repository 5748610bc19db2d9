package cli

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type auditView struct {
	ID      string       `json:"id" doc:"identifies the record"`
	Time    *time.Time   `json:"time,omitempty" doc:"when it was asked for"`
	Actor   string       `json:"actor" doc:"who asked: ROLE/NAME; over the unix socket admin/local:UID@CONTROLLER"`
	Origin  string       `json:"origin" doc:"the address that the call came from"`
	Method  string       `json:"method" doc:"full name of the gRPC method"`
	Request string       `json:"request" doc:"what was asked, as JSON without secrets; it may be cut short"`
	EndedAt *time.Time   `json:"ended_at,omitempty" doc:"when it was over; unset: it goes on, or the controller died over it"`
	Result  string       `json:"result" doc:"done, failed, or open"`
	Failure *failureView `json:"failure,omitempty" doc:"why it failed: code, reason, message, hint, details, source"`
}

func viewAudit(r *pb.AuditRecord) *auditView {
	v := &auditView{
		ID: r.GetId(), Time: moment(r.GetTime()), Actor: r.GetActor(), Origin: r.GetOrigin(), Method: r.GetMethod(), Request: r.GetRequest(),
		EndedAt: moment(r.GetEndedAt()), Result: "open", Failure: viewFailure(r.GetFailure()),
	}
	switch {
	case v.Failure != nil:
		v.Result = "failed"
	case v.EndedAt != nil:
		v.Result = "done"
	}
	return v
}

// short is the method without what all have in common.
func (v *auditView) short() string { return v.Method[strings.LastIndexAny(v.Method, "/.")+1:] }

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Who changed what, and when", "", a.auditList())
}

func (a *app) auditList() *cobra.Command {
	var limit int32
	var match string
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List what was asked for that changes something, newest first",
		Long: `List what was asked for that changes something, newest first: by whom, from where, and how it ended. A record is kept before
the thing is done, so nothing is done without one. --verbose shows the whole of each request.`,
		Example: examples("baktainer audit ls -n 20", "baktainer audit ls --match alice", "baktainer audit ls --match DumpSnapshot -v"),
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkNumber("limit", limit, 10_000); err != nil {
				return err
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.ListAudit(ctx, &pb.ListAuditRequest{Limit: limit, Match: match})
				if err != nil {
					return err
				}
				return a.printAudit(views(resp.GetRecords(), viewAudit))
			})
		},
	}
	cmd.Flags().Int32VarP(&limit, "limit", "n", 100, "at most this many, up to 10000")
	cmd.Flags().StringVar(&match, "match", "", "only where this is in the name of the caller or of the thing")
	return cmd
}

func (a *app) printAudit(all []*auditView) error {
	ids, rows := make([]string, len(all)), make([][]string, len(all))
	heads := []string{"TIME", "WHO", "FROM", "WHAT", "RESULT", "WHY", "REQUEST"}
	for i, r := range all {
		ids[i] = r.ID
		at, why, request := "", "", ""
		if r.Time != nil {
			at = r.Time.In(a.zone).Format("2006-01-02 15:04:05")
		}
		if r.Failure != nil {
			why = cmp.Or(r.Failure.Reason, r.Failure.Code)
		}
		if a.verbose {
			request = r.Request
		}
		rows[i] = []string{at, r.Actor, r.Origin, r.short(), r.Result, why, request}
	}
	return a.print(all, ids, func() {
		if len(all) == 0 {
			a.say("Nothing of the kind was asked for.")
			return
		}
		a.table(heads, rows)
	})
}

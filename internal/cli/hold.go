package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/retention"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) snapshotHold() *cobra.Command {
	var until, reason string
	cmd := &cobra.Command{
		Use: "hold SNAPSHOT… --until TIME", Short: "Keep snapshots until a time, whatever else is said",
		Long: `Keep snapshots until a time: no policy lets them go, and nobody can forget them until the hold is over, or ended by
` + "`snapshot unhold`" + `. A second hold replaces the first.

TIME is a day (2027-01-31: its end), a moment (2027-01-31T12:00:00Z), a length from now (30d, 6w, 3mo, 1y), or forever.`,
		Example: examples("baktainer snapshot hold shop/db@latest --until 1y --reason 'before the migration'"),
		Args:    arguments(1, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if until == "" {
				return problem.New(problem.InvalidInput, "say until when").WithHint("Want --until TIME: 2027-01-31, 30d, 1y, or forever.")
			}
			end, err := a.moment(until)
			if err != nil {
				return problem.Wrap(problem.InvalidInput, err, "--until")
			}
			return a.withRetention(cmd, func(ctx context.Context, client pb.RetentionServiceClient) error {
				resp, err := client.SetHold(ctx, &pb.SetHoldRequest{Snapshots: args, Until: timestamppb.New(end), Reason: reason})
				if err != nil {
					return err
				}
				return a.showMarked(resp.GetSnapshots(), "On hold.")
			})
		},
	}
	cmd.Flags().StringVar(&until, "until", "", "until when: 2027-01-31, 30d, 1y, forever")
	cmd.Flags().StringVar(&reason, "reason", "", "what for, for people")
	return cmd
}

// moment reads a time that a person gives: a day, a moment, or a length from now.
func (a *app) moment(text string) (time.Time, error) {
	now := a.clock.Now().In(a.zone)
	if text == "forever" {
		return time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, a.zone); err == nil {
		return day.AddDate(0, 0, 1), nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	if s, err := retention.ParseSpan(text); err == nil {
		return s.After(now), nil
	}
	return time.Time{}, fmt.Errorf("%.40q is no time such as 2027-01-31, 2027-01-31T12:00:00Z, 30d, 1y or forever", text)
}

// lasting reads a length of time in hours or days.
func lasting(text string) (time.Duration, error) {
	if text == "0" {
		return 0, nil
	}
	for unit, length := range map[string]time.Duration{"h": time.Hour, "d": 24 * time.Hour} {
		number, ok := strings.CutSuffix(text, unit)
		if n, err := strconv.Atoi(number); ok && err == nil && n >= 0 && n <= 100_000 {
			return time.Duration(n) * length, nil
		}
	}
	return 0, fmt.Errorf("%.40q is no length of time such as 12h, 3d or 0", text)
}

func (a *app) snapshotUnhold() *cobra.Command {
	return &cobra.Command{
		Use: "unhold SNAPSHOT…", Short: "End holds before their time",
		Args: arguments(1, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.withRetention(cmd, func(ctx context.Context, client pb.RetentionServiceClient) error {
				resp, err := client.RemoveHold(ctx, &pb.RemoveHoldRequest{Snapshots: args})
				if err != nil {
					return err
				}
				return a.showMarked(resp.GetSnapshots(), "Not on hold any more.")
			})
		},
	}
}

func (a *app) snapshotTag() *cobra.Command {
	var add, remove []string
	cmd := &cobra.Command{
		Use: "tag SNAPSHOT…", Short: "Give snapshots tags that a policy may keep them for, or take tags away",
		Example: examples("baktainer snapshot tag shop/db@latest --add golden"),
		Args:    arguments(1, -1), ValidArgsFunction: a.completeSnapshots,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(add)+len(remove) == 0 {
				return problem.New(problem.InvalidInput, "no tag is named").WithHint("Give --add TAG or --remove TAG.")
			}
			return a.withRetention(cmd, func(ctx context.Context, client pb.RetentionServiceClient) error {
				resp, err := client.TagSnapshots(ctx, &pb.TagSnapshotsRequest{Snapshots: args, Add: add, Remove: remove})
				if err != nil {
					return err
				}
				return a.showMarked(resp.GetSnapshots(), "Tagged.")
			})
		},
	}
	cmd.Flags().StringSliceVar(&add, "add", nil, "tags to give")
	cmd.Flags().StringSliceVar(&remove, "remove", nil, "tags to take away")
	return cmd
}

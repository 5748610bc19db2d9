package cli

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// withController connects to the controller, does the work, and explains an
// error that means that none answers.
func (a *app) withController(cmd *cobra.Command, work func(context.Context, pb.AdminServiceClient) error) error {
	return a.connected(cmd, with(pb.NewAdminServiceClient, work))
}

// withCluster is withController for what is about the cluster itself.
func (a *app) withCluster(cmd *cobra.Command, work func(context.Context, pb.ClusterServiceClient) error) error {
	return a.connected(cmd, with(pb.NewClusterServiceClient, work))
}

// withRetention is withController for what is kept, and how long.
func (a *app) withRetention(cmd *cobra.Command, work func(context.Context, pb.RetentionServiceClient) error) error {
	return a.connected(cmd, with(pb.NewRetentionServiceClient, work))
}

// with is work that wants a client of one service rather than a connection.
func with[C any](client func(grpc.ClientConnInterface) C, work func(context.Context, C) error) func(context.Context, grpc.ClientConnInterface) error {
	return func(ctx context.Context, conn grpc.ClientConnInterface) error { return work(ctx, client(conn)) }
}

func (a *app) connected(cmd *cobra.Command, work func(context.Context, grpc.ClientConnInterface) error) error {
	c, _, err := a.settings(cmd)
	if err != nil {
		return err
	}
	if far(c) {
		return a.overTLS(cmd.Context(), c, work)
	}
	conn, err := transport.DialUnix(c.Socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	return explain(cmd.Context(), work(cmd.Context(), conn), c.Socket)
}

// explain says of a call that nobody answered why that may be.
func explain(ctx context.Context, err error, socket string) error {
	if problem.ReasonOf(err) != transport.ReasonNoAnswer {
		return err
	}
	var d net.Dialer
	conn, dialErr := d.DialContext(ctx, "unix", socket)
	switch {
	case dialErr == nil:
		_ = conn.Close()
		return problem.Wrap(problem.Unavailable, err, "the controller at %s broke off", socket).WithReason(transport.ReasonNoAnswer)
	case errors.Is(dialErr, fs.ErrPermission):
		return problem.New(problem.Denied, "this user may not use the controller's socket %s", socket).
			WithHint("Run the command as the user that runs `baktainer up`, for example with sudo.")
	}
	return problem.New(problem.Unavailable, "no controller answers at %s", socket).WithReason(transport.ReasonNoAnswer).
		WithHint("Start one with `baktainer up`. If one runs with other settings, name its folder with --data-dir or its socket with --socket; " +
			"one that runs in a container is asked with `docker exec CONTAINER /baktainer …`, one on another host after `baktainer login`. " +
			"Without any controller, `baktainer rescue` reads a store.")
}

// findSnapshot gets the snapshot that a user means: an id, a unique beginning of one,
// SOURCE@latest and its like, SOURCE@TIME, or SOURCE for its latest.
func (a *app) findSnapshot(ctx context.Context, client pb.AdminServiceClient, ref string) (*pb.Snapshot, error) {
	if source, when, ok := strings.Cut(ref, "@"); ok {
		if at, ok := a.pointInTime(when); ok {
			ref = source + "@" + at.UTC().Format(time.RFC3339)
		}
	}
	resp, err := client.GetSnapshot(ctx, &pb.GetSnapshotRequest{Snapshot: ref})
	if problem.CodeOf(err) == problem.NotFound && !strings.Contains(ref, "@") {
		latest, latestErr := client.GetSnapshot(ctx, &pb.GetSnapshotRequest{Snapshot: ref + "@latest"})
		if latestErr == nil {
			return latest.GetSnapshot(), nil
		}
		return nil, problem.New(problem.NotFound, "%.150q is neither a snapshot nor a source that has one", ref).
			WithHint("`baktainer snapshot ls` lists the snapshots, `baktainer source ls` the sources.")
	}
	if err != nil {
		return nil, err
	}
	return resp.GetSnapshot(), nil
}

// clockForms are those in which people write a moment as the clock on the wall shows it.
var clockForms = []string{time.DateTime, "2006-01-02 15:04", "2006-01-02T15:04"}

// readMoment reads RFC 3339, or one of these forms on the clocks of the zone.
func readMoment(text string, zone *time.Location, forms ...string) (time.Time, bool) {
	for _, form := range append([]string{time.RFC3339}, forms...) {
		if at, err := time.ParseInLocation(form, text, zone); err == nil {
			return at, true
		}
	}
	return time.Time{}, false
}

// pointInTime reads a time as clocks here show it, unless it says otherwise. A day
// means its end.
func (a *app) pointInTime(text string) (time.Time, bool) {
	if at, ok := readMoment(text, a.zone, append([]string{"2006-01-02T15:04:05"}, clockForms...)...); ok {
		return at, true
	}
	day, err := time.ParseInLocation(time.DateOnly, text, a.zone)
	return day.AddDate(0, 0, 1).Add(-time.Second), err == nil
}

package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// completed is how many candidates the shell is offered at most.
const completed = 100

// completionPatience is how long a shell waits for candidates.
const completionPatience = 3 * time.Second

// offer offers what list finds; without a controller, nothing.
func (a *app) offer(cmd *cobra.Command, list func(context.Context, grpc.ClientConnInterface) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), completionPatience)
	defer cancel()
	cmd.SetContext(ctx)
	var found []string
	err := a.connected(cmd, func(ctx context.Context, conn grpc.ClientConnInterface) (err error) {
		found, err = list(ctx, conn)
		return err
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return found, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) complete(cmd *cobra.Command, list func(context.Context, pb.AdminServiceClient) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context, conn grpc.ClientConnInterface) ([]string, error) {
		return list(ctx, pb.NewAdminServiceClient(conn))
	})
}

func (a *app) completeSources(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, func(ctx context.Context, client pb.AdminServiceClient) ([]string, error) {
		resp, err := client.ListSources(ctx, &pb.ListSourcesRequest{})
		var found []string
		for _, s := range resp.GetSources() {
			found = append(found, cobra.CompletionWithDesc(s.GetSource().GetName(), s.GetSource().GetEngine()))
		}
		return found, err
	})
}

func (a *app) completeSnapshots(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, func(ctx context.Context, client pb.AdminServiceClient) ([]string, error) {
		resp, err := client.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Limit: completed})
		var found []string
		latest := map[string]bool{}
		for _, s := range resp.GetSnapshots() {
			made := a.when(moment(s.GetCommittedAt()))
			found = append(found, cobra.CompletionWithDesc(s.GetId(), fmt.Sprintf("%s, %s", s.GetSource(), made)))
			if !latest[s.GetSource()] {
				latest[s.GetSource()] = true
				found = append(found, cobra.CompletionWithDesc(s.GetSource()+"@latest", made))
			}
		}
		return found, err
	})
}

func (a *app) completeRuns(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.complete(cmd, func(ctx context.Context, client pb.AdminServiceClient) ([]string, error) {
		resp, err := client.ListRuns(ctx, &pb.ListRunsRequest{Limit: completed})
		var found []string
		for _, r := range resp.GetRuns() {
			v := viewRun(r)
			found = append(found, cobra.CompletionWithDesc(v.ID, fmt.Sprintf("%s of %s, %s", v.Kind, v.Source, v.State)))
		}
		return found, err
	})
}

package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) completeInCluster(cmd *cobra.Command, list func(context.Context, pb.ClusterServiceClient) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	return a.offer(cmd, func(ctx context.Context, conn grpc.ClientConnInterface) ([]string, error) {
		return list(ctx, pb.NewClusterServiceClient(conn))
	})
}

func (a *app) completeMembers(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeInCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) (found []string, err error) {
		resp, err := client.GetCluster(ctx, &pb.GetClusterRequest{})
		for _, m := range resp.GetMembers() {
			v := viewMember(m)
			found = append(found, cobra.CompletionWithDesc(v.ID, fmt.Sprintf("%s at %s", v.rank(), v.Address)))
		}
		return found, err
	})
}

func (a *app) completeAgents(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeInCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) (found []string, err error) {
		resp, err := client.ListAgents(ctx, &pb.ListAgentsRequest{})
		for _, g := range resp.GetAgents() {
			v := viewAgent(g)
			found = append(found, cobra.CompletionWithDesc(v.ID, fmt.Sprintf("%s, %s", v.Host, v.state())))
		}
		return found, err
	})
}

func (a *app) completeTokens(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeInCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) (found []string, err error) {
		resp, err := client.ListTokens(ctx, &pb.ListTokensRequest{})
		for _, t := range resp.GetTokens() {
			v := viewToken(t)
			found = append(found, cobra.CompletionWithDesc(v.ID, fmt.Sprintf("for %s, %s", several(int64(v.left()), v.Role), a.when(v.ExpiresAt))))
		}
		return found, err
	})
}

func (a *app) completeIdentities(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.completeInCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) (found []string, err error) {
		resp, err := client.ListIdentities(ctx, &pb.ListIdentitiesRequest{})
		for _, i := range resp.GetIdentities() {
			v := viewIdentity(i)
			found = append(found, cobra.CompletionWithDesc(v.who(), v.state(a.clock.Now())))
		}
		return found, err
	})
}

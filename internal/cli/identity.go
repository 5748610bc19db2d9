package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type identityView struct {
	Role      string     `json:"role" doc:"agent, controller, admin or viewer"`
	Name      string     `json:"name" doc:"its name, unique in its role"`
	Serial    string     `json:"serial" doc:"serial number of its newest certificate"`
	IssuedAt  *time.Time `json:"issued_at,omitempty" doc:"when that was issued"`
	NotAfter  *time.Time `json:"not_after,omitempty" doc:"until when it is good; it is renewed before"`
	RevokedAt *time.Time `json:"revoked_at,omitempty" doc:"all certificates from before are refused"`
	Token     string     `json:"token" doc:"id of the token that it came in with"`
	Root      string     `json:"root" doc:"SHA-256 of the root certificate that its newest certificate is from"`
}

func viewIdentity(i *pb.Identity) *identityView {
	return &identityView{
		Role: viewRole(i.GetRole()), Name: i.GetName(), Serial: i.GetSerial(), IssuedAt: moment(i.GetIssuedAt()), NotAfter: moment(i.GetNotAfter()),
		RevokedAt: moment(i.GetRevokedAt()), Token: i.GetToken(), Root: i.GetRoot(),
	}
}

// who is the identity as users write it.
func (i *identityView) who() string { return i.Role + "/" + i.Name }

func (i *identityView) state(now time.Time) string {
	switch {
	case i.RevokedAt != nil && (i.IssuedAt == nil || i.IssuedAt.Before(*i.RevokedAt)):
		return "revoked"
	case i.NotAfter != nil && !now.Before(*i.NotAfter):
		return "expired"
	}
	return "good"
}

func (a *app) identityCommand() *cobra.Command {
	return group("identity", "Who has a certificate of the cluster", "", a.identityList(), a.identityRevoke())
}

func (a *app) identityList() *cobra.Command {
	return &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List who has a certificate of the cluster's authority", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.ListIdentities(ctx, &pb.ListIdentitiesRequest{})
				if err != nil {
					return err
				}
				all := views(resp.GetIdentities(), viewIdentity)
				ids, rows := make([]string, len(all)), make([][]string, len(all))
				for n, i := range all {
					ids[n] = i.who()
					rows[n] = []string{i.who(), i.state(a.clock.Now()), a.when(i.IssuedAt), a.when(i.NotAfter), a.when(i.RevokedAt), i.Token}
				}
				return a.print(all, ids, func() {
					if len(all) == 0 {
						a.say("Nobody has a certificate yet. `baktainer token create` lets somebody in.")
						return
					}
					a.table([]string{"IDENTITY", "STATE", "ISSUED", "EXPIRES", "REVOKED", "TOKEN"}, rows)
				})
			})
		},
	}
}

func (a *app) identityRevoke() *cobra.Command {
	var assent bool
	cmd := &cobra.Command{
		Use: "revoke ROLE/NAME", Short: "Shut an agent, a controller or an operator out at once",
		Long: `Refuse all certificates that an identity has, at once and on connections that are open. It gets in again only with a new
token. A controller of the cluster is shut out with ` + "`baktainer cluster remove`" + `.`,
		Example: examples("baktainer identity revoke viewer/bob", "baktainer identity revoke agent/db1"),
		Args:    arguments(1, 1), ValidArgsFunction: a.completeIdentities,
		RunE: func(cmd *cobra.Command, args []string) error {
			role, name, _ := strings.Cut(args[0], "/")
			r, err := parseRole("the role", role)
			if err != nil {
				return problem.Wrap(problem.InvalidInput, err, "%.80q is no identity", args[0]).WithHint("Want ROLE/NAME; `baktainer identity ls` lists them.")
			}
			return a.revoke(cmd, r, name, assent)
		},
	}
	cmd.Flags().BoolVarP(&assent, "yes", "y", false, "do not ask")
	return cmd
}

// revoke shuts an identity out.
func (a *app) revoke(cmd *cobra.Command, role pb.Role, name string, assent bool) error {
	who := viewRole(role) + "/" + name
	if err := pki.CheckName(name); err != nil {
		return problem.Wrap(problem.InvalidInput, err, "%.80q is no identity", who).WithHint("`baktainer identity ls` lists them.")
	}
	if err := a.sure(assent, "This shuts "+who+" out at once; it gets in again only with a new token."); err != nil {
		return err
	}
	return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
		resp, err := client.RevokeIdentity(ctx, &pb.RevokeIdentityRequest{Role: role, Name: name})
		if err != nil {
			return err
		}
		v := viewIdentity(resp.GetIdentity())
		return a.print(v, []string{v.who()}, func() { fmt.Fprintf(a.out, "%s: revoked\n", printable(v.who())) })
	})
}

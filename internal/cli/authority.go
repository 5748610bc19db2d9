package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// authorityView is what `ca show -o json` prints.
type authorityView struct {
	Version uint64     `json:"version" doc:"rises with each change"`
	Roots   []rootView `json:"roots" doc:"the root certificates that everybody trusts: subject, fingerprint (SHA-256), not_after, signs (new certificates are from it)"`
}

type rootView struct {
	Subject     string     `json:"subject"`
	Fingerprint string     `json:"fingerprint"`
	NotAfter    *time.Time `json:"not_after,omitempty"`
	Signs       bool       `json:"signs"`
}

// rotationView is what `ca rotate -o json` prints.
type rotationView struct {
	Authority  authorityView   `json:"authority" doc:"as from ca show"`
	WaitingFor []*identityView `json:"waiting_for" doc:"who has not got what the next step takes, as from identity ls"`
}

func viewAuthority(au *pb.Authority) authorityView {
	v := authorityView{Version: au.GetVersion(), Roots: []rootView{}}
	for _, r := range au.GetRoots() {
		v.Roots = append(v.Roots, rootView{r.GetSubject(), r.GetFingerprint(), moment(r.GetNotAfter()), r.GetSigns()})
	}
	return v
}

func (a *app) authorityCommand() *cobra.Command {
	return group("ca", "The cluster's own certificate authority",
		`The authority that is built in: it gives agents, controllers and operators their certificates, which last a week and renew
themselves. Its key is kept among what the controllers know, sealed with the key of the store. A cluster with
tls-ca, tls-cert and tls-key does without it.`,
		a.authorityShow(), a.authorityRotate())
}

func (a *app) showAuthority(v authorityView) {
	if len(v.Roots) == 0 {
		a.say("The cluster has no authority of its own yet.")
		return
	}
	rows := make([][]string, len(v.Roots))
	for i, r := range v.Roots {
		does := "trusted"
		if r.Signs {
			does = "signs"
		}
		rows[i] = []string{r.Subject, does, a.when(r.NotAfter), r.Fingerprint}
	}
	a.facts("trust", fmt.Sprintf("version %d", v.Version))
	a.table([]string{"ROOT", "STATE", "EXPIRES", "SHA-256"}, rows)
}

func (a *app) authorityShow() *cobra.Command {
	return &cobra.Command{
		Use: "show", Short: "Show the root certificates that everybody trusts", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				c, err := cluster(ctx, client)
				if err != nil {
					return err
				}
				ids := make([]string, len(c.Authority.Roots))
				for i, r := range c.Authority.Roots {
					ids[i] = r.Fingerprint
				}
				return a.print(c.Authority, ids, func() { a.showAuthority(c.Authority) })
			})
		},
	}
}

func (a *app) authorityRotate() *cobra.Command {
	var finish, assent bool
	cmd := &cobra.Command{
		Use: "rotate", Short: "Replace the authority's key and root certificate, without an interruption",
		Long: `Begin to replace the authority. The cluster does the rest by itself: everybody gets to trust a new root beside the old one,
then the new one signs, everybody renews, and the old one goes. Each step waits for all who are there, for at most
7 days. Called again, it tells whom it waits for.

With --finish it takes its next step now, whoever is missing: an agent or an operator that has not kept up may be shut out,
and gets in again with a new token.`,
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			if finish {
				if err := a.sure(assent, "This takes the next step of the rotation now: who has not kept up may be shut out."); err != nil {
					return err
				}
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.RotateAuthority(ctx, &pb.RotateAuthorityRequest{Finish: finish})
				if err != nil {
					return err
				}
				v := rotationView{viewAuthority(resp.GetAuthority()), views(resp.GetWaitingFor(), viewIdentity)}
				waiting := make([]string, len(v.WaitingFor))
				for i, w := range v.WaitingFor {
					waiting[i] = w.who()
				}
				return a.print(v, waiting, func() {
					a.showAuthority(v.Authority)
					if len(waiting) > 0 {
						a.say("Waiting for: %s.", strings.Join(waiting, ", "))
					}
				})
			})
		},
	}
	cmd.Flags().BoolVar(&finish, "finish", false, "take the next step, whoever is missing")
	cmd.Flags().BoolVarP(&assent, "yes", "y", false, "do not ask before --finish")
	return cmd
}

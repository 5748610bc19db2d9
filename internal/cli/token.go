package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type tokenView struct {
	ID        string     `json:"id" doc:"identifies the token; it is no secret"`
	Role      string     `json:"role" doc:"what it makes of its holder: agent, controller, admin or viewer"`
	Name      string     `json:"name" doc:"the only name that it is good for, empty: any"`
	CreatedAt *time.Time `json:"created_at,omitempty" doc:"when it was made"`
	CreatedBy string     `json:"created_by" doc:"who made it"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" doc:"until when it can be used"`
	Uses      int32      `json:"uses" doc:"how often it can be used in all"`
	Used      int32      `json:"used" doc:"how often it was"`
	RevokedAt *time.Time `json:"revoked_at,omitempty" doc:"when it was revoked"`
}

func viewToken(t *pb.Token) *tokenView {
	return &tokenView{
		ID: t.GetId(), Role: viewRole(t.GetRole()), Name: t.GetName(), CreatedAt: moment(t.GetCreatedAt()), CreatedBy: t.GetCreatedBy(),
		ExpiresAt: moment(t.GetExpiresAt()), Uses: t.GetUses(), Used: t.GetUsed(), RevokedAt: moment(t.GetRevokedAt()),
	}
}

// left is how often it can still be used.
func (t *tokenView) left() int32 { return max(0, t.Uses-t.Used) }

func (t *tokenView) state(now time.Time) string {
	switch {
	case t.RevokedAt != nil:
		return "revoked"
	case t.left() == 0:
		return "used"
	case t.ExpiresAt != nil && !now.Before(*t.ExpiresAt):
		return "expired"
	}
	return "good"
}

// madeTokenView is what `token create -o json` prints.
type madeTokenView struct {
	Token  string     `json:"token" doc:"the token itself: it is told this once"`
	Record *tokenView `json:"record" doc:"what is remembered of it, as from token ls"`
}

func (a *app) tokenCommand() *cobra.Command {
	return group("token", "What lets new agents, controllers and operators in",
		`A token lets somebody in who has no certificate yet: an agent, a controller, an operator. It is exchanged for a certificate
once; the certificate renews itself. A token knows by which authority the cluster is known, so that nobody else can pass for
it. Whoever has it gets in: hand it over in a file or a variable, never in a command line.`,
		a.tokenCreate(), a.tokenList(), a.tokenRevoke(), a.tokenGenerate())
}

// mostUses is how often a token can be used at most, and longestToken how long.
const (
	mostUses     = 10_000
	longestToken = 30 * 24 * time.Hour
)

func (a *app) tokenCreate() *cobra.Command {
	var role, name string
	var ttl time.Duration
	var uses int32
	cmd := &cobra.Command{
		Use: "create --role ROLE", Short: "Make a token, and say what to do with it on the other host",
		Long: `Make a token. It alone goes to stdout, and is shown this once; what to do with it goes to stderr.

ROLE is what it makes of its holder: agent (it backs up the databases of its host), controller (it becomes one of the
cluster), admin (an operator who may do everything) or viewer (one who may look at everything but dumps).`,
		Example: examples(
			"baktainer token create --role agent",
			"baktainer token create --role agent --uses 20 --ttl 24h -q > token",
			"baktainer token create --role admin --name alice",
		),
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			req, err := tokenRequest(role, name, ttl, uses)
			if err != nil {
				return err
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.CreateToken(ctx, req)
				if err != nil {
					return err
				}
				v := madeTokenView{resp.GetToken(), viewToken(resp.GetRecord())}
				return a.print(v, []string{v.Token}, func() {
					fmt.Fprintln(a.out, printable(v.Token))
					c, err := cluster(ctx, client)
					controllers := "HOST:8468" // when it cannot be told, the token is good all the same
					if err == nil {
						controllers = a.reachableAt(c.Members)
					}
					a.explainToken(v.Record, controllers)
				})
			})
		},
	}
	cmd.Flags().StringVar(&role, "role", "", "what its holder becomes: agent, controller, admin or viewer")
	cmd.Flags().DurationVar(&ttl, "ttl", time.Hour, "how long it can be used, up to 720h")
	cmd.Flags().Int32Var(&uses, "uses", 1, "how often it can be used, up to 10000")
	cmd.Flags().StringVar(&name, "name", "", "the only name that it is good for. Default: any")
	_ = cmd.RegisterFlagCompletionFunc("role", completeRoles)
	return cmd
}

func tokenRequest(role, name string, ttl time.Duration, uses int32) (*pb.CreateTokenRequest, error) {
	bad := func(format string, args ...any) (*pb.CreateTokenRequest, error) {
		return nil, problem.New(problem.InvalidInput, format, args...)
	}
	if role == "" {
		return nil, problem.New(problem.InvalidInput, "say what the token is for").WithHint("Want --role %s.", strings.Join(roles, ", or "))
	}
	r, err := parseRole("--role", role)
	if err != nil {
		return nil, err
	}
	if name != "" {
		if err := pki.CheckName(name); err != nil {
			return bad("--name %.80q: %v", name, err)
		}
	}
	switch {
	case ttl < time.Second || ttl > longestToken:
		return bad("--ttl %s: want from 1s to 720h", ttl)
	case uses < 1 || uses > mostUses:
		return bad("--uses %d: want a number from 1 to %d", uses, mostUses)
	}
	return &pb.CreateTokenRequest{Role: r, Name: name, Ttl: durationpb.New(ttl), Uses: uses}, nil
}

func (a *app) tokenList() *cobra.Command {
	var all bool
	cmd := &cobra.Command{
		Use: "ls", Aliases: []string{"list"}, Short: "List tokens that can still be used", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.ListTokens(ctx, &pb.ListTokensRequest{All: all})
				if err != nil {
					return err
				}
				return a.printTokens(views(resp.GetTokens(), viewToken))
			})
		},
	}
	cmd.Flags().BoolVar(&all, "all", false, "those too that cannot be used any more")
	return cmd
}

func (a *app) printTokens(all []*tokenView) error {
	ids, rows := make([]string, len(all)), make([][]string, len(all))
	for i, t := range all {
		ids[i] = t.ID
		rows[i] = []string{t.ID, t.Role, t.Name, t.state(a.clock.Now()), fmt.Sprintf("%d of %d", t.Used, t.Uses), a.when(t.ExpiresAt), a.when(t.CreatedAt), t.CreatedBy}
	}
	return a.print(all, ids, func() {
		if len(all) == 0 {
			a.say("There is no token that can be used. `baktainer token create` makes one.")
			return
		}
		a.table([]string{"TOKEN", "ROLE", "NAME", "STATE", "USED", "EXPIRES", "MADE", "BY"}, rows)
	})
}

func (a *app) tokenRevoke() *cobra.Command {
	return &cobra.Command{
		Use: "revoke TOKEN", Short: "Let nobody in with a token any more",
		Long: `Let nobody in with a token any more. TOKEN is its id, from ` + "`baktainer token ls`" + `, or the token itself, which is
then turned into its id: the secret goes nowhere. Who has got in with it stays:
` + "`baktainer identity revoke`" + ` is for that.`,
		Args: arguments(1, 1), ValidArgsFunction: a.completeTokens,
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			if strings.HasPrefix(strings.ToUpper(id), "BKTN-") {
				t, err := pki.ParseToken(id)
				if err != nil {
					return err
				}
				id = t.ID()
			}
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				resp, err := client.RevokeToken(ctx, &pb.RevokeTokenRequest{Id: id})
				if err != nil {
					return err
				}
				v := viewToken(resp.GetToken())
				return a.print(v, []string{v.ID}, func() { fmt.Fprintf(a.out, "token %s: revoked\n", printable(v.ID)) })
			})
		},
	}
}

// generatedView is what `token generate -o json` prints.
type generatedView struct {
	Token string `json:"token" doc:"the token"`
}

func (a *app) tokenGenerate() *cobra.Command {
	return &cobra.Command{
		Use: "generate", Short: "Make a token for controllers that start a new cluster together; asks no controller",
		Long: `Make a token for controllers that start a new cluster together, with --bootstrap-expect. It goes to stdout. Give the same
to each of them, with --join-token-file or in ` + config.JoinTokenVariable + `: who knows it is one of them. It never goes over the
network.`,
		Example: examples("baktainer token generate -q > token",
			"baktainer controller --bootstrap-expect 3 --join c1:8468,c2:8468,c3:8468 --join-token-file token"),
		Args: arguments(0, 0),
		RunE: func(*cobra.Command, []string) error {
			v := generatedView{pki.NewUnpinned().String()}
			return a.print(v, []string{v.Token}, func() {
				fmt.Fprintln(a.out, v.Token)
				a.say("Give it to each of the controllers that start together, in a file that only they can read:\n\n" +
					"  baktainer controller --bootstrap-expect 3 --join c1:8468,c2:8468,c3:8468 --join-token-file token")
			})
		},
	}
}

package cli

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// clusterView is what `cluster status -o json` prints.
type clusterView struct {
	Cluster     string          `json:"cluster" doc:"identifies the cluster"`
	Leader      string          `json:"leader" doc:"the controller that leads, and answers"`
	Members     []*memberView   `json:"members" doc:"the controllers, as from cluster members"`
	Tolerance   int32           `json:"tolerance" doc:"how many controllers may fail and the others still go on"`
	Index       uint64          `json:"index" doc:"how far the leader has come in the log"`
	Authority   authorityView   `json:"authority" doc:"whom everybody trusts, as from ca show"`
	Limits      limitsView      `json:"limits" doc:"how many runs there are at once, as from cluster limits"`
	Utilisation utilisationView `json:"utilisation" doc:"running, queued, capacity: runs at work, runs that wait, and how many connected agents could take"`
}

type memberView struct {
	ID            string     `json:"id" doc:"name of the controller"`
	Address       string     `json:"address" doc:"where the others reach it"`
	Role          string     `json:"role" doc:"voter, or nonvoter: it follows, and does not vote yet"`
	Leader        bool       `json:"leader" doc:"it decides"`
	Healthy       bool       `json:"healthy" doc:"it answers, and keeps up with the leader"`
	Version       string     `json:"version" doc:"its version"`
	Index         uint64     `json:"index" doc:"how far it has come in the log"`
	LastContactAt *time.Time `json:"last_contact_at,omitempty" doc:"when the leader last heard of it"`
	Detail        string     `json:"detail" doc:"what is wrong with it"`
	Uploads       int32      `json:"uploads" doc:"uploads that it is taking in"`
	Stores        []string   `json:"stores" doc:"the stores that it reaches by itself"`
}

type utilisationView struct {
	Running  int32 `json:"running"`
	Queued   int32 `json:"queued"`
	Capacity int32 `json:"capacity"`
}

func (u utilisationView) String() string {
	return fmt.Sprintf("%d running, %d waiting, room for %d", u.Running, u.Queued, u.Capacity)
}

func viewMember(m *pb.Member) *memberView {
	return &memberView{
		ID: m.GetId(), Address: m.GetAddress(), Role: word(m.GetRole().String(), "MEMBER_ROLE_"), Leader: m.GetLeader(), Healthy: m.GetHealthy(),
		Version: m.GetVersion(), Index: m.GetIndex(), LastContactAt: moment(m.GetLastContactAt()), Detail: m.GetDetail(),
		Uploads: m.GetUploads(), Stores: list(m.GetStores()),
	}
}

// rank is the member's role in one word.
func (m *memberView) rank() string {
	if m.Leader {
		return "leader"
	}
	return m.Role
}

func viewUtilisation(u *pb.Utilisation) utilisationView {
	return utilisationView{u.GetRunning(), u.GetQueued(), u.GetCapacity()}
}

func viewCluster(c *pb.GetClusterResponse) *clusterView {
	return &clusterView{
		Cluster: c.GetCluster(), Leader: c.GetNode(), Members: views(c.GetMembers(), viewMember), Tolerance: c.GetTolerance(), Index: c.GetIndex(),
		Authority: viewAuthority(c.GetAuthority()), Limits: viewLimits(c.GetLimits()), Utilisation: viewUtilisation(c.GetUtilisation()),
	}
}

func (a *app) clusterCommand() *cobra.Command {
	return group("cluster", "The controllers: how they are, who is one, what they may do at once",
		`The controllers of a cluster, one or several. Each command works with any of them: it passes on what only the leader
can answer.`,
		a.clusterStatus(), a.clusterMembers(), a.clusterRemove(), a.clusterTransfer(), a.clusterSnapshot(), a.clusterRestore(), a.clusterLimits())
}

// cluster gets what there is to know of the cluster.
func cluster(ctx context.Context, client pb.ClusterServiceClient) (*clusterView, error) {
	resp, err := client.GetCluster(ctx, &pb.GetClusterRequest{})
	if err != nil {
		return nil, err
	}
	return viewCluster(resp), nil
}

func (a *app) clusterStatus() *cobra.Command {
	return &cobra.Command{
		Use: "status", Short: "Tell how the controllers are, and how busy", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				c, err := cluster(ctx, client)
				if err != nil {
					return err
				}
				return a.print(c, memberIDs(c.Members), func() { a.showCluster(c) })
			})
		},
	}
}

func (a *app) clusterMembers() *cobra.Command {
	return &cobra.Command{
		Use: "members", Aliases: []string{"ls", "list"}, Short: "List the controllers", Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withCluster(cmd, func(ctx context.Context, client pb.ClusterServiceClient) error {
				c, err := cluster(ctx, client)
				if err != nil {
					return err
				}
				return a.print(c.Members, memberIDs(c.Members), func() { a.showMembers(c.Members) })
			})
		},
	}
}

func memberIDs(members []*memberView) []string {
	ids := make([]string, len(members))
	for i, m := range members {
		ids[i] = m.ID
	}
	return ids
}

func (a *app) showCluster(c *clusterView) {
	authority := ""
	if len(c.Authority.Roots) > 0 {
		authority = fmt.Sprintf("version %d", c.Authority.Version)
	}
	a.facts("cluster", c.Cluster, "leader", c.Leader, "controllers", manned(len(c.Members), c.Tolerance), "log", strconv.FormatUint(c.Index, 10),
		"runs", c.Utilisation.String(), "limits", c.Limits.String(), "trust", authority)
	fmt.Fprintln(a.out)
	a.showMembers(c.Members)
}

// manned says how many controllers there are, and how many of them may fail.
func manned(controllers int, tolerance int32) string {
	switch {
	case controllers == 1:
		return "1"
	case tolerance == 0:
		return fmt.Sprintf("%d, of which none may fail", controllers)
	}
	return fmt.Sprintf("%d, of which %d may fail", controllers, tolerance)
}

func (a *app) showMembers(members []*memberView) {
	rows := make([][]string, len(members))
	for i, m := range members {
		state, uploads := "problem", ""
		if m.Healthy {
			state = "fine"
		}
		if m.Uploads > 0 {
			uploads = strconv.Itoa(int(m.Uploads))
		}
		rows[i] = []string{
			m.ID, m.rank(), state, m.Address, m.Version, strconv.FormatUint(m.Index, 10), a.when(m.LastContactAt),
			uploads, strings.Join(m.Stores, ", "), m.Detail,
		}
	}
	a.table([]string{"CONTROLLER", "ROLE", "STATE", "ADDRESS", "VERSION", "LOG", "SEEN", "UPLOADS", "STORES", "DETAIL"}, rows)
}

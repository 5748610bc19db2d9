package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/problem"
)

// Peer is one member of a cluster.
type Peer struct {
	ID      string `json:"id"`
	Address string `json:"address"`
	Voter   bool   `json:"voter"`
}

// Recovery is what a recovery would do.
type Recovery struct {
	// Node is the controller whose data folder it is.
	Node string
	// Cluster, and Index, how far its log goes: empty when that cannot be told beforehand.
	Cluster string
	Index   uint64
	// Peers are to be the only members.
	Peers []Peer
	// Do copies the data folder, and makes them that.
	Do func(context.Context) (Recovered, error)
}

// Recovered is what a recovery did. It is what `controller recover -o json` prints.
type Recovered struct {
	Node    string `json:"node" doc:"the controller that was recovered"`
	Cluster string `json:"cluster" doc:"identifies the cluster"`
	Index   uint64 `json:"index" doc:"how far its log goes"`
	Peers   []Peer `json:"peers" doc:"the only members now: id, address, voter"`
	Copy    string `json:"copy" doc:"where its data folder from before is"`
}

func (a *app) controllerRecover() *cobra.Command {
	var file, confirm string
	cmd := &cobra.Command{
		Use: "recover --peers FILE", Short: "Go on after most controllers of a cluster were lost for good",
		Long: `Go on after most controllers of a cluster were lost for good. While most of them are there nothing of this is needed: they
go on, and ` + "`baktainer cluster remove`" + ` takes out the lost ones.

  1. Stop all controllers of the cluster.
  2. Find the one whose log goes furthest: this command tells, and changes nothing before you have confirmed it.
  3. There, write the members that the cluster is to have into a file. Mostly it is this one alone:
     [{"id": "c1", "address": "c1.example.com:8468"}]
  4. Run this command there, as the user that the controller runs as, and start the controller.
  5. Let the others join anew, with empty folders of state and a new token.

What only the lost controllers knew is lost: the last runs, tokens or revocations. Snapshots that are in the store and not
in the ledger are found by ` + "`baktainer rescue ls`" + `. The data folder is copied first. It asks before it changes anything.`,
		Example: examples("baktainer controller recover --data-dir /var/lib/baktainer --peers peers.json"),
		Args:    arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.settings(cmd)
			if err != nil {
				return err
			}
			peers, err := readPeers(file)
			if err != nil {
				return err
			}
			plan, err := a.roof.PlanRecovery(cmd.Context(), c, peers)
			if err != nil {
				return err
			}
			return a.recover(cmd.Context(), plan, confirm)
		},
	}
	cmd.Flags().StringVar(&file, "peers", "", "file with the members that the cluster is to have")
	cmd.Flags().StringVar(&confirm, "confirm", "", "what it would ask you to type: the id of the cluster")
	return cmd
}

func (a *app) recover(ctx context.Context, plan Recovery, confirm string) error {
	log, ask := "", confirmation{"the id of the cluster", plan.Cluster}
	if plan.Index > 0 {
		log = strconv.FormatUint(plan.Index, 10)
	}
	if plan.Cluster == "" {
		ask = confirmation{"the name of this controller", plan.Node}
	}
	if a.output != "json" && !a.quiet {
		a.facts("controller", plan.Node, "cluster", plan.Cluster, "log", log, "members to be", peerList(plan.Peers))
	}
	if err := a.typed(confirm, ask, fmt.Sprintf("This makes %s all there is of the cluster, and drops what only others knew.", peerList(plan.Peers))); err != nil {
		return err
	}
	done, err := plan.Do(ctx)
	if err != nil {
		return err
	}
	return a.print(done, []string{done.Copy}, func() {
		a.facts("recovered", done.Cluster, "log", strconv.FormatUint(done.Index, 10), "copy", done.Copy)
		a.say("Start the controller. Remove the copy when all is well.")
	})
}

func peerList(peers []Peer) string {
	all := make([]string, len(peers))
	for i, p := range peers {
		all[i] = p.ID + " at " + p.Address
		if !p.Voter {
			all[i] += " (without a vote)"
		}
	}
	return strings.Join(all, ", ")
}

// maxPeers bounds the file with the members, in bytes.
const maxPeers = 64 << 10

// readPeers reads the file with the members that a cluster is to have.
func readPeers(path string) ([]byte, error) {
	if path == "" {
		return nil, problem.New(problem.InvalidInput, "say which members the cluster is to have").
			WithHint(`Want --peers FILE, such as [{"id": "c1", "address": "c1.example.com:8468"}].`)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the members")
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxPeers+1))
	switch {
	case err != nil:
		return nil, problem.Wrap(problem.Failed, err, "read the members")
	case len(text) > maxPeers:
		return nil, problem.New(problem.InvalidInput, "read the members: %s is larger than %d KiB", path, maxPeers>>10)
	}
	return text, nil
}

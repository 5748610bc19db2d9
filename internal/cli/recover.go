package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
)

// Peer is one member of a cluster, as peers.json has it.
type Peer struct {
	ID       string `json:"id"`
	Address  string `json:"address"`
	NonVoter bool   `json:"non_voter"`
}

// Recovery is what a recovery would do.
type Recovery struct {
	// Node is the controller whose data folder it is, Index how far its log goes.
	Cluster, Node string
	Index         uint64
	// Members are those that it knows now.
	Members []Peer
	// Do copies the data folder, makes the peers the only members, and returns where the copy is.
	Do func(context.Context) (saved string, err error)
}

// recoveryView is what `controller recover -o json` prints.
type recoveryView struct {
	Cluster string `json:"cluster" doc:"identifies the cluster"`
	Node    string `json:"node" doc:"the controller that was recovered"`
	Index   uint64 `json:"index" doc:"how far its log goes"`
	Before  []Peer `json:"before" doc:"the members that it knew: id, address, non_voter"`
	After   []Peer `json:"after" doc:"the members that it knows now"`
	Saved   string `json:"saved" doc:"where the copy of its data folder from before is"`
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
in the ledger are found by ` + "`baktainer rescue ls`" + `. The data folder is copied first. It asks for the id of the cluster.`,
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
			return a.recover(cmd.Context(), plan, peers, confirm)
		},
	}
	cmd.Flags().StringVar(&file, "peers", "", "file with the members that the cluster is to have")
	cmd.Flags().StringVar(&confirm, "confirm", "", "id of the cluster, instead of being asked for it")
	return cmd
}

func (a *app) recover(ctx context.Context, plan Recovery, peers []Peer, confirm string) error {
	v := recoveryView{Cluster: plan.Cluster, Node: plan.Node, Index: plan.Index, Before: plan.Members, After: peers}
	if a.output != "json" && !a.quiet {
		a.facts("controller", plan.Node, "cluster", plan.Cluster, "log", strconv.FormatUint(plan.Index, 10), "members", peerList(plan.Members), "become", peerList(peers))
	}
	what := fmt.Sprintf("This makes %s the only members of cluster %s, and drops what only others knew.", peerList(peers), plan.Cluster)
	if err := a.typed(confirm, plan.Cluster, what); err != nil {
		return err
	}
	saved, err := plan.Do(ctx)
	if err != nil {
		return err
	}
	v.Saved = saved
	return a.print(v, []string{v.Saved}, func() {
		a.facts("copy", v.Saved)
		a.say("Done. Start the controller; remove the copy when all is well.")
	})
}

func peerList(peers []Peer) string {
	all := make([]string, len(peers))
	for i, p := range peers {
		all[i] = p.ID + " at " + p.Address
		if p.NonVoter {
			all[i] += " (nonvoter)"
		}
	}
	return strings.Join(all, ", ")
}

// maxPeers bounds the file with the members, in bytes.
const maxPeers = 64 << 10

// readPeers reads the members that a cluster is to have, and tells all that is wrong with them.
func readPeers(path string) ([]Peer, error) {
	if path == "" {
		return nil, problem.New(problem.InvalidInput, "say which members the cluster is to have").
			WithHint(`Want --peers FILE, such as [{"id": "c1", "address": "c1.example.com:8468"}].`)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the members")
	}
	defer f.Close()
	peers, err := parsePeers(io.LimitReader(f, maxPeers))
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the members in %s", path).
			WithHint(`Want a list such as [{"id": "c1", "address": "c1.example.com:8468"}], at least one of them without "non_voter": true.`)
	}
	return peers, nil
}

func parsePeers(r io.Reader) ([]Peer, error) {
	var peers []Peer
	d := json.NewDecoder(r)
	d.DisallowUnknownFields()
	if err := d.Decode(&peers); err != nil {
		return nil, fmt.Errorf("read the JSON: %w", err)
	}
	if d.More() {
		return nil, errors.New("there is more after the list")
	}
	var wrong []error
	voters, ids, addresses := 0, map[string]bool{}, map[string]bool{}
	for _, p := range peers {
		if err := config.CheckName(p.ID); err != nil {
			wrong = append(wrong, fmt.Errorf("id %.80q: %w", p.ID, err))
		}
		if err := config.CheckAddress(p.Address); err != nil {
			wrong = append(wrong, fmt.Errorf("address %.80q: %w", p.Address, err))
		}
		if ids[p.ID] || addresses[p.Address] {
			wrong = append(wrong, fmt.Errorf("%s at %s: the id or the address is there twice", p.ID, p.Address))
		}
		ids[p.ID], addresses[p.Address] = true, true
		if !p.NonVoter {
			voters++
		}
	}
	if voters == 0 {
		wrong = append(wrong, errors.New("none of them may vote"))
	}
	return peers, errors.Join(wrong...)
}

package consensus

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
)

// What a data folder holds.
const (
	logFile     = "raft.db"    // log, term and votes; locked by whoever has it open
	nodeFile    = "node-id"    // the node that the folder is of
	clusterFile = "cluster-id" // the cluster that log and raft snapshots are of
)

const lockTimeout = 2 * time.Second // for another process to let go of the data folder

var idPattern = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)

// Kept is what a data folder remembers.
type Kept struct {
	// NodeID is the node that the folder is of; empty: nobody's yet.
	NodeID string
	// Cluster is the cluster that the node is of; empty: none, or none that it knows.
	Cluster string
	// State says that there is a log or a raft snapshot.
	State bool
}

// StateOf is the cluster whose state the folder has, as Join wants to know it:
// empty when there is no state. State of a cluster that is not known is of none
// that one can join.
func (k Kept) StateOf() string {
	switch {
	case !k.State:
		return ""
	case k.Cluster == "":
		return "unknown"
	}
	return k.Cluster
}

// ReadKept looks into a data folder without starting its node. Nobody else may
// have it open.
func ReadKept(dir string) (Kept, error) {
	var k Kept
	var err error
	if k.NodeID, err = readFile(dir, nodeFile); err != nil {
		return k, err
	}
	if k.Cluster, err = readFile(dir, clusterFile); err != nil {
		return k, err
	}
	if _, err := os.Stat(filepath.Join(dir, logFile)); errors.Is(err, os.ErrNotExist) {
		return k, nil
	}
	store, err := openLog(dir)
	if err != nil {
		return k, err
	}
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(dir, keptSnapshots, quiet())
	if err == nil {
		k.State, err = raft.HasExistingState(store, store, snapshots)
	}
	if err := errors.Join(err, store.Close()); err != nil {
		return k, problem.Wrap(problem.Failed, err, "look for a node's state in %s", dir)
	}
	return k, nil
}

func openLog(dir string) (*raftboltdb.BoltStore, error) {
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:                    filepath.Join(dir, logFile),
		BoltOptions:             &bbolt.Options{Timeout: lockTimeout},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, problem.New(problem.Conflict, "the data folder %s is in use by another process", dir).
			WithReason(ReasonDataInUse).WithHint("Stop the other one, or give this one a data folder of its own.")
	}
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "open the log in %s", dir)
	}
	return store, nil
}

// nodeID gives the node's id, and keeps it: a data folder has one id for ever.
func nodeID(o Options) (string, error) {
	id, err := readFile(o.Dir, nodeFile)
	if err != nil {
		return "", err
	}
	switch {
	case id != "" && (o.NodeID == "" || o.NodeID == id):
		return id, nil
	case id != "":
		return "", problem.New(problem.Conflict, "the data folder %s is node %s's, not node %s's", o.Dir, id, o.NodeID).
			WithHint("Give the node the id that it had, or a data folder of its own.")
	}
	if id = o.NodeID; id == "" {
		id = strings.ToLower(rand.Text())
	}
	if err := checkID(id); err != nil {
		return "", err
	}
	if err := writeFile(o.Dir, nodeFile, id); err != nil {
		return "", fmt.Errorf("keep node id: %w", err)
	}
	return id, nil
}

func checkID(id string) error {
	if idPattern.MatchString(id) {
		return nil
	}
	return problem.New(problem.InvalidInput, "the controller's name %.80q is not 1 to 64 letters, digits, dots, dashes or underscores", id)
}

func readFile(dir, name string) (string, error) {
	kept, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read %s: %w", name, err)
	}
	return strings.TrimSpace(string(kept)), nil
}

// writeFile writes a small file so that after a crash it is there whole or not at all.
func writeFile(dir, name, text string) error {
	return durable.Replace(filepath.Join(dir, name), []byte(text+"\n"))
}

// belong makes sure that the folder is of the cluster that the node is in.
func (n *Node) belong(known bool) error {
	kept, err := readFile(n.Dir, clusterFile)
	if err != nil {
		return err
	}
	n.kept = kept
	switch {
	case n.Cluster == "" || n.Cluster == kept:
		return nil
	case known:
		return problem.New(problem.Conflict, "the data folder %s has the state of another cluster than %s", n.Dir, n.Cluster).
			WithReason(state.ReasonOtherClust).WithHint("Give the controller a new data folder to join that cluster with.")
	}
	return n.keepCluster(n.Cluster)
}

// cluster is the cluster that the folder is known to be of.
func (n *Node) cluster() string {
	n.folder.Lock()
	defer n.folder.Unlock()
	return n.kept
}

// keepCluster notes in the folder which cluster it is of.
func (n *Node) keepCluster(id string) error {
	n.folder.Lock()
	defer n.folder.Unlock()
	if id == "" || id == n.kept {
		return nil
	}
	if err := writeFile(n.Dir, clusterFile, id); err != nil {
		return fmt.Errorf("keep cluster id: %w", err)
	}
	n.kept = id
	return nil
}

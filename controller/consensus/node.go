// Package consensus replicates the state's commands through Raft and is the
// only importer of hashicorp/raft. A Node is one member: its log (boltdb), its
// raft snapshots, its leadership.
package consensus

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"
	"go.etcd.io/bbolt"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

// Reasons of this package.
const (
	ReasonDataInUse problem.Reason = "data-in-use" // another process has the data folder
	ReasonNoLeader  problem.Reason = "no-leader"   // no leader, so nothing can be decided now
	ReasonHalted    problem.Reason = "halted"      // the log has a command of a newer version
)

// Options say where a node keeps what it knows, and how.
type Options struct {
	// Dir is the data folder; it is made when it does not exist.
	Dir string
	// NodeID names the node. Empty: the one kept in Dir, else a new one, kept there.
	NodeID string
	// Tables must be empty: raft snapshot and log fill them.
	Tables *state.Tables
	Clock  clock.Clock
	Logger *slog.Logger
	// SnapshotEvery is how many log entries make a raft snapshot worth while; 0: 8192.
	SnapshotEvery uint64
	// ElectionTimeout is how long a node waits before it stands for election; 0: Raft's own, 1 s.
	ElectionTimeout time.Duration
	// Fatal is called when the process must end: the log's disk hangs, or a command
	// of a newer version was met. nil: say so and exit with status 1.
	Fatal func(error)
}

// Node is one member of the cluster. Safe for concurrent use.
type Node struct {
	id         string
	tables     *state.Tables
	clock      clock.Clock
	log        *slog.Logger
	raft       *raft.Raft
	store      *raftboltdb.BoltStore
	transport  *raft.InmemTransport
	fsm        *machine
	leader     atomic.Bool
	leadership chan bool
	stop       context.CancelFunc
	watching   sync.WaitGroup
}

const (
	lockTimeout   = 2 * time.Second  // for another process to let go of the data folder
	appendLimit   = 10 * time.Second // for one append to the log; see stallGuard
	keptSnapshots = 2
	trailingLogs  = 1024
)

// Open starts the node, a cluster of one for now. The first start makes the
// cluster; later ones find it in Dir. It does not wait for leadership.
func Open(o Options) (*Node, error) {
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			o.Logger.Error("must stop", "error", err)
			os.Exit(1)
		}
	}
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, problem.Wrap(problem.Failed, err, "make data folder").WithHint("Check the rights on %s.", o.Dir)
	}
	// The log's file is locked by whoever has it open, so it comes first.
	store, err := raftboltdb.New(raftboltdb.Options{
		Path:                    filepath.Join(o.Dir, "raft.db"),
		BoltOptions:             &bbolt.Options{Timeout: lockTimeout},
		MsgpackUseNewTimeFormat: true,
	})
	if errors.Is(err, bbolt.ErrTimeout) {
		return nil, problem.New(problem.Conflict, "the data folder %s is in use by another process", o.Dir).
			WithReason(ReasonDataInUse).WithHint("Stop the other one, or give this one a data folder of its own.")
	}
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "open the log in %s", o.Dir)
	}
	n, err := start(o, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return n, nil
}

func start(o Options, store *raftboltdb.BoltStore) (*Node, error) {
	id, err := nodeID(o)
	if err != nil {
		return nil, err
	}
	logger := raftLogger(o.Logger)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(o.Dir, keptSnapshots, logger)
	if err != nil {
		return nil, fmt.Errorf("open raft snapshots: %w", err)
	}
	notify := make(chan bool, 16)
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(id)
	config.Logger = logger
	config.NotifyCh = notify
	config.TrailingLogs = trailingLogs
	if o.SnapshotEvery > 0 {
		config.SnapshotThreshold = o.SnapshotEvery
		config.TrailingLogs = min(trailingLogs, o.SnapshotEvery)
	}
	if o.ElectionTimeout > 0 {
		config.HeartbeatTimeout, config.ElectionTimeout = o.ElectionTimeout, o.ElectionTimeout
		config.LeaderLeaseTimeout = o.ElectionTimeout
	}
	// A cluster of one talks to nobody. With more members a NetworkTransport over
	// mTLS takes this place, with MaxRPCsInFlight 1: at its default of 2 a failed
	// append on a follower can end replication to it for good (raft issue 612).
	addr, transport := raft.NewInmemTransport(raft.ServerAddress(id))

	n := &Node{
		id: id, tables: o.Tables, clock: o.Clock, log: o.Logger, store: store, transport: transport,
		fsm: &machine{tables: o.Tables, fatal: o.Fatal}, leadership: make(chan bool, 1),
	}
	known, err := raft.HasExistingState(store, store, snapshots)
	if err != nil {
		return nil, fmt.Errorf("look for an existing cluster: %w", err)
	}
	if !known {
		first := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: addr}}}
		if err := raft.BootstrapCluster(config, store, store, snapshots, transport, first); err != nil {
			return nil, fmt.Errorf("make a new cluster: %w", err)
		}
	}
	guarded := &stallGuard{LogStore: store, limit: appendLimit, fatal: o.Fatal}
	n.raft, err = raft.NewRaft(config, n.fsm, guarded, store, snapshots, transport)
	if err != nil {
		return nil, fmt.Errorf("start raft: %w", err)
	}
	ctx, stop := context.WithCancel(context.Background())
	n.stop = stop
	n.watching.Go(func() { n.watchLeadership(ctx, notify) })
	return n, nil
}

// nodeID gives the node's id, and keeps it: a data folder has one id for ever.
func nodeID(o Options) (string, error) {
	path := filepath.Join(o.Dir, "node-id")
	kept, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("read node id: %w", err)
	}
	id := strings.TrimSpace(string(kept))
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
	if err := writeFile(path, id+"\n"); err != nil {
		return "", fmt.Errorf("keep node id: %w", err)
	}
	return id, nil
}

// writeFile writes a small file so that after a crash it is there whole or not at all.
func writeFile(path, text string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	if _, err := f.WriteString(text); err != nil {
		return errors.Join(err, f.Close())
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// ID is the node's id.
func (n *Node) ID() string { return n.id }

// View returns the present state as this node knows it.
func (n *Node) View() *state.View { return n.tables.View() }

// Shutdown stops the node. Everything acknowledged is on disk already, so an
// end of ctx costs nothing but a clean close of the log.
func (n *Node) Shutdown(ctx context.Context) error {
	n.stop()
	n.leader.Store(false)
	if err := wait(ctx, n.raft.Shutdown()); err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	n.watching.Wait()
	if err := errors.Join(n.transport.Close(), n.store.Close()); err != nil {
		return fmt.Errorf("close the log: %w", err)
	}
	return nil
}

// wait waits for a future, or for ctx to end.
func wait(ctx context.Context, f raft.Future) error {
	done := make(chan error, 1)
	go func() { done <- f.Error() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Package consensus replicates the state's commands through Raft and is the
// only importer of hashicorp/raft. A Node is one member: its log (boltdb), its
// raft snapshots, its leadership, and its part in who else is a member.
package consensus

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/raft"
	raftboltdb "github.com/hashicorp/raft-boltdb/v2"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

// Reasons of this package.
const (
	ReasonDataInUse problem.Reason = "data-in-use" // another process has the data folder
	ReasonNoLeader  problem.Reason = "no-leader"   // no leader, so nothing can be decided now
	ReasonHalted    problem.Reason = "halted"      // the log has a command of a newer version
	ReasonNoMember  problem.Reason = "no-member"   // there is no such member
	ReasonNotMember problem.Reason = "not-member"  // this controller is no member: not yet, or not any more
	ReasonTaken     problem.Reason = "taken"       // another member has that address
	ReasonQuorum    problem.Reason = "quorum"      // too few members would be left to decide anything
)

// Options say where a node keeps what it knows, and how.
type Options struct {
	// Dir is the data folder; it is made when it does not exist.
	Dir string
	// NodeID names the node. Empty: the one kept in Dir, else a new one, kept there.
	NodeID string
	// Cluster is the cluster that has taken the node in, by Join. Empty: the one
	// that the folder is of already. State of another cluster is refused.
	Cluster string
	// Bootstrap makes a new cluster of one when there is no state and no Cluster.
	// Without a network that is always done.
	Bootstrap bool
	// Network reaches the other members; nil: a cluster of one that talks to nobody.
	Network Network
	// Advertise is HOST:PORT at which the others reach this node.
	Advertise string
	// Forward has the leader at that address commit an encoded command; its end of
	// it is ProposeEncoded. It returns where in the log the command is, with the
	// leader's refusal too if it can. Of its errors those problems count as the
	// leader's refusal whose code is not Unavailable or Cancelled; after any other
	// the command is sent again. nil: only the leader can propose.
	Forward func(ctx context.Context, leader string, command []byte) (index uint64, err error)
	// Stabilise is how long a new member must have been well before it gets a vote; 0: 10 s.
	Stabilise time.Duration
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

	wrapLog func(raft.LogStore) raft.LogStore // where tests put faults
}

// Node is one member of the cluster. Safe for concurrent use.
type Node struct {
	Options
	id         string
	raft       *raft.Raft
	store      *raftboltdb.BoltStore
	transport  raft.Transport
	streams    *streams // nil without a network
	book       *addresses
	followers  *followers
	fsm        *machine
	leader     atomic.Bool
	leadership chan bool
	news       news          // of who leads
	changing   chan struct{} // holds one token: one change of the members at a time
	stop       context.CancelFunc
	watching   sync.WaitGroup
	folder     sync.Mutex // held to change what the folder says of its cluster
	kept       string
}

const (
	appendLimit     = 10 * time.Second // for one write to the log; see stallGuard
	handOverLimit   = 3 * time.Second  // for another to take over when this one stops
	usualStabilise  = 10 * time.Second
	keptSnapshots   = 2
	trailingLogs    = 1024
	notifiedChanges = 16
)

// Open starts a node. The first start of a first node makes the cluster; others
// are taken in by Join, at the leader, before they are opened. Later starts find
// what they belong to in Dir. Open does not wait for a leader.
func Open(o Options) (*Node, error) {
	o = withDefaults(o)
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return nil, problem.Wrap(problem.Failed, err, "make data folder").WithHint("Run it as somebody who may write there, for example with sudo, or name another folder with --data-dir.")
	}
	store, err := openLog(o.Dir) // first, for its lock
	if err != nil {
		return nil, err
	}
	n, err := start(o, store)
	if err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return n, nil
}

func withDefaults(o Options) Options {
	if o.Fatal == nil {
		o.Fatal = func(err error) {
			o.Logger.Error("must stop", "error", err)
			os.Exit(1)
		}
	}
	if o.Stabilise <= 0 {
		o.Stabilise = usualStabilise
	}
	if o.wrapLog == nil {
		o.wrapLog = func(s raft.LogStore) raft.LogStore { return s }
	}
	return o
}

func start(o Options, store *raftboltdb.BoltStore) (*Node, error) {
	if o.Network != nil {
		if err := checkAddress(o.Advertise); err != nil {
			return nil, err
		}
	}
	id, err := nodeID(o)
	if err != nil {
		return nil, err
	}
	logger := raftLogger(o.Logger)
	snapshots, err := raft.NewFileSnapshotStoreWithLogger(o.Dir, keptSnapshots, logger)
	if err != nil {
		return nil, fmt.Errorf("open raft snapshots: %w", err)
	}
	known, err := raft.HasExistingState(store, store, snapshots)
	if err != nil {
		return nil, fmt.Errorf("look for an existing cluster: %w", err)
	}
	n := &Node{
		Options: o, id: id, store: store, followers: &followers{clock: o.Clock},
		fsm: &machine{tables: o.Tables, fatal: o.Fatal}, leadership: make(chan bool, 1), changing: make(chan struct{}, 1),
	}
	if err := n.belong(known); err != nil {
		return nil, err
	}
	notify := make(chan bool, notifiedChanges)
	config := n.raftConfig(logger, notify)
	n.connect(logger)
	if !known && n.cluster() == "" && (o.Bootstrap || o.Network == nil) {
		first := raft.Configuration{Servers: []raft.Server{{ID: config.LocalID, Address: n.transport.LocalAddr()}}}
		if err := raft.BootstrapCluster(config, store, store, snapshots, n.transport, first); err != nil {
			return nil, errors.Join(fmt.Errorf("make a new cluster: %w", err), n.disconnect())
		}
	}
	guard := stallGuard{limit: appendLimit, fatal: o.Fatal}
	n.raft, err = raft.NewRaft(config, n.fsm, guardedLog{o.wrapLog(store), guard}, guardedVotes{store, guard}, snapshots, n.transport)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start raft: %w", err), n.disconnect())
	}
	n.book.use(n.servers)
	n.watch(notify)
	if o.Network == nil && len(n.servers()) > 1 {
		err := problem.New(problem.Conflict, "the data folder %s is a controller's of %d, and this one is to run alone", o.Dir, len(n.servers())).
			WithHint("Start it as the others are, or remove the others from the cluster first.")
		return nil, errors.Join(err, n.halt(context.Background()))
	}
	return n, nil
}

func (n *Node) raftConfig(logger hclog.Logger, notify chan<- bool) *raft.Config {
	config := raft.DefaultConfig()
	config.LocalID = raft.ServerID(n.id)
	config.Logger = logger
	config.NotifyCh = notify
	config.TrailingLogs = trailingLogs
	if n.SnapshotEvery > 0 {
		config.SnapshotThreshold = n.SnapshotEvery
		config.TrailingLogs = min(trailingLogs, n.SnapshotEvery)
	}
	if n.ElectionTimeout > 0 {
		config.HeartbeatTimeout, config.ElectionTimeout = n.ElectionTimeout, n.ElectionTimeout
		config.LeaderLeaseTimeout = n.ElectionTimeout
	}
	return config
}

// connect makes the transport: over the network, or one that reaches nobody.
func (n *Node) connect(logger hclog.Logger) {
	n.book = &addresses{self: raft.ServerID(n.id), advertise: raft.ServerAddress(n.Advertise)}
	if n.Network == nil {
		_, n.transport = raft.NewInmemTransport(raft.ServerAddress(n.id))
		return
	}
	n.streams = newStreams(n.Network, n.Advertise)
	n.transport = listening{newTransport(n.streams, n.book, logger), n.followers}
}

func (n *Node) disconnect() error {
	var err error
	if c, ok := n.transport.(raft.WithClose); ok {
		err = c.Close()
	}
	if n.streams != nil {
		n.streams.end()
	}
	return err
}

// ID is the node's id.
func (n *Node) ID() string { return n.id }

// View returns the present state as this node knows it.
func (n *Node) View() *state.View { return n.Tables.View() }

// Shutdown stops the node, and hands leadership over first where there is
// somebody to take it. Everything acknowledged is on disk already, so an end of
// ctx costs nothing but a clean close of the log.
func (n *Node) Shutdown(ctx context.Context) error {
	if n.IsLeader() && n.voters() > 1 {
		within, cancel := context.WithTimeout(ctx, handOverLimit)
		if err := n.TransferLeadership(within, ""); err != nil {
			n.Logger.Warn("nobody took over from this controller", "error", err)
		}
		cancel()
	}
	return n.halt(ctx)
}

// halt stops the node at once.
func (n *Node) halt(ctx context.Context) error {
	n.stop()
	n.setLeader(false)
	stopped := n.raft.Shutdown()
	closed := n.disconnect() // ends calls to members that do not answer
	if err := wait(ctx, stopped); err != nil {
		return fmt.Errorf("stop raft: %w", err)
	}
	n.watching.Wait()
	n.setLeader(false) // it may have begun to lead meanwhile
	if err := errors.Join(closed, n.store.Close()); err != nil {
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

package consensus

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// rig is a cluster in one bubble of virtual time, with Raft's usual timeouts.
type rig struct {
	t     *testing.T
	lan   *lan
	base  string // of all data folders
	dirs  map[string]string
	mu    sync.Mutex
	nodes map[string]*Node // that run
}

func newRig(t *testing.T) *rig {
	c := &rig{t: t, lan: newLAN(), base: folder(t), dirs: map[string]string{}, nodes: map[string]*Node{}}
	t.Cleanup(func() {
		c.lan.heal()
		for _, id := range slices.Sorted(maps.Keys(c.nodes)) {
			c.stop(id)
		}
	})
	return c
}

// folder is a place for data folders, in memory where there is such a place: the disk's syncs
// are most of the time otherwise, and no test here cuts the power.
func folder(t *testing.T) string {
	dir, err := os.MkdirTemp("/dev/shm", "consensus-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (c *rig) options(id string) Options {
	if c.dirs[id] == "" {
		dir, err := os.MkdirTemp(c.base, id+"-")
		c.must(err)
		c.dirs[id] = dir
	}
	address := id + ":7070"
	return Options{
		Dir: c.dirs[id], NodeID: id, Tables: state.New(), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Advertise: address,
		Network: c.lan.plug(id, address), Forward: c.forwardFrom(id), SnapshotEvery: 50, Stabilise: soonStable,
		Fatal: func(err error) { c.t.Error(err) },
	}
}

// open starts a node; the options may be changed before.
func (c *rig) open(id string, change ...func(*Options)) *Node {
	c.t.Helper()
	o := c.options(id)
	for _, f := range change {
		f(&o)
	}
	n, err := Open(o)
	if err != nil {
		c.t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.nodes[id] = n
	return n
}

// soonStable keeps virtual time, and so the number of heartbeats, short.
const soonStable = 2 * time.Second

func bootstrap(o *Options) { o.Bootstrap = true }

// join takes a new node in and starts it.
func (c *rig) join(id string, change ...func(*Options)) *Node {
	c.t.Helper()
	l := c.leader()
	c.must(l.Join(c.t.Context(), id, id+":7070", ""))
	return c.open(id, append(change, func(o *Options) { o.Cluster = l.View().Cluster() })...)
}

// three makes a cluster of three voters.
func (c *rig) three(change ...func(*Options)) {
	c.t.Helper()
	c.open("c1", append(change, bootstrap)...)
	c.join("c2", change...)
	c.join("c3", change...)
	c.await("three voters", func() bool { return len(c.voters()) == 3 })
}

func (c *rig) node(id string) *Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.nodes[id]
}

func (c *rig) running() map[string]*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.nodes)
}

// stop stops a node in the orderly way. What is under way anywhere ends before:
// when Raft stops it leaves some of those who wait for it waiting for ever.
func (c *rig) stop(id string) {
	c.t.Helper()
	n := c.node(id)
	c.drop(id)
	synctest.Wait()
	if err := n.Shutdown(context.Background()); err != nil {
		c.t.Errorf("stop %s: %v", id, err)
	}
}

// kill ends a node as the others see it at once, and then stops it without any
// handing over.
func (c *rig) kill(id string) {
	c.t.Helper()
	n := c.node(id)
	c.drop(id)
	c.lan.isolate(id)
	c.await(id+" does not lead", func() bool { return n.raft.State() != raft.Leader && !n.IsLeader() })
	synctest.Wait()
	if err := n.halt(context.Background()); err != nil {
		c.t.Errorf("kill %s: %v", id, err)
	}
	c.lan.mu.Lock()
	defer c.lan.mu.Unlock()
	delete(c.lan.gone, id)
}

func (c *rig) drop(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.nodes, id)
}

// await waits for a condition, in virtual time.
func (c *rig) await(what string, holds func() bool) {
	c.t.Helper()
	for range 60_000 { // ten minutes
		if holds() {
			return
		}
		_ = clock.Sleep(context.Background(), 10*time.Millisecond)
	}
	for id, n := range c.running() {
		c.t.Logf("%s: %v, leader %q, applied %d, members %+v", id, n.raft.State(), n.LeaderID(), n.fsm.applied.Load(), n.Membership())
	}
	c.t.Fatalf("waited in vain: %s", what)
}

// leader waits for one that the most of those that run agree on.
func (c *rig) leader() *Node {
	c.t.Helper()
	var leader *Node
	c.await("a leader", func() bool {
		for _, n := range c.running() {
			if n.IsLeader() && n.raft.VerifyLeader().Error() == nil {
				leader = n
				return true
			}
		}
		return false
	})
	return leader
}

// follower gives one that does not lead.
func (c *rig) follower() *Node {
	c.t.Helper()
	leader := c.leader()
	for _, id := range slices.Sorted(maps.Keys(c.running())) {
		if n := c.node(id); n != leader {
			return n
		}
	}
	c.t.Fatal("there is no follower")
	return nil
}

func (c *rig) voters() []string {
	return idsOf(c.leader().Membership(), func(m Member) bool { return m.Voter })
}

func (c *rig) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatalf("%s", problem.Text(err))
	}
}

// forwardFrom is the wire between controllers.
func (c *rig) forwardFrom(from string) func(context.Context, string, []byte) (uint64, error) {
	return func(ctx context.Context, leader string, command []byte) (uint64, error) {
		p := c.lan.reach(from, leader)
		if p == nil {
			return 0, problem.New(problem.Unavailable, "%s is not reached", leader)
		}
		n := c.node(p.id)
		if n == nil {
			return 0, problem.New(problem.Unavailable, "%s does not run", leader)
		}
		index, err := n.ProposeEncoded(ctx, command)
		if c.lan.reach(from, leader) == nil {
			return 0, problem.New(problem.Unavailable, "the answer of %s is lost", leader)
		}
		return index, err
	}
}

func store(name string) *pb.Command {
	return &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: name, Location: "fs:/" + name}}}
}

func has(n *Node, name string) bool {
	return slices.ContainsFunc(n.View().Stores(), func(s *pb.StoreRecord) bool { return s.GetName() == name })
}

// agree waits until all that run have the same state.
func (c *rig) agree() {
	c.t.Helper()
	leader := c.leader()
	c.must(leader.Propose(c.t.Context(), store("agreed")))
	upTo := leader.fsm.applied.Load() // the second time, all have the name already
	c.await("all have the same", func() bool {
		states := map[string]bool{}
		for _, n := range c.running() {
			if n.fsm.applied.Load() < upTo {
				return false
			}
			names := ""
			for _, s := range n.View().Stores() {
				names += s.GetName() + " "
			}
			states[fmt.Sprint(n.View().Cluster(), names)] = true
		}
		return len(states) == 1
	})
}

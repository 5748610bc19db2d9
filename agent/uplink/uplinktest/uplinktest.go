// Package uplinktest is a cluster of controllers for tests of the agent: it says
// what a test tells it to, over real gRPC, and keeps what the agent says. Its
// controllers die, come back and follow each other as the test wants. Nothing
// else of the agent's tests knows of the wire.
package uplinktest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// patience is for what happens at once on an idle machine.
const patience = 30 * time.Second

// period is the one of heartbeats, short so that tests need not wait for one.
const period = 10 * time.Millisecond

// Cluster is the double. Its zero answers are those of controllers that agree
// with everything: every lease is renewed, every object taken.
type Cluster struct {
	t        testing.TB
	store    store.Store
	sessions chan *Session
	nodes    []*node

	mu      sync.Mutex
	changed chan struct{}
	heard   Heard
	answers Answers
	opened  int
	leader  string
	deposed chan struct{} // closed when another leads
	old     bool
}

// Heard is all that agents have said so far, in order.
type Heard struct {
	Beats       []*pb.HeartbeatRequest
	Inventories []*pb.ReportInventoryRequest
	// Sources are what the inventories come to, by name; those that share a name are one.
	Sources map[string]*pb.Source
	Commits []*pb.CommitSnapshotRequest
	Ends    []*pb.FinishRunRequest
	Logs    []*pb.SendLogsRequest
}

// Answers replace what the controllers answer by themselves. They must not block.
type Answers struct {
	// Beat answers a heartbeat of a session with these runs in hand; nil renews them.
	Beat func(session string, held []uplink.Lease) (uplink.Beat, error)
	// Inventory, Commit and End say what is wrong with a call, nil: nothing.
	Inventory, Commit, End func() error
	// Locate is where a controller says that others are, and who leads.
	Locate func(node string) []*pb.ControllerInfo
	// Meet is told of each event at a controller, and may end the call with an error,
	// kill the controller, or both.
	Meet func(Event) error
}

// Event is something that happens at a controller.
type Event struct {
	Node string
	Call Call
	// Object is what is sent or read, Bytes how many of it so far.
	Object string
	Bytes  int
}

// Call says which call, and how far it is.
type Call string

// The events.
const (
	Opening    Call = "session"   // a session is asked for
	Uploading  Call = "upload"    // a part of an object has come, or its header
	Uploaded   Call = "uploaded"  // an object is durable, and the agent has not been told
	Committing Call = "commit"    // a commit is asked for
	Committed  Call = "committed" // a snapshot exists, and the agent has not been told
	Reading    Call = "read"      // a part of an object is about to be sent
	Sent       Call = "sent"      // all that was asked for has been sent, and the call goes on
)

// Start starts a cluster of one that keeps objects in st. It has no address but
// the one that the agent was given, as over a socket.
func Start(t testing.TB, st store.Store) *Cluster {
	c := StartCluster(t, st, 1)
	c.nodes[0].listed = ""
	return c
}

// StartCluster starts n controllers, c1 and so on, over one store; the first leads.
func StartCluster(t testing.TB, st store.Store, n int) *Cluster {
	t.Helper()
	c := &Cluster{
		t: t, store: st, sessions: make(chan *Session), changed: make(chan struct{}), leader: "c1", deposed: make(chan struct{}),
		heard: Heard{Sources: map[string]*pb.Source{}},
	}
	for i := range n {
		id := fmt.Sprintf("c%d", i+1)
		c.nodes = append(c.nodes, &node{cluster: c, id: id, address: Address(id), listed: Address(id)})
	}
	for _, node := range c.nodes {
		node.start()
	}
	t.Cleanup(func() {
		for _, node := range c.nodes {
			node.stop()
		}
	})
	return c
}

// Address is where a controller is reached.
func Address(id string) string { return id + ":7070" }

// Client is an agent's end of the wire, which was given all addresses.
func (c *Cluster) Client(agent string, clk clock.Clock) *uplink.Client {
	var all []string
	for _, n := range c.nodes {
		all = append(all, n.address)
	}
	return c.ClientOf(uplink.Options{Agent: agent, Addresses: all, Clock: clk})
}

// ClientOf is an agent's end of the wire. It needs no dialer.
func (c *Cluster) ClientOf(o uplink.Options) *uplink.Client {
	o.Dialer = c.Dialer()
	client := uplink.New(o)
	c.t.Cleanup(client.Close)
	return client
}

// Answer sets what is answered from now on.
func (c *Cluster) Answer(a Answers) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answers = a
}

// Old makes the controllers of a version that knows of no others.
func (c *Cluster) Old() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.old = true
}

// Lead makes another controller the leader, or none. Sessions with the one before end.
func (c *Cluster) Lead(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
	close(c.deposed)
	c.deposed = make(chan struct{})
}

// LeadQuietly makes another controller the leader without the one before knowing:
// it goes on holding its sessions.
func (c *Cluster) LeadQuietly(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader = id
}

// Kill cuts all connections of a controller and takes no more. Unless it comes
// back nobody is there.
func (c *Cluster) Kill(id string) { c.node(id).stop() }

// Revive brings a controller back that was killed.
func (c *Cluster) Revive(id string) { c.node(id).start() }

func (c *Cluster) node(id string) *node {
	for _, n := range c.nodes {
		if n.id == id {
			return n
		}
	}
	c.t.Errorf("there is no controller %s", id)
	return c.nodes[0]
}

// Heard is what was said so far.
func (c *Cluster) Heard() Heard {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.heard
}

// Await waits until enough says yes of what was heard so far.
func (c *Cluster) Await(what string, enough func(Heard) bool) Heard {
	c.t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		c.mu.Lock()
		heard, changed := c.heard, c.changed
		c.mu.Unlock()
		if enough(heard) {
			return heard
		}
		select {
		case <-changed:
		case <-timeout.C:
			c.t.Fatalf("the controllers waited in vain for %s; they heard %+v", what, heard)
		}
	}
}

// NextSession waits for an agent to open a session.
func (c *Cluster) NextSession() *Session {
	c.t.Helper()
	select {
	case s := <-c.sessions:
		return s
	case <-time.After(patience):
		c.t.Fatal("no session was opened")
		return nil
	}
}

// hear takes note and returns the answers that hold at present.
func (c *Cluster) hear(note func(*Heard)) Answers {
	c.mu.Lock()
	defer c.mu.Unlock()
	note(&c.heard)
	close(c.changed)
	c.changed = make(chan struct{})
	return c.answers
}

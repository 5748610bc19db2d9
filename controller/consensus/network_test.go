package consensus

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestAddressesThatOthersCanReach(t *testing.T) {
	t.Parallel()
	for address, good := range map[string]bool{
		"c1:7070": true, "10.0.0.1:7070": true, "[2001:db8::1]:7070": true, "c1.example.org:1": true, "localhost:65535": true,
		"": false, "c1": false, ":7070": false, "0.0.0.0:7070": false, "[::]:7070": false, "c1:0": false, "c1:65536": false, "c1:http": false, "c1:": false,
	} {
		if err := checkAddress(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// hosts are real listeners on the loopback, whose ports are new at each start:
// what a restart of all containers leaves of addresses is their names.
type hosts struct {
	mu    sync.Mutex
	ports map[string]string
}

type tcp struct {
	net.Listener
	hosts *hosts
}

func (h *hosts) listen(t *testing.T, name string) tcp {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ports[name] = l.Addr().String()
	return tcp{l, h}
}

func (c tcp) Dial(ctx context.Context, address string) (net.Conn, error) {
	c.hosts.mu.Lock()
	at, ok := c.hosts.ports[address]
	c.hosts.mu.Unlock()
	if !ok {
		return nil, errUnplugged
	}
	var d net.Dialer
	return d.DialContext(ctx, "tcp", at)
}

// This one runs in real time, over TCP.
func TestAllMembersRestartAtNewPorts(t *testing.T) {
	t.Parallel()
	h := &hosts{ports: map[string]string{}}
	ids := []string{"c1", "c2", "c3"}
	dirs := map[string]string{}
	nodes := map[string]*Node{}
	start := func(id string, change func(*Options)) {
		t.Helper()
		if dirs[id] == "" {
			dirs[id] = folder(t)
		}
		o := Options{
			Dir: dirs[id], NodeID: id, Tables: state.New(), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
			Advertise: id + ":7070", Network: h.listen(t, id+":7070"), Stabilise: 200 * time.Millisecond, ElectionTimeout: 300 * time.Millisecond,
			Fatal: func(err error) { t.Error(err) },
			Forward: func(ctx context.Context, leader string, command []byte) (uint64, error) {
				return nodes[leader[:2]].ProposeEncoded(ctx, command)
			},
		}
		change(&o)
		n, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		nodes[id] = n
	}
	stop := func() {
		for _, n := range nodes {
			if err := n.halt(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	await := func(what string, holds func() bool) {
		t.Helper()
		limit := time.Now().Add(time.Minute)
		for !holds() {
			if time.Now().After(limit) {
				t.Fatalf("waited in vain: %s", what)
			}
			_ = clock.Sleep(t.Context(), 10*time.Millisecond)
		}
	}
	leads := func() bool {
		return slices.ContainsFunc(ids, func(id string) bool { return nodes[id] != nil && nodes[id].IsLeader() })
	}

	start("c1", func(o *Options) { o.Bootstrap = true })
	await("c1 leads", leads)
	for _, id := range ids[1:] {
		if err := nodes["c1"].Join(t.Context(), id, id+":7070", ""); err != nil {
			t.Fatal(err)
		}
		start(id, func(o *Options) { o.Cluster = nodes["c1"].View().Cluster() })
	}
	await("three voters", func() bool { return nodes["c3"].voters() == 3 })
	if err := nodes["c2"].Propose(t.Context(), store("before")); err != nil {
		t.Fatal(err)
	}
	stop()
	clear(nodes)
	old := h.ports["c1:7070"]
	for _, id := range ids {
		start(id, func(*Options) {})
	}
	defer stop()
	if h.ports["c1:7070"] == old {
		t.Error("c1 has its old port")
	}
	await("one leads", leads)
	if err := nodes["c3"].Propose(t.Context(), store("after")); err != nil {
		t.Fatal(err)
	}
	for _, id := range ids {
		await(id+" has all", func() bool { return has(nodes[id], "before") && has(nodes[id], "after") })
	}
}

// When all have new names nobody is found by the old ones, and there is no leader
// to tell the new ones to.
func TestAllMembersRestartWithNewNames(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		c.must(c.leader().Propose(t.Context(), store("before")))
		ids := []string{"c1", "c2", "c3"}
		for _, id := range ids {
			c.kill(id)
		}
		for _, id := range ids {
			c.open(id, func(o *Options) { o.Advertise, o.Network = "new-"+id+":1", c.lan.plug(id, "new-"+id+":1") })
		}
		c.must(clock.Sleep(t.Context(), time.Minute))
		for _, id := range ids {
			if c.node(id).LeaderID() != "" {
				t.Fatal("they found each other by names that are gone")
			}
		}
		for _, id := range ids {
			for _, other := range ids {
				if other != id {
					c.must(c.node(id).UpdateAddress(t.Context(), other, "new-"+other+":1"))
				}
			}
		}
		c.agree()
		// Each corrects the configuration once it leads, or joins again.
		l := c.leader()
		c.await("the leader's address is right", func() bool { return serverOf(c.follower().servers(), l.id).Address == raft.ServerAddress(l.Advertise) })
		for _, id := range ids {
			if id != c.leader().id {
				c.stop(id)
				c.must(c.leader().Join(t.Context(), id, "new-"+id+":1", c.leader().View().Cluster()))
				c.open(id, func(o *Options) { o.Advertise, o.Network = "new-"+id+":1", c.lan.plug(id, "new-"+id+":1") })
			}
		}
		c.agree()
		for _, s := range c.follower().servers() {
			if s.Address != raft.ServerAddress("new-"+string(s.ID)+":1") || s.Suffrage != raft.Voter {
				t.Errorf("%+v", s)
			}
		}
		l = c.leader()
		if err := l.UpdateAddress(t.Context(), "c9", "c9:1"); problem.ReasonOf(err) != ReasonNoMember {
			t.Errorf("nobody: %v", err)
		}
		if err := c.follower().UpdateAddress(t.Context(), "c9", "c9:1"); problem.ReasonOf(err) != ReasonNoMember {
			t.Errorf("nobody, at a follower: %v", err)
		}
		if l.UpdateAddress(t.Context(), l.id, "x:1") == nil || l.UpdateAddress(t.Context(), "c2", "x") == nil {
			t.Error("its own address, or none, was taken")
		}
	})
}

func TestTheLeaderIsToldWhereAMemberWent(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		moved := c.follower().id
		c.stop(moved)
		n := c.open(moved, func(o *Options) { o.Advertise, o.Network = "new:1", c.lan.plug(moved, "new:1") })
		c.lan.mu.Lock()
		delete(c.lan.ports, moved+":7070")
		c.lan.mu.Unlock()
		c.must(clock.Sleep(t.Context(), time.Minute))
		c.must(c.leader().UpdateAddress(t.Context(), moved, "new:1"))
		c.must(c.leader().Propose(t.Context(), store("told")))
		c.await("it follows again", func() bool { return has(n, "told") })
		c.await("all know", func() bool {
			for _, n := range c.running() {
				if s := serverOf(n.servers(), moved); s.Address != "new:1" || s.Suffrage != raft.Voter {
					return false
				}
			}
			return true
		})
	})
}

func TestAMoveIsForgottenWhenTheConfigurationSaysSomethingNewer(t *testing.T) {
	t.Parallel()
	servers := []raft.Server{{ID: "a", Address: "a:1"}, {ID: "b", Address: "b:1"}}
	book := &addresses{self: "a", advertise: "me:1"}
	if _, err := book.ServerAddr("b"); !errors.Is(err, errUnknownMember) {
		t.Errorf("before there is a configuration: %v", err)
	}
	book.use(func() []raft.Server { return servers })
	want := func(id raft.ServerID, address raft.ServerAddress) {
		t.Helper()
		if got, err := book.ServerAddr(id); err != nil || got != address {
			t.Errorf("%s is at %s, %v; want %s", id, got, err, address)
		}
	}
	want("a", "me:1")
	want("b", "b:1")
	if err := book.move("b", "b:2"); err != nil {
		t.Fatal(err)
	}
	want("b", "b:2")
	servers[1].Address = "b:3"
	want("b", "b:3")
}

// What ran alone until now has an address in memory in its configuration.
func TestANodeThatRanAloneGetsANetwork(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		alone := func(o *Options) { o.NodeID, o.Network, o.Advertise, o.Forward = "", nil, "", nil }
		n := c.open("c1", alone)
		c.must(c.leader().Propose(t.Context(), store("alone")))
		id, cluster := n.ID(), n.View().Cluster()
		if err := n.Join(t.Context(), "c2", "c2:7070", ""); problem.CodeOf(err) != problem.Conflict {
			t.Errorf("join without a network: %v", err)
		}
		c.stop("c1")
		n = c.open("c1", func(o *Options) { o.NodeID = "" })
		c.await("its address is right", func() bool { s := serverOf(n.servers(), id); return s != nil && s.Address == "c1:7070" })
		if n.View().Cluster() != cluster || !has(n, "alone") || n.ID() != id {
			t.Errorf("cluster %s became %s", cluster, n.View().Cluster())
		}
		c.join("c2")
		c.join("c3")
		c.await("three voters", func() bool { return len(c.voters()) == 3 })
		c.stop("c1")
		o := c.options("c1")
		alone(&o)
		if _, err := Open(o); problem.CodeOf(err) != problem.Conflict {
			t.Errorf("alone again, as one of three: %v", err)
		}
	})
}

func TestNoConnectionOutlivesItsNode(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		n := c.follower()
		c.stop(n.id)
		c.lan.mu.Lock()
		for w := range c.lan.wires {
			if w.owner == n.id {
				t.Errorf("its end of %s to %s is open", w.from, w.to)
			}
		}
		c.lan.mu.Unlock()
		if _, err := n.streams.Dial(raft.ServerAddress(c.leader().Advertise), time.Second); err == nil {
			t.Error("it still dials")
		}
		near, far := net.Pipe()
		if _, err := n.streams.hold(near); !errors.Is(err, net.ErrClosed) {
			t.Errorf("it holds a new connection: %v", err)
		}
		if _, err := far.Write([]byte("x")); err == nil {
			t.Error("the new connection is open")
		}
	})
}

func TestANodeWithANetworkSaysWhereItIs(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		o := c.options("c1")
		o.Advertise = "0.0.0.0:7070"
		if _, err := Open(o); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("got %v", err)
		}
		n := c.open("c1") // neither bootstrapped nor taken in
		c.must(clock.Sleep(t.Context(), time.Minute))
		if n.LeaderID() != "" || problem.ReasonOf(n.Health()) != ReasonNotMember || n.LeaderAddress() != "" {
			t.Errorf("leader %q, health %v", n.LeaderID(), n.Health())
		}
	})
}

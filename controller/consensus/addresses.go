package consensus

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

const correctionPause = time.Second

// addresses says where members are reached. Raft's newest configuration says so,
// unless somebody knows better: the node its own address, and UpdateAddress those
// of members that have moved.
type addresses struct {
	self      raft.ServerID
	advertise raft.ServerAddress

	mu         sync.Mutex
	configured func() []raft.Server // nil until Raft runs
	moved      map[raft.ServerID]move
}

// move is what was said of a member's address. It holds as long as the
// configuration says what it said then; whatever it says next is newer.
type move struct{ from, to raft.ServerAddress }

var errUnknownMember = errors.New("there is no such member")

// ServerAddr implements raft.ServerAddressProvider.
func (a *addresses) ServerAddr(id raft.ServerID) (raft.ServerAddress, error) {
	if id == a.self {
		return a.advertise, nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	server, ok := a.lookup(id)
	if !ok {
		return "", errUnknownMember
	}
	if m, ok := a.moved[id]; ok && m.from == server.Address {
		return m.to, nil
	}
	return server.Address, nil
}

func (a *addresses) lookup(id raft.ServerID) (raft.Server, bool) {
	if a.configured != nil {
		for _, s := range a.configured() {
			if s.ID == id {
				return s, true
			}
		}
	}
	return raft.Server{}, false
}

func (a *addresses) use(configured func() []raft.Server) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.configured = configured
}

func (a *addresses) move(id raft.ServerID, to raft.ServerAddress) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	server, ok := a.lookup(id)
	if !ok {
		return errUnknownMember
	}
	if a.moved == nil {
		a.moved = map[raft.ServerID]move{}
	}
	a.moved[id] = move{server.Address, to}
	return nil
}

// UpdateAddress notes where a member is reached now: at the leader for good and
// for all, at another for as long as it runs. The latter is for when there is no
// leader because most members have new names, so that none finds the others until
// each was told. Otherwise the member itself joins again before it is opened.
//
// At the leader it is for members that do not answer where they were: Raft reads
// the address of one that does without its lock.
func (n *Node) UpdateAddress(ctx context.Context, id, address string) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	if id == n.id {
		return problem.New(problem.InvalidInput, "a controller's own address is what it advertises")
	}
	if n.IsLeader() {
		return n.change(ctx, func() raft.IndexFuture { return n.readdress(id, raft.ServerAddress(address)) })
	}
	if n.book.move(raft.ServerID(id), raft.ServerAddress(address)) != nil {
		return noMember(id)
	}
	return nil
}

// readdress makes Raft's configuration say where a member is reached.
func (n *Node) readdress(id string, address raft.ServerAddress) raft.IndexFuture {
	s := serverOf(n.servers(), id)
	switch {
	case s == nil:
		return settled{noMember(id)}
	case s.Address == address:
		return nil
	}
	n.Logger.Info("a controller has moved", "node", id, "address", address)
	return n.raft.AddNonvoter(s.ID, address, 0, changeLimit) // one that has a vote keeps it
}

// correctAddress makes Raft's configuration say where this node is reached, once
// it leads: it may have run alone before, or under another name.
func (n *Node) correctAddress(ctx context.Context) {
	for ctx.Err() == nil {
		err := n.change(ctx, func() raft.IndexFuture { return n.readdress(n.id, n.book.advertise) })
		if err == nil {
			return
		}
		n.Logger.Warn("this controller's new address is not noted yet", "error", err)
		_ = clock.Sleep(ctx, correctionPause) // its only error ends the loop
	}
}

// checkAddress wants an address at which others can reach a member.
func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return problem.Wrap(problem.InvalidInput, err, "read the address %q", address).WithHint("Give it as HOST:PORT.")
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return problem.New(problem.InvalidInput, "the address %q has no port from 1 to 65535", address).WithHint("Give it as HOST:PORT.")
	}
	if ip := net.ParseIP(host); host == "" || ip.IsUnspecified() {
		return problem.New(problem.InvalidInput, "the address %q names no host that others can reach", address).
			WithHint("Give the controller's name or address as the others see it.")
	}
	return nil
}

package consensus

import (
	"errors"
	"net"
	"strconv"
	"sync"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/internal/problem"
)

// addresses says where members are reached. Raft's newest configuration says so,
// unless somebody knows better: the node its own address, and UpdateAddress those
// of members that have moved. The leader then corrects the configuration.
type addresses struct {
	self      raft.ServerID
	advertise raft.ServerAddress
	news      news // of moves

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
	a.news.tell()
	return nil
}

// UpdateAddress notes where a member is reached now. It is for members that the
// cluster cannot be asked about because it has no leader: when most of them have
// new names, none finds the others until each was told. The leader corrects the
// configuration by it. Where there is a leader, Join does the same for all at once.
func (n *Node) UpdateAddress(id, address string) error {
	if err := checkAddress(address); err != nil {
		return err
	}
	if id == n.id {
		return problem.New(problem.InvalidInput, "a controller's own address is what it advertises")
	}
	if n.book.move(raft.ServerID(id), raft.ServerAddress(address)) != nil {
		return noMember(id)
	}
	return nil
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

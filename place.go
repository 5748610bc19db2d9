package main

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"slices"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/forming"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/version"
)

// place is where a controller stands among others: its name and address, its
// certificate, and the port at which agents and controllers find it.
type place struct {
	p      process
	log    *slog.Logger
	dir    string // of the node
	kept   consensus.Kept
	id     string
	tables *state.Tables
	gate   *identity.Gate // nil without certificates of the cluster's own

	// What follows is nil for a controller that nobody reaches from elsewhere.
	address string
	holder  *transport.Holder
	keeper  *transport.Keeper // nil with the user's own authority
	port    *transport.Port
	peers   *transport.Peers
}

// takePlace opens the port. The data folder is looked into first: a second
// process on it ends here.
func takePlace(ctx context.Context, p process) (_ *place, err error) {
	m := &place{p: p, log: p.log.With("part", "cluster"), dir: filepath.Join(p.DataDir, "controller"), tables: state.New()}
	if m.kept, err = consensus.ReadKept(m.dir); err != nil {
		return nil, err
	}
	if m.id, err = controllerName(p.Config, m.kept); err != nil || p.Listen == "" {
		return m, err
	}
	if m.address, err = advertised(p.Config); err != nil {
		return nil, err
	}
	if p.TLS.Given() {
		m.holder, err = transport.OwnPKI(tlsFiles(p.Config), clock.System{}, x509.ExtKeyUsageServerAuth)
	} else {
		err = m.ownCredentials()
	}
	if err != nil {
		return nil, err
	}
	m.peers = transport.NewPeers(m.holder)
	m.port, err = transport.Listen(ctx, p.Listen, transport.PortOptions{Holder: m.holder, Gate: m.gateOrNil(), Clock: clock.System{}, Logger: m.log})
	if err != nil {
		return nil, errors.Join(err, m.peers.Close())
	}
	m.log.Info("waiting for agents and controllers", "node", m.id, "listen", m.port.Addr().String(), "advertise", m.address)
	return m, nil
}

func (m *place) ownCredentials() (err error) {
	m.holder = transport.NewHolder(clock.System{})
	m.keeper, err = transport.NewKeeper(transport.KeeperOptions{
		Dir: filepath.Join(m.dir, "identity"), Holder: m.holder, Renewer: transport.RenewThrough(func() (*transport.Peers, []string) { return m.peers, m.controllers() }),
		Hosts: m.hosts, Clock: clock.System{}, Logger: m.log, Random: rand.Float64,
	})
	switch problem.ReasonOf(err) {
	case "", pki.ReasonNone, pki.ReasonExpired: // a new one is asked for
		err = nil
	}
	m.gate = identity.NewGate(m.tables.View, m.keeper.Held)
	return err
}

// gateOrNil is the gate as an interface, nil when there is none.
func (m *place) gateOrNil() transport.Gate {
	if m.gate == nil {
		return nil
	}
	return m.gate
}

// controllers are the addresses of all members, this one's last: it may be the
// one that cannot help.
func (m *place) controllers() []string {
	var others []string
	for _, r := range m.tables.View().Members() {
		if r.GetId() != m.id {
			others = append(others, r.GetAddress())
		}
	}
	return append(others, m.address)
}

// hosts are those at which others reach this controller.
func (m *place) hosts() []string {
	host, _, _ := net.SplitHostPort(m.address) // it was put together from two parts
	hosts := []string{host}
	if name, err := os.Hostname(); err == nil && name != host && pki.CheckHost(name) == nil {
		hosts = append(hosts, name)
	}
	return hosts
}

// come finds out how the controller comes to its cluster.
func (m *place) come(ctx context.Context) (forming.Outcome, error) {
	if m.port == nil {
		return forming.Outcome{Make: !m.kept.State}, nil
	}
	return forming.Come(ctx, m.forming())
}

func (m *place) forming() forming.Options {
	_, missing := os.Stat(m.p.KeyFile)
	return forming.Options{
		ID: m.id, Address: m.address, Version: version.String(), Kept: m.kept, Join: m.p.Join, Expect: m.p.Expect,
		Token: func() (pki.Token, error) {
			return readToken(m.p.JoinToken, "--join-token-file", config.JoinTokenVariable)
		},
		Hosts: m.hosts(), Port: m.port, Holder: m.holder, Keeper: m.keeper, Peers: m.peers,
		WantsKey: missing != nil && keyIsFile(m.p.Config), Clock: clock.System{}, Logger: m.log,
	}
}

// commonToken gives the hash of the token with which controllers make the cluster
// together; nil: this one makes it alone, or was taken in.
func (m *place) commonToken() func() ([sha256.Size]byte, error) {
	if m.port == nil || m.p.Expect <= 1 {
		return nil
	}
	return func() ([sha256.Size]byte, error) {
		token, err := m.forming().Token()
		return token.Hash(), err
	}
}

// node opens the member of the cluster.
func (m *place) node(o forming.Outcome) (*consensus.Node, error) {
	options := consensus.Options{
		Dir: m.dir, NodeID: m.id, Cluster: o.Cluster, Bootstrap: o.Make, Advertise: m.address,
		Tables: m.tables, Clock: clock.System{}, Logger: m.p.log.With("part", "raft"),
	}
	if m.port != nil {
		options.Network = network{m.port.Raft(), m.holder}
		options.Forward = forming.Forward(m.peers)
	}
	return consensus.Open(options)
}

// guard says what stands before every call.
func (m *place) guard(node *consensus.Node, recorder transport.Auditor) transport.GuardOptions {
	o := transport.GuardOptions{Clock: clock.System{}, Gate: m.gateOrNil(), Auditor: recorder}
	if m.port == nil {
		return o
	}
	o.Leader, o.Holder = leadership{node}, m.holder
	if m.p.Expect > 1 {
		o.Secret = func() string {
			token, err := m.forming().Token()
			if err != nil || !token.Unpinned() {
				return ""
			}
			return token.Secret()
		}
	}
	return o
}

// leadership is a node as the guard asks it.
type leadership struct{ node *consensus.Node }

// Leader implements transport.Leader.
func (l leadership) Leader() (address string, self bool) {
	return l.node.LeaderAddress(), l.node.IsLeader()
}

// Changed implements transport.Leader.
func (l leadership) Changed() <-chan struct{} { return l.node.LeaderChanged() }

// network is Raft's view of the port.
type network struct {
	net.Listener
	holder *transport.Holder
}

// Dial implements consensus.Network.
func (n network) Dial(ctx context.Context, address string) (net.Conn, error) {
	return transport.DialRaft(ctx, address, n.holder)
}

// close gives the port up.
func (m *place) close() error {
	if m.port == nil {
		return nil
	}
	return errors.Join(m.peers.Close(), m.port.Close())
}

// controllerName is what the controller is called: as it was at its first start,
// as the settings say, or as its host. A controller alone gets a name by itself.
func controllerName(c config.Config, kept consensus.Kept) (string, error) {
	switch {
	case kept.NodeID != "" && c.Name != "" && c.Name != kept.NodeID:
		return "", problem.New(problem.InvalidInput, "the data folder %s is that of the controller %s, not of %s", c.DataDir, kept.NodeID, c.Name).
			WithHint("Leave --name out, or name another folder with --data-dir.")
	case kept.NodeID != "":
		return kept.NodeID, nil
	case c.Name != "" || c.Listen == "":
		return c.Name, nil
	}
	return hostName("the controller", "--name")
}

// hostName is the name of the host, if it can be that of an agent or a controller.
func hostName(whose, flag string) (string, error) {
	name, err := os.Hostname()
	if err == nil {
		err = pki.CheckName(name)
	}
	if err != nil {
		return "", problem.Wrap(problem.InvalidInput, err, "take the host's name as that of %s", whose).WithHint("Give it a name with %s.", flag)
	}
	return name, nil
}

// advertised is HOST:PORT at which others reach the controller.
func advertised(c config.Config) (string, error) {
	if c.Advertise != "" {
		return c.Advertise, nil
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return "", problem.Wrap(problem.InvalidInput, err, "find out where others reach the controller")
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		if host, err = os.Hostname(); err != nil {
			return "", problem.Wrap(problem.InvalidInput, err, "find out where others reach the controller").WithHint("Say it with --advertise HOST:PORT.")
		}
	}
	return net.JoinHostPort(host, port), nil
}

// readToken reads a token that the user gave.
func readToken(t config.Token, flag, variable string) (pki.Token, error) {
	if !t.Given() {
		return pki.Token{}, problem.New(problem.InvalidInput, "there is no token").
			WithHint("Give one with %s, or in the variable %s; `baktainer token create` makes it, at any controller of the cluster.", flag, variable)
	}
	text, err := t.Read()
	if err != nil {
		return pki.Token{}, fmt.Errorf("read the token: %w", err)
	}
	return pki.ParseToken(text.Reveal())
}

// plain gives addresses as they are dialled: a name stands for all its addresses anyway.
func plain(addresses []string) []string {
	var all []string
	for _, a := range addresses {
		if len(a) > len(config.LookUp) && a[:len(config.LookUp)] == config.LookUp {
			a = a[len(config.LookUp):]
		}
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}

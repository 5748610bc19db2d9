package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

const (
	hubHost  = 254 // the bridge's own address
	hostsDir = "/etc/netns"
)

// Runner runs a command to its end and returns what it prints.
type Runner func(ctx context.Context, args ...string) (string, error)

// Network is the network of one rig.
type Network struct {
	layout layout
	port   uint16
	run    Runner
	clock  clock.Clock

	mu         sync.Mutex
	generation map[string]int
	slow       map[[2]string]*Forwarder // by (from, to)
}

// New returns the network of the rig of that name, for nodes whose services
// listen on the port. Nothing is made before Up.
func New(name string, nodes []string, port uint16, run Runner, c clock.Clock) (*Network, error) {
	l := layout{name: name, nodes: nodes}
	if err := l.check(); err != nil {
		return nil, err
	}
	return &Network{layout: l, port: port, run: run, clock: c, generation: map[string]int{}, slow: map[[2]string]*Forwarder{}}, nil
}

// ip runs the command ip.
func (n *Network) ip(ctx context.Context, args ...string) error {
	_, err := n.run(ctx, append([]string{"ip"}, args...)...)
	return err
}

// filter puts rules into a node's packet filter.
func (n *Network) filter(ctx context.Context, node string, rules ...rule) error {
	for _, r := range rules {
		if err := n.ip(ctx, append([]string{"netns", "exec", n.layout.namespace(node), "iptables", "-w"}, r...)...); err != nil {
			return err
		}
	}
	return nil
}

// Up makes namespaces, bridge, links and hosts files.
func (n *Network) Up(ctx context.Context) error {
	hub := n.layout.hub()
	steps := [][]string{
		{"netns", "add", hub},
		{"-n", hub, "link", "set", "lo", "up"},
		{"-n", hub, "link", "add", "name", "br0", "type", "bridge"},
		{"-n", hub, "addr", "add", n.cidr(n.layout.host(hubHost)), "dev", "br0"},
		{"-n", hub, "link", "set", "br0", "up"},
	}
	for _, node := range n.layout.nodes {
		ns := n.layout.namespace(node)
		steps = append(steps,
			[]string{"netns", "add", ns},
			[]string{"-n", hub, "link", "add", "name", node, "type", "veth", "peer", "name", "eth0", "netns", ns},
			[]string{"-n", hub, "link", "set", node, "master", "br0", "up"},
			[]string{"-n", ns, "addr", "add", n.cidr(n.Address(node)), "dev", "eth0"},
			[]string{"-n", ns, "link", "set", "lo", "up"},
			[]string{"-n", ns, "link", "set", "eth0", "up"},
		)
	}
	for _, s := range steps {
		if err := n.ip(ctx, s...); err != nil {
			return fmt.Errorf("make the network: %w", err)
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.writeHosts()
}

func (n *Network) cidr(a netip.Addr) string {
	return netip.PrefixFrom(a, n.layout.prefix().Bits()).String()
}

// Exec begins the command line of a process that is to run on a node.
func (n *Network) Exec(node string) []string {
	return []string{"ip", "netns", "exec", n.layout.namespace(node)}
}

// Address is the present address of a node.
func (n *Network) Address(node string) netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.address(node)
}

// address is Address with n.mu held.
func (n *Network) address(node string) netip.Addr {
	return n.layout.address(node, n.generation[node])
}

// writeHosts writes the hosts files of all nodes. n.mu is held.
func (n *Network) writeHosts() error {
	for _, from := range n.layout.nodes {
		text := n.layout.hosts(func(to string) netip.Addr {
			if n.slow[[2]string{from, to}] != nil {
				return n.layout.edge(from, to)
			}
			return n.address(to)
		})
		if err := rewrite(filepath.Join(hostsDir, n.layout.namespace(from), "hosts"), text); err != nil {
			return fmt.Errorf("write the hosts of %s: %w", from, err)
		}
	}
	return nil
}

// rewrite replaces the text of a file in its place: processes see it through a
// bind mount, which holds on to the file. At no moment is it empty.
func rewrite(path, text string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE, 0o640) //nolint:gosec // a hosts file, which is no secret
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text), 0)
	return errors.Join(err, f.Truncate(int64(len(text))), f.Close())
}

// Readdress gives nodes new addresses. Their processes must not run meanwhile.
func (n *Network) Readdress(ctx context.Context, nodes ...string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, node := range nodes {
		ns := n.layout.namespace(node)
		if n.generation[node] == maxGeneration {
			n.generation[node] = -1 // the first one is long forgotten
		}
		n.generation[node]++
		for _, s := range [][]string{{"-n", ns, "addr", "flush", "dev", "eth0"}, {"-n", ns, "addr", "add", n.cidr(n.address(node)), "dev", "eth0"}} {
			if err := n.ip(ctx, s...); err != nil {
				return fmt.Errorf("give %s a new address: %w", node, err)
			}
		}
	}
	return n.writeHosts()
}

// Cut has no packet of from reach to; the other way is left open.
func (n *Network) Cut(ctx context.Context, from, to string) error {
	if err := n.filter(ctx, to, cutFrom(n.Address(from)), cutFrom(n.layout.edge(from, to)), cutFrom(n.layout.edge(to, from))); err != nil {
		return fmt.Errorf("cut %s off from %s: %w", from, to, err)
	}
	return nil
}

// Part cuts both ways between two groups of nodes.
func (n *Network) Part(ctx context.Context, these, those []string) error {
	for _, a := range these {
		for _, b := range those {
			if err := errors.Join(n.Cut(ctx, a, b), n.Cut(ctx, b, a)); err != nil {
				return err
			}
		}
	}
	return nil
}

// Others are the nodes that are not named.
func (n *Network) Others(nodes ...string) []string {
	return slices.DeleteFunc(slices.Clone(n.layout.nodes), func(node string) bool { return slices.Contains(nodes, node) })
}

// Lose has packets that come to a node from others get lost, and those that it
// sends to them, each with a probability.
func (n *Network) Lose(ctx context.Context, node string, probability float64) error {
	for _, other := range n.Others(node) {
		err := errors.Join(
			n.filter(ctx, node, loseFrom(n.Address(other), probability)),
			n.filter(ctx, other, loseFrom(n.Address(node), probability)),
		)
		if err != nil {
			return fmt.Errorf("lose packets of %s: %w", node, err)
		}
	}
	return nil
}

// Delay has what from sends to to's port, and the answers, arrive late. Open
// connections are reset.
func (n *Network) Delay(ctx context.Context, from, to string, by time.Duration) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	key, hub, edge := [2]string{from, to}, n.layout.hub(), n.layout.edge(from, to)
	if n.slow[key] != nil {
		return fmt.Errorf("%s is slow to reach %s already", from, to)
	}
	// It is there already when the edge was slow before.
	if err := n.ip(ctx, "-n", hub, "addr", "replace", n.cidr(edge), "dev", "br0"); err != nil {
		return fmt.Errorf("make a way from %s to %s: %w", from, to, err)
	}
	l, err := listenWithin(ctx, hub, netipPort(edge, n.port))
	if err != nil {
		return fmt.Errorf("make a way from %s to %s: %w", from, to, err)
	}
	target := netipPort(n.address(to), n.port)
	n.slow[key] = Forward(l, func(ctx context.Context) (net.Conn, error) {
		return dialWithin(ctx, hub, edge.String(), target)
	}, by, n.clock)
	if err := n.writeHosts(); err != nil {
		return err
	}
	return n.filter(ctx, from, refuseTo(n.address(to), n.port))
}

// Heal undoes all cuts, losses and delays.
func (n *Network) Heal(ctx context.Context) error {
	var errs []error
	for _, node := range n.layout.nodes {
		errs = append(errs, n.filter(ctx, node, flush()))
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	slow := n.slow
	n.slow = map[[2]string]*Forwarder{}
	errs = append(errs, n.writeHosts())
	for _, f := range slow {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// Down removes all of it.
func (n *Network) Down(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	var errs []error
	for _, f := range n.slow {
		errs = append(errs, f.Close())
	}
	n.slow = map[[2]string]*Forwarder{}
	return errors.Join(append(errs, Clean(ctx, n.layout.name, n.run))...)
}

// Clean removes whatever carries the name of a rig: namespaces, and with them
// links and rules, and hosts files.
func Clean(ctx context.Context, name string, run Runner) error {
	if !strings.HasPrefix(name, Prefix) {
		return fmt.Errorf("the rig's name %q does not begin with %q", name, Prefix)
	}
	found, err := Namespaces(ctx, run)
	if err != nil {
		return err
	}
	var errs []error
	for _, ns := range found {
		if !strings.HasPrefix(ns, name+"-") {
			continue
		}
		if _, err := run(ctx, "ip", "netns", "del", ns); err != nil {
			errs = append(errs, fmt.Errorf("remove a namespace: %w", err))
		}
	}
	dirs, err := filepath.Glob(filepath.Join(hostsDir, name+"-*"))
	errs = append(errs, err)
	for _, dir := range dirs {
		errs = append(errs, os.RemoveAll(dir))
	}
	_ = os.Remove(hostsDir) // if it is empty, and so ours
	return errors.Join(errs...)
}

// Namespaces lists the network namespaces of all rigs.
func Namespaces(ctx context.Context, run Runner) ([]string, error) {
	listed, err := run(ctx, "ip", "netns", "list")
	if err != nil {
		return nil, fmt.Errorf("list the namespaces: %w", err)
	}
	return parseNamespaces(listed), nil
}

// parseNamespaces reads lines of "NAME (id: N)".
func parseNamespaces(listed string) []string {
	var found []string
	for line := range strings.Lines(listed) {
		if f := strings.Fields(line); len(f) > 0 && strings.HasPrefix(f[0], Prefix) {
			found = append(found, f[0])
		}
	}
	return found
}

func netipPort(a netip.Addr, port uint16) string {
	return net.JoinHostPort(a.String(), strconv.Itoa(int(port)))
}

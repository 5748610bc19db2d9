// Package network gives each process of a fault rig a host of its own: a network
// namespace with an address and a hosts file, all on one bridge that is in a
// namespace too, so that neither the machine's network nor its packet filter has
// a part in it. Links can be cut (one way, too), made to lose packets and made
// slow, and hosts can get new addresses. It needs root.
package network

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// MaxNodes is how many hosts a network has room for.
const MaxNodes = 9

// Prefix begins the name of every rig. Clean removes nothing without it.
const Prefix = "chaos-"

// maxGeneration is how often a host can get a new address.
const maxGeneration = 9

// Name is the name of the rig of a seed.
func Name(seed uint64) string { return fmt.Sprintf("%s%08x", Prefix, uint32(seed^seed>>32)) }

// layout says who is where.
type layout struct {
	name  string
	nodes []string
}

// hub is the namespace of the bridge.
func (l layout) hub() string { return l.name + "-hub" }

// namespace is that of a node.
func (l layout) namespace(node string) string { return l.name + "-" + node }

// prefix is the subnet of the rig: 10.X.Y.0/24, by its name.
func (l layout) prefix() netip.Prefix {
	sum := uint16(0)
	for _, b := range []byte(l.name) {
		sum = sum*31 + uint16(b)
	}
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(sum >> 8), byte(sum), 0}), 24)
}

func (l layout) host(n int) netip.Addr {
	a := l.prefix().Addr().As4()
	a[3] = byte(n)
	return netip.AddrFrom4(a)
}

// address is that of a node in its so-manyth generation.
func (l layout) address(node string, generation int) netip.Addr {
	return l.host(1 + l.index(node) + 10*generation)
}

// edge is the address at which the forwarder from one node to another listens,
// and from which it goes on.
func (l layout) edge(from, to string) netip.Addr {
	return l.host(110 + 12*l.index(from) + l.index(to))
}

func (l layout) index(node string) int { return slices.Index(l.nodes, node) }

// check says what is wrong with the layout.
func (l layout) check() error {
	if !strings.HasPrefix(l.name, Prefix) {
		return fmt.Errorf("the rig's name %q does not begin with %q", l.name, Prefix)
	}
	if len(l.nodes) == 0 || len(l.nodes) > MaxNodes {
		return fmt.Errorf("a network has 1 to %d nodes, not %d", MaxNodes, len(l.nodes))
	}
	for i, node := range l.nodes {
		if node == "hub" || node == "" || slices.Contains(l.nodes[:i], node) {
			return fmt.Errorf("a node cannot be named %q", node)
		}
	}
	return nil
}

// hosts is the hosts file of a node: each name with the address that at says.
func (l layout) hosts(at func(node string) netip.Addr) string {
	var b strings.Builder
	b.WriteString("127.0.0.1 localhost\n")
	for _, node := range l.nodes {
		fmt.Fprintf(&b, "%s %s\n", at(node), node)
	}
	return b.String()
}

package network

import (
	"net/netip"
	"strconv"
)

// A rule is what follows `iptables` in the namespace of a node.
type rule []string

// cutFrom drops all that comes from an address.
func cutFrom(from netip.Addr) rule { return rule{"-A", "INPUT", "-s", from.String(), "-j", "DROP"} }

// loseFrom drops packets from an address, each with a probability.
func loseFrom(from netip.Addr, probability float64) rule {
	return rule{
		"-A", "INPUT", "-s", from.String(), "-m", "statistic", "--mode", "random",
		"--probability", strconv.FormatFloat(probability, 'f', 4, 64), "-j", "DROP",
	}
}

// refuseTo ends connections to a port of an address, those too that are open, so
// that they are made anew by another way.
func refuseTo(to netip.Addr, port uint16) rule {
	return rule{
		"-A", "OUTPUT", "-d", to.String(), "-p", "tcp", "--dport", strconv.Itoa(int(port)),
		"-j", "REJECT", "--reject-with", "tcp-reset",
	}
}

// flush takes all rules away.
func flush() rule { return rule{"-F"} }

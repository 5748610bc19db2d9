package transport

import "time"

// NewGuardOf makes a guard of methods that the program does not have.
var NewGuardOf = newGuard

// The bounds of a port.
const (
	Handshakes   = handshakes
	RaftProtocol = raftProtocol
	CallerHeader = callerHeader
)

// WaitFor sets how long a guard's calls wait for a leader.
func (g *Guard) WaitFor(d time.Duration) { g.wait = d }

// Lanes is how many connections there are below one.
func (c *Conn) Lanes() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.lanes)
}

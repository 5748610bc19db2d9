package transport

// NewGuardOf makes a guard of methods that the program does not have.
var NewGuardOf = newGuard

// The bounds of a port.
const (
	Handshakes   = handshakes
	RaftProtocol = raftProtocol
	CallerHeader = callerHeader
)

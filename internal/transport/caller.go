package transport

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"net"
	"strconv"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Caller is who makes a call.
type Caller struct {
	// Role is unspecified when nobody is known: there is no certificate.
	Role pb.Role
	Name string
	// Origin is where the call came from: an IP address, or "unix socket".
	Origin string
	// Local says that it came over the unix socket.
	Local bool
	// Via is the controller that passed the call on, if one did.
	Via string
	// Issued and Expires are of the certificate; zero over the unix socket.
	Issued, Expires time.Time

	roots [][sha256.Size]byte // at the ends of the chains of the certificate
	relay *Caller             // Via, as its own certificate names it
}

// String names the caller: "agent db1", "admin local:1000", "nobody".
func (c Caller) String() string {
	if c.Role == pb.Role_ROLE_UNSPECIFIED {
		return "nobody"
	}
	return RoleName(c.Role) + " " + c.Name
}

var roleNames = map[pb.Role]string{
	pb.Role_ROLE_AGENT: pki.RoleAgent, pb.Role_ROLE_CONTROLLER: pki.RoleController,
	pb.Role_ROLE_ADMIN: pki.RoleAdmin, pb.Role_ROLE_VIEWER: pki.RoleViewer,
}

// RoleName is a role as certificates and people name it, empty when there is none.
func RoleName(r pb.Role) string { return roleNames[r] }

// RoleOf is the inverse of RoleName.
func RoleOf(name string) pb.Role {
	for r, n := range roleNames {
		if n == name {
			return r
		}
	}
	return pb.Role_ROLE_UNSPECIFIED
}

type callerKey struct{}

// withCaller puts the caller into a call's context.
func withCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// CallerOf is who makes the call with that context, as the guard found out. A
// server without a guard knows its callers by their connections alone.
func CallerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(Caller); ok {
		return c
	}
	return callerByPeer(ctx)
}

// IsAgent says whether the caller may act for the agent of that name: over TLS
// only the one that its certificate names. A caller over the unix socket may act
// for any, and so may one within this process.
func IsAgent(ctx context.Context, name string) error {
	c := CallerOf(ctx)
	_, elsewhere := stateOf(ctx)
	switch {
	case c.Local || c.Role == pb.Role_ROLE_UNSPECIFIED && !elsewhere:
		return nil
	case c.Role != pb.Role_ROLE_AGENT:
		return problem.New(problem.Denied, "the certificate of the caller at %s names no agent", c.Origin).WithReason(ReasonWrongAgent).
			WithHint("%s", hintAgentName)
	case c.Name != name:
		return problem.New(problem.Denied, "the certificate is that of the agent %.70q: it may not act for the agent %.70q", c.Name, name).WithReason(ReasonWrongAgent).
			WithHint("Leave --agent-id out, or give this agent a certificate with its own name.")
	}
	return nil
}

// callerByPeer is who is at the other end of the call's connection.
func callerByPeer(ctx context.Context) Caller {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return Caller{}
	}
	switch info := p.AuthInfo.(type) {
	case credentials.TLSInfo:
		return callerByTLS(info.State, p.Addr)
	case localInfo:
		return Caller{Role: pb.Role_ROLE_ADMIN, Name: info.name(), Origin: originUnix, Local: true}
	}
	if p.Addr != nil && p.Addr.Network() == "unix" {
		return Caller{Role: pb.Role_ROLE_ADMIN, Name: localInfo{}.name(), Origin: originUnix, Local: true}
	}
	return Caller{Origin: originOf(p.Addr)}
}

const originUnix = "unix socket"

// callerByTLS is whom the certificate of a connection names, if it was verified.
func callerByTLS(state tls.ConnectionState, from net.Addr) Caller {
	c := Caller{Origin: originOf(from)}
	if len(state.VerifiedChains) == 0 {
		return c
	}
	leaf := state.VerifiedChains[0][0]
	id, ok := identityOf(leaf)
	if !ok {
		return c
	}
	c.Role, c.Name = RoleOf(id.Role), id.Name
	c.Issued, c.Expires = pki.IssuedAt(leaf), leaf.NotAfter
	for _, chain := range state.VerifiedChains {
		c.roots = append(c.roots, sha256.Sum256(chain[len(chain)-1].Raw))
	}
	return c
}

// originOf is an address without its port, which says nothing later.
func originOf(a net.Addr) string {
	if a == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(a.String())
	if err != nil {
		return a.String()
	}
	return host
}

// localInfo is what is known of a caller over the unix socket.
type localInfo struct {
	credentials.CommonAuthInfo
	uid   uint32
	known bool
}

// AuthType implements credentials.AuthInfo.
func (localInfo) AuthType() string { return "unix" }

func (l localInfo) name() string {
	if !l.known {
		return "local"
	}
	return "local:" + strconv.FormatUint(uint64(l.uid), 10)
}

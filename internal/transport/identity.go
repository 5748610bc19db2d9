package transport

import (
	"context"
	"crypto/x509"
	"errors"
	"net/url"
	"strings"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"

	"github.com/baktainer/baktainer/internal/problem"
)

// Roles that a certificate's URI spiffe://ANYTHING/ROLE/NAME can give.
const (
	roleAgent      = "agent"
	roleController = "controller"
)

var errRole = errors.New("the other end's certificate is not one of a controller")

// IsAgent says whether the caller may act for the agent of that name: over TLS
// only the one that its certificate names. A caller over the unix socket may act for any.
func IsAgent(ctx context.Context, name string) error {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return nil
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return nil
	}
	called := ""
	if certs := info.State.PeerCertificates; len(certs) > 0 {
		called = agentName(certs[0])
	}
	switch {
	case called == "":
		return problem.New(problem.Denied, "the certificate of the caller at %s names no agent", p.Addr).WithReason("wrong-agent").
			WithHint("Issue it with the URI spiffe://ANYTHING/agent/NAME as subject alternative name, or with NAME as common name.")
	case called != name:
		return problem.New(problem.Denied, "the certificate is that of the agent %.70q: it may not act for the agent %.70q", called, name).WithReason("wrong-agent").
			WithHint("Leave --agent-id out, or give this agent a certificate with its own name.")
	}
	return nil
}

// agentName is the agent's name in a certificate. One that gives roles by URI
// gives no others by its common name.
func agentName(cert *x509.Certificate) string {
	roles := spiffe(cert)
	if len(roles) == 0 {
		return cert.Subject.CommonName
	}
	return roles[roleAgent]
}

// mayServe says whether the certificate can be a controller's: an agent's that
// names a host as well must not pass for one.
func mayServe(cert *x509.Certificate) error {
	roles := spiffe(cert)
	if _, ok := roles[roleController]; len(roles) > 0 && !ok {
		return errRole
	}
	return nil
}

// spiffe gives the names in the certificate's URIs spiffe://ANYTHING/ROLE/NAME, by role.
func spiffe(cert *x509.Certificate) map[string]string {
	names := map[string]string{}
	for _, u := range cert.URIs {
		if u.Scheme != "spiffe" {
			continue
		}
		role, name := roleOf(u)
		names[role] = name
	}
	return names
}

func roleOf(u *url.URL) (role, name string) {
	role, name, ok := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	if !ok || strings.Contains(name, "/") {
		return "", "" // a name in a form of somebody else's
	}
	return role, name
}

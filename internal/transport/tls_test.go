package transport_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/transport/certs"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// gate lets in the agents that say who they are.
type gate struct {
	pb.UnimplementedAgentServiceServer
}

func (gate) Heartbeat(ctx context.Context, r *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if err := transport.IsAgent(ctx, r.GetAgent()); err != nil {
		return nil, err
	}
	return &pb.HeartbeatResponse{}, nil
}

// own holds certificates of a user's own authority.
func own(t testing.TB, files certs.Files, uses ...x509.ExtKeyUsage) *transport.Holder {
	t.Helper()
	h, err := transport.OwnPKI(files, clock.System{}, uses...)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return h
}

// serveTLS starts a controller for agents and gives its address.
func serveTLS(t testing.TB, files certs.Files, service pb.AgentServiceServer) string {
	t.Helper()
	return newCluster(t).start(nodeOptions{
		holder:   own(t, files, x509.ExtKeyUsageServerAuth),
		register: func(s *grpc.Server) { pb.RegisterAgentServiceServer(s, service) },
	}).address
}

// beat is one call as the agent of that name.
func beat(t *testing.T, address string, files certs.Files, name string) error {
	t.Helper()
	conn, err := transport.Dial(address, own(t, files, x509.ExtKeyUsageClientAuth))
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	defer conn.Close()
	_, err = pb.NewAgentServiceClient(conn).Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: name})
	return err
}

func TestAnAgentIsWhoItsCertificateSays(t *testing.T) {
	ca := newAuthority(t)
	address := serveTLS(t, ca.issue(t, "controller", "spiffe://here/controller/c1"), gate{})
	for _, tc := range []struct {
		what   string
		files  certs.Files
		name   string
		want   string // empty: let in
		reason problem.Reason
	}{
		{"by its common name", ca.issue(t, "db1"), "db1", "", ""},
		{"by a URI", ca.issue(t, "x", "spiffe://anything.example/agent/db1"), "db1", "", ""},
		{"by a URI beside others", ca.issue(t, "x", "https://example.com/agent/no", "spiffe://a/agent/db1"), "db1", "", ""},
		{"another's name", ca.issue(t, "db1"), "db2", `the certificate is that of the agent "db1": it may not act for the agent "db2"`, transport.ReasonWrongAgent},
		{"a URI before the common name", ca.issue(t, "db2", "spiffe://a/agent/db1"), "db2", `that of the agent "db1"`, transport.ReasonWrongAgent},
		{"a controller is no agent", ca.issue(t, "db1", "spiffe://a/controller/db1"), "db1", "Heartbeat is not for the controller db1", transport.ReasonNotAllowed},
		{"a longer path is no agent", ca.issue(t, "db1", "spiffe://a/b/agent/db1"), "db1", "without a certificate", transport.ReasonNoCertificate},
		{"no name", ca.issue(t, ""), "", "without a certificate", transport.ReasonNoCertificate},
	} {
		err := beat(t, address, tc.files, tc.name)
		if tc.want == "" {
			if err != nil {
				t.Errorf("%s: %v", tc.what, err)
			}
			continue
		}
		if err == nil || problem.CodeOf(err) != problem.Denied || problem.ReasonOf(err) != tc.reason || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", tc.what, err, tc.want)
		}
	}
}

func TestStrangersAreRefused(t *testing.T) {
	ca, stranger := newAuthority(t), newAuthority(t)
	controller := ca.issue(t, "controller", "spiffe://here/controller/c1")
	address := serveTLS(t, controller, gate{})
	foreign := stranger.issue(t, "db1")
	elsewhere := strings.Replace(address, "127.0.0.1", "localhost", 1)

	for what, tc := range map[string]struct {
		address string
		files   certs.Files
		want    string
	}{
		"a controller of another authority": {address, foreign, "the controller's certificate is not of the authority in tls-ca"},
		"an agent of another authority":     {address, certs.Files{CA: stranger.pem + ca.pem, Cert: foreign.Cert, Key: foreign.Key}, "the controller refuses this certificate: remote error: tls: unknown certificate authority"},
		"another host":                      {elsewhere, ca.issue(t, "db1"), "does not name the host in --controller"},
		"an agent that serves":              {serveTLS(t, ca.issue(t, "x", "spiffe://here/agent/x"), gate{}), ca.issue(t, "db1"), "is not one of a controller"},
	} {
		err := beat(t, tc.address, tc.files, "db1")
		if err == nil || problem.ReasonOf(err) != transport.ReasonNoAnswer || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
}

func TestNobodyGetsInWithoutACertificateOrWithOldTLS(t *testing.T) {
	ca := newAuthority(t)
	address := serveTLS(t, ca.issue(t, "controller"), gate{})
	roots := x509.NewCertPool()
	roots.AddCert(ca.cert)
	agent := ca.issue(t, "db1")
	pair, err := tls.X509KeyPair([]byte(agent.Cert), []byte(agent.Key))
	if err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct {
		cfg  *tls.Config
		want string
	}{
		"no certificate": {&tls.Config{RootCAs: roots, NextProtos: []string{"h2"}}, "certificate required"},
		"TLS 1.2":        {&tls.Config{RootCAs: roots, NextProtos: []string{"h2"}, Certificates: []tls.Certificate{pair}, MaxVersion: tls.VersionTLS12}, "protocol version"},
	} {
		conn, err := (&tls.Dialer{Config: tc.cfg}).DialContext(t.Context(), "tcp", address)
		if err == nil { // in TLS 1.3 the client is done before it is judged
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
}

func TestOwnPKINeedsAllThreeFiles(t *testing.T) {
	ca := newAuthority(t)
	whole := ca.issue(t, "")
	for what, files := range map[string]certs.Files{
		"nothing": {}, "no CA": {Cert: whole.Cert, Key: whole.Key}, "no certificate": {CA: whole.CA}, "no key": {CA: whole.CA, Cert: whole.Cert},
	} {
		h, err := transport.OwnPKI(files, clock.System{}, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth)
		p, ok := errors.AsType[*problem.Problem](err)
		if !ok || h != nil || p.Code != problem.InvalidInput || len(p.Details) == 0 {
			t.Errorf("%s: %v", what, err)
			continue
		}
		if lines := slices.Compact(slices.Sorted(slices.Values(p.Details))); len(lines) != len(p.Details) {
			t.Errorf("%s: said twice: %q", what, p.Details)
		}
	}
	if _, err := own(t, whole, x509.ExtKeyUsageClientAuth).AgentName(); err == nil || !strings.Contains(err.Error(), "names no agent") {
		t.Errorf("a certificate without a name: %v", err)
	}
	if name, err := own(t, ca.issue(t, "x", "spiffe://a/agent/db1"), x509.ExtKeyUsageClientAuth).AgentName(); err != nil || name != "db1" {
		t.Errorf("%q, %v", name, err)
	}
	if _, err := own(t, ca.issue(t, "x", "spiffe://a/viewer/v"), x509.ExtKeyUsageClientAuth).AgentName(); err == nil {
		t.Error("a viewer is an agent")
	}
}

package transport_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// echo answers what comes to a node's Raft side, until its port closes.
func echo(n *node) {
	go func() {
		for {
			conn, err := n.port.Raft().Accept()
			if err != nil {
				return
			}
			go func() {
				_, _ = io.Copy(conn, conn)
				_ = conn.Close()
			}()
		}
	}()
}

// says sends a word over a connection and waits for it to come back.
func says(conn net.Conn, word string) error {
	if _, err := io.WriteString(conn, word); err != nil {
		return err
	}
	back := make([]byte, len(word))
	if _, err := io.ReadFull(conn, back); err != nil {
		return err
	}
	if string(back) != word {
		return errors.New("something else came back")
	}
	return nil
}

func TestRaftIsBetweenControllers(t *testing.T) {
	t.Parallel()
	c, elsewhere := newCluster(t), newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: newStreams().register})
	echo(n)
	conn, err := transport.DialRaft(t.Context(), n.address, c.holder(pki.RoleController, "c2"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := says(conn, "append entries"); err != nil {
		t.Errorf("between controllers: %v", err)
	}
	// gRPC goes on beside it.
	if err := heartbeat(t, dial(t, n, c.holder(pki.RoleAgent, "db1"))); err != nil {
		t.Errorf("gRPC: %v", err)
	}
	c.revoke(pb.Role_ROLE_CONTROLLER, "c9")
	expired := transport.NewHolder(c.clock)
	expired.Use(c.credentials(pki.RoleController, "c3", c.clock.Now().Add(-pki.LeafLife-time.Minute)))
	for what, tc := range map[string]struct {
		holder *transport.Holder
		want   string
	}{
		"no certificate":          {transport.NewHolder(c.clock), "no certificate yet"},
		"another cluster":         {elsewhere.holder(pki.RoleController, "c1"), "not of the cluster"},
		"an expired one":          {expired, "the controller refuses this certificate"},
		"a revoked one":           {c.holder(pki.RoleController, "c9"), "wait for the controller: EOF"},
		"an agent, by this code":  {c.holder(pki.RoleAgent, "db1"), "has no controller's certificate"},
		"an admin, by this code":  {c.holder(pki.RoleAdmin, "ann"), "has no controller's certificate"},
		"a viewer, by this code":  {c.holder(pki.RoleViewer, "vic"), "has no controller's certificate"},
		"nothing to connect with": {makeshift(t), "no certificate yet"},
	} {
		conn, err := transport.DialRaft(t.Context(), n.address, tc.holder)
		if err == nil {
			conn.Close()
		}
		if problem.CodeOf(err) != problem.Unavailable || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
}

// By code that is not ours: the server refuses, at once.
func TestTheRaftSideRefusesOthersAtOnce(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: newStreams().register})
	accepted := make(chan struct{}, 1)
	go func() {
		if _, err := n.port.Raft().Accept(); err == nil {
			accepted <- struct{}{}
		}
	}()
	roots := x509.NewCertPool()
	roots.AddCert(c.root.Cert)
	for what, tc := range map[string]struct {
		creds *pki.Credentials
		want  string
	}{
		"nobody":   {nil, "certificate required"},
		"an agent": {c.credentials(pki.RoleAgent, "db1", c.clock.Now()), "bad certificate"},
		"an admin": {c.credentials(pki.RoleAdmin, "ann", c.clock.Now()), "bad certificate"},
	} {
		cfg := &tls.Config{RootCAs: roots, ServerName: pki.ControllerHost, NextProtos: []string{transport.RaftProtocol}}
		if tc.creds != nil {
			cfg.Certificates = []tls.Certificate{*tc.creds.Certificate()}
		}
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", n.address)
		if err == nil { // in TLS 1.3 the client is done before it is judged
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
	select {
	case <-accepted:
		t.Error("one of them got through")
	default:
	}
}

// The other end has to be a controller as well.
func TestRaftIsSpokenToControllersAlone(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	creds := c.credentials(pki.RoleAgent, "db1", c.clock.Now())
	l := tls.NewListener(listenTCP(t), &tls.Config{Certificates: []tls.Certificate{*creds.Certificate()}, NextProtos: []string{transport.RaftProtocol}})
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("+"))
		}
	}()
	if conn, err := transport.DialRaft(t.Context(), l.Addr().String(), c.holder(pki.RoleController, "c2")); err == nil {
		conn.Close()
		t.Error("connected to an agent")
	}
}

func TestRaftConnectionsEndWithTheirStanding(t *testing.T) {
	t.Parallel()
	for what, end := range map[string]func(*cluster, *node, *transport.Holder){
		"revoked":                          func(c *cluster, _ *node, _ *transport.Holder) { c.revoke(pb.Role_ROLE_CONTROLLER, "c2") },
		"root dropped":                     func(c *cluster, _ *node, _ *transport.Holder) { c.change(func() { c.trusted = nil }) },
		"root dropped by the server alone": func(c *cluster, n *node, _ *transport.Holder) { n.holder.Use(other(c)) },
		"root dropped by the client alone": func(c *cluster, _ *node, h *transport.Holder) { h.Use(other(c)) },
		"the port closes":                  func(_ *cluster, n *node, _ *transport.Holder) { n.server.Stop(); n.port.Close() },
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c := newCluster(t)
			n := c.start(nodeOptions{name: "c1", gate: c, register: newStreams().register})
			echo(n)
			holder := c.holder(pki.RoleController, "c2")
			conn, err := transport.DialRaft(t.Context(), n.address, holder)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			if err := says(conn, "vote"); err != nil {
				t.Fatal(err)
			}
			end(c, n, holder)
			if _, err := conn.Read(make([]byte, 1)); err == nil {
				t.Error("it goes on")
			}
		})
	}
}

// other are credentials of a root that has nothing to do with the cluster's.
func other(c *cluster) *pki.Credentials {
	return newCluster(c.t).credentials(pki.RoleController, "c1", c.clock.Now())
}

// Two clusters of one user's authority are kept apart.
func TestRaftWithAUsersOwnAuthority(t *testing.T) {
	t.Parallel()
	ca := newAuthority(t)
	both := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	c := newCluster(t)
	n := c.start(nodeOptions{holder: own(t, ca.issue(t, "c1", "spiffe://prod/controller/c1"), both...), register: newStreams().register})
	echo(n)
	for uri, ok := range map[string]bool{
		"spiffe://prod/controller/c2": true, "spiffe://staging/controller/c2": false, "spiffe://prod/agent/c2": false, "https://prod/controller/c2": false,
	} {
		conn, err := transport.DialRaft(t.Context(), n.address, own(t, ca.issue(t, "c2", uri), both...))
		if err == nil {
			err = says(conn, "vote")
			conn.Close()
		}
		if (err == nil) != ok {
			t.Errorf("%s: %v", uri, err)
		}
	}
}

// Whoever opens connections and says nothing keeps nobody out.
func TestSilentConnectionsBlockNobody(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: newStreams().register})
	var silent []net.Conn
	for range transport.Handshakes + 20 {
		conn, err := net.Dial("tcp", n.address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		silent = append(silent, conn)
	}
	if err := heartbeat(t, dial(t, n, c.holder(pki.RoleAgent, "db1"))); err != nil {
		t.Errorf("an agent between them: %v", err)
	}
	// The oldest had to make room.
	if _, err := silent[0].Read(make([]byte, 1)); err == nil {
		t.Error("something was said to a connection that says nothing")
	}
}

func TestOtherProtocolsAreRefused(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: newStreams().register})
	creds := c.credentials(pki.RoleController, "c2", c.clock.Now())
	roots := x509.NewCertPool()
	roots.AddCert(c.root.Cert)
	for what, protocols := range map[string][]string{"none": nil, "HTTP/1.1": {"http/1.1"}} {
		cfg := &tls.Config{RootCAs: roots, ServerName: pki.ControllerHost, Certificates: []tls.Certificate{*creds.Certificate()}, NextProtos: protocols}
		conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", n.address)
		if err == nil {
			_, err = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if err == nil {
			t.Errorf("%s: it is spoken", what)
		}
	}
	// Both, and Raft comes first: a client that asks for it is held to it.
	cfg := &tls.Config{RootCAs: roots, ServerName: pki.ControllerHost, Certificates: []tls.Certificate{*creds.Certificate()}, NextProtos: []string{"h2", transport.RaftProtocol}}
	echo(n)
	conn, err := (&tls.Dialer{Config: cfg}).DialContext(t.Context(), "tcp", n.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.(*tls.Conn).ConnectionState().NegotiatedProtocol; got != transport.RaftProtocol {
		t.Errorf("negotiated %q", got)
	}
}

func TestAPortThatIsTaken(t *testing.T) {
	t.Parallel()
	l := listenTCP(t)
	_, err := transport.Listen(t.Context(), l.Addr().String(), transport.PortOptions{})
	if problem.CodeOf(err) != problem.Failed || !strings.Contains(problem.Text(err), "--listen") {
		t.Errorf("got %v", err)
	}
}

// The server may stop while Raft goes on, to hand its leadership over.
func TestRaftOutlivesTheServer(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: newStreams().register})
	echo(n)
	agent := dial(t, n, c.holder(pki.RoleAgent, "db1"))
	if err := heartbeat(t, agent); err != nil {
		t.Fatal(err)
	}
	transport.Stop(t.Context(), n.server)
	conn, err := transport.DialRaft(t.Context(), n.address, c.holder(pki.RoleController, "c2"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := says(conn, "timeout now"); err != nil {
		t.Error(err)
	}
	if err := heartbeat(t, agent); err == nil {
		t.Error("gRPC goes on, too")
	}
}

func TestDialNeedsAnAddress(t *testing.T) {
	t.Parallel()
	h := newCluster(t).holder(pki.RoleController, "c1")
	for _, address := range []string{"", "host", "a:b:c"} {
		if conn, err := transport.Dial(address, h); err == nil {
			conn.Close()
			t.Errorf("%q: no complaint", address)
		}
		if conn, err := transport.DialRaft(t.Context(), address, h); err == nil {
			conn.Close()
			t.Errorf("%q, Raft: no complaint", address)
		}
	}
}

func TestPeersShareConnections(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", register: newStreams().register})
	peers := transport.NewPeers(c.holder(pki.RoleAgent, "db1"))
	first, err := peers.Conn(n.address)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := peers.Conn(n.address); err != nil || again != first {
		t.Errorf("another connection for the same address: %v", err)
	}
	if err := heartbeat(t, first); err != nil {
		t.Error(err)
	}
	if err := peers.Close(); err != nil {
		t.Error(err)
	}
	if _, err := peers.Conn(n.address); err == nil {
		t.Error("a closed pool connects")
	}
	if err := heartbeat(t, first); err == nil {
		t.Error("a connection of a closed pool goes on")
	}
}

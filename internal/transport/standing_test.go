package transport_test

import (
	"context"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/peer"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// streams is a service whose streams are open until somebody ends them.
type streams struct {
	pb.UnimplementedAgentServiceServer
	began chan struct{} // a stream began
	next  chan struct{} // Session sends another message
	ended chan error    // why a handler's stream ended
	shown atomic.Value  // serial number of the certificate at the last heartbeat
}

func newStreams() *streams {
	return &streams{began: make(chan struct{}, 10), next: make(chan struct{}), ended: make(chan error, 10)}
}

func (s *streams) register(server *grpc.Server) { pb.RegisterAgentServiceServer(server, s) }

// Session sends messages when told to.
func (s *streams) Session(_ *pb.SessionRequest, out grpc.ServerStreamingServer[pb.SessionResponse]) (err error) {
	defer func() { s.ended <- err }()
	for {
		if err := out.Send(&pb.SessionResponse{Session: "s"}); err != nil {
			return err
		}
		s.began <- struct{}{}
		select {
		case <-s.next:
		case <-out.Context().Done():
			return context.Cause(out.Context())
		}
	}
}

// UploadObject receives, and looks at nothing else.
func (s *streams) UploadObject(in grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) (err error) {
	defer func() { s.ended <- err }()
	for {
		if _, err := in.Recv(); err != nil {
			return err
		}
		s.began <- struct{}{}
	}
}

func (s *streams) Heartbeat(ctx context.Context, _ *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
	if p, ok := peer.FromContext(ctx); ok {
		if info, ok := p.AuthInfo.(credentials.TLSInfo); ok {
			s.shown.Store(info.State.PeerCertificates[0].SerialNumber.String())
		}
	}
	return &pb.HeartbeatResponse{}, nil
}

// open opens both streams of an agent, and returns when both are under way.
func (s *streams) open(t *testing.T, conn grpc.ClientConnInterface) (grpc.ServerStreamingClient[pb.SessionResponse], grpc.ClientStreamingClient[pb.UploadObjectRequest, pb.UploadObjectResponse]) {
	t.Helper()
	client := pb.NewAgentServiceClient(conn)
	session, err := client.Session(t.Context(), &pb.SessionRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := session.Recv(); err != nil {
		t.Fatal(err)
	}
	upload, err := client.UploadObject(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := upload.Send(&pb.UploadObjectRequest{}); err != nil {
		t.Fatal(err)
	}
	<-s.began
	<-s.began
	return session, upload
}

func heartbeat(t *testing.T, conn grpc.ClientConnInterface) error {
	_, err := pb.NewAgentServiceClient(conn).Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "db1"})
	return err
}

// What ends an agent's standing ends its streams, whichever way they go and
// whatever their handlers wait for, and is told at the next call.
func TestStreamsEndWithTheStandingOfTheirCaller(t *testing.T) {
	t.Parallel()
	for what, tc := range map[string]struct {
		end    func(*cluster)
		reason problem.Reason
	}{
		"revoked":      {func(c *cluster) { c.revoke(pb.Role_ROLE_AGENT, "db1") }, transport.ReasonRevoked},
		"root dropped": {func(c *cluster) { c.change(func() { c.trusted = nil }) }, transport.ReasonDropped},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			c, s := newCluster(t), newStreams()
			n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
			conn, other := dial(t, n, c.holder(pki.RoleAgent, "db1")), dial(t, n, c.holder(pki.RoleAgent, "db2"))
			session, upload := s.open(t, conn)
			if err := heartbeat(t, other); err != nil {
				t.Fatal(err)
			}
			tc.end(c)
			for range 2 {
				if err := <-s.ended; err == nil {
					t.Error("a handler ended well")
				}
			}
			if _, err := session.Recv(); err == nil {
				t.Error("the session goes on")
			}
			if _, err := upload.CloseAndRecv(); err == nil {
				t.Error("the upload succeeds")
			}
			until(t, "the reason", func() bool { return problem.ReasonOf(heartbeat(t, conn)) == tc.reason })
			if err := heartbeat(t, conn); problem.CodeOf(err) != problem.Denied || !strings.Contains(problem.Text(err), "token") {
				t.Errorf("it does not say what to do: %s", problem.Text(err))
			}
			if what == "revoked" {
				if err := heartbeat(t, other); err != nil {
					t.Errorf("another agent: %v", err)
				}
			}
			// What anybody may call, those may too who may do nothing else.
			if _, err := healthpb.NewHealthClient(conn).Check(t.Context(), &healthpb.HealthCheckRequest{}); problem.ReasonOf(err) != transport.ReasonUnsupported {
				t.Errorf("health, which is not registered here: %v", err)
			}
		})
	}
}

// The guard asks at every message, whatever the port does.
func TestEveryMessageIsJudged(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, deafPort: true, register: s.register})
	session, upload := s.open(t, dial(t, n, c.holder(pki.RoleAgent, "db1")))
	c.revoke(pb.Role_ROLE_AGENT, "db1")
	s.next <- struct{}{} // it sends
	if _, err := session.Recv(); problem.ReasonOf(err) != transport.ReasonRevoked {
		t.Errorf("sent to one who is revoked: %v", err)
	}
	if err := <-s.ended; problem.ReasonOf(err) != transport.ReasonRevoked {
		t.Errorf("the handler's Send: %v", err)
	}
	if err := upload.Send(&pb.UploadObjectRequest{}); err != nil {
		t.Fatal(err)
	}
	if _, err := upload.CloseAndRecv(); problem.ReasonOf(err) != transport.ReasonRevoked {
		t.Errorf("received from one who is revoked: %v", err)
	}
	if err := <-s.ended; problem.ReasonOf(err) != transport.ReasonRevoked {
		t.Errorf("the handler's Recv: %v", err)
	}
}

func TestAnIdentityThatEnrolsAgainIsLetInAgain(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	holder := c.holder(pki.RoleAgent, "db1")
	conn := dial(t, n, holder)
	c.revoke(pb.Role_ROLE_AGENT, "db1")
	if err := heartbeat(t, conn); problem.ReasonOf(err) != transport.ReasonRevoked {
		t.Fatalf("revoked before: %v", err)
	}
	holder.Use(c.credentials(pki.RoleAgent, "db1", pki.Reissue(c.clock.Now(), c.RevokedAt(pb.Role_ROLE_AGENT, "db1"))))
	until(t, "the new certificate", func() bool { return heartbeat(t, conn) == nil })
}

func TestStreamsEndWhenTheCertificateExpires(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	start := time.Now()
	manual := clock.NewManual(start)
	c.clock = manual
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	holder := transport.NewHolder(manual)
	creds := c.credentials(pki.RoleAgent, "db1", start.Add(-pki.LeafLife+time.Minute))
	holder.Use(creds)
	manual.Advance(creds.Leaf().NotAfter.Sub(start) - 300*time.Millisecond)
	conn := dial(t, n, holder)
	session, upload := s.open(t, conn)
	for range 2 {
		if err := <-s.ended; err == nil {
			t.Error("a handler ended well")
		}
	}
	if _, err := session.Recv(); err == nil {
		t.Error("the session goes on")
	}
	if _, err := upload.CloseAndRecv(); err == nil {
		t.Error("the upload succeeds")
	}
	manual.Advance(time.Second)
	until(t, "the refusal", func() bool {
		err := heartbeat(t, conn)
		return err != nil && strings.Contains(err.Error(), "the controller refuses this certificate") && strings.Contains(err.Error(), "expired")
	})
}

// Between a renewal and the end of a port's connection, calls are judged by the
// clock at each of them.
func TestACallAfterExpiryIsRefused(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	manual := clock.NewManual(time.Now())
	c.clock = manual
	n := c.start(nodeOptions{name: "c1", register: s.register}) // without a gate, too
	conn := dial(t, n, c.holder(pki.RoleAgent, "db1"))
	if err := heartbeat(t, conn); err != nil {
		t.Fatal(err)
	}
	manual.Advance(pki.LeafLife + time.Second)
	if err := heartbeat(t, conn); problem.ReasonOf(err) != transport.ReasonExpired || problem.CodeOf(err) != problem.Denied {
		t.Errorf("got %v", err)
	}
}

func TestWhoIsNotLetInAtAll(t *testing.T) {
	t.Parallel()
	c, foreign, s := newCluster(t), newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})

	expired := transport.NewHolder(c.clock)
	expired.Use(c.credentials(pki.RoleAgent, "db1", c.clock.Now().Add(-pki.LeafLife-time.Minute)))
	future := transport.NewHolder(c.clock)
	future.Use(c.credentials(pki.RoleAgent, "db1", c.clock.Now().Add(2*pki.Backdate)))
	// It trusts the controller's root, and shows a certificate of another.
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	now := c.clock.Now()
	chain := foreign.issue(key, pki.Identity{Cluster: "here", Role: pki.RoleAgent, Name: "db1"}, now)
	creds, err := pki.NewCredentials(key, chain, [][]byte{c.root.DER(), foreign.root.DER()}, "here", 1, now)
	if err != nil {
		t.Fatal(err)
	}
	intruder := transport.NewHolder(c.clock)
	intruder.Use(creds)
	for what, tc := range map[string]struct {
		holder *transport.Holder
		want   string
	}{
		"expired":          {expired, "the controller refuses this certificate: remote error: tls: expired certificate"},
		"not yet good":     {future, "the controller refuses this certificate"},
		"of another root":  {intruder, "the controller refuses this certificate: remote error: tls: unknown certificate authority"},
		"of another world": {foreign.holder(pki.RoleAgent, "db1"), "not of the cluster that this host was enrolled in"},
		"without any":      {transport.NewHolder(c.clock), "this process has no certificate yet"},
		"with a makeshift": {makeshift(t), "this process has no certificate yet"},
	} {
		if err := heartbeat(t, dial(t, n, tc.holder)); problem.ReasonOf(err) != transport.ReasonNoAnswer || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
}

func makeshift(t *testing.T) *transport.Holder {
	t.Helper()
	h := transport.NewHolder(clock.System{})
	if err := h.UseTemporary(); err != nil {
		t.Fatal(err)
	}
	return h
}

// An agent's certificate does not serve, even where its holder listens.
func TestNobodyElseServes(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	for _, role := range []string{pki.RoleAgent, pki.RoleAdmin} {
		n := c.start(nodeOptions{holder: c.holder(role, "x"), register: s.register})
		err := heartbeat(t, dial(t, n, c.holder(pki.RoleAgent, "db1")))
		if problem.ReasonOf(err) != transport.ReasonNoAnswer || !strings.Contains(err.Error(), "certificate") {
			t.Errorf("%s: %v", role, err)
		}
	}
}

package transport_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestAConnectionFollowsItsHolder(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	holder := c.holder(pki.RoleAgent, "db1")
	conn := dial(t, n, holder)
	if conn.Lanes() != 0 {
		t.Error("it connects before the first call")
	}
	session, upload := s.open(t, conn)
	next := c.credentials(pki.RoleAgent, "db1", c.clock.Now())
	holder.Use(next)
	for range 3 {
		if err := heartbeat(t, conn); err != nil || s.shown.Load() != next.Leaf().SerialNumber.String() {
			t.Errorf("a call after the change: %v, with another certificate than the new one", err)
		}
	}
	if conn.Lanes() != 2 {
		t.Errorf("%d connections, want the new one and that of the streams", conn.Lanes())
	}
	s.next <- struct{}{}
	if _, err := session.Recv(); err != nil {
		t.Errorf("a stream from before: %v", err)
	}
	if err := upload.Send(&pb.UploadObjectRequest{}); err != nil {
		t.Errorf("a stream from before: %v", err)
	}
	if err := upload.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if err := upload.RecvMsg(&pb.UploadObjectResponse{}); err == nil {
		t.Error("the upload succeeds")
	}
	if conn.Lanes() != 2 {
		t.Errorf("%d connections while one stream lives", conn.Lanes())
	}
	if err := conn.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := session.Recv(); err == nil {
		t.Error("a stream outlives the connection")
	}
	if err := heartbeat(t, conn); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("a call on a closed connection: %v", err)
	}
	if _, err := pb.NewAgentServiceClient(conn).Session(t.Context(), &pb.SessionRequest{}); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("a stream on a closed connection: %v", err)
	}
	if err := conn.Close(); err != nil {
		t.Errorf("closed twice: %v", err)
	}
}

// However a call ends: the connection that it was the last one on is closed.
func TestOldConnectionsAreClosedAfterTheirLastCall(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	for what, end := range map[string]func(string, context.CancelFunc, grpc.ServerStreamingClient[pb.SessionResponse]){
		"cancelled": func(_ string, cancel context.CancelFunc, _ grpc.ServerStreamingClient[pb.SessionResponse]) { cancel() },
		"read to its end": func(who string, _ context.CancelFunc, session grpc.ServerStreamingClient[pb.SessionResponse]) {
			c.revoke(pb.Role_ROLE_AGENT, who)
			for {
				if _, err := session.Recv(); err != nil {
					return
				}
			}
		},
	} {
		who := strings.ReplaceAll(what, " ", "-")
		holder := c.holder(pki.RoleAgent, who)
		conn := dial(t, n, holder)
		ctx, cancel := context.WithCancel(t.Context())
		session, err := pb.NewAgentServiceClient(conn).Session(ctx, &pb.SessionRequest{})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := session.Recv(); err != nil {
			t.Fatal(err)
		}
		<-s.began
		holder.Use(c.credentials(pki.RoleAgent, "db1", c.clock.Now()))
		if err := heartbeat(t, conn); err != nil {
			t.Fatal(err)
		}
		end(who, cancel, session)
		until(t, "one connection: "+what, func() bool { return conn.Lanes() == 1 })
		cancel()
		<-s.ended //nolint:errcheck // cancelled
	}
}

func TestCallsGoOnWhileTheHolderChanges(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	holder := c.holder(pki.RoleAgent, "db1")
	conn := dial(t, n, holder)
	s.open(t, conn) // keeps the first one
	creds := c.credentials(pki.RoleAgent, "db1", c.clock.Now())
	done := make(chan struct{})
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
				_, err := pb.NewAgentServiceClient(conn).Heartbeat(ctx, &pb.HeartbeatRequest{})
				cancel()
				if err != nil {
					t.Errorf("a call: %v", err)
					return
				}
			}
		})
	}
	for range 50 {
		holder.Use(creds)
		if err := heartbeat(t, conn); err != nil {
			t.Error(err)
		}
	}
	close(done)
	callers.Wait()
	until(t, "two connections", func() bool { return conn.Lanes() == 2 })
}

func TestDialOfNobody(t *testing.T) {
	t.Parallel()
	l := listenTCP(t)
	l.Close()
	conn, err := transport.Dial(l.Addr().String(), newCluster(t).holder(pki.RoleAgent, "db1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := heartbeat(t, conn); problem.ReasonOf(err) != transport.ReasonNoAnswer || errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

package uplink_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// dialAll serves services at their addresses and returns a client that was given
// these, in order.
func dialAll(t *testing.T, services map[string]*service, order ...string) *uplink.Client {
	t.Helper()
	listeners := map[string]*bufconn.Listener{}
	for address, s := range services {
		server, l := grpc.NewServer(transport.ServerOptions()...), bufconn.Listen(1<<20)
		pb.RegisterAgentServiceServer(server, s)
		listeners[address] = l
		var served sync.WaitGroup
		served.Go(func() { _ = server.Serve(l) })
		t.Cleanup(func() {
			server.Stop()
			served.Wait()
		})
	}
	client := uplink.New(uplink.Options{
		Agent: "a1", Addresses: order, Clock: clock.System{},
		Dialer: uplink.DialFunc(func(address string) (uplink.Conn, error) {
			return grpc.NewClient("passthrough:"+address, append(transport.DialOptions(),
				grpc.WithTransportCredentials(insecure.NewCredentials()),
				grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) {
					return listeners[address].DialContext(ctx)
				}))...)
		}),
	})
	t.Cleanup(client.Close)
	return client
}

// naming is a controller that names the leader.
func naming(leader string) func() (*pb.LocateResponse, error) {
	return func() (*pb.LocateResponse, error) {
		return &pb.LocateResponse{Controllers: []*pb.ControllerInfo{info("a", "a", leader == "a"), info("b", "b", leader == "b")}}, nil
	}
}

// A controller may be stopped in its tracks, or be cut off, without its
// connections ending.
func TestASilentControllerDoesNotHoldUpTheSearch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{})
		defer close(wake)
		stuck := &service{locate: func() (*pb.LocateResponse, error) {
			<-wake
			return nil, errSlow
		}}
		client := dialAll(t, map[string]*service{"a": stuck, "b": {locate: naming("b")}}, "a", "b")
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		from := time.Now()
		_ = client.Session(ctx, uplink.Hello{}, func(uplink.Update) { cancel() })
		if took := time.Since(from); took > time.Second {
			t.Errorf("the leader was found after %v", took)
		}
	})
}

var errSlow = problem.New(problem.Unavailable, "too late")

func TestALeaderThatSaysNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{})
		defer close(wake)
		stuck := &service{
			locate: naming("a"),
			session: func(*pb.SessionRequest, sessionStream) error {
				<-wake
				return errSlow
			},
		}
		leader := "a"
		b := &service{locate: func() (*pb.LocateResponse, error) { return naming(leader)() }}
		client := dialAll(t, map[string]*service{"a": stuck, "b": b}, "b")
		from := time.Now()
		err := client.Session(t.Context(), uplink.Hello{}, nil)
		if problem.CodeOf(err) != problem.Unavailable || time.Since(from) > 15*time.Second {
			t.Errorf("error %v after %v", err, time.Since(from))
		}
		leader = "b"
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		begun := false
		for range 4 { // "a" may be asked first and still name itself
			if err := client.Session(ctx, uplink.Hello{}, func(uplink.Update) { begun = true; cancel() }); begun {
				break
			} else if err == nil {
				t.Fatal("a session ended without an error")
			}
		}
		if !begun {
			t.Error("the other leader was not found")
		}
	})
}

func TestAHeartbeatHasItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		wake := make(chan struct{})
		defer close(wake)
		client := inSession(t, &service{heartbeat: func(*pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
			<-wake
			return nil, errSlow
		}})
		for given, want := range map[time.Duration]time.Duration{time.Second: time.Second, time.Hour: 10 * time.Second} {
			from := time.Now()
			_, err := client.Heartbeat(t.Context(), "s1", given, uplink.Pulse{})
			if took := time.Since(from); problem.CodeOf(err) != problem.Unavailable || took != want {
				t.Errorf("with %v to answer: %v after %v", given, err, took)
			}
		}
	})
}

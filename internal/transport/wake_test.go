package transport_test

import (
	"io"
	"net"
	"testing"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
)

// A connection that waits before it is tried again is tried when it is woken.
func TestWake(t *testing.T) {
	t.Parallel()
	c, s := newCluster(t), newStreams()
	n := c.start(nodeOptions{name: "c1", gate: c, register: s.register})
	door, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := door.Addr().String()
	if err := door.Close(); err != nil {
		t.Fatal(err)
	}
	conn, err := transport.Dial(address, c.holder(pki.RoleAgent, "db1"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	transport.Wake(t.Context(), conn) // before its first call there is none
	conn.ResetConnectBackoff()
	for range 12 { // the pauses between attempts grow
		transport.Wake(t.Context(), conn)
		if err := heartbeat(t, conn); problem.CodeOf(err) != problem.Unavailable {
			t.Fatalf("while nobody is there: %v", err)
		}
	}
	if door, err = net.Listen("tcp", address); err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	go forward(door, n.address)
	if err := heartbeat(t, conn); problem.CodeOf(err) != problem.Unavailable {
		t.Logf("it was tried again by itself: %v", err)
	}
	transport.Wake(t.Context(), conn)
	if err := heartbeat(t, conn); err != nil {
		t.Errorf("somebody is there: %v", err)
	}
}

// forward hands connections on to an address until the listener is closed.
func forward(l net.Listener, address string) {
	for {
		in, err := l.Accept()
		if err != nil {
			return
		}
		out, err := net.Dial("tcp", address)
		if err != nil {
			_ = in.Close()
			continue
		}
		go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
		go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
	}
}

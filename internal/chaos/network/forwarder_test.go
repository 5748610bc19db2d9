package network

import (
	"bytes"
	"context"
	"io"
	"net"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// echo is a server that says what it hears.
func echo(t *testing.T) net.Listener {
	t.Helper()
	l := listen(t)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				_, _ = io.Copy(conn, conn)
			}()
		}
	}()
	return l
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// through is a connection to the echo through a forwarder.
func through(t *testing.T, target net.Listener, delay time.Duration) (net.Conn, *Forwarder) {
	t.Helper()
	f := Forward(listen(t), func(ctx context.Context) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "tcp", target.Addr().String())
	}, delay, clock.System{})
	t.Cleanup(func() { f.Close() })
	conn, err := net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn, f
}

func TestForwardPassesAllOn(t *testing.T) {
	t.Parallel()
	conn, _ := through(t, echo(t), time.Millisecond)
	sent := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	go func() { _, _ = conn.Write(sent) }()
	got := make([]byte, len(sent))
	if _, err := io.ReadFull(conn, got); err != nil || !bytes.Equal(got, sent) {
		t.Errorf("what came back is not what was sent: %v", err)
	}
}

// A byte there and back takes no less than twice the delay.
func TestForwardIsLate(t *testing.T) {
	t.Parallel()
	const delay = 50 * time.Millisecond
	conn, _ := through(t, echo(t), delay)
	began := time.Now()
	if _, err := conn.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < 2*delay {
		t.Errorf("there and back took %v with a delay of %v", took, delay)
	}
}

func TestForwardEndsWithEitherSide(t *testing.T) {
	t.Parallel()
	far := listen(t)
	conn, f := through(t, far, 0)
	other, err := far.Accept()
	if err != nil {
		t.Fatal(err)
	}
	other.Close()
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("the far side is gone and the near side is open")
	}
	conn, err = net.Dial("tcp", f.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if other, err = far.Accept(); err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	f.Close()
	for name, c := range map[string]net.Conn{"near": conn, "far": other} {
		if _, err := c.Read(make([]byte, 1)); err == nil {
			t.Errorf("the forwarder is closed and its %s side is open", name)
		}
	}
}

func TestForwardWithNobodyThere(t *testing.T) {
	t.Parallel()
	gone := listen(t)
	gone.Close()
	conn, _ := through(t, gone, 0)
	if _, err := conn.Read(make([]byte, 1)); err == nil {
		t.Error("a connection to nobody stays open")
	}
}

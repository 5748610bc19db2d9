package network

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

func command(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// TestRealNetwork makes a network of namespaces, cuts and slows its links, and
// leaves nothing behind.
func TestRealNetwork(t *testing.T) {
	if os.Getenv("BAKTAINER_E2E") != "1" || os.Getuid() != 0 {
		t.Skip("needs root and BAKTAINER_E2E=1; run make test")
	}
	name := Name(uint64(os.Getpid()))
	n, err := New(name, []string{"c1", "c2", "a1"}, 8468, command, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := n.Down(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
		left, err := Namespaces(context.WithoutCancel(t.Context()), command)
		if err != nil || strings.Contains(fmt.Sprint(left), name) {
			t.Errorf("left over: %v, %v", left, err)
		}
	}()
	if err := n.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	ping := func(from, to string) bool { return reaches(t, n, from, to) }
	for _, pair := range [][2]string{{"c1", "c2"}, {"c2", "a1"}, {"a1", "c1"}} {
		if !ping(pair[0], pair[1]) {
			t.Errorf("%s does not reach %s", pair[0], pair[1])
		}
	}

	must(t, n.Cut(t.Context(), "c1", "c2"))
	if ping("c1", "c2") || !ping("c1", "a1") {
		t.Error("c1 is cut off from c2 alone, and that is not so")
	}
	must(t, n.Heal(t.Context()))
	if !ping("c1", "c2") {
		t.Error("healed, c1 does not reach c2")
	}

	before := n.Address("c1")
	must(t, n.Readdress(t.Context(), "c1"))
	if n.Address("c1") == before || !ping("a1", "c1") {
		t.Errorf("c1 has moved from %s to %s and is not found", before, n.Address("c1"))
	}

	const delay = 100 * time.Millisecond
	quick := exchange(t, n, "a1", "c1")
	must(t, n.Delay(t.Context(), "a1", "c1", delay))
	if slow := exchange(t, n, "a1", "c1"); slow < 2*delay || quick >= 2*delay {
		t.Errorf("there and back takes %v, and with a delay of %v it takes %v", quick, delay, slow)
	}
	if other := exchange(t, n, "a1", "c2"); other >= 2*delay {
		t.Errorf("another way is slow too: %v", other)
	}
	must(t, n.Heal(t.Context()))
	if healed := exchange(t, n, "a1", "c1"); healed >= 2*delay {
		t.Errorf("healed, there and back takes %v", healed)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// reaches says whether a connection from one node to another comes about.
func reaches(t *testing.T, n *Network, from, to string) bool {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	l, err := listenWithin(ctx, n.layout.namespace(to), netipPort(n.Address(to), 8468))
	must(t, err)
	defer l.Close()
	conn, err := dialWithin(ctx, n.layout.namespace(from), n.Address(from).String(), l.Addr().String())
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// exchange is how long a byte takes there and back, by the way that the hosts
// file of the first node tells.
func exchange(t *testing.T, n *Network, from, to string) time.Duration {
	t.Helper()
	l, err := listenWithin(t.Context(), n.layout.namespace(to), netipPort(n.Address(to), 8468))
	must(t, err)
	defer l.Close()
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		b := make([]byte, 1)
		if _, err := conn.Read(b); err == nil {
			_, _ = conn.Write(b)
		}
	}()
	script := fmt.Sprintf(`exec 3<>/dev/tcp/%s/8468; begin=$(date +%%s%%N); printf x >&3; head -c 1 <&3 >/dev/null; echo $(($(date +%%s%%N) - begin))`, to)
	out, err := command(t.Context(), append(n.Exec(from), "timeout", "10", "bash", "-c", script)...)
	must(t, err)
	var ns int64
	if _, err := fmt.Sscan(out, &ns); err != nil {
		t.Fatalf("read %q: %v", out, err)
	}
	return time.Duration(ns)
}

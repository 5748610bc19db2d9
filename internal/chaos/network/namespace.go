package network

import (
	"context"
	"fmt"
	"net"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// namespaces is where `ip netns` keeps them.
const namespaces = "/run/netns"

// within runs f on a thread that is in the network namespace. Sockets that f
// makes stay there; goroutines that it starts do not.
func within(namespace string, f func() error) error {
	result := make(chan error, 1)
	go func() {
		// The thread is not given back: one that could not return to its own
		// namespace must not carry anybody else's work.
		runtime.LockOSThread()
		result <- func() error {
			fd, err := unix.Open(filepath.Join(namespaces, namespace), unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return fmt.Errorf("open the namespace %s: %w", namespace, err)
			}
			defer func() { _ = unix.Close(fd) }() // nothing was written
			if err := unix.Setns(fd, unix.CLONE_NEWNET); err != nil {
				return fmt.Errorf("enter the namespace %s: %w", namespace, err)
			}
			return f()
		}()
	}()
	return <-result
}

// listenWithin listens in a namespace.
func listenWithin(ctx context.Context, namespace, address string) (l net.Listener, err error) {
	err = within(namespace, func() error {
		var lc net.ListenConfig
		l, err = lc.Listen(ctx, "tcp4", address)
		return err
	})
	return l, err
}

// dialWithin connects from an address of a namespace to another.
func dialWithin(ctx context.Context, namespace, from, to string) (conn net.Conn, err error) {
	err = within(namespace, func() error {
		local, err := net.ResolveTCPAddr("tcp4", net.JoinHostPort(from, "0"))
		if err != nil {
			return fmt.Errorf("read the address %s: %w", from, err)
		}
		d := net.Dialer{LocalAddr: local}
		conn, err = d.DialContext(ctx, "tcp4", to)
		return err
	})
	return conn, err
}

// Dial connects to a port of a node, from the middle of the network.
func (n *Network) Dial(ctx context.Context, node string) (net.Conn, error) {
	to := netipPort(n.Address(node), n.port)
	return dialWithin(ctx, n.layout.hub(), n.layout.host(hubHost).String(), to)
}

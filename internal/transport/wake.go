package transport

import (
	"context"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
)

// attempt bounds the wait for a connection that is tried again.
const attempt = 300 * time.Millisecond

// Wake has a connection that failed tried again at once, and waits a moment for
// it. By itself it is tried again after up to ten seconds, in which every call
// fails: whoever is back would seem away for so long.
func Wake(ctx context.Context, conn grpc.ClientConnInterface) {
	c, ok := conn.(*grpc.ClientConn)
	if lanes, of := conn.(*Conn); of {
		c = lanes.current()
		ok = c != nil
	}
	if !ok || c.GetState() != connectivity.TransientFailure {
		return
	}
	c.ResetConnectBackoff()
	ctx, cancel := context.WithTimeout(ctx, attempt)
	defer cancel()
	for _, from := range []connectivity.State{connectivity.TransientFailure, connectivity.Connecting} {
		if !c.WaitForStateChange(ctx, from) {
			return
		}
	}
}

// current is the connection that calls go over, nil before the first.
func (c *Conn) current() *grpc.ClientConn {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.now == nil {
		return nil
	}
	return c.now.ClientConn
}

// ResetConnectBackoff has the connection tried again at once, if it waits before
// its next attempt.
func (c *Conn) ResetConnectBackoff() {
	if conn := c.current(); conn != nil {
		conn.ResetConnectBackoff()
	}
}

package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Session finds the leader, opens a session there and calls on for each update,
// in order, until the session ends; the error says why it did.
func (c *Client) Session(ctx context.Context, h Hello, on func(Update)) error {
	found, err := c.locate(ctx)
	if err != nil {
		return fmt.Errorf("find the controller that leads: %w", err)
	}
	c.mu.Lock()
	at := found.seat(c.refuted)
	c.mu.Unlock()
	rpc, release, err := c.conns.take(line{address: at.address})
	if err == nil {
		defer release()
		err = c.hold(ctx, rpc, at, h, on)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil && unanswered(ctx, err) {
		c.refuted = at.address
	}
	c.at = nil
	return err
}

// hold holds a session at the controller that rpc speaks to.
func (c *Client) hold(ctx context.Context, rpc pb.AgentServiceClient, at seat, h Hello, on func(Update)) error {
	first := watch(ctx, answerLimit)
	defer first.end()
	stream, err := rpc.Session(first.ctx, &pb.SessionRequest{
		Agent: c.agent, Host: h.Host, Version: h.Version, Concurrency: int32(h.Concurrency), Held: leasesToWire(h.Held),
	})
	if err != nil {
		return fmt.Errorf("open session with the controller: %w", first.explain(err))
	}
	last := ""
	for {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return problem.New(problem.Unavailable, "the controller ended the session")
		}
		if err != nil {
			return fmt.Errorf("receive assignments: %w", first.explain(err))
		}
		complete := m.GetType() == pb.SessionResponse_TYPE_COMPLETE
		if !complete && m.GetAppliesTo() != last {
			return fmt.Errorf("receive assignments: update for %q after %q: start over", m.GetAppliesTo(), last)
		}
		last = m.GetResultsIn()
		first.rest() // from now on heartbeats tell whether anybody is there
		c.begun(at)
		c.hear(at.address, m.GetControllers(), true)
		on(c.update(ctx, m, complete))
	}
}

// begun takes note that there is a session.
func (c *Client) begun(at seat) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		c.at, c.refuted = &at, ""
	}
}

func (c *Client) update(ctx context.Context, m *pb.SessionResponse, complete bool) Update {
	u := Update{Session: m.GetSession(), Complete: complete, Cancel: leasesFromWire(m.GetCancel()), Trust: m.GetTrustVersion()}
	if l := m.GetLogs(); l != nil {
		u.Logs = &LogRequest{ID: l.GetId(), Lines: int(l.GetLines())}
	}
	for _, a := range m.GetAssign() {
		assignment, err := assignmentFromWire(a)
		if err != nil {
			// Work that we do not understand is refused to the controller, which will say
			// so to the user; it must not end the session of all the others.
			_ = c.Finish(ctx, Hold{Lease: leaseFromWire(a.GetLease())}, Outcome{Err: err})
			continue
		}
		u.Assign = append(u.Assign, assignment)
	}
	return u
}

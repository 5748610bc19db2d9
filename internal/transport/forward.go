package transport

import (
	"context"
	"errors"
	"io"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
)

// Reasons why the leader does not answer.
const (
	ReasonNoLeader  problem.Reason = "no-leader"  // there is none, or it does not answer
	ReasonNotLeader problem.Reason = "not-leader" // the controller that a call was passed on to does not lead
)

const (
	// leaderTime is how long a call waits for a leader.
	leaderTime = 5 * time.Second
	// leaderPause is until a controller is asked again that was said to lead and
	// says that it does not, or not yet.
	leaderPause = 100 * time.Millisecond
)

// Leader says who leads.
type Leader interface {
	// Leader is the address, HOST:PORT, of the controller that leads, and whether it
	// is this one, which then is ready to answer. Neither: none is known.
	Leader() (address string, self bool)
	// Changed gives a channel that is closed when that may have become another. It
	// is asked for before.
	Changed() <-chan struct{}
}

// findLeader gives a connection to the leader, nil when this controller leads.
// It waits for one until ctx ends.
func (g *Guard) findLeader(ctx context.Context, c Caller) (*Conn, string, error) {
	for {
		changed := g.Leader.Changed()
		address, self := g.Leader.Leader()
		switch {
		case self:
			return nil, "", nil
		case c.Via != "":
			// Passed on once already: not in circles.
			return nil, "", problem.New(problem.Unavailable, "the controller that the call was passed on to does not lead").WithReason(ReasonNotLeader)
		case address != "" && g.leaders != nil:
			conn, err := g.leaders.Conn(address)
			return conn, address, err
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return nil, "", noLeader(context.Cause(ctx))
		}
	}
}

func noLeader(cause error) error {
	if errors.Is(cause, context.Canceled) {
		return problem.Wrap(problem.Cancelled, cause, "wait for a controller to lead")
	}
	return problem.New(problem.Unavailable, "no controller leads at present").WithReason(ReasonNoLeader).
		WithHint("A new leader is found within seconds as long as most controllers run and reach each other; try again.")
}

// byLeader has the leader answer: here does it in this process, there over a
// connection. A controller that does not lead, contrary to what is known here,
// has done nothing: the leader is looked for again.
func (g *Guard) byLeader(ctx context.Context, c Caller, here func() error, there func(*Conn) error) error {
	wait, cancel := context.WithTimeout(ctx, g.wait)
	defer cancel()
	for {
		changed := g.Leader.Changed()
		conn, address, err := g.findLeader(wait, c)
		if err != nil {
			return err
		}
		if conn == nil {
			return here()
		}
		err = there(conn)
		if !saysNotLeader(err) {
			return explainSilence(err, address)
		}
		select {
		case <-changed:
		case <-time.After(leaderPause):
		case <-wait.Done():
			return noLeader(context.Cause(wait))
		}
	}
}

func saysNotLeader(err error) bool { return problem.ReasonOf(FromStatus(err)) == ReasonNotLeader }

// explainSilence tells a leader that did not answer from one that answered with
// an error, which is left as it is.
func explainSilence(err error, address string) error {
	if st, ok := status.FromError(err); ok && st.Code() == codes.Unavailable && len(st.Details()) == 0 {
		return problem.New(problem.Unavailable, "the leader, at %s, does not answer: %s", address, st.Message()).WithReason(ReasonNoLeader)
	}
	return err
}

func (g *Guard) unaryByLeader(ctx context.Context, c Caller, m method, name string, req proto.Message, handle grpc.UnaryHandler) (resp any, err error) {
	err = g.byLeader(ctx, c, func() (err error) {
		resp, err = handle(ctx, req)
		return err
	}, func(conn *Conn) error {
		answer, err := g.message(m.output)
		if err != nil {
			return err
		}
		resp = answer
		return conn.Invoke(passOn(ctx, c), name, req, answer)
	})
	if err != nil {
		return nil, err
	}
	return resp, nil
}

func (g *Guard) streamByLeader(c Caller, m method, srv any, ss *guardedStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
	// The only request of a call that takes one can be sent again.
	var only proto.Message
	return g.byLeader(ss.ctx, c, func() error {
		if only != nil {
			ss.first = only
		}
		return handle(srv, ss)
	}, func(conn *Conn) (err error) {
		defer func() {
			if info.IsClientStream && saysNotLeader(err) {
				err = noLeader(err) // what the caller has sent is gone
			}
		}()
		if !info.IsClientStream && only == nil {
			if only, err = g.receive(ss, m); err != nil {
				return err
			}
		}
		ctx, cancel := context.WithCancel(passOn(ss.ctx, c))
		defer cancel()
		desc := &grpc.StreamDesc{ServerStreams: info.IsServerStream, ClientStreams: info.IsClientStream}
		leader, err := conn.NewStream(ctx, desc, info.FullMethod)
		if err != nil {
			return err
		}
		if info.IsClientStream {
			go g.pumpUp(ss, leader, m, cancel)
		} else if err := errors.Join(sent(leader.SendMsg(only)), leader.CloseSend()); err != nil {
			return err
		}
		return g.pumpDown(leader, ss, m)
	})
}

// pumpUp passes on what the caller sends, one message at a time. It ends at the
// latest when the call does: nothing can be received any more.
func (g *Guard) pumpUp(from grpc.ServerStream, to grpc.ClientStream, m method, cancel context.CancelFunc) {
	for {
		msg, err := g.message(m.input)
		if err == nil {
			err = from.RecvMsg(msg)
		}
		switch {
		case err == nil:
			err = to.SendMsg(msg)
		case errors.Is(err, io.EOF):
			_ = to.CloseSend() // what is wrong with it, pumpDown hears
			return
		}
		if errors.Is(err, io.EOF) {
			return // the leader has ended the call, and pumpDown hears why
		}
		if err != nil {
			cancel()
			return
		}
	}
}

// pumpDown passes on what the leader answers, and gives the end of its answer.
func (g *Guard) pumpDown(from grpc.ClientStream, to grpc.ServerStream, m method) error {
	for {
		msg, err := g.message(m.output)
		if err != nil {
			return err
		}
		if err := from.RecvMsg(msg); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		if err := to.SendMsg(msg); err != nil {
			return err
		}
	}
}

// sent takes io.EOF for sent: why the leader ended the call is heard in its answer.
func sent(err error) error {
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

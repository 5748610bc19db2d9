package uplink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Options are what a client is made of.
type Options struct {
	Agent  string
	Dialer Dialer
	// Addresses are those that the user gave. They are always tried as well.
	Addresses []string
	// Known are controllers that were learned of before, for as long as it is not
	// known better; Remember is told whenever there are others. It may be nil.
	Known    []Controller
	Remember func([]Controller)
	Clock    clock.Clock
	// Bandwidth bounds what is sent of objects, in bytes a second; 0: it is not.
	Bandwidth int64
}

// Client speaks for one agent with all controllers of a cluster: with the one
// that leads about what there is and what is to do, with any of them about
// objects. It is safe for concurrent use.
type Client struct {
	agent string
	clock clock.Clock
	book  *book
	conns *pool
	pace  *rate.Limiter // of objects that are sent, in bytes

	mu      sync.Mutex
	at      *seat  // where the session is; nil without one
	refuted string // where a session could not be opened last
	told    told
}

// New returns a client. It connects when it first has something to say.
func New(o Options) *Client {
	pace := rate.NewLimiter(rate.Inf, 0)
	if o.Bandwidth > 0 {
		// A message is the least that is sent at once, and the most that is made up for
		// after a pause.
		pace = rate.NewLimiter(rate.Limit(o.Bandwidth), transport.DataMessage)
	}
	return &Client{
		pace:  pace,
		agent: o.Agent, clock: o.Clock, book: newBook(o.Addresses, o.Known, o.Remember), conns: newPool(o.Dialer),
	}
}

// Close ends all connections and what goes on over them.
func (c *Client) Close() { c.conns.close() }

func (c *Client) session() (seat, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.at == nil {
		return seat{}, false
	}
	return *c.at, true
}

// call makes one call to the controller at a seat, which has limit to answer.
func (c *Client) call(ctx context.Context, at seat, limit time.Duration, f func(context.Context, pb.AgentServiceClient) error) error {
	rpc, release, err := c.conns.take(line{address: at.address})
	if err != nil {
		return err
	}
	defer release()
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	return f(ctx, rpc)
}

// inSession makes one call to the controller that has the session.
func (c *Client) inSession(ctx context.Context, f func(context.Context, pb.AgentServiceClient) error) error {
	at, ok := c.session()
	if !ok {
		return problem.New(problem.Unavailable, "there is no session with a controller")
	}
	return c.call(ctx, at, answerLimit, f)
}

// Heartbeat keeps session and leases alive and reports progress. It fails when
// the controller has not answered within limit, or within ten seconds.
func (c *Client) Heartbeat(ctx context.Context, session string, limit time.Duration, p Pulse) (Beat, error) {
	req := heartbeatToWire(p, c.clock.Now())
	req.Agent, req.Session = c.agent, session
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	var resp *pb.HeartbeatResponse
	err := c.inSession(ctx, func(ctx context.Context, rpc pb.AgentServiceClient) (err error) {
		resp, err = rpc.Heartbeat(ctx, req)
		return err
	})
	if err != nil {
		return Beat{}, fmt.Errorf("send heartbeat: %w", err)
	}
	return Beat{
		Period: resp.GetPeriod().AsDuration(), Renewed: leasesFromWire(resp.GetRenewed()), Lost: leasesFromWire(resp.GetLost()),
	}, nil
}

// SendLogs answers a LogRequest.
func (c *Client) SendLogs(ctx context.Context, id string, lines []LogLine) error {
	req := &pb.SendLogsRequest{Agent: c.agent, Id: id, Logs: logsToWire(lines)}
	err := c.inSession(ctx, func(ctx context.Context, rpc pb.AgentServiceClient) error {
		_, err := rpc.SendLogs(ctx, req)
		return err
	})
	if err != nil {
		return fmt.Errorf("send the agent's log: %w", err)
	}
	return nil
}

// Finish ends a run that made no snapshot. It is told again while no leader
// answers, for as long as the lease lasts.
func (c *Client) Finish(ctx context.Context, h Hold, o Outcome) error {
	req := &pb.FinishRunRequest{
		Lease: leaseToWire(h.Lease), Cancelled: o.Cancelled, Report: texts(o.Report), Warnings: texts(o.Warnings), Logs: logsToWire(o.Logs),
	}
	if o.Err != nil {
		req.Failure = transport.ToFailure(o.Err)
	}
	if d := o.Drill; d != nil {
		req.Drill = &pb.DrillResult{
			Passed: o.Err == nil, Ready: durationpb.New(d.Ready), Restored: durationpb.New(d.Restored),
			Objects: d.Objects, Rows: d.Rows, Assertions: int32(d.Assertions), Image: d.Image,
		}
	}
	leader, pause := finder{c: c}, Backoff{Most: maxDataPause}
	for {
		at, err := leader.next(ctx)
		if over := h.over(); over != nil {
			return over
		}
		if err == nil {
			err = c.call(ctx, at, answerLimit, func(ctx context.Context, rpc pb.AgentServiceClient) error {
				_, err := rpc.FinishRun(ctx, req)
				return err
			})
			leader.failed = at.address
		}
		if err == nil {
			return nil
		}
		err = fmt.Errorf("report the end of run %s: %w", h.Run, err)
		if !unanswered(ctx, err) || pause.Wait(ctx) != nil {
			return err // when ctx has ended, the last answer tells more than that
		}
	}
}

// unanswered says whether a call failed for want of somebody to answer it, so
// that it may be made again, there or elsewhere.
func unanswered(ctx context.Context, err error) bool {
	switch problem.CodeOf(err) {
	case problem.Unavailable:
		return true
	case problem.Cancelled:
		return ctx.Err() == nil // not by us: the controller is being stopped
	}
	return false
}

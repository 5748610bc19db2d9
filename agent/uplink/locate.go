package uplink

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonNoLeader says that controllers answered and none of them knows a leader.
const ReasonNoLeader problem.Reason = "no-leader"

const (
	// answerLimit is how long the leader may take to answer a call.
	answerLimit = 10 * time.Second
	// stagger is how long one controller may take to say who leads before the next
	// is asked as well.
	stagger = 300 * time.Millisecond
)

// seat is where the leader is reached, as far as is known.
type seat struct {
	address string
	// old: it is of a version that knows of no other controllers.
	old bool
}

// clue is what one controller says of who leads.
type clue struct {
	leader string
	asked  string // the controller that said so
	old    bool
}

// seat is the leader's address; when nobody was found there, it is that of the
// controller that was asked, which passes calls on to the leader. Addresses that
// controllers have among themselves need not be good for agents.
func (c clue) seat(failed string) seat {
	if c.leader == failed {
		return seat{c.asked, c.old}
	}
	return seat{c.leader, c.old}
}

// locate asks controllers who leads, beginning with another each time, until one
// knows. One that is slow does not hold up the others.
func (c *Client) locate(ctx context.Context) (clue, error) {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	var asking sync.WaitGroup
	defer asking.Wait()
	defer cancel()
	type answer struct {
		clue
		err error
	}
	left := c.book.inTurn()
	answers := make(chan answer, len(left))
	next := time.NewTimer(0)
	defer next.Stop()
	var failure error
	for pending := 0; pending > 0 || len(left) > 0; {
		select {
		case <-next.C:
			if len(left) == 0 {
				continue
			}
			address := left[0]
			left = left[1:]
			pending++
			asking.Go(func() {
				found, err := c.ask(ctx, address)
				answers <- answer{found, err}
			})
			next.Reset(stagger)
		case a := <-answers:
			if a.err == nil {
				return a.clue, nil
			}
			pending--
			if failure == nil || problem.ReasonOf(a.err) == ReasonNoLeader {
				failure = a.err // that somebody answers tells more than that others do not
			}
			next.Reset(0)
		}
	}
	if failure == nil {
		failure = problem.New(problem.InvalidInput, "no address of a controller is known")
	}
	c.conns.hurry()
	return clue{}, failure
}

// ask asks one controller.
func (c *Client) ask(ctx context.Context, address string) (clue, error) {
	rpc, release, err := c.conns.take(line{address: address})
	if err != nil {
		return clue{}, err
	}
	defer release()
	resp, err := rpc.Locate(ctx, &pb.LocateRequest{})
	switch {
	case problem.ReasonOf(err) == transport.ReasonUnsupported:
		return clue{leader: address, asked: address, old: true}, nil
	case err != nil:
		return clue{}, fmt.Errorf("ask the controller at %s who leads: %w", address, err)
	}
	leader := c.hear(address, resp.GetControllers(), false)
	if leader == "" {
		return clue{}, problem.New(problem.Unavailable, "the controller at %s knows of no leader", address).WithReason(ReasonNoLeader)
	}
	return clue{leader: leader, asked: address}, nil
}

// hear takes in a list of controllers and gives the address of the one that
// leads. Connections to controllers that are not there any more are closed.
func (c *Client) hear(from string, list []*pb.ControllerInfo, complete bool) (leader string) {
	leader, news := c.book.hear(from, list, complete)
	if news {
		c.conns.keep(c.book.all())
	}
	return leader
}

// finder finds the leader for one call, again and again until it is made.
type finder struct {
	c      *Client
	failed string // where the last attempt was
}

// next is where to try now: where the session is, and after a failure where
// controllers say.
func (f *finder) next(ctx context.Context) (seat, error) {
	if f.failed == "" {
		if at, ok := f.c.session(); ok {
			return at, nil
		}
	}
	found, err := f.c.locate(ctx)
	if err != nil {
		return seat{}, err
	}
	return found.seat(f.failed), nil
}

package member

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Directory says which controllers there are, and which stores they reach.
type Directory interface {
	Stores() []*pb.StoreRecord
	Members() []*pb.MemberRecord
}

// PeerOptions are what a Peer is made of.
type PeerOptions struct {
	// Store is the name of the store.
	Store string
	// Self is the id of this controller, which does not ask itself.
	Self string
	View func() Directory
	// Conn gives a connection to a controller; it is kept by who gives it.
	Conn  func(id, address string) (grpc.ClientConnInterface, error)
	Clock clock.Clock
	// Patience is how long a controller may be silent before another one is asked; 0: 20 s.
	Patience time.Duration
}

// Peer is a store on another controller's disk: a store.Store over the member
// service of the controllers that reach it by themselves. They are asked in turn.
type Peer struct {
	PeerOptions
	breaker breaker
}

var _ store.Store = (*Peer)(nil)

// NewPeer returns the store.
func NewPeer(o PeerOptions) *Peer {
	if o.Patience <= 0 {
		o.Patience = 20 * time.Second
	}
	return &Peer{PeerOptions: o}
}

// controller is one that can be asked.
type controller struct {
	id, address string
}

// reachable lists the controllers that reach the store, best first.
func (p *Peer) reachable() []controller {
	view := p.View()
	members := map[string]string{}
	var ids []string
	for _, m := range view.Members() {
		if m.GetId() != p.Self {
			members[m.GetId()] = m.GetAddress()
			ids = append(ids, m.GetId())
		}
	}
	for _, s := range view.Stores() {
		// Without controllers, it was noted before controllers were: any may reach it.
		if s.GetName() == p.Store && len(s.GetControllers()) > 0 {
			ids = slices.DeleteFunc(slices.Clone(s.GetControllers()), func(id string) bool { return members[id] == "" })
		}
	}
	var list []controller
	for _, id := range p.breaker.order(ids, p.Clock.Now()) {
		list = append(list, controller{id, members[id]})
	}
	return list
}

// try asks the controllers in turn until one has an answer.
func (p *Peer) try(ctx context.Context, verb, name string, ask func(*call) error) error {
	var failed []error
	for _, c := range p.reachable() {
		if ctx.Err() != nil {
			break
		}
		err := p.ask(ctx, c, verb, name, ask)
		if err == nil || settled(err) {
			return err
		}
		failed = append(failed, fmt.Errorf("%s: %w", c.id, err))
	}
	return p.unreached(ctx, verb, name, failed)
}

// ask asks one controller, and notes whether it answers.
func (p *Peer) ask(ctx context.Context, c controller, verb, name string, ask func(*call) error) error {
	conn, err := p.Conn(c.id, c.address)
	if err == nil {
		transport.Wake(ctx, conn)
		with := begin(ctx, pb.NewMemberServiceClient(conn), p.Patience)
		err = with.why(ask(with))
		with.end()
	}
	if err == nil {
		p.breaker.note(c.id, true, p.Clock)
		return nil
	}
	err = fromWire(ctx, verb, name, err)
	if ctx.Err() == nil {
		p.breaker.note(c.id, !unanswered(err), p.Clock)
	}
	return err
}

// unreached says why nobody did what was asked.
func (p *Peer) unreached(ctx context.Context, verb, name string, failed []error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", verb, name, context.Cause(ctx))
	}
	for _, err := range failed {
		if !unanswered(err) {
			return err // an answer, if no good one
		}
	}
	un := problem.New(problem.Unavailable, "%s %s: no controller that reaches the store %s answers", verb, name, p.Store).WithReason(ReasonUnreached).
		WithHint("`baktainer cluster members` shows which controllers reach it, and how they are.")
	for _, err := range failed {
		un = un.WithDetails(err.Error())
	}
	return un
}

// Describe implements store.Store.
func (p *Peer) Describe() string {
	var ids []string
	for _, c := range p.reachable() {
		ids = append(ids, c.id)
	}
	slices.Sort(ids)
	if len(ids) == 0 {
		return "peer:" + p.Store
	}
	return "peer:" + p.Store + " on " + strings.Join(ids, ", ")
}

// Stat implements store.Store.
func (p *Peer) Stat(ctx context.Context, name string) (info store.Info, err error) {
	if err := store.CheckName(name); err != nil {
		return info, err
	}
	err = p.try(ctx, "stat", name, func(c *call) error {
		resp, err := c.StatObject(c.ctx, &pb.StatObjectRequest{Store: p.Store, Name: name})
		info = fromInfo(resp.GetInfo())
		return err
	})
	if err != nil {
		return store.Info{}, err
	}
	return info, nil
}

// Delete implements store.Store.
func (p *Peer) Delete(ctx context.Context, name string) error {
	if err := store.CheckName(name); err != nil {
		return err
	}
	return p.try(ctx, "delete", name, func(c *call) error {
		_, err := c.DeleteObject(c.ctx, &pb.DeleteObjectRequest{Store: p.Store, Name: name})
		return err
	})
}

// Space implements store.Store.
func (p *Peer) Space(ctx context.Context) (free, total int64, ok bool, err error) {
	err = p.try(ctx, "look for space in", p.Store, func(c *call) error {
		resp, err := c.GetSpace(c.ctx, &pb.GetSpaceRequest{Store: p.Store})
		free, total, ok = resp.GetFreeBytes(), resp.GetTotalBytes(), resp.GetKnown()
		return err
	})
	return free, total, ok, err
}

// List implements store.Store. When a controller fails in the middle, the next one
// goes on behind the last name that fn was called for.
func (p *Peer) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	last := ""
	var refused error // fn's
	err := p.try(ctx, "list", prefix, func(c *call) error {
		stream, err := c.ListObjects(c.ctx, &pb.ListObjectsRequest{Store: p.Store, Prefix: prefix})
		if err != nil {
			return err
		}
		for {
			page, err := heard(c, 1, stream.Recv)
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			for _, o := range page.GetObjects() {
				if o.GetName() <= last {
					continue
				}
				last = o.GetName()
				if refused = fn(fromInfo(o)); refused != nil {
					return nil
				}
			}
		}
	})
	if refused != nil {
		return refused
	}
	return err
}

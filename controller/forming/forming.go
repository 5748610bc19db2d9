// Package forming is how a controller that starts comes to a cluster: it goes on
// with the one that it is of, makes one, or is taken in by one that there is.
package forming

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Options are what a controller has when it starts.
type Options struct {
	// ID and Address, HOST:PORT, are those under which the others know it.
	ID, Address, Version string
	// Kept is what its data folder remembers.
	Kept consensus.Kept
	// Join are the controllers to ask, HOST:PORT or dns+NAME:PORT; none: it makes a
	// cluster of its own. Expect is how many make a cluster together, 1 or 0: they do not.
	Join   []string
	Expect int
	// Token gives the token to come in with.
	Token func() (pki.Token, error)
	// Hosts are those at which others reach it.
	Hosts []string
	// Port is where it is met, Holder who it is, Keeper where its certificate is
	// kept: nil with certificates of a user's own authority.
	Port   *transport.Port
	Holder *transport.Holder
	Keeper *transport.Keeper
	Peers  *transport.Peers
	// WantsKey says that it has no key of the repository.
	WantsKey bool
	Clock    clock.Clock
	Logger   *slog.Logger
}

// Outcome is how the controller comes to its cluster.
type Outcome struct {
	// Make: it makes the cluster. Else it is of Cluster, or goes on with what it has.
	Make    bool
	Cluster string
	// KeyFile is a key of the repository for this controller alone, when it wanted one.
	KeyFile []byte
}

// Pauses between two attempts.
const (
	firstPause = 200 * time.Millisecond
	mostPause  = 2 * time.Second
	loudPause  = 2 * time.Second // from here on failures are told as warnings
)

// Come finds out how the controller comes to its cluster, and has itself taken
// in where there is one. It tries until it succeeds, ctx ends, or somebody
// refuses for good.
func Come(ctx context.Context, o Options) (Outcome, error) {
	switch {
	case o.Kept.State:
		return Outcome{Cluster: o.Kept.Cluster}, o.again(ctx)
	case len(o.Join) == 0:
		return Outcome{Make: true}, nil
	}
	token, err := o.token()
	if err != nil {
		return Outcome{}, err
	}
	if o.Expect > 1 {
		make, err := o.meet(ctx, token)
		if err != nil || make {
			return Outcome{Make: make}, err
		}
	}
	return o.join(ctx, token)
}

// again gets a controller that has been a member before a new certificate, when
// its own does not count any more and a token says that it may have one.
func (o Options) again(ctx context.Context) error {
	if o.Keeper == nil || o.valid() || len(o.Join) == 0 {
		return nil
	}
	token, err := o.Token()
	if err != nil || token.Unpinned() {
		o.Logger.Warn("this controller has no certificate that counts; a token in --join-token-file gets it one", "error", err)
		return nil
	}
	return o.persist(ctx, "enrol again", func(address string) error { return o.enrol(ctx, address, token) })
}

// valid says whether there is a certificate that counts.
func (o Options) valid() bool {
	held := o.Keeper.Held()
	return held != nil && o.Clock.Now().Before(held.Leaf().NotAfter)
}

func (o Options) enrol(ctx context.Context, address string, token pki.Token) error {
	c, _, err := transport.Enrol(ctx, address, transport.Enrolment{
		Token: token, Role: pb.Role_ROLE_CONTROLLER, Name: o.ID, Hosts: o.Hosts, Clock: o.Clock,
	})
	if err != nil {
		return err
	}
	return o.Keeper.Adopt(c)
}

// token reads the token, which is not needed where there is a certificate and
// nobody to be met.
func (o Options) token() (pki.Token, error) {
	enrolled := o.Keeper == nil || o.valid()
	if enrolled && o.Expect <= 1 {
		return pki.Token{}, nil
	}
	token, err := o.Token()
	if err != nil {
		return token, fmt.Errorf("read the token to join with: %w", err)
	}
	if o.Expect > 1 && !token.Unpinned() {
		return token, problem.New(problem.InvalidInput, "controllers that make a cluster together need a token that no cluster has made yet").
			WithHint("`baktainer token generate` makes one: give all of them the same. To join a cluster that there is, leave --bootstrap-expect out.")
	}
	return token, nil
}

// join has the controller taken in.
func (o Options) join(ctx context.Context, token pki.Token) (out Outcome, err error) {
	err = o.persist(ctx, "join the cluster", func(address string) error {
		if o.Keeper != nil && !o.valid() {
			if err := o.enrol(ctx, address, token); err != nil {
				return err
			}
		}
		resp, err := o.ask(ctx, address, o.WantsKey)
		if err != nil {
			return err
		}
		out = Outcome{Cluster: resp.GetCluster(), KeyFile: resp.GetKeyFile()}
		return nil
	})
	return out, err
}

// leader is what Announce asks of the node.
type leader interface {
	LeaderAddress() string
	IsLeader() bool
	LeaderChanged() <-chan struct{}
}

// Announce tells the cluster where the controller is reached now: addresses
// change while a controller is away. It tries until that is done, or ctx ends.
func Announce(ctx context.Context, o Options, node leader) {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		changed := node.LeaderChanged()
		if node.IsLeader() {
			return // the leader corrects what is said of itself
		}
		if address := node.LeaderAddress(); address != "" {
			_, err := o.ask(ctx, address, false)
			if err == nil {
				return
			}
			o.Logger.Debug("not announced yet", "leader", address, "error", err)
		}
		again := time.NewTimer(pause)
		select {
		case <-changed:
		case <-again.C:
		case <-ctx.Done():
		}
		again.Stop()
		if ctx.Err() != nil {
			return
		}
	}
}

func (o Options) ask(ctx context.Context, address string, wantsKey bool) (*pb.JoinResponse, error) {
	conn, err := o.Peers.Conn(address)
	if err != nil {
		return nil, err
	}
	return pb.NewMemberServiceClient(conn).Join(ctx, &pb.JoinRequest{
		Id: o.ID, Address: o.Address, Version: o.Version, WantsKey: wantsKey, Cluster: o.Kept.Cluster,
		CommandVersion: state.CommandVersion,
	})
}

// persist tries one address after the other until one works.
func (o Options) persist(ctx context.Context, what string, try func(address string) error) error {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		addresses, err := o.others(ctx)
		if err == nil {
			err = problem.New(problem.Unavailable, "none of the names in --join leads anywhere yet")
		}
		for _, address := range addresses {
			if err = try(address); err == nil {
				return nil
			}
			if final(err) {
				return fmt.Errorf("%s: %w", what, err)
			}
		}
		level := slog.LevelDebug
		if pause >= loudPause {
			level = slog.LevelWarn
		}
		o.Logger.Log(ctx, level, "not in the cluster yet", "trying", addresses, "error", err)
		if clock.Sleep(ctx, pause) != nil {
			return fmt.Errorf("%s: %w", what, errors.Join(ctx.Err(), err))
		}
	}
}

// final says that trying again would not help.
func final(err error) bool {
	switch problem.CodeOf(err) {
	case problem.Denied, problem.InvalidInput, problem.Conflict:
		return true
	}
	return false
}

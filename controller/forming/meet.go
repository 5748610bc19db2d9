package forming

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	meetEvery = 300 * time.Millisecond
	meetTime  = 3 * time.Second // for one meeting
	stopTime  = 2 * time.Second
)

// meeting answers controllers that start at the same time.
type meeting struct {
	pb.UnimplementedIdentityServiceServer
	mu sync.Mutex
	me *pb.Meeting
}

func (m *meeting) now() *pb.Meeting {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.me
}

// Meet implements the identity service. The proof was checked before.
func (m *meeting) Meet(context.Context, *pb.MeetRequest) (*pb.MeetResponse, error) {
	return &pb.MeetResponse{Meeting: m.now()}, nil
}

// meet finds the others that start, and says whether this one is to make the
// cluster: it has met as many as are expected, each of them has met as many too,
// none of them has a cluster, and none of them has a lower id.
func (o Options) meet(ctx context.Context, token pki.Token) (make bool, err error) {
	if o.Keeper != nil && !o.valid() {
		if err := o.Holder.UseTemporary(); err != nil {
			return false, err
		}
	}
	m := &meeting{me: &pb.Meeting{Id: o.ID, Address: o.Address, Expect: int32(o.Expect), Met: []string{o.ID}}}
	guard := transport.NewGuard(transport.GuardOptions{Clock: o.Clock, Secret: token.Secret})
	server := grpc.NewServer(append(guard.ServerOptions(), o.Port.Credentials())...)
	pb.RegisterIdentityServiceServer(server, m)
	if err := transport.CheckAccess(server); err != nil {
		return false, err
	}
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(o.Port.GRPC()) }) // ends when it is told to stop
	defer func() {
		stop, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTime)
		defer cancel()
		transport.Stop(stop, server)
		serving.Wait()
		err = errors.Join(err, guard.Close())
	}()
	o.Logger.Info("waiting for the others that make the cluster", "expect", o.Expect, "node", o.ID)
	known := map[string]*pb.Meeting{}
	for {
		if err := o.look(ctx, token, m, known); err != nil {
			return false, err
		}
		switch decide(m.now(), known) {
		case makeCluster:
			o.Logger.Info("this controller makes the cluster", "met", slices.Sorted(maps.Keys(known)))
			return true, nil
		case joinCluster:
			return false, nil
		}
		if err := clock.Sleep(ctx, meetEvery); err != nil {
			return false, fmt.Errorf("wait for the other controllers: %w", err)
		}
	}
}

// look meets whom it can.
func (o Options) look(ctx context.Context, token pki.Token, m *meeting, known map[string]*pb.Meeting) error {
	addresses, err := o.others(ctx)
	if err != nil {
		o.Logger.Debug("names of other controllers lead nowhere yet", "error", err)
	}
	for _, address := range addresses {
		one, cancel := context.WithTimeout(ctx, meetTime)
		them, err := transport.Meet(one, address, token, m.now(), o.Clock)
		cancel()
		switch {
		case problem.ReasonOf(err) == transport.ReasonWrongSecret, problem.CodeOf(err) == problem.InvalidInput:
			return fmt.Errorf("meet the controller at %s: %w", address, err)
		case err != nil:
			o.Logger.Debug("a controller is not there yet", "address", address, "error", err)
			continue
		case them.GetId() == o.ID && them.GetAddress() != o.Address:
			return problem.New(problem.Conflict, "the controller at %s has the name %s, too", them.GetAddress(), o.ID).
				WithHint("Give each controller a name of its own with --name.")
		case them.GetId() == o.ID:
			continue
		case int(them.GetExpect()) != o.Expect && them.GetCluster() == "":
			o.Logger.Warn("controllers expect different numbers: give all of them the same --bootstrap-expect", "node", them.GetId(), "expects", them.GetExpect(), "here", o.Expect)
			continue
		}
		known[them.GetId()] = them
	}
	me := &pb.Meeting{Id: o.ID, Address: o.Address, Expect: int32(o.Expect), Met: append(slices.Sorted(maps.Keys(known)), o.ID)}
	m.mu.Lock()
	m.me = me
	m.mu.Unlock()
	return nil
}

type decision int

const (
	wait decision = iota
	makeCluster
	joinCluster
)

// decide says what to do with what is known of the others.
func decide(me *pb.Meeting, known map[string]*pb.Meeting) decision {
	for _, them := range known {
		if them.GetCluster() != "" {
			return joinCluster
		}
	}
	expect := int(me.GetExpect())
	if len(known)+1 < expect {
		return wait
	}
	lowest := me.GetId()
	for id, them := range known {
		if len(them.GetMet()) < expect || !slices.Contains(them.GetMet(), me.GetId()) {
			return wait
		}
		lowest = min(lowest, id)
	}
	if lowest == me.GetId() {
		return makeCluster
	}
	return wait // until that one has made it
}

// others gives the addresses in Join, names looked up where that is asked for.
func (o Options) others(ctx context.Context) (addresses []string, err error) {
	for _, a := range o.Join {
		name, look := strings.CutPrefix(a, config.LookUp)
		if !look {
			addresses = append(addresses, a)
			continue
		}
		host, port, cut := net.SplitHostPort(name)
		if cut != nil {
			return nil, problem.Wrap(problem.InvalidInput, cut, "look up %s", a)
		}
		found, failed := net.DefaultResolver.LookupHost(ctx, host)
		if failed != nil {
			err = errors.Join(err, failed)
		}
		for _, ip := range found {
			addresses = append(addresses, net.JoinHostPort(ip, port))
		}
	}
	return addresses, err
}

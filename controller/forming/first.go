package forming

import (
	"context"
	"fmt"

	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// First gets the controller that has made the cluster a certificate, by itself. It
// tries until that is done, or ctx ends: there is no authority at first.
func First(ctx context.Context, o Options, authority *identity.Service) {
	for pause := firstPause; ; pause = min(2*pause, mostPause) {
		err := o.first(ctx, authority)
		if err == nil || ctx.Err() != nil {
			return
		}
		o.Logger.Debug("no certificate yet", "error", err)
		if clock.Sleep(ctx, pause) != nil {
			return
		}
	}
}

func (o Options) first(ctx context.Context, authority *identity.Service) error {
	if o.valid() {
		return nil
	}
	key, err := pki.NewKey()
	if err != nil {
		return err
	}
	request, err := pki.Request(key)
	if err != nil {
		return err
	}
	issued, err := authority.EnrolSelf(ctx, request, o.ID, o.Hosts)
	if err != nil {
		return err
	}
	trust := issued.GetTrust()
	c, err := pki.NewCredentials(key, issued.GetChain(), trust.GetRoots(), trust.GetCluster(), trust.GetVersion(), o.Clock.Now())
	if err != nil {
		return fmt.Errorf("take the first certificate: %w", err)
	}
	return o.Keeper.Adopt(c)
}

// Forward has another controller commit commands.
func Forward(peers *transport.Peers) func(ctx context.Context, address string, command []byte) (uint64, error) {
	return func(ctx context.Context, address string, command []byte) (uint64, error) {
		conn, err := peers.Conn(address)
		if err != nil {
			return 0, err
		}
		resp, err := pb.NewMemberServiceClient(conn).Propose(ctx, &pb.ProposeRequest{Command: command})
		return resp.GetIndex(), err
	}
}

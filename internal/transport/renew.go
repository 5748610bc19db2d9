package transport

import (
	"context"
	"errors"

	"google.golang.org/grpc"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// RenewThrough renews at the first of the controllers that does it. where gives
// connections, and the addresses to try in their order.
func RenewThrough(where func() (*Peers, []string)) Renewer { return renewer(where) }

type renewer func() (*Peers, []string)

// Renew implements Renewer.
func (r renewer) Renew(ctx context.Context, in *pb.RenewRequest, opts ...grpc.CallOption) (*pb.RenewResponse, error) {
	peers, addresses := r()
	var failed error
	for _, address := range addresses {
		conn, err := peers.Conn(address)
		if err == nil {
			var resp *pb.RenewResponse
			if resp, err = pb.NewIdentityServiceClient(conn).Renew(ctx, in, opts...); err == nil {
				return resp, nil
			}
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

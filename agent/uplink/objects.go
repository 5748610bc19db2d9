package uplink

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// maxReceipts bounds the receipts in one commit, in bytes, so that its message
// stays within what the wire takes. Objects without one, which takes more than a
// terabyte of new data, are read again by the controller.
const maxReceipts = transport.MaxMessage * 3 / 4

// Objects stores and reads the packs and manifests that a lease gives access
// to, and commits what they make. It implements repo.Sink and repo.ObjectReader.
//
// What it does it does at one controller for as long as that answers, else at
// the next: an object that was not acknowledged is sent there as a whole, a read
// goes on there where it was. While nobody answers it tries again, until ctx or
// the lease ends.
type Objects struct {
	client *Client
	hold   Hold
	route  route

	mu       sync.Mutex
	receipts []*pb.Receipt
}

// Objects returns the access that the lease gives. It begins at the controllers
// with these ids, in this order; log hears when it has to go to another.
func (c *Client) Objects(h Hold, controllers []string, log *slog.Logger) *Objects {
	return &Objects{client: c, hold: h, route: route{
		places: func() []place { return c.book.places(controllers) }, hurry: c.conns.hurry, over: h.over, log: log,
	}}
}

// HandOvers is how often it had to go to another controller.
func (o *Objects) HandOvers() int { return o.route.handOvers() }

// Put stores an object and returns when it is durable.
func (o *Objects) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	return o.route.travel(ctx, nil, func(p place, patience time.Duration) error {
		receipt, err := o.put(ctx, p, patience, name, data, sum)
		if err != nil {
			return fmt.Errorf("send %s: %w", name, err)
		}
		o.route.moved(len(data))
		if receipt != nil {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.receipts = append(o.receipts, receipt)
		}
		return nil
	})
}

func (o *Objects) put(ctx context.Context, p place, patience time.Duration, name string, data []byte, sum ledger.Hash) (*pb.Receipt, error) {
	rpc, release, err := o.client.conns.take(line{p.address, true})
	if err != nil {
		return nil, err
	}
	defer release()
	call := watch(ctx, patience)
	defer call.end() // frees the stream when we leave early
	stream, err := rpc.UploadObject(call.ctx)
	if err != nil {
		return nil, call.explain(err)
	}
	part := &pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Header{Header: &pb.ObjectHeader{
		Lease: leaseToWire(o.hold.Lease), Name: name, Size: int64(len(data)), Sha256: sum[:],
	}}}
	for rest := data; ; {
		if err := o.hold.over(); err != nil {
			return nil, err
		}
		if err := stream.Send(part); errors.Is(err, io.EOF) {
			break // the controller has answered already: CloseAndRecv tells what
		} else if err != nil {
			return nil, call.explain(err)
		}
		call.moved()
		if len(rest) == 0 {
			break
		}
		n := min(transport.DataMessage, len(rest))
		call.rest() // it is us who hold back
		if err := o.client.pace.WaitN(ctx, n); err != nil {
			<-ctx.Done() // it does not begin to wait when a deadline comes first: then that is to tell
			return nil, err
		}
		call.moved()
		part = &pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: rest[:n]}}
		rest = rest[n:]
	}
	resp, err := stream.CloseAndRecv()
	return resp.GetReceipt(), call.explain(err)
}

// Commit makes the snapshot exist. It is asked again while nobody answers, since
// it is not known then whether it was heard.
func (o *Objects) Commit(ctx context.Context, s Snapshot, logs []LogLine) error {
	req := &pb.CommitSnapshotRequest{
		Lease: leaseToWire(o.hold.Lease), Snapshot: snapshotToWire(s), Logs: logsToWire(logs), Receipts: o.shown(),
	}
	return o.route.travel(ctx, nil, func(p place, _ time.Duration) error {
		rpc, release, err := o.client.conns.take(line{p.address, true})
		if err != nil {
			return err
		}
		defer release()
		// There is no telling how long it may take: what has no receipt is read again.
		if _, err := rpc.CommitSnapshot(ctx, req); err != nil {
			return fmt.Errorf("commit snapshot: %w", err)
		}
		return nil
	})
}

// shown are the receipts to show with the commit.
func (o *Objects) shown() []*pb.Receipt {
	o.mu.Lock()
	defer o.mu.Unlock()
	size := 0
	for i, r := range o.receipts {
		if size += proto.Size(r) + 4; size > maxReceipts {
			return o.receipts[:i:i]
		}
	}
	return o.receipts
}

package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Objects stores and reads the packs and manifests that a lease gives access
// to. It implements repo.Sink and repo.ObjectReader.
type Objects struct {
	client *Client
	lease  Lease
}

// Objects returns the access that the lease gives.
func (c *Client) Objects(lease Lease) *Objects { return &Objects{client: c, lease: lease} }

// Put stores an object and returns when it is durable. While no controller
// answers it tries again, until ctx ends: an object is the unit that is kept
// here until it is acknowledged, so a controller may die in the middle of one.
func (o *Objects) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	return retry(ctx, func() error {
		if err := o.put(ctx, name, data, sum); err != nil {
			return fmt.Errorf("send %s: %w", name, err)
		}
		return nil
	})
}

func (o *Objects) put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // frees the stream when we leave early
	stream, err := o.client.rpc.UploadObject(ctx)
	if err != nil {
		return err
	}
	parts := []*pb.UploadObjectRequest{{Part: &pb.UploadObjectRequest_Header{Header: &pb.ObjectHeader{
		Lease: leaseToWire(o.lease), Name: name, Size: int64(len(data)), Sha256: sum[:],
	}}}}
	for rest := data; len(rest) > 0; {
		n := min(transport.DataMessage, len(rest))
		parts = append(parts, &pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: rest[:n]}})
		rest = rest[n:]
	}
	for _, p := range parts {
		if err := stream.Send(p); errors.Is(err, io.EOF) {
			break // the controller has answered already: CloseAndRecv tells what
		} else if err != nil {
			return err
		}
	}
	_, err = stream.CloseAndRecv()
	return err
}

// Get reads part of an object.
func (o *Objects) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := o.client.rpc.ReadObject(ctx, &pb.ReadObjectRequest{
		Lease: leaseToWire(o.lease), Name: name, Offset: offset, Length: length,
	})
	if err != nil {
		cancel()
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return &objectReader{name: name, recv: transport.Again[pb.ReadObjectResponse](stream), cancel: cancel}, nil
}

type objectReader struct {
	name   string
	recv   func() (*pb.ReadObjectResponse, error)
	cancel context.CancelFunc
	part   bytes.Reader
}

func (r *objectReader) Read(p []byte) (int, error) {
	for r.part.Len() == 0 {
		m, err := r.recv()
		if errors.Is(err, io.EOF) {
			return 0, io.EOF
		}
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", r.name, err)
		}
		r.part.Reset(m.GetData())
	}
	return r.part.Read(p)
}

func (r *objectReader) Close() error {
	r.cancel()
	return nil
}

// retry calls f until it succeeds, ctx ends, or it fails for another reason
// than that nobody answered.
func retry(ctx context.Context, f func() error) error {
	for {
		err := f()
		if err == nil || problem.CodeOf(err) != problem.Unavailable {
			return err
		}
		if clock.Sleep(ctx, retryPause) != nil {
			return err // the last answer tells more than "context cancelled"
		}
	}
}

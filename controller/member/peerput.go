package member

import (
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// durably is how many times the usual patience the acknowledgement of an object may
// take: all of it may still have to get to the disk.
const durably = 6

// Put implements store.Store. Of the object no more than one message is in memory.
// Until more than that was read from r another controller can be asked; after
// that a failure is a problem Unavailable, and the object has to be sent again.
func (p *Peer) Put(ctx context.Context, name string, r io.Reader) (info store.Info, err error) {
	if err := store.CheckName(name); err != nil {
		return info, err
	}
	if ctx.Err() != nil {
		return info, fmt.Errorf("put %s: %w", name, context.Cause(ctx))
	}
	u := &upload{store: p.Store, name: name, rest: r}
	if u.first, u.whole, err = fill(r); err != nil {
		return info, fmt.Errorf("put %s: %w", name, err)
	}
	err = p.try(ctx, "put", name, u.send)
	switch {
	case u.broken != nil:
		return info, fmt.Errorf("put %s: %w", name, u.broken)
	case err != nil:
		return info, err
	case u.stored.GetExists():
		return info, fmt.Errorf("put %s: %w", name, store.ErrExists)
	}
	return fromInfo(u.stored.GetInfo()), nil
}

// upload is one object on its way.
type upload struct {
	store, name string
	first       []byte
	whole       bool // first is all
	rest        io.Reader
	begun       bool  // rest has been read from
	broken      error // rest's
	stored      *pb.PutObjectResponse
}

func (u *upload) send(c *call) error {
	err := transport.FromStatus(u.sendTo(c))
	if err == nil || !u.begun || settled(err) {
		return err
	}
	return problem.Wrap(problem.Unavailable, err, "an object was cut short on its way to another controller").WithReason(ReasonCut)
}

func (u *upload) sendTo(c *call) error {
	stream, err := c.PutObject(c.ctx)
	if err != nil {
		return err
	}
	size := int64(0)
	m := &pb.PutObjectRequest{Store: u.store, Name: u.name, Data: u.first, Last: u.whole}
	for {
		size += int64(len(m.GetData()))
		err := u.part(c, stream, m)
		if errors.Is(err, io.EOF) {
			break // it has answered already: CloseAndRecv tells what
		}
		if err != nil {
			return err
		}
		if m.GetLast() {
			break
		}
		u.begun = true
		m = &pb.PutObjectRequest{}
		if m.Data, m.Last, u.broken = fill(u.rest); u.broken != nil {
			return nil // the end of the call tells the other end to drop what it has
		}
	}
	u.stored, err = heard(c, durably, stream.CloseAndRecv)
	if err != nil {
		return err
	}
	if got := u.stored.GetInfo().GetSize(); !u.stored.GetExists() && got != size {
		return problem.New(problem.Internal, "%d bytes were sent of %s, and %d were stored", size, u.name, got)
	}
	return nil
}

func (u *upload) part(c *call, stream grpc.ClientStreamingClient[pb.PutObjectRequest, pb.PutObjectResponse], m *pb.PutObjectRequest) error {
	_, err := heard(c, 1, func() (struct{}, error) { return struct{}{}, stream.Send(m) })
	return err
}

// fill reads a message's worth of bytes. The buffer is a new one each time: gRPC may
// still hold the last one.
func fill(r io.Reader) (data []byte, all bool, err error) {
	data = make([]byte, transport.DataMessage)
	n := 0
	for n < len(data) {
		m, err := r.Read(data[n:])
		n += m
		if err == io.EOF { // itself: an object cut short may come as an error that wraps it
			return data[:n], true, nil
		}
		if err != nil {
			return nil, false, err
		}
	}
	return data, false, nil
}

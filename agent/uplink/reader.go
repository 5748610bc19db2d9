package uplink

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Get reads part of an object. When the controller that it is read from does not
// answer any more, the reader goes on at another where it was.
func (o *Objects) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	return &objectReader{o: o, ctx: ctx, name: name, offset: offset, left: length}, nil
}

type objectReader struct {
	o      *Objects
	ctx    context.Context
	name   string
	offset int64
	left   int64 // -1: to the end
	part   bytes.Reader
	ended  bool
	from   *source // nil: it is not being read
}

// source is an object that is being read at one place.
type source struct {
	place   place
	call    *watchdog
	recv    func() (*pb.ReadObjectResponse, error)
	release func()
}

// Read implements io.Reader.
func (r *objectReader) Read(p []byte) (int, error) {
	for r.part.Len() == 0 {
		if r.ended {
			return 0, io.EOF
		}
		data, err := r.next()
		if errors.Is(err, io.EOF) {
			r.ended = true
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read %s: %w", r.name, err)
		}
		r.offset += int64(len(data))
		if r.left > 0 {
			r.left = max(0, r.left-int64(len(data)))
		}
		r.part.Reset(data)
	}
	return r.part.Read(p)
}

// next gives the bytes that follow.
func (r *objectReader) next() ([]byte, error) {
	var failed []place
	if r.from != nil {
		data, err := r.from.next()
		if err == nil || !unanswered(r.ctx, err) {
			return data, err
		}
		if r.left == 0 {
			return nil, io.EOF // only the end of the call is missing
		}
		failed = []place{r.from.place}
		r.leave()
	}
	var data []byte
	err := r.o.route.travel(r.ctx, failed, func(p place, patience time.Duration) (err error) {
		if err := r.open(p, patience); err != nil {
			return err
		}
		if data, err = r.from.next(); err != nil && unanswered(r.ctx, err) {
			r.leave()
		}
		if errors.Is(err, io.EOF) {
			r.ended = true // an empty rest
			return nil
		}
		return err
	})
	return data, err
}

// open begins to read at a place.
func (r *objectReader) open(p place, patience time.Duration) error {
	rpc, release, err := r.o.client.conns.take(line{p.address, true})
	if err != nil {
		return err
	}
	call := watch(r.ctx, patience)
	stream, err := rpc.ReadObject(call.ctx, &pb.ReadObjectRequest{
		Lease: leaseToWire(r.o.hold.Lease), Name: r.name, Offset: r.offset, Length: r.left,
	})
	if err != nil {
		err = call.explain(err)
		call.end()
		release()
		return err
	}
	r.from = &source{p, call, transport.Again[pb.ReadObjectResponse](stream), release}
	return nil
}

// next gives the bytes that follow. Only while they are waited for is it the
// controller who is slow: between calls it is whoever reads.
func (s *source) next() ([]byte, error) {
	s.call.moved()
	m, err := s.recv()
	s.call.rest()
	return m.GetData(), s.call.explain(err)
}

func (r *objectReader) leave() {
	if r.from != nil {
		r.from.call.end()
		r.from.release()
		r.from = nil
	}
}

// Close ends the reading.
func (r *objectReader) Close() error {
	r.leave()
	return nil
}

package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Get implements store.Store. When the controller that sends the object fails in
// the middle, another one goes on where it was: objects never change.
func (p *Peer) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := store.CheckName(name); err != nil {
		return nil, err
	}
	r := &peerReader{peer: p, ctx: ctx, name: name, at: offset, left: length}
	if err := r.open(); err != nil {
		return nil, err
	}
	return r, nil
}

// peerReader reads one object.
type peerReader struct {
	peer *Peer
	ctx  context.Context // of Get: Read has no other way to it
	name string
	at   int64
	left int64 // -1: to the end

	from  controller
	call  *call
	next  func() (*pb.GetObjectResponse, error)
	part  bytes.Reader
	ended error // io.EOF when all was read
}

// open asks for what is left of the object, and waits for the first of it.
func (r *peerReader) open() error {
	var failed []error
	ask := r.peer.reachable()
	if at := slices.Index(ask, r.from); at >= 0 { // the one that failed is asked last
		ask = append(slices.Delete(ask, at, at+1), r.from)
	}
	for _, c := range ask {
		if r.ctx.Err() != nil {
			break
		}
		err := r.openAt(c)
		if err == nil || settled(err) {
			return err
		}
		failed = append(failed, fmt.Errorf("%s: %w", c.id, err))
	}
	return r.peer.unreached(r.ctx, "get", r.name, failed)
}

func (r *peerReader) openAt(c controller) error {
	r.from = c
	conn, err := r.peer.Conn(c.id, c.address)
	if err != nil {
		return r.failed(err)
	}
	r.call = begin(r.ctx, pb.NewMemberServiceClient(conn), r.peer.Patience)
	stream, err := r.call.GetObject(r.call.ctx, &pb.GetObjectRequest{Store: r.peer.Store, Name: r.name, Offset: r.at, Length: r.left})
	if err != nil {
		err = r.call.why(err)
		r.call.end()
		return r.failed(err)
	}
	r.next = stream.Recv
	return r.receive()
}

// receive waits for the next part. The end of the object is no error, but kept.
func (r *peerReader) receive() error {
	m, err := heard(r.call, 1, r.next)
	data := m.GetData()
	switch {
	case errors.Is(err, io.EOF) && r.left <= 0:
		r.call.end()
		r.ended = io.EOF
		r.peer.breaker.note(r.from.id, true, r.peer.Clock)
		return nil
	case errors.Is(err, io.EOF):
		err = problem.New(problem.Corrupt, "it ended %d bytes too early", r.left)
	case err == nil && r.left >= 0 && int64(len(data)) > r.left:
		err = problem.New(problem.Corrupt, "%d bytes came where %d were left", len(data), r.left)
	}
	if err != nil {
		r.call.end()
		return r.failed(err)
	}
	r.peer.breaker.note(r.from.id, true, r.peer.Clock)
	r.at += int64(len(data))
	if r.left >= 0 {
		r.left -= int64(len(data))
	}
	r.part.Reset(data)
	return nil
}

// failed notes what came of asking a controller.
func (r *peerReader) failed(err error) error {
	err = fromWire(r.ctx, "get", r.name, err)
	if r.ctx.Err() == nil {
		r.peer.breaker.note(r.from.id, !unanswered(err), r.peer.Clock)
	}
	return err
}

// Read implements io.Reader.
func (r *peerReader) Read(p []byte) (int, error) {
	for r.part.Len() == 0 {
		if r.ended != nil {
			return 0, r.ended
		}
		err := r.receive()
		if err != nil && !settled(err) && r.ctx.Err() == nil {
			err = r.open() // which came a byte further, or to the end
		}
		if err != nil {
			r.ended = err
		}
	}
	return r.part.Read(p)
}

// Close implements io.Closer.
func (r *peerReader) Close() error {
	r.call.end()
	r.part.Reset(nil)
	r.ended = fs.ErrClosed
	return nil
}

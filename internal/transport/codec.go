package transport

import (
	"encoding/binary"
	"sync"

	"google.golang.org/grpc/encoding"
	protocodec "google.golang.org/grpc/encoding/proto"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// codec is gRPC's own for protobuf, and puts the same bytes on the wire, but for
// large messages it spares most of what that one does: it clears a megabyte for
// every one before it copies half of one into it, at both ends, and copies what
// arrives twice. Without, a gigabyte costs more than twice as much CPU.
//
// A message is the sender's again once it is sent. A message that is received into
// again gives up the bytes that it had.
type codec struct{ encoding.CodecV2 }

func newCodec() codec { return codec{encoding.GetCodecV2(protocodec.Name)} }

// Again gives what receives from a stream into one message again and again: what
// it gave before is no more.
func Again[M any](stream interface{ RecvMsg(m any) error }) func() (*M, error) {
	m := new(M)
	return func() (*M, error) {
		if err := stream.RecvMsg(m); err != nil {
			return nil, err //nolint:wrapcheck // as Recv does
		}
		return m, nil
	}
}

// large is the size of messages, in bytes, from which on it matters.
const large = 32 << 10

// Marshal implements encoding.CodecV2.
func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	m, ok := v.(proto.Message)
	if !ok {
		return c.CodecV2.Marshal(v)
	}
	size := proto.Size(m)
	if size < large {
		return c.CodecV2.Marshal(v)
	}
	buf := messages.Get(size)
	b, err := proto.MarshalOptions{UseCachedSize: true}.MarshalAppend((*buf)[:0], m)
	if err != nil {
		messages.Put(buf)
		return nil, err //nolint:wrapcheck // gRPC does
	}
	*buf = b
	return mem.BufferSlice{mem.NewBuffer(buf, messages)}, nil
}

// Unmarshal implements encoding.CodecV2.
func (c codec) Unmarshal(data mem.BufferSlice, v any) error {
	if data.Len() < large || !takeBytes(data, v) {
		return c.CodecV2.Unmarshal(data, v)
	}
	return nil
}

// takeBytes copies what arrived into a message that is nothing but bytes of a dump
// or of an object, and says whether it is one.
func takeBytes(data mem.BufferSlice, v any) bool {
	switch m := v.(type) {
	case *pb.DumpSnapshotResponse:
		b, ok := onlyField(data, 1, m.GetData())
		if ok {
			m.Reset()
			m.Data = b
		}
		return ok
	case *pb.ReadObjectResponse:
		b, ok := onlyField(data, 1, m.GetData())
		if ok {
			m.Reset()
			m.Data = b
		}
		return ok
	case *pb.UploadObjectRequest:
		b, ok := onlyField(data, 2, m.GetData())
		if ok {
			m.Reset()
			m.Part = &pb.UploadObjectRequest_Data{Data: b}
		}
		return ok
	}
	return false
}

// onlyField copies the bytes of a field, into dst's memory if that is large
// enough, when the field is all that there is.
func onlyField(data mem.BufferSlice, field protowire.Number, dst []byte) ([]byte, bool) {
	if len(data) == 0 {
		return nil, false
	}
	front := data[0].ReadOnlyData() // mostly an HTTP/2 frame; one that is too short for tag and size goes the long way
	tag, n := binary.Uvarint(front)
	if n <= 0 || tag != protowire.EncodeTag(field, protowire.BytesType) {
		return nil, false
	}
	size, k := binary.Uvarint(front[n:])
	if n += k; k <= 0 || uint64(data.Len()-n) != size {
		return nil, false
	}
	if dst = dst[:0]; uint64(cap(dst)) < size {
		dst = make([]byte, 0, size)
	}
	for i, b := range data {
		p := b.ReadOnlyData()
		if i == 0 {
			p = p[n:]
		}
		dst = append(dst, p...)
	}
	return dst, true
}

// pool keeps memory for messages with DataMessage bytes of data. It does not
// clear it: all of it is written before it is read.
type pool struct{ free sync.Pool }

const messageRoom = DataMessage + 64 // the data and what goes around them

var messages = &pool{}

// Get implements mem.BufferPool.
func (p *pool) Get(n int) *[]byte {
	if n <= messageRoom {
		if b, ok := p.free.Get().(*[]byte); ok {
			*b = (*b)[:n]
			return b
		}
	}
	b := make([]byte, n, max(n, messageRoom))
	return &b
}

// Put implements mem.BufferPool.
func (p *pool) Put(b *[]byte) {
	if cap(*b) == messageRoom {
		p.free.Put(b)
	}
}

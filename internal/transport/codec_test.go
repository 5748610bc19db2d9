package transport

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/proto"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)}).Read(b)
	return b
}

// messagesOf gives messages of all shapes, with about n bytes of data.
func messagesOf(n int) []proto.Message {
	b := noise(uint64(n), n)
	odd := &pb.DumpSnapshotResponse{Data: b}
	odd.ProtoReflect().SetUnknown([]byte{0x7a, 0x03, 'n', 'e', 'w'}) // field 15, of a newer version
	return []proto.Message{
		&pb.DumpSnapshotResponse{Data: b},
		&pb.ReadObjectResponse{Data: b},
		&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: b}},
		&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Header{Header: &pb.ObjectHeader{Name: "x", Sha256: b}}},
		&pb.UploadObjectRequest{},
		odd,
		&pb.ListSnapshotsResponse{Snapshots: []*pb.Snapshot{{Id: strings.Repeat("i", n/2)}, {Source: strings.Repeat("s", n/2)}}},
	}
}

var messageSizes = []int{0, 1, 127, 128, large - 20, large - 4, large - 3, large, large + 1, DataMessage - 1, DataMessage, messageRoom - 4, messageRoom, messageRoom + 1, 3 << 20}

// The bytes on the wire are protobuf's, also in memory that was used before, and
// they stay what they are when the sender goes on with his own.
func TestMessagesAreMarshalledAsProtobufDoes(t *testing.T) {
	t.Parallel()
	c := newCodec()
	for range 2 {
		for _, n := range messageSizes {
			for _, m := range messagesOf(n) {
				want, err := proto.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				got, err := c.Marshal(m)
				if err != nil {
					t.Fatal(err)
				}
				switch m := m.(type) {
				case *pb.DumpSnapshotResponse:
					clear(m.GetData())
				case *pb.UploadObjectRequest:
					clear(m.GetData())
				}
				if !bytes.Equal(got.Materialize(), want) {
					t.Errorf("%T, %d bytes: others than protobuf's", m, n)
				}
				got.Free()
			}
		}
	}
	if _, err := c.Marshal("no message"); err == nil {
		t.Error("a string was marshalled")
	}
	if _, err := c.Marshal(&pb.ListSnapshotsResponse{Snapshots: []*pb.Snapshot{{Id: strings.Repeat("\xff", large)}}}); err == nil {
		t.Error("what is no UTF-8 was marshalled")
	}
	if c.Name() != "proto" {
		t.Errorf("it is named %s", c.Name())
	}
}

// parts cuts b into buffers as they come from the network.
func parts(r *rand.Rand, b []byte) (s mem.BufferSlice) {
	for len(b) > 0 {
		n := min(len(b), 1+r.IntN(1+r.IntN(32<<10)))
		s = append(s, mem.SliceBuffer(b[:n]))
		b = b[n:]
	}
	return s
}

// What arrives is what protobuf makes of it, whatever was in the message before.
func TestMessagesAreUnmarshalledAsProtobufDoes(t *testing.T) {
	t.Parallel()
	c, r := newCodec(), rand.New(rand.NewPCG(1, 2))
	used := map[string]proto.Message{} // received into again and again
	for _, n := range messageSizes {
		for _, m := range messagesOf(n) {
			b, err := proto.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			name := string(m.ProtoReflect().Descriptor().Name())
			if used[name] == nil {
				used[name] = m.ProtoReflect().New().Interface()
			}
			for _, got := range []proto.Message{m.ProtoReflect().New().Interface(), used[name]} {
				if err := c.Unmarshal(parts(r, b), got); err != nil || !proto.Equal(got, m) {
					t.Errorf("%s, %d bytes: another message, %v", name, n, err)
				}
			}
			if err := c.Unmarshal(parts(r, b[:max(len(b), 1)-1]), used[name]); len(b) > 0 && err == nil {
				t.Errorf("%s, %d bytes: cut short, and taken", name, n)
			}
		}
	}
}

// Memory is used again where it may be.
func TestReceivingIntoAMessageAgain(t *testing.T) {
	t.Parallel()
	c, r := newCodec(), rand.New(rand.NewPCG(1, 2))
	m := &pb.DumpSnapshotResponse{}
	receive := func(n int) []byte {
		b, _ := proto.Marshal(&pb.DumpSnapshotResponse{Data: noise(1, n)})
		if err := c.Unmarshal(parts(r, b), m); err != nil || !bytes.Equal(m.GetData(), noise(1, n)) {
			t.Fatalf("%d bytes: %d, %v", n, len(m.GetData()), err)
		}
		return m.GetData()
	}
	first := receive(DataMessage)
	if again := receive(DataMessage / 2); &again[0] != &first[0] {
		t.Error("the memory was not used again")
	}
	if more := receive(DataMessage + 1); &more[0] == &first[0] {
		t.Error("there was not as much memory")
	}
}

// dumps sends dumps, each part in the same memory.
type dumps struct {
	pb.UnimplementedAdminServiceServer
}

func (dumps) DumpSnapshot(req *pb.DumpSnapshotRequest, s grpc.ServerStreamingServer[pb.DumpSnapshotResponse]) error {
	part := make([]byte, DataMessage)
	for i := range 40 {
		n := copy(part, noise(uint64(i), DataMessage-i))
		if err := s.Send(&pb.DumpSnapshotResponse{Data: part[:n]}); err != nil {
			return err
		}
	}
	return nil
}

// Many streams at once share the memory without getting in each other's way, when
// one of them ends early too.
func TestLargeMessagesCross(t *testing.T) {
	path := filepath.Join(t.TempDir(), "b.sock")
	l, err := ListenUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(ServerOptions()...)
	pb.RegisterAdminServiceServer(server, dumps{})
	var wg sync.WaitGroup
	wg.Go(func() { _ = server.Serve(l) })
	conn, err := DialUnix(path)
	if err != nil {
		t.Fatal(err)
	}
	defer wg.Wait()
	defer server.Stop()
	defer conn.Close()
	want := sha256.New()
	for i := range 40 {
		want.Write(noise(uint64(i), DataMessage-i))
	}
	var streams sync.WaitGroup
	for i := range 6 {
		streams.Go(func() {
			got, n, err := receiveAll(t, pb.NewAdminServiceClient(conn), i%3 == 2)
			if err != nil || i%3 != 2 && !bytes.Equal(got, want.Sum(nil)) {
				t.Errorf("stream %d: %d messages, another dump, %v", i, n, err)
			}
		})
	}
	streams.Wait()
}

func receiveAll(t *testing.T, c pb.AdminServiceClient, early bool) (sum []byte, n int, err error) {
	stream, err := c.DumpSnapshot(t.Context(), &pb.DumpSnapshotRequest{})
	if err != nil {
		return nil, 0, err
	}
	h, m := sha256.New(), &pb.DumpSnapshotResponse{}
	for ; !early || n < 3; n++ {
		if err := stream.RecvMsg(m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, n, fmt.Errorf("message %d: %w", n, err)
		}
		h.Write(m.GetData())
	}
	return h.Sum(nil), n, nil
}

// Whatever arrives, in whatever parts: what is taken the short way is what
// protobuf makes of it.
func FuzzTakeBytes(f *testing.F) {
	for _, m := range messagesOf(300) {
		b, _ := proto.Marshal(m)
		f.Add(b, uint64(1))
	}
	f.Add([]byte{0x0a, 0x80, 0x00}, uint64(2))                 // a size that is longer than it need be
	f.Add([]byte{0x8a, 0x00, 0x01, 'x'}, uint64(2))            // a tag of that kind
	f.Add([]byte{0x0a, 0x01, 'x', 0x0a, 0x01, 'y'}, uint64(3)) // twice
	f.Add(append([]byte{0x0a}, bytes.Repeat([]byte{0xff}, 10)...), uint64(4))
	f.Fuzz(func(t *testing.T, b []byte, seed uint64) {
		r := rand.New(rand.NewPCG(seed, 0))
		for _, m := range []proto.Message{&pb.DumpSnapshotResponse{}, &pb.ReadObjectResponse{}, &pb.UploadObjectRequest{}, &pb.GetRunRequest{}} {
			want := m.ProtoReflect().New().Interface()
			err := proto.Unmarshal(b, want)
			if taken := takeBytes(parts(r, b), m); taken && (err != nil || !proto.Equal(m, want)) {
				t.Errorf("%x: took %v, protobuf %v (%v)", b, m, want, err)
			} else if !taken && proto.Size(m) > 0 {
				t.Errorf("%x: not taken, and left %v", b, m)
			}
		}
	})
}

package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// message is the most bytes of an object that one message has.
const message = 256 << 10

// Snapshot is one whose objects are stored, and that waits for its commit.
type Snapshot struct {
	Wire     *pb.Snapshot
	Receipts []*pb.Receipt
}

// Store writes a snapshot of one stream with the bytes of data, as the
// assignment demands, through the client.
func Store(ctx context.Context, client pb.AgentServiceClient, a *pb.Assignment, data []byte) (Snapshot, error) {
	key, err := repo.NewSourceKey(a.GetSourceKey(), a.GetKeyGeneration())
	if err != nil {
		return Snapshot{}, fmt.Errorf("read the key of %s: %w", a.GetSource(), err)
	}
	sink := &sink{client: client, lease: a.GetLease()}
	w, err := repo.NewWriter(ctx, repo.WriterOptions{
		Source: a.GetSource(), Snapshot: a.GetBackup().GetSnapshot(), Key: key, Compress: source.CompressFast, Workers: 1,
	}, sink)
	if err != nil {
		return Snapshot{}, err
	}
	defer w.Abort() // does nothing after Finish
	stream, err := w.Stream(repo.StreamMeta{Name: "simulated", Kind: "file", Format: "raw"})
	if err != nil {
		return Snapshot{}, fmt.Errorf("begin a stream: %w", err)
	}
	if _, err := stream.Write(data); err != nil {
		return Snapshot{}, fmt.Errorf("write a stream: %w", err)
	}
	if _, err := stream.Close(repo.Contents{}); err != nil {
		return Snapshot{}, fmt.Errorf("end a stream: %w", err)
	}
	sum, err := w.Finish(ctx)
	if err != nil {
		return Snapshot{}, fmt.Errorf("store a snapshot: %w", err)
	}
	s := &pb.Snapshot{
		Id: a.GetBackup().GetSnapshot(), Source: a.GetSource(), Engine: "simulated", Server: "none",
		FireTime: a.GetBackup().GetFireTime(), StartedAt: timestamppb.New(a.GetBackup().GetFireTime().AsTime()),
		RawBytes: sum.RawBytes, NewBytes: sum.NewBytes, ManifestSha256: sum.Manifest[:], ManifestSize: sum.ManifestSize, Root: sum.Root[:],
	}
	for _, st := range sum.Streams {
		s.Streams = append(s.Streams, &pb.Stream{Name: st.Name, Kind: st.Kind, Format: st.Format, Size: st.Size, Sha256: st.SHA256[:]})
	}
	return Snapshot{Wire: s, Receipts: sink.receipts}, nil
}

// sink sends objects to a controller.
type sink struct {
	client pb.AgentServiceClient
	lease  *pb.Lease

	mu       sync.Mutex
	receipts []*pb.Receipt
}

// Put implements repo.Sink.
func (s *sink) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel() // frees the stream when we leave early
	stream, err := s.client.UploadObject(ctx)
	if err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	parts := []*pb.UploadObjectRequest{{Part: &pb.UploadObjectRequest_Header{Header: &pb.ObjectHeader{
		Lease: s.lease, Name: name, Size: int64(len(data)), Sha256: sum[:],
	}}}}
	for rest := data; len(rest) > 0; {
		n := min(message, len(rest))
		parts = append(parts, &pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: rest[:n]}})
		rest = rest[n:]
	}
	for _, p := range parts {
		if err := stream.Send(p); errors.Is(err, io.EOF) {
			break // the answer is there already
		} else if err != nil {
			return fmt.Errorf("send %s: %w", name, err)
		}
	}
	resp, err := stream.CloseAndRecv()
	if err != nil {
		return fmt.Errorf("send %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if r := resp.GetReceipt(); r != nil {
		s.receipts = append(s.receipts, r)
	}
	return nil
}

// Commit asks for a snapshot to exist.
func (s Snapshot) Commit(ctx context.Context, client pb.AgentServiceClient, lease *pb.Lease) error {
	_, err := client.CommitSnapshot(ctx, &pb.CommitSnapshotRequest{Lease: lease, Snapshot: s.Wire, Receipts: s.Receipts})
	if err != nil {
		return fmt.Errorf("commit a snapshot: %w", err)
	}
	return nil
}

package api

import (
	"context"
	"errors"
	"io"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// progressEvery is how often the progress of a verification is told.
const progressEvery = 200 * time.Millisecond

// ListSnapshots implements the admin service.
func (s *Server) ListSnapshots(_ context.Context, req *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error) {
	view := s.Node.View()
	list := view.Snapshots
	if req.GetForgotten() {
		list = view.Forgotten
	}
	found := list(req.GetSource(), limit(req.GetLimit(), defaultSnapshots, maxSnapshots))
	if len(found) == 0 && req.GetSource() != "" {
		if _, err := findSource(view, req.GetSource()); err != nil {
			return nil, err
		}
	}
	return &pb.ListSnapshotsResponse{Snapshots: found}, nil
}

// GetSnapshot implements the admin service.
func (s *Server) GetSnapshot(_ context.Context, req *pb.GetSnapshotRequest) (*pb.GetSnapshotResponse, error) {
	found, err := s.snapshot(req.GetSnapshot())
	return &pb.GetSnapshotResponse{Snapshot: found}, err
}

func (s *Server) snapshot(ref string) (*pb.Snapshot, error) {
	view := s.Node.View()
	found, err := view.FindSnapshot(ref)
	if name, ok := strings.CutSuffix(ref, "@latest"); ok && err != nil {
		if _, unknown := findSource(view, name); unknown != nil {
			return nil, unknown
		}
	}
	return found, err
}

// VerifySnapshot implements the admin service.
func (s *Server) VerifySnapshot(req *pb.VerifySnapshotRequest, stream grpc.ServerStreamingServer[pb.VerifySnapshotResponse]) error {
	var list []*pb.Snapshot
	for _, ref := range append([]string{req.GetSnapshot()}, req.GetMore()...) {
		found, err := s.snapshot(ref)
		if err != nil {
			return err
		}
		list = append(list, found)
	}
	var told time.Time
	var broken error
	err := s.Verifier.Snapshots(stream.Context(), list, func(done, total int64) {
		if now := s.Clock.Now(); broken == nil && now.Sub(told) >= progressEvery {
			told = now
			broken = stream.Send(&pb.VerifySnapshotResponse{BytesDone: done, BytesTotal: total})
		}
	}, func(found *pb.Snapshot, report *pb.VerifyReport) error {
		bytes := report.GetStoredBytes()
		return stream.Send(&pb.VerifySnapshotResponse{BytesDone: bytes, BytesTotal: bytes, Report: report, Snapshot: found.GetId()})
	})
	return errors.Join(err, broken)
}

// DumpSnapshot implements the admin service.
func (s *Server) DumpSnapshot(req *pb.DumpSnapshotRequest, stream grpc.ServerStreamingServer[pb.DumpSnapshotResponse]) error {
	found, err := s.snapshot(req.GetSnapshot())
	if err != nil {
		return err
	}
	ctx := stream.Context()
	if len(req.GetTables()) > 0 {
		return s.dumpTables(ctx, found, req, stream)
	}
	name, err := choose(found, req.GetSelect())
	if err != nil {
		return err
	}
	snapshot, err := s.open(ctx, found)
	if err != nil {
		return err
	}
	dump, err := snapshot.Open(ctx, name)
	if err != nil {
		return err
	}
	defer dump.Close()
	_, err = io.Copy(sender{stream}, dump)
	return err
}

// dumpTables sends a dump of single tables.
func (s *Server) dumpTables(ctx context.Context, found *pb.Snapshot, req *pb.DumpSnapshotRequest, to grpc.ServerStreamingServer[pb.DumpSnapshotResponse]) error {
	var chosen []string
	if req.GetSelect() != "" {
		chosen = []string{req.GetSelect()}
	}
	if err := checkSelection(found, chosen); err != nil {
		return err
	}
	snapshot, err := s.open(ctx, found)
	if err != nil {
		return err
	}
	stream, part, err := repo.FindPart(snapshot.Streams(), chosen, req.GetTables())
	if err != nil {
		return err
	}
	dump, err := snapshot.OpenSections(ctx, stream.Name, part.Sections)
	if err != nil {
		return err
	}
	defer dump.Close()
	if err := to.Send(&pb.DumpSnapshotResponse{Size: part.Bytes}); err != nil {
		return err
	}
	_, err = io.Copy(sender{to}, dump)
	return err
}

// open reads and checks the manifest of a snapshot.
func (s *Server) open(ctx context.Context, found *pb.Snapshot) (*repo.Snapshot, error) {
	entry, err := state.EntryOf(found)
	if err != nil {
		return nil, problem.Wrap(problem.Corrupt, err, "read the ledger entry of snapshot %s", found.GetId())
	}
	return s.Repo.OpenSnapshot(ctx, s.Store, repo.Ref{
		Source: entry.Source, Snapshot: entry.Snapshot, Manifest: entry.Manifest, Size: entry.ManifestSize,
	})
}

// contentsPart is how many objects a message of GetContents has at most: with
// the longest of names they stay within what a message may have.
const contentsPart = 500

// GetContents implements the admin service.
func (s *Server) GetContents(req *pb.GetContentsRequest, stream grpc.ServerStreamingServer[pb.GetContentsResponse]) error {
	found, err := s.snapshot(req.GetSnapshot())
	if err != nil {
		return err
	}
	snapshot, err := s.open(stream.Context(), found)
	if err != nil {
		return err
	}
	for _, info := range snapshot.Streams() {
		part := &pb.GetContentsResponse{Stream: info.Name}
		for _, n := range info.Contents.Notes {
			part.Notes = append(part.Notes, text(n))
		}
		for _, o := range info.Contents.Objects {
			if len(part.Objects) == contentsPart {
				if err := stream.Send(part); err != nil {
					return err
				}
				part = &pb.GetContentsResponse{Stream: info.Name}
			}
			part.Objects = append(part.Objects, &pb.ContentsObject{Kind: text(o.Kind), Name: text(o.Name), Rows: o.Rows, Bytes: o.Bytes()})
		}
		if err := stream.Send(part); err != nil {
			return err
		}
	}
	return nil
}

// text is what a database calls something, as the wire takes it.
func text(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// sender sends what is written to it.
type sender struct {
	stream grpc.ServerStreamingServer[pb.DumpSnapshotResponse]
}

// Write implements io.Writer.
func (s sender) Write(p []byte) (n int, err error) {
	for n < len(p) {
		part := p[n:min(len(p), n+transport.DataMessage)]
		if err := s.stream.Send(&pb.DumpSnapshotResponse{Data: part}); err != nil {
			return n, err
		}
		n += len(part)
	}
	return n, nil
}

// choose returns the name of the stream that is meant by its name or database.
func choose(snapshot *pb.Snapshot, selected string) (string, error) {
	streams := snapshot.GetStreams()
	if selected == "" {
		if len(streams) == 1 {
			return streams[0].GetName(), nil
		}
		var names []string
		for _, st := range streams {
			names = append(names, st.GetName())
		}
		return "", problem.New(problem.InvalidInput, "snapshot %s has %d streams", snapshot.GetId(), len(streams)).
			WithHint("Choose one of: %s.", strings.Join(names, ", "))
	}
	if err := checkSelection(snapshot, []string{selected}); err != nil {
		return "", err
	}
	for _, st := range streams {
		if st.GetName() == selected {
			return selected, nil
		}
	}
	for _, st := range streams {
		if st.GetDatabase() == selected {
			return st.GetName(), nil
		}
	}
	return "", problem.New(problem.NotFound, "snapshot %s has no stream %q", snapshot.GetId(), selected)
}

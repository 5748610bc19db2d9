package member

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// maxObject bounds an object that is taken in, in bytes. The largest that there
	// are, manifests, may have half of it.
	maxObject = 1 << 30
	// listPage is how many objects one message of a listing has at most.
	listPage = 500
)

// PutObject implements the member service.
func (s *Service) PutObject(stream grpc.ClientStreamingServer[pb.PutObjectRequest, pb.PutObjectResponse]) error {
	first, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("receive the name of an object: %w", err)
	}
	st, err := s.object(first.GetStore(), first.GetName())
	if err != nil {
		return err
	}
	body := &received{recv: stream.Recv, last: first.GetLast(), left: maxObject}
	if err := body.take(first.GetData()); err != nil {
		return err
	}
	info, err := st.Put(stream.Context(), first.GetName(), body)
	exists := errors.Is(err, store.ErrExists)
	if exists {
		info, err = st.Stat(stream.Context(), first.GetName())
	}
	if err != nil {
		return toWire(err)
	}
	if err := stream.SendAndClose(&pb.PutObjectResponse{Exists: exists, Info: toInfo(info)}); err != nil {
		return fmt.Errorf("acknowledge %s: %w", first.GetName(), err)
	}
	return nil
}

// object gives the store on this controller's disk, when the name is one that an
// object may have.
func (s *Service) object(storeName, name string) (store.Store, error) {
	if err := store.CheckName(name); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "check the name of an object").WithReason(ReasonObjectName)
	}
	return s.local(storeName)
}

func (s *Service) local(name string) (store.Store, error) {
	if st := s.Local(name); st != nil {
		return st, nil
	}
	return nil, problem.New(problem.NotFound, "this controller does not reach the store %.40q by itself", name).WithReason(ReasonNotHere)
}

// received reads the bytes of an object. It ends with io.EOF only after a message
// that says it was the last, so that a store never makes a cut object visible.
type received struct {
	recv func() (*pb.PutObjectRequest, error)
	last bool
	left int64
	part bytes.Reader
}

func (r *received) take(data []byte) error {
	if int64(len(data)) > r.left {
		return problem.New(problem.InvalidInput, "the object has more than %d bytes", maxObject)
	}
	r.left -= int64(len(data))
	r.part.Reset(data)
	return nil
}

func (r *received) Read(p []byte) (int, error) {
	for r.part.Len() == 0 {
		if r.last {
			return 0, io.EOF
		}
		m, err := r.recv()
		if errors.Is(err, io.EOF) {
			return 0, problem.New(problem.Unavailable, "the object was cut short on its way").WithReason(ReasonCut)
		}
		if err != nil {
			return 0, fmt.Errorf("receive an object: %w", err)
		}
		if r.last = m.GetLast(); !r.last && len(m.GetData()) == 0 {
			return 0, problem.New(problem.InvalidInput, "a part of the object is empty")
		}
		if err := r.take(m.GetData()); err != nil {
			return 0, err
		}
	}
	return r.part.Read(p)
}

// GetObject implements the member service.
func (s *Service) GetObject(req *pb.GetObjectRequest, stream grpc.ServerStreamingServer[pb.GetObjectResponse]) error {
	st, err := s.object(req.GetStore(), req.GetName())
	if err != nil {
		return err
	}
	rc, err := st.Get(stream.Context(), req.GetName(), req.GetOffset(), req.GetLength())
	if err != nil {
		return toWire(err)
	}
	defer rc.Close()
	for {
		// A buffer for each message: gRPC may still hold the last one.
		buf := make([]byte, transport.DataMessage)
		n, err := rc.Read(buf)
		if n > 0 {
			if err := stream.Send(&pb.GetObjectResponse{Data: buf[:n]}); err != nil {
				return fmt.Errorf("send %s: %w", req.GetName(), err)
			}
		}
		switch {
		case err == io.EOF: // itself: an object cut short may come as an error that wraps it
			return nil
		case err != nil:
			return toWire(fmt.Errorf("read %s: %w", req.GetName(), err))
		}
	}
}

// StatObject implements the member service.
func (s *Service) StatObject(ctx context.Context, req *pb.StatObjectRequest) (*pb.StatObjectResponse, error) {
	st, err := s.object(req.GetStore(), req.GetName())
	if err != nil {
		return nil, err
	}
	info, err := st.Stat(ctx, req.GetName())
	if err != nil {
		return nil, toWire(err)
	}
	return &pb.StatObjectResponse{Info: toInfo(info)}, nil
}

// ListObjects implements the member service.
func (s *Service) ListObjects(req *pb.ListObjectsRequest, stream grpc.ServerStreamingServer[pb.ListObjectsResponse]) error {
	st, err := s.local(req.GetStore())
	if err != nil {
		return err
	}
	page := &pb.ListObjectsResponse{}
	send := func() error {
		if len(page.GetObjects()) == 0 {
			return nil
		}
		full := page
		page = &pb.ListObjectsResponse{}
		return stream.Send(full)
	}
	err = st.List(stream.Context(), req.GetPrefix(), func(i store.Info) error {
		page.Objects = append(page.Objects, toInfo(i))
		if len(page.GetObjects()) < listPage {
			return nil
		}
		return send()
	})
	if err != nil {
		return toWire(err)
	}
	return send()
}

// DeleteObject implements the member service.
func (s *Service) DeleteObject(ctx context.Context, req *pb.DeleteObjectRequest) (*pb.DeleteObjectResponse, error) {
	st, err := s.object(req.GetStore(), req.GetName())
	if err != nil {
		return nil, err
	}
	if err := st.Delete(ctx, req.GetName()); err != nil {
		return nil, toWire(err)
	}
	return &pb.DeleteObjectResponse{}, nil
}

// GetSpace implements the member service.
func (s *Service) GetSpace(ctx context.Context, req *pb.GetSpaceRequest) (*pb.GetSpaceResponse, error) {
	st, err := s.local(req.GetStore())
	if err != nil {
		return nil, err
	}
	free, total, known, err := st.Space(ctx)
	if err != nil {
		return nil, toWire(err)
	}
	return &pb.GetSpaceResponse{Known: known, FreeBytes: free, TotalBytes: total}, nil
}

func toInfo(i store.Info) *pb.ObjectInfo {
	return &pb.ObjectInfo{Name: i.Name, Size: i.Size, ModifiedAt: timestamppb.New(i.Modified)}
}

func fromInfo(i *pb.ObjectInfo) store.Info {
	return store.Info{Name: i.GetName(), Size: i.GetSize(), Modified: i.GetModifiedAt().AsTime()}
}

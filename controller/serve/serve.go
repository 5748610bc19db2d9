// Package serve lets an agent read the objects of the one source that its lease
// is for: the base of a backup, the snapshot of a restore.
package serve

import (
	"errors"
	"fmt"
	"io"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Serve reads objects for agents.
type Serve struct {
	lease.Check
	Store store.Store
}

// ReadObject sends a range of a manifest or pack.
func (s *Serve) ReadObject(req *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	run, err := s.Held(stream.Context(), req.GetLease())
	if err != nil {
		return err
	}
	if err := mayRead(s.View(), run, req.GetName()); err != nil {
		return err
	}
	rc, err := s.Store.Get(stream.Context(), req.GetName(), req.GetOffset(), req.GetLength())
	if errors.Is(err, store.ErrNotExist) {
		return problem.New(problem.NotFound, "%s is not in the store", req.GetName()).WithReason(repo.ReasonMissingObject)
	}
	if errors.Is(err, store.ErrRange) {
		// The manifest says that the object has these bytes: it was cut since.
		return problem.Wrap(problem.Corrupt, err, "read %s", req.GetName())
	}
	if err != nil {
		return fmt.Errorf("read %s: %w", req.GetName(), err)
	}
	defer rc.Close()
	buf := make([]byte, transport.DataMessage)
	for {
		n, err := rc.Read(buf)
		if err := s.Still(req.GetLease()); err != nil {
			return err
		}
		if n > 0 {
			if serr := stream.Send(&pb.ReadObjectResponse{Data: buf[:n]}); serr != nil {
				return fmt.Errorf("send %s: %w", req.GetName(), serr)
			}
		}
		switch {
		case err == io.EOF: // itself: an object cut short may come as an error that wraps it
			return nil
		case err != nil:
			return fmt.Errorf("read %s: %w", req.GetName(), err)
		}
	}
}

// mayRead says whether the run may read the object: it must be a pack or
// manifest of the source whose data the run handles.
func mayRead(view *state.View, run *pb.Run, object string) error {
	name, err := repo.ParseName(object)
	if err != nil {
		return problem.Wrap(problem.InvalidInput, err, "check the name of an object")
	}
	source := run.GetSource()
	if id := state.Reads(run); id != "" {
		snapshot, ok := view.Snapshot(id)
		if !ok {
			return problem.New(problem.NotFound, "there is no snapshot %q", id)
		}
		source = snapshot.GetSource()
	}
	if name.Source != source || name.Kind != repo.KindPack && name.Kind != repo.KindManifest {
		return problem.New(problem.Denied, "run %s is for source %s: it may not read %s", run.GetId(), source, object)
	}
	return nil
}

package api

import (
	"context"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// checkRestore says all that is wrong with a request for a restore, or gives it
// back with the snapshot's whole id in it.
func (s *Server) checkRestore(ctx context.Context, req *pb.RestoreRequest) (*pb.RestoreRequest, *pb.Snapshot, error) {
	view := s.Node.View()
	var wrong []error
	snapshot, err := s.findSnapshot(view, req.GetSnapshot())
	if err != nil {
		wrong = append(wrong, err)
	} else if err := checkSelection(snapshot, req.GetSelect()); err != nil {
		wrong = append(wrong, err)
	} else if err := s.checkTables(ctx, snapshot, req); err != nil {
		wrong = append(wrong, err)
	}
	if req.GetAs() != "" {
		if err := engine.CheckNewName(req.GetAs()); err != nil {
			wrong = append(wrong, err)
		}
	}
	if err := s.checkTarget(req, snapshot); err != nil {
		wrong = append(wrong, err)
	}
	if err := combine(wrong); err != nil {
		return nil, nil, err
	}
	checked := proto.CloneOf(req)
	checked.Snapshot = snapshot.GetId()
	return checked, snapshot, nil
}

// checkTables checks that the tables that are named are in the snapshot.
func (s *Server) checkTables(ctx context.Context, found *pb.Snapshot, req *pb.RestoreRequest) error {
	if len(req.GetTables()) == 0 {
		return nil
	}
	snapshot, err := s.open(ctx, found)
	if err != nil {
		return err
	}
	_, _, err = repo.FindPart(snapshot.Streams(), req.GetSelect(), req.GetTables())
	return err
}

// findSnapshot is the view's, and says so when it is the source that is not known.
func (s *Server) findSnapshot(view *state.View, ref string) (*pb.Snapshot, error) {
	snapshot, err := view.FindSnapshot(ref)
	if err != nil {
		if name, _, ok := strings.Cut(ref, "@"); ok {
			if _, unknown := findSource(view, name); unknown != nil {
				err = unknown
			}
		}
	}
	return snapshot, err
}

// checkTarget checks where a restore goes; snapshot is nil when it is not known.
func (s *Server) checkTarget(req *pb.RestoreRequest, snapshot *pb.Snapshot) error {
	switch {
	case req.GetNewContainer() != "":
		return s.checkNew(req, snapshot)
	case req.GetImage() != "":
		return problem.New(problem.InvalidInput, "an image goes with a new container").WithHint("Restore into one (--to new:NAME), or leave the image out.")
	case req.GetTargetContainer() != "" && req.GetTargetSource() != "":
		return problem.New(problem.InvalidInput, "the target is either a source or a container, not both")
	case req.GetTargetContainer() != "":
		return s.checkTargetAgent(req.GetTargetAgent())
	case req.GetTargetAgent() != "":
		return problem.New(problem.InvalidInput, "a target's agent goes with a target's container").WithHint("Name the container, or leave the agent out.")
	}
	name := req.GetTargetSource()
	if name == "" {
		if name = snapshot.GetSource(); name == "" {
			return nil // the unknown snapshot has been told
		}
	}
	src, err := findSource(s.Node.View(), name)
	if err != nil {
		return err
	}
	if unready := dispatch.Unready(src); unready != nil {
		return unready
	}
	if snapshot != nil && src.GetEngine() != snapshot.GetEngine() {
		return problem.New(problem.Conflict, "the snapshot is of %s, the target runs %s", snapshot.GetEngine(), src.GetEngine()).WithSource(name).
			WithHint("Choose a target of the same kind, or restore to a file.")
	}
	return nil
}

// maxImage bounds the name of an image.
const maxImage = 512

// checkNew checks where a container is to be made.
func (s *Server) checkNew(req *pb.RestoreRequest, snapshot *pb.Snapshot) error {
	switch err := source.CheckContainer(req.GetNewContainer()); {
	case err != nil:
		return problem.Wrap(problem.InvalidInput, err, "make the container %.80q", req.GetNewContainer())
	case req.GetTargetContainer() != "" || req.GetTargetSource() != "":
		return problem.New(problem.InvalidInput, "the target is either there or made, not both")
	case len(req.GetImage()) > maxImage:
		return problem.New(problem.InvalidInput, "the name of the image is longer than %d bytes", maxImage)
	case req.GetOverwrite():
		return problem.New(problem.InvalidInput, "there is nothing to overwrite in a container that is made").WithHint("Leave --overwrite out.")
	}
	agent := req.GetTargetAgent()
	if agent == "" {
		src, _ := s.Node.View().Source(snapshot.GetSource())
		agent = src.GetAgent()
	}
	return s.checkTargetAgent(agent)
}

// checkTargetAgent checks that it is clear, and connected, which agent has the
// target's container.
func (s *Server) checkTargetAgent(id string) error {
	var connected []string
	for _, a := range s.Agents.Agents() {
		if a.GetConnected() {
			connected = append(connected, a.GetId())
		}
	}
	list := strings.Join(connected, ", ")
	switch {
	case len(connected) == 0:
		return problem.New(problem.Unavailable, "no agent is connected").WithReason(dispatch.ReasonNoAgent)
	case id == "" && len(connected) > 1:
		return problem.New(problem.InvalidInput, "it is not clear which host has the target's container").WithHint("Name its agent, one of: %s.", list)
	case id != "" && !slices.Contains(connected, id):
		return problem.New(problem.NotFound, "no agent %q is connected", id).WithReason(dispatch.ReasonNoAgent).WithHint("Connected are: %s.", list)
	}
	return nil
}

// checkSelection checks that what is chosen is in the snapshot.
func checkSelection(snapshot *pb.Snapshot, chosen []string) error {
	var names []string
	for _, stream := range snapshot.GetStreams() {
		names = append(names, stream.GetName())
		if db := stream.GetDatabase(); db != "" && !slices.Contains(names, db) {
			names = append(names, db)
		}
	}
	var wrong []error
	for _, c := range chosen {
		if slices.Contains(names, c) {
			continue
		}
		p := problem.New(problem.NotFound, "the snapshot %s has no stream or database %q", snapshot.GetId(), c)
		if near := nearest(c, names); near != "" {
			wrong = append(wrong, p.WithHint("Did you mean %s?", near))
		} else {
			wrong = append(wrong, p.WithHint("It has: %s.", strings.Join(names, ", ")))
		}
	}
	return combine(wrong)
}

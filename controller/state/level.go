package state

import (
	"slices"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Fit makes a command one that members understand whose newest version of
// commands is level: it stamps that version and clears the fields that came
// later, which mean nothing to them. A command that is of a later kind as a whole
// is refused with ReasonMixed.
func Fit(cmd *pb.Command, level uint32) error {
	cmd.Version = level
	if level >= CommandVersion {
		return nil
	}
	if slices.ContainsFunc(cmd.GetQueueRuns().GetRuns(), func(r *pb.Run) bool { return r.GetKind() == pb.RunKind_RUN_KIND_DRILL }) {
		return mixed("drills") // the kind is a value of a field that is older
	}
	if slices.ContainsFunc(cmd.GetQueueRuns().GetRuns(), func(r *pb.Run) bool { return len(r.GetRestore().GetTables()) > 0 || r.GetRestore().GetAs() != "" }) {
		return mixed("restores of single tables, or under another name") // without that it would be one of everything over what is there
	}
	if slices.ContainsFunc(cmd.GetQueueRuns().GetRuns(), func(r *pb.Run) bool { return r.GetRestore().GetNewContainer() != "" }) {
		return mixed("restores into new containers")
	}
	m := cmd.ProtoReflect()
	if kind := m.WhichOneof(m.Descriptor().Oneofs().ByName("command")); kind != nil && since(kind) > level {
		return mixed(string(kind.Message().Name()))
	}
	clear(m, level)
	return nil
}

func mixed(what string) error {
	return problem.New(problem.Unavailable, "not all controllers know %s yet", what).WithReason(ReasonMixed).
		WithHint("Bring all controllers to the same version; `baktainer cluster members` shows which they have.")
}

// Lower clears the fields of a message that members of that level do not understand.
func Lower(m proto.Message, level uint32) {
	if level < CommandVersion {
		clear(m.ProtoReflect(), level)
	}
}

func clear(m protoreflect.Message, level uint32) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case since(f) > level:
			m.Clear(f)
		case f.Message() == nil, f.IsMap():
		case f.IsList():
			for i := range v.List().Len() {
				clear(v.List().Get(i).Message(), level)
			}
		default:
			clear(v.Message(), level)
		}
		return true
	})
}

// since is the version of commands that a field came with.
func since(f protoreflect.FieldDescriptor) uint32 {
	v, _ := proto.GetExtension(f.Options(), pb.E_Since).(uint32)
	return max(v, 1)
}

package dispatch

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds on what is kept of a source: labels come from whoever starts containers.
const (
	maxText     = 300 // bytes of a field
	maxProblems = 20

	nameLabel = "baktainer.name"
)

// tidy makes an agent's sources fit for the state, which takes all or none: one
// strange container must not hide the others. Containers that share a name
// become one invalid source, a name that is not allowed makes its source
// invalid, and long texts are cut. A source that has no name at all is left out.
func tidy(reported []*pb.Source) []*pb.Source {
	var all []*pb.Source
	for _, r := range reported {
		name := cutText(strings.ReplaceAll(r.GetName(), "\x00", ""), 2*source.MaxNameLength)
		if name == "" {
			continue
		}
		s := &pb.Source{
			Name: name, State: r.GetState(), Engine: cutText(r.GetEngine(), maxText), Database: cutText(r.GetDatabase(), maxText),
			AllDatabases: r.GetAllDatabases(), Compress: cutText(r.GetCompress(), maxText),
		}
		if c := r.GetContainer(); c != nil {
			s.Container = &pb.Container{
				Id: cutText(c.GetId(), maxText), Name: cutText(c.GetName(), maxText),
				Image: cutText(c.GetImage(), maxText), ImageDigest: cutText(c.GetImageDigest(), maxText),
			}
		}
		for _, p := range r.GetProblems() {
			s.Problems = append(s.Problems, &pb.LabelProblem{
				Label: cutText(p.GetLabel(), maxText), Value: cutText(p.GetValue(), maxText), Reason: cutText(p.GetReason(), maxText),
				Suggestion: cutText(p.GetSuggestion(), maxText), Warning: p.GetWarning(),
			})
		}
		switch s.GetState() {
		case pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_STOPPED:
			if err := source.CheckName(name); err != nil {
				s.State = pb.SourceState_SOURCE_STATE_INVALID
				s.Problems = append(s.Problems, &pb.LabelProblem{Label: nameLabel, Value: name, Reason: err.Error()})
			}
		default:
			s.State = pb.SourceState_SOURCE_STATE_INVALID
		}
		all = add(all, s)
	}
	for _, s := range all {
		s.Problems = s.GetProblems()[:min(len(s.GetProblems()), maxProblems)]
	}
	return all
}

// add appends a source, or adds it to the one that has its name.
func add(all []*pb.Source, s *pb.Source) []*pb.Source {
	i := slices.IndexFunc(all, func(other *pb.Source) bool { return other.GetName() == s.GetName() })
	if i < 0 {
		return append(all, s)
	}
	both := all[i]
	both.State = pb.SourceState_SOURCE_STATE_INVALID
	for _, p := range s.GetProblems() {
		if !slices.ContainsFunc(both.GetProblems(), func(known *pb.LabelProblem) bool { return proto.Equal(known, p) }) {
			both.Problems = append(both.Problems, p)
		}
	}
	if !slices.ContainsFunc(both.GetProblems(), func(p *pb.LabelProblem) bool { return p.GetLabel() == nameLabel }) {
		both.Problems = append(both.Problems, &pb.LabelProblem{
			Label: nameLabel, Value: s.GetName(),
			Reason:     "the containers " + both.GetContainer().GetName() + " and " + s.GetContainer().GetName() + " have the same name",
			Suggestion: "set baktainer.name on one of them",
		})
	}
	return all
}

func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

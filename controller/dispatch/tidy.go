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

// tidy makes each of an agent's sources fit for the state, which takes all or
// none: one strange container must not hide the others. A name that is not
// allowed makes its source invalid, and long texts are cut. A source that has no
// name at all is left out.
func tidy(reported []*pb.Source) []*pb.Source {
	var all []*pb.Source
	for _, r := range reported {
		name := tidyName(r.GetName())
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
		s.Problems = s.GetProblems()[:min(len(s.GetProblems()), maxProblems)]
		all = append(all, s)
	}
	return all
}

func tidyName(name string) string {
	return cutText(strings.ReplaceAll(name, "\x00", ""), 2*source.MaxNameLength)
}

// merge makes one invalid source of containers that share a name. The sources
// given stay as they are.
func merge(tidied []*pb.Source) []*pb.Source {
	all := make([]*pb.Source, 0, len(tidied))
	at := map[string]int{}
	merged := map[int]bool{}
	for _, s := range tidied {
		i, taken := at[s.GetName()]
		if !taken {
			at[s.GetName()] = len(all)
			all = append(all, s)
			continue
		}
		if !merged[i] {
			all[i], merged[i] = proto.CloneOf(all[i]), true
		}
		join(all[i], s)
	}
	return all
}

// join adds a source to another of the same name.
func join(both, s *pb.Source) {
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
	both.Problems = both.GetProblems()[:min(len(both.GetProblems()), maxProblems)]
}

func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

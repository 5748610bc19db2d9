package dispatch

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds on what is kept of a source: labels come from whoever starts containers.
const (
	maxText     = 300 // bytes of a field
	maxProblems = 20

	nameLabel     = "baktainer.name"
	scheduleLabel = "baktainer.schedule"
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
		s := proto.CloneOf(r)
		s.Name, s.Agent, s.ReportedAt = "", "", nil // the state has its own
		s.ProtoReflect().SetUnknown(nil)
		orders, keeps := s.GetSchedules(), s.GetRetention() // to cut these would change what they say
		s.Schedules = nil
		cutTexts(s.ProtoReflect())
		if len(keeps) > retention.MaxText {
			keeps = retention.Off
		}
		s.Name, s.Schedules, s.Retention = name, orders, keeps
		if err := state.CheckOrders(s); err != nil {
			// An agent checks labels before it reports them: this one does otherwise.
			s.State = pb.SourceState_SOURCE_STATE_INVALID
			s.Problems = append(s.Problems, &pb.LabelProblem{Label: scheduleLabel, Reason: cutText(err.Error(), maxText)})
		}
		if s.GetState() == pb.SourceState_SOURCE_STATE_INVALID {
			s.Schedules, s.DependsOn = nil, nil
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

// tidyUnlabelled bounds what an agent says of databases without a label.
func tidyUnlabelled(agent string, reported []*pb.Unlabelled) []*pb.Unlabelled {
	var all []*pb.Unlabelled
	for _, r := range reported[:min(len(reported), maxUnlabelled)] {
		u := proto.CloneOf(r)
		u.ProtoReflect().SetUnknown(nil)
		cutTexts(u.ProtoReflect())
		u.Agent = agent
		all = append(all, u)
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

// cutTexts bounds every text of a message, however deep.
func cutTexts(m protoreflect.Message) {
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap(): // there is none
		case f.IsList():
			for i := range v.List().Len() {
				switch f.Kind() {
				case protoreflect.StringKind:
					v.List().Set(i, protoreflect.ValueOfString(cutText(v.List().Get(i).String(), maxText)))
				case protoreflect.MessageKind:
					cutTexts(v.List().Get(i).Message())
				default:
				}
			}
		case f.Kind() == protoreflect.StringKind:
			m.Set(f, protoreflect.ValueOfString(cutText(v.String(), maxText)))
		case f.Kind() == protoreflect.MessageKind:
			cutTexts(v.Message())
		}
		return true
	})
}

func cutText(s string, most int) string {
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "")
}

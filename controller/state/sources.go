package state

import (
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Yields says whether a source that one agent has may pass to another that
// reports it: it is gone where it was, or stopped there and running here, as
// after a move, when what was replaced is still lying about on the old host.
func Yields(was, now *pb.Source) bool {
	return was.GetState() == pb.SourceState_SOURCE_STATE_GONE ||
		was.GetState() == pb.SourceState_SOURCE_STATE_STOPPED && now.GetState() == pb.SourceState_SOURCE_STATE_READY
}

// SameReport says whether an agent's report of a source tells nothing new.
func SameReport(known, reported *pb.Source) bool {
	same := proto.CloneOf(reported)
	same.Agent, same.ReportedAt = known.GetAgent(), known.GetReportedAt()
	return proto.Equal(same, known)
}

// reportSources replaces the sources of one agent. A source stays with the
// agent that has it until it yields or that agent is away, so that an agent
// cannot take over, and get the key of, what runs on another's host. The time of
// its report is that of the last one which told something new.
func (w *writer) reportSources(c *pb.ReportSources) error {
	if !idPattern.MatchString(c.GetAgent()) {
		return bad("the agent's id is %.40q", c.GetAgent())
	}
	named := map[string]bool{}
	for _, s := range c.GetSources() {
		if err := checkSource(s); err != nil {
			return err
		}
		if named[s.GetName()] {
			return bad("source %.40q is named twice", s.GetName())
		}
		named[s.GetName()] = true
		known, ok := first[*pb.Source](w.table, tableSources, indexID, s.GetName())
		theirs := ok && known.GetAgent() != c.GetAgent()
		if theirs && !Yields(known, s) && !slices.Contains(c.GetAway(), known.GetAgent()) {
			continue
		}
		if ok && !theirs && SameReport(known, s) {
			continue
		}
		reported := proto.CloneOf(s)
		reported.Agent, reported.ReportedAt = c.GetAgent(), w.at
		w.put(tableSources, reported)
	}
	var gone []*pb.Source
	for s := range rows[*pb.Source](w.table, tableSources, indexAgent, sourceKey(c.GetAgent()), false) {
		if !named[s.GetName()] {
			gone = append(gone, s)
		}
	}
	for _, s := range gone {
		left := proto.CloneOf(s)
		left.State, left.ReportedAt, left.Problems = pb.SourceState_SOURCE_STATE_GONE, w.at, nil
		w.put(tableSources, left)
	}
	return nil
}

// checkSource holds names to the rule, except that a source which is invalid,
// perhaps for its name, is still listed so that its owner sees why.
func checkSource(s *pb.Source) error {
	name := s.GetName()
	switch s.GetState() {
	case pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_STOPPED:
		if err := source.CheckName(name); err != nil {
			return bad("source %.40q: %v", name, err)
		}
	case pb.SourceState_SOURCE_STATE_INVALID:
		if name == "" || len(name) > 2*source.MaxNameLength || strings.ContainsRune(name, 0) {
			return bad("source %.40q: the name is empty, too long, or holds a zero byte", name)
		}
	default:
		return bad("source %.40q: it is in no known state", name)
	}
	return CheckOrders(s)
}

// CheckOrders bounds what an agent tells of a source's schedules. What they say
// is for the scheduler to read.
func CheckOrders(s *pb.Source) error {
	if len(s.GetSchedules()) > schedule.MaxPerSource+1 || // with that of its drills
		len(s.GetDependsOn()) > schedule.MaxUpstream {
		return bad("source %.40q: it has too many schedules, or depends on too many others", s.GetName())
	}
	for _, name := range s.GetDependsOn() {
		if err := source.CheckName(name); err != nil {
			return bad("source %.40q: it depends on %.40q: %v", s.GetName(), name, err)
		}
	}
	for _, o := range s.GetSchedules() {
		if schedule.CheckName(o.GetName()) != nil || proto.Size(o) > 2*maxScheduleText {
			return bad("source %.40q: a schedule's name is wrong, or what it says too long", s.GetName())
		}
	}
	return nil
}

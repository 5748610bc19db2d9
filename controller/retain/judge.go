package retain

import (
	"cmp"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/retention"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Verdict is what would become of the snapshots of one source, and why.
type Verdict struct {
	Source string
	Policy retention.Policy
	// Origin says where the policy comes from, for people.
	Origin    string
	Schedules map[string]retention.Policy
	// Frozen says why nothing is forgotten at present; empty: it may be.
	Frozen  string
	failing string // the part of it that is for backups that fail
	// Floor is how many verified snapshots stay in any case.
	Floor     int
	Decisions []retention.Decision
}

// Forget are the decisions that do away with something.
func (v Verdict) Forget() (list []retention.Decision) {
	for _, d := range v.Decisions {
		if !d.Keep {
			list = append(list, d)
		}
	}
	return list
}

// Judge says what would become of a source's snapshots now. what, when not empty,
// is a policy, or the name of one, to judge by instead of what is set.
func (r *Retain) Judge(view *state.View, source, what string) (Verdict, error) {
	v := Verdict{Source: source, Policy: r.Policy, Origin: "setting retention", Schedules: map[string]retention.Policy{}}
	src, _ := view.Source(source)
	var least retention.Policy
	var err error
	switch {
	case what != "":
		v.Origin = "as asked"
		if v.Policy, err = r.Policies.Find(what); err != nil {
			return v, fmt.Errorf("read the policy: %w", err)
		}
	case src.GetRetention() != "":
		// Labels come by way of an agent, which is never the only one to decide what goes.
		v.Origin, least = "label of the source", r.Least
		if v.Policy, err = r.Policies.Find(src.GetRetention()); err != nil {
			v.Frozen = "the policy that its label asks for cannot be used: " + err.Error()
		}
	case v.Policy.Empty():
		v.Origin = "nothing is set"
	}
	if what == "" {
		for _, s := range view.Schedules() {
			text := s.GetRetention()
			if text == "" || s.GetSource() != "" && s.GetSource() != source {
				continue
			}
			if s.GetOrigin() == pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL {
				least = r.Least
			}
			p, err := r.Policies.Find(text)
			if err != nil {
				v.Frozen = cmp.Or(v.Frozen, fmt.Sprintf("the policy of schedule %s cannot be used: %v", s.GetId(), err))
				continue
			}
			v.Schedules[s.GetId()] = p
		}
	}
	v.failing = r.failing(view, source)
	v.Frozen = cmp.Or(v.Frozen, v.failing)
	q := retention.Question{Policy: v.Policy, Least: least, Schedules: v.Schedules, Now: r.Clock.Now(), Zone: r.Zone, Frozen: v.Frozen}
	for _, s := range view.Snapshots(source, 0) {
		q.Snapshots = append(q.Snapshots, judged(s))
	}
	v.Floor, v.Decisions = q.Floor(), retention.Decide(q)
	return v, nil
}

// judged is a snapshot as retention looks at it. Days are told from when it was
// to be made: a backup of midnight that ends in the morning is that day's.
func judged(s *pb.Snapshot) retention.Snapshot {
	j := retention.Snapshot{
		ID: s.GetId(), Time: s.GetFireTime().AsTime(), Place: s.GetLedgerIndex(), Tags: s.GetTags(), Schedule: s.GetSchedule(),
		Verified: state.Proven(s), Damaged: s.GetDamagedAt() != nil,
	}
	if s.GetHoldUntil() != nil {
		j.HoldUntil, j.HoldReason = s.GetHoldUntil().AsTime(), s.GetHoldReason()
	}
	return j
}

// failing says that the newest backups of a source failed, if so many did as stop
// its retention. One that was cancelled says nothing.
func (r *Retain) failing(view *state.View, source string) string {
	switch failures := view.Streak(source).Failures; {
	case r.Freeze <= 0 || failures < r.Freeze:
		return ""
	case r.Freeze == 1:
		return "the newest backup of " + source + " failed"
	}
	return fmt.Sprintf("the newest %d backups of %s failed", r.Freeze, source)
}

// atLeast is how many verified snapshots of a source stay whatever is pruned.
func (r *Retain) atLeast(view *state.View, source string) int {
	v, err := r.Judge(view, source, "")
	if err != nil {
		return 1
	}
	return v.Floor
}

// lastVerified is when a snapshot of the source was verified last, zero for never.
func lastVerified(view *state.View, source string) (last time.Time) {
	for _, s := range view.Snapshots(source, 0) {
		if s.GetVerifiedAt() != nil && s.GetVerifiedAt().AsTime().After(last) {
			last = s.GetVerifiedAt().AsTime()
		}
	}
	return last
}

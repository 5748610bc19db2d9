package api

import (
	"context"
	"fmt"
	"slices"
	"time"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/retain"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Retention implements pb.RetentionServiceServer.
type Retention struct {
	pb.UnimplementedRetentionServiceServer
	*Server
	// Zone is where days begin; nil: UTC.
	Zone *time.Location
}

// Limits of what is asked for.
const (
	maxSimulated    = 3660 // days
	usualSimulated  = 365
	maxHoldReason   = 200 // bytes
	maxTagsAtOnce   = 32
	longestHoldYear = 9999
)

// PreviewRetention implements the retention service.
func (r *Retention) PreviewRetention(ctx context.Context, req *pb.PreviewRetentionRequest) (*pb.PreviewRetentionResponse, error) {
	view := r.Node.View()
	var wrong []error
	names := []string{}
	for _, name := range req.GetSources() {
		if _, err := findSource(view, name); err != nil {
			wrong = append(wrong, err)
		} else if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	if len(req.GetSources()) == 0 {
		names = r.Retain.Sources()
	}
	if req.GetPolicy() != "" {
		if _, err := r.Retain.Policies.Find(req.GetPolicy()); err != nil {
			wrong = append(wrong, badPolicy(err))
		}
	}
	if len(wrong) > 0 {
		return nil, combine(wrong)
	}
	resp := &pb.PreviewRetentionResponse{UndoSeconds: int64(r.Retain.Undo / time.Second)}
	for _, name := range names {
		v, err := r.Retain.Judge(view, name, req.GetPolicy())
		if err != nil {
			return nil, err
		}
		m := &pb.RetentionPreview{
			Source: name, Policy: v.Policy.String(), Origin: v.Origin, Frozen: v.Frozen, Schedules: map[string]string{}, Forgotten: view.Forgotten(name, 0),
		}
		for id, p := range v.Schedules {
			m.Schedules[id] = p.String()
		}
		for _, d := range v.Decisions {
			s, _ := view.Snapshot(d.Snapshot.ID)
			m.Decisions = append(m.Decisions, &pb.RetentionDecision{Snapshot: s, Keep: d.Keep, Verify: d.Verify, Reasons: d.Reasons})
		}
		if req.GetSpace() {
			if err := r.foresee(ctx, v, m); err != nil {
				return nil, err
			}
		}
		resp.Previews = append(resp.Previews, m)
	}
	return resp, nil
}

// foresee adds what deleting would free.
func (r *Retention) foresee(ctx context.Context, v retain.Verdict, m *pb.RetentionPreview) error {
	plan, err := r.Retain.Foresee(ctx, v)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		m.Failure = transport.ToFailure(err)
		return nil
	}
	m.FreedObjects, m.FreedBytes, m.KeptBytes = int64(len(plan.Delete)), plan.Freed(), plan.KeptBytes
	return nil
}

func badPolicy(err error) *problem.Problem {
	return problem.Wrap(problem.InvalidInput, err, "the policy cannot be used").WithHint("For example: %s", "last=3 daily=7 weekly=4 monthly=12")
}

// SimulateRetention implements the retention service.
func (r *Retention) SimulateRetention(_ context.Context, req *pb.SimulateRetentionRequest) (*pb.SimulateRetentionResponse, error) {
	var wrong []error
	policy, err := r.Retain.Policies.Find(req.GetPolicy())
	if err != nil {
		wrong = append(wrong, badPolicy(err))
	}
	zone := r.Zone
	if req.GetTimezone() != "" {
		if zone, err = time.LoadLocation(req.GetTimezone()); err != nil {
			wrong = append(wrong, problem.New(problem.InvalidInput, "there is no time zone %.60q", req.GetTimezone()))
		}
	}
	from := r.Clock.Now()
	if req.GetFrom() != nil {
		from = req.GetFrom().AsTime()
	}
	days := int(req.GetDays())
	if days == 0 {
		days = usualSimulated
	}
	if days < 0 || days > maxSimulated {
		wrong = append(wrong, problem.New(problem.InvalidInput, "%d days cannot be simulated: 1 to %d can", days, maxSimulated))
		days = 0
	}
	fires, err := calendar(req, zone, from, days)
	if err != nil {
		wrong = append(wrong, err)
	}
	sim := retention.Simulation{Policy: policy, Fires: fires, Zone: zone}
	if req.GetSource() != "" {
		view := r.Node.View()
		if _, err := findSource(view, req.GetSource()); err != nil {
			wrong = append(wrong, err)
		} else if v, err := r.Retain.Judge(view, req.GetSource(), "off"); err == nil {
			for _, d := range v.Decisions {
				d.Snapshot.Verified, d.Snapshot.Damaged = !d.Snapshot.Damaged, false
				sim.Now = append(sim.Now, d.Snapshot)
			}
		}
	}
	if len(wrong) > 0 {
		return nil, combine(wrong)
	}
	result, err := retention.Simulate(sim)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "simulate")
	}
	return simulated(policy, result), nil
}

func simulated(policy retention.Policy, result []retention.Day) *pb.SimulateRetentionResponse {
	resp := &pb.SimulateRetentionResponse{Policy: policy.String()}
	for i, d := range result {
		m := &pb.SimulatedDay{Date: d.Date, Made: int32(d.Made), Forgotten: int32(d.Forgotten), Kept: int32(len(d.Kept))}
		if n := len(d.Kept); n > 0 {
			m.Oldest = timestamppb.New(d.Kept[n-1].Time)
		}
		if i == len(result)-1 {
			for _, s := range d.Kept {
				m.Snapshots = append(m.Snapshots, timestamppb.New(s.Time))
			}
		}
		resp.Days = append(resp.Days, m)
	}
	return resp
}

// calendar lists when backups would be made.
func calendar(req *pb.SimulateRetentionRequest, zone *time.Location, from time.Time, days int) ([]time.Time, error) {
	end := from.AddDate(0, 0, days)
	var fires []time.Time
	switch {
	case (req.GetCron() == "") == (req.GetEveryHours() == 0):
		return nil, problem.New(problem.InvalidInput, "either a cron expression or a number of hours says when backups are made")
	case req.GetEveryHours() < 0 || req.GetEveryHours() > 24*366:
		return nil, problem.New(problem.InvalidInput, "every %d hours: 1 to %d are possible", req.GetEveryHours(), 24*366)
	case req.GetEveryHours() > 0:
		for at := from; at.Before(end) && len(fires) <= retention.MaxFires; at = at.Add(time.Duration(req.GetEveryHours()) * time.Hour) {
			fires = append(fires, at)
		}
		return fires, nil
	}
	cron, err := schedule.Parse(req.GetCron(), zone)
	if err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "read the cron expression")
	}
	for at := cron.Next(from); !at.IsZero() && at.Before(end) && len(fires) <= retention.MaxFires; at = cron.Next(at) {
		fires = append(fires, at)
	}
	return fires, nil
}

// SetHold implements the retention service.
func (r *Retention) SetHold(ctx context.Context, req *pb.SetHoldRequest) (*pb.SetHoldResponse, error) {
	ids, err := r.chosen(req.GetSnapshots(), true)
	var wrong []error
	if err != nil {
		wrong = append(wrong, err)
	}
	switch until := req.GetUntil(); {
	case until == nil || !until.IsValid() || until.AsTime().Year() > longestHoldYear:
		wrong = append(wrong, problem.New(problem.InvalidInput, "it is not said until when"))
	case !until.AsTime().After(r.Clock.Now()):
		wrong = append(wrong, problem.New(problem.InvalidInput, "a hold until %s is over already", until.AsTime().Format(time.RFC3339)))
	}
	if n := len(req.GetReason()); n > maxHoldReason || !utf8.ValidString(req.GetReason()) {
		wrong = append(wrong, problem.New(problem.InvalidInput, "the reason has %d bytes, more than %d", n, maxHoldReason))
	}
	if len(wrong) > 0 {
		return nil, combine(wrong)
	}
	err = r.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_SetHold{SetHold: &pb.SetHold{
		Snapshots: ids, Until: req.GetUntil(), Reason: req.GetReason(), By: audit.Actor(transport.CallerOf(ctx), r.Node.ID()),
	}}})
	if err != nil {
		return nil, err
	}
	return &pb.SetHoldResponse{Snapshots: r.these(ids)}, nil
}

// RemoveHold implements the retention service.
func (r *Retention) RemoveHold(ctx context.Context, req *pb.RemoveHoldRequest) (*pb.RemoveHoldResponse, error) {
	ids, err := r.chosen(req.GetSnapshots(), true)
	if err != nil {
		return nil, err
	}
	err = r.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_SetHold{SetHold: &pb.SetHold{Snapshots: ids}}})
	if err != nil {
		return nil, err
	}
	return &pb.RemoveHoldResponse{Snapshots: r.these(ids)}, nil
}

// TagSnapshots implements the retention service.
func (r *Retention) TagSnapshots(ctx context.Context, req *pb.TagSnapshotsRequest) (*pb.TagSnapshotsResponse, error) {
	ids, err := r.chosen(req.GetSnapshots(), true)
	var wrong []error
	if err != nil {
		wrong = append(wrong, err)
	}
	tags := append(slices.Clone(req.GetAdd()), req.GetRemove()...)
	if len(tags) == 0 || len(tags) > maxTagsAtOnce {
		wrong = append(wrong, problem.New(problem.InvalidInput, "%d tags are named, want 1 to %d", len(tags), maxTagsAtOnce))
	}
	for _, tag := range tags {
		if err := retention.CheckTag(tag); err != nil {
			wrong = append(wrong, problem.Wrap(problem.InvalidInput, err, "tag"))
		}
		if slices.Contains(req.GetAdd(), tag) && slices.Contains(req.GetRemove(), tag) {
			wrong = append(wrong, problem.New(problem.InvalidInput, "the tag %s is to be added and taken away", tag))
		}
	}
	if len(wrong) > 0 {
		return nil, combine(wrong)
	}
	err = r.Node.Propose(ctx, &pb.Command{Actor: "admin", Command: &pb.Command_SetTags{SetTags: &pb.SetTags{Snapshots: ids, Add: req.GetAdd(), Remove: req.GetRemove()}}})
	if err != nil {
		return nil, fmt.Errorf("tag: %w", err)
	}
	return &pb.TagSnapshotsResponse{Snapshots: r.these(ids)}, nil
}

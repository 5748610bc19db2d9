package retain

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Actor is who the audit says decided.
const Actor = "retention"

// Verifier re-reads snapshots and records of each whether it is right.
type Verifier interface {
	Settle(ctx context.Context, list []*pb.Snapshot, log *slog.Logger) error
}

const (
	// perRecord is how many decisions go into one audit record, with their reasons.
	perRecord = 20
	// leftOvers is how old a source's last prune is before what failed backups left
	// behind is a reason for one.
	leftOvers = 7 * 24 * time.Hour
	// firstLook is how long a new leader waits, so that agents are back before anything is pruned.
	firstLook = time.Minute
)

// Keep applies the policies, again and again, until ctx ends, which it does when
// leadership is lost.
func (r *Retain) Keep(ctx context.Context) {
	wait := min(firstLook, r.Every)
	for clock.Sleep(ctx, wait) == nil {
		wait = r.Every
		if err := r.Apply(ctx); err != nil && ctx.Err() == nil {
			r.Logger.Warn("retention was not applied to all", "error", err)
		}
	}
}

// Apply applies the policy of every source once: it has verified what would count,
// forgets what is not kept, and begins to prune what can no longer be taken back.
// What stands against one source does not keep it from the next.
func (r *Retain) Apply(ctx context.Context) error {
	var failed []error
	for _, name := range r.Sources() {
		if err := r.mustLead(ctx); err != nil {
			return errors.Join(append(failed, err)...)
		}
		if err := r.applyTo(ctx, name); err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(failed...)
}

// Sources are all that may have snapshots, also those that are gone.
func (r *Retain) Sources() (names []string) {
	view := r.Node.View()
	for _, s := range view.Sources() {
		names = append(names, s.GetName())
	}
	for _, s := range append(view.Snapshots("", 0), view.Forgotten("", 0)...) {
		names = append(names, s.GetSource())
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return source.CheckName(name) != nil })
}

func (r *Retain) applyTo(ctx context.Context, source string) error {
	view := r.Node.View()
	v, err := r.Judge(view, source, "")
	if err != nil {
		return err
	}
	r.note(v)
	var failed []error
	if again, err := r.verifyPending(ctx, v); err != nil {
		failed = append(failed, err)
	} else if again {
		if v, err = r.Judge(r.Node.View(), source, ""); err != nil {
			return err
		}
	}
	if err := r.forget(ctx, v); err != nil {
		failed = append(failed, err)
	}
	if v.Frozen == "" {
		failed = append(failed, r.pruneDue(ctx, source, false))
	}
	return errors.Join(failed...)
}

// verifyPending verifies what would count if it were known to be right, at most
// once in VerifyEvery: it reads all of it. It says whether anything was found out.
func (r *Retain) verifyPending(ctx context.Context, v Verdict) (bool, error) {
	view := r.Node.View()
	var pending []*pb.Snapshot
	for _, d := range v.Decisions {
		if s, ok := view.Snapshot(d.Snapshot.ID); ok && d.Verify {
			pending = append(pending, s)
		}
	}
	since := r.Clock.Now().Sub(lastVerified(view, v.Source))
	if r.Verifier == nil || len(pending) == 0 || v.Frozen != "" || since >= 0 && since < r.VerifyEvery {
		return false, nil
	}
	if err := r.Verifier.Settle(ctx, pending, r.Logger); err != nil {
		return false, fmt.Errorf("verify what would be kept: %w", err)
	}
	return true, nil
}

// forget marks what is not kept. Each mark is in the audit with its reason before it is made.
func (r *Retain) forget(ctx context.Context, v Verdict) error {
	for part := range slices.Chunk(v.Forget(), perRecord) {
		c := &pb.ForgetSnapshots{Undo: durationpb.New(r.Undo), AtLeast: int32(v.Floor)}
		reasons := map[string]string{}
		for _, d := range part {
			why := d.Reasons[0]
			c.Snapshots, c.Reasons = append(c.Snapshots, d.Snapshot.ID), append(c.Reasons, why)
			reasons[d.Snapshot.ID] = why
		}
		err := r.audited(ctx, "retention/Forget", map[string]any{"source": v.Source, "policy": v.Policy.String(), "forgotten": reasons}, func() error {
			return r.Node.Propose(ctx, &pb.Command{Actor: Actor, Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: c}})
		})
		if err != nil {
			return fmt.Errorf("forget: %w", err)
		}
		r.Logger.Info("forgotten", "source", v.Source, "snapshots", len(part), "policy", v.Policy.String())
	}
	return nil
}

// audited has a record made of what it then does, as calls by people have.
func (r *Retain) audited(ctx context.Context, what string, request map[string]any, do func() error) error {
	text, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("describe it for the audit: %w", err)
	}
	id, err := ulid.New(ulid.Timestamp(r.Clock.Now()), rand.Reader)
	if err != nil {
		return fmt.Errorf("make the id of an audit record: %w", err)
	}
	record := &pb.AuditRecord{Id: id.String(), Actor: Actor, Method: what, Request: string(text)}
	err = r.Node.Propose(ctx, &pb.Command{RequestId: "audit-begin-" + id.String(), Actor: Actor, Command: &pb.Command_BeginAudit{BeginAudit: &pb.BeginAudit{Record: record}}})
	if err != nil {
		return fmt.Errorf("record it in the audit: %w", err)
	}
	failure := do()
	end := &pb.EndAudit{Id: id.String()}
	if failure != nil {
		end.Failure = transport.ToFailure(failure)
	}
	err = r.Node.Propose(ctx, &pb.Command{RequestId: "audit-end-" + id.String(), Actor: Actor, Command: &pb.Command_EndAudit{EndAudit: end}})
	if err != nil && ctx.Err() == nil {
		r.Logger.Warn("the end of a decision was not recorded", "record", id.String(), "error", err)
	}
	return failure
}

// pruneDue begins a prune of a source when something of it is due: what was
// forgotten and can no longer be taken back; what failed backups left behind, now
// and then. With little space left, only the first is asked.
func (r *Retain) pruneDue(ctx context.Context, source string, pressed bool) error {
	view := r.Node.View()
	gone := r.spared(view, source, r.deletable(view, source))
	if len(gone) == 0 && (pressed || !r.hasLeftOvers(view, source)) {
		return nil
	}
	if free(view, source) != nil {
		return nil // the next round finds it
	}
	err := r.audited(ctx, "retention/Prune", map[string]any{"source": source, "snapshots": len(gone)}, func() error {
		_, err := r.Begin(ctx, Actor, source, ledger.Hash{})
		return err
	})
	switch problem.ReasonOf(err) {
	case state.ReasonSourceBusy, state.ReasonPlanStale, state.ReasonUndoWindow, state.ReasonOnHold:
		return nil // something has come between
	}
	if err != nil {
		return err
	}
	return r.compact(ctx, view, source)
}

// deletable are the forgotten snapshots that the next prune may delete.
func (r *Retain) deletable(view *state.View, source string) (ids []string) {
	now := timestamppb.New(r.Clock.Now())
	for _, s := range view.Forgotten(source, 0) {
		if !state.Undoable(s, now) && !state.OnHold(s, now) {
			ids = append(ids, s.GetId())
		}
	}
	return ids
}

// spared leaves out what nobody asked to be deleted by itself yet: what was
// forgotten without a time until which it can be taken back, as by a version before
// this one, for as long as it could be today. And it leaves out what would be missed:
// of what is known to be good, as many of the newest as the source has to keep and
// does not list. It may be that others have been damaged since these were forgotten,
// or that the policy keeps more.
func (r *Retain) spared(view *state.View, source string, gone []string) []string {
	short := r.atLeast(view, source)
	for _, s := range view.Snapshots(source, 0) {
		if state.Proven(s) {
			short--
		}
	}
	var rest []string
	now := r.Clock.Now()
	for _, id := range gone { // newest first
		s, _ := view.Snapshot(id)
		switch {
		case state.Proven(s) && short > 0:
			short--
		case s.GetUndoUntil() == nil && now.Before(s.GetForgottenAt().AsTime().Add(r.Undo)):
		default:
			rest = append(rest, id)
		}
	}
	return rest
}

// hasLeftOvers says whether backups of the source have failed since it was pruned
// last, which is a while ago.
func (r *Retain) hasLeftOvers(view *state.View, source string) bool {
	var last time.Time
	if p, ok := view.Prune(source); ok {
		last = p.GetEndedAt().AsTime()
	}
	for _, run := range view.Runs(source, 0) {
		ended := run.GetEndedAt().AsTime()
		switch {
		case run.GetEndedAt() == nil || run.GetKind() != pb.RunKind_RUN_KIND_BACKUP || run.GetState() == pb.RunState_RUN_STATE_SUCCEEDED:
		case ended.After(last) && r.Clock.Now().Sub(ended) > leftOvers:
			return true
		}
	}
	return false
}

// note remembers what was found of a source, and logs once that nothing of it is forgotten.
func (r *Retain) note(v Verdict) {
	r.mu.Lock()
	known := r.frozen[v.Source]
	r.frozen[v.Source] = frozen{v.Frozen, v.failing}
	r.mu.Unlock()
	if v.Frozen != "" && known.why != v.Frozen {
		r.Logger.Warn("nothing is forgotten", "source", v.Source, "reason", v.Frozen)
	}
}

// Stopped says why nothing of a source is forgotten although its backups do not
// fail, empty when that is not so; nil when this controller has not looked yet.
func (r *Retain) Stopped(source string) *string {
	r.mu.Lock()
	defer r.mu.Unlock()
	f, ok := r.frozen[source]
	switch {
	case !ok:
		return nil
	case f.failing != "":
		return new(string)
	}
	return &f.why
}

// Foresee makes the plan of the prune that there would be if so many more were
// forgotten, and none could be taken back any more. Nothing is changed.
func (r *Retain) Foresee(ctx context.Context, v Verdict) (*repo.Plan, error) {
	view := r.Node.View()
	held, err := repo.InventorySource(ctx, r.Store, v.Source)
	if err != nil {
		return nil, err
	}
	counted, err := r.unknown(ctx, view, held)
	if err != nil {
		return nil, err
	}
	gone, leave := []string{}, map[string]bool{}
	for _, d := range v.Forget() {
		leave[d.Snapshot.ID] = true
	}
	for _, s := range append(view.Snapshots(v.Source, 0), view.Forgotten(v.Source, 0)...) {
		if s.GetForgottenAt() != nil || leave[s.GetId()] {
			gone = append(gone, s.GetId())
		} else {
			counted[s.GetId()] = ledger.Hash(s.GetManifestSha256())
		}
	}
	return repo.PlanPrune(held, view.NewestEntry(v.Source), counted, gone)
}

package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/check"
	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/chaos/load"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// momentLimit bounds the wait for the phase of a run.
	momentLimit = 90 * time.Second
	// runLimit bounds the wait for the end of a run that was struck.
	runLimit = 3 * time.Minute
	// churn is how many quarters of a database are written anew for a backup.
	churn = 3
)

// strike is one fault as it happens.
type strike struct {
	plan.Fault
	database *load.Database
	run      string
	leader   *controller
	agent    *agent
	// shown is the line that showed the phase.
	shown procs.Entry
	at    time.Time
	out   *figures.Fault
}

// dice is a number below n that the plan has chosen.
func (s *strike) dice(n int) int { return int(s.Dice % uint64(n)) }

// follower is a controller that does not lead, by the plan's choice.
func (s *strike) follower(r *Rig) *controller {
	others := r.othersThan(s.leader)
	return others[s.dice(len(others))]
}

// round does one fault: a backup, the fault in its phase, the recovery, the checks.
func (r *Rig) round(ctx context.Context, f plan.Fault) figures.Fault {
	out := figures.Fault{N: f.N, Kind: string(f.Kind), Phase: string(f.Phase)}
	s := &strike{Fault: f, out: &out, database: r.databases[f.Source%len(r.databases)]}
	if err := r.begin(ctx, s); err != nil {
		out.Blame("the fault was not reached: %v", err)
		r.settle(ctx, &out)
		return out
	}
	s.at = r.clock.Now()
	if err := r.do(ctx, s); err != nil && ctx.Err() == nil {
		out.Blame("the fault did not go as planned: %v", err)
	}
	r.undo(ctx, s)
	r.awaitRun(ctx, s)
	r.settle(ctx, &out)
	out.Settled = r.clock.Now().Sub(s.at).Seconds()
	out.Dumps = r.witness.Dumps(s.run)
	out.Wrong = append(out.Wrong, r.compare(ctx)...)
	return out
}

// begin starts a backup and waits until it is in the fault's phase.
func (r *Rig) begin(ctx context.Context, s *strike) error {
	began := r.clock.Now()
	if err := s.database.Churn(ctx, churn); err != nil {
		return err
	}
	s.out.Churn = r.clock.Now().Sub(began).Seconds()
	var err error
	if s.leader, err = r.leader(ctx); err != nil {
		return err
	}
	s.agent = r.agentOf(s.database.Host)
	if s.Kind == plan.StopAgent {
		if err := r.startTwin(ctx, s.database.Host); err != nil {
			return fmt.Errorf("start a second agent: %w", err)
		}
	}
	if s.Dice%2 == 0 { // the others are at work, too
		for _, d := range r.databases {
			if d != s.database {
				if _, err := r.backup(ctx, d.Name); err != nil {
					return err
				}
			}
		}
	}
	mark := r.journal.Mark()
	if s.run, err = r.backup(ctx, s.database.Name); err != nil {
		return err
	}
	s.out.Run = s.run
	ctx, cancel := context.WithTimeout(ctx, momentLimit)
	defer cancel()
	began = r.clock.Now()
	s.shown, err = check.Moment(ctx, r.journal, mark, s.run, s.Phase)
	s.out.Reached = r.clock.Now().Sub(began).Seconds()
	return err
}

// backup asks for a backup of a source and returns its run.
func (r *Rig) backup(ctx context.Context, source string) (string, error) {
	request, run := rand.Text(), ""
	err := r.ask(ctx, func(ctx context.Context, a apis) error {
		resp, err := a.admin.StartBackup(ctx, &pb.StartBackupRequest{Sources: []string{source}, RequestId: request})
		if err != nil {
			return err
		}
		if len(resp.GetRuns()) != 1 {
			return fmt.Errorf("asked for a backup of %s, got %d runs", source, len(resp.GetRuns()))
		}
		run = resp.GetRuns()[0].GetId()
		return nil
	})
	return run, err
}

// awaitRun waits for the end of the run that was struck.
func (r *Rig) awaitRun(ctx context.Context, s *strike) {
	ctx, cancel := context.WithTimeout(ctx, runLimit)
	defer cancel()
	for {
		var run *pb.Run
		err := r.ask(ctx, func(ctx context.Context, a apis) error {
			resp, err := a.admin.GetRun(ctx, &pb.GetRunRequest{Id: s.run})
			run = resp.GetRun()
			return err
		})
		if err == nil && ended(run) {
			s.out.Ended, s.out.Epoch = stateOf(run), run.GetEpoch()
			if why := run.GetFailure().GetMessage(); why != "" {
				s.out.Note("the run failed: %s", why)
			}
			return
		}
		if clock.Sleep(ctx, askPause) != nil {
			s.out.Blame("run %s has not ended: %v, %v", s.run, run, err)
			return
		}
	}
}

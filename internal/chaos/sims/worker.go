package sims

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/history"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/scale/sim"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	callLimit  = 10 * time.Second
	retryPause = 300 * time.Millisecond
	// tries is how often a client asks again that got no answer.
	tries = 20
	// overdue is longer than any lease of the rig's: then it is somebody else's.
	overdue = 12 * time.Second
	// reasonIncomplete is the controller's for a snapshot whose objects are not all there.
	reasonIncomplete problem.Reason = "snapshot-incomplete"
	// keptLeases is how many leases are remembered for forgers.
	keptLeases = 20
)

// worker carries out the runs of one client.
type worker struct {
	*crowd
	n       int
	name    string
	doors   []pb.AgentServiceClient
	agent   *sim.Agent
	working sync.WaitGroup
}

func (w *worker) sources() []*pb.Source {
	var all []*pb.Source
	for s := range Sources {
		all = append(all, &pb.Source{
			Name: SourceName(w.n, s), State: pb.SourceState_SOURCE_STATE_READY, Engine: "simulated", Agent: w.name,
			Container: &pb.Container{Id: fmt.Sprintf("%064x", w.n*Sources+s+1), Name: SourceName(w.n, s), Image: "simulated:1"},
		})
	}
	return all
}

// door is any controller.
func (w *worker) door() pb.AgentServiceClient { return w.doors[w.dice(len(w.doors))] }

// assigned takes in a lease.
func (w *worker) assigned(ctx context.Context, as *pb.Assignment) {
	l := as.GetLease()
	w.record.Record(history.Op{Client: w.n, Kind: history.Grant, Run: l.GetRun(), Epoch: l.GetEpoch(), Agent: w.name, Outcome: history.Done, Call: w.record.Now()})
	w.mu.Lock()
	w.leases = append(w.leases, given{w.n, l})
	if len(w.leases) > keptLeases {
		w.leases = w.leases[1:]
	}
	w.mu.Unlock()
	w.working.Go(func() { w.carryOut(ctx, as) })
}

func (w *worker) renewed(l *pb.Lease, o history.Outcome) {
	// When it was asked is not known here; it was not before the lease was granted,
	// and the model wants no more.
	w.record.Record(history.Op{Client: w.n, Kind: history.Renew, Run: l.GetRun(), Epoch: l.GetEpoch(), Agent: w.name, Outcome: o, Call: w.record.Now()})
}

// carryOut does one run in one of the ways.
func (w *worker) carryOut(ctx context.Context, as *pb.Assignment) {
	l := as.GetLease()
	defer w.agent.Drop(l)
	way := w.dice(100)
	if way < 10 { // it fails
		w.finish(ctx, l, false)
		return
	}
	s, ok := w.store(ctx, as)
	if !ok {
		return
	}
	switch {
	case way < 20: // it is away for so long that the lease is lost, and then wants to go on
		w.agent.Drop(l)
		if clock.Sleep(ctx, overdue) != nil {
			return
		}
		w.commit(ctx, l, s, false)
	case way < 30: // it asks for more than it was given
		forged := &pb.Lease{Run: l.GetRun(), Epoch: l.GetEpoch() + 1}
		w.commit(ctx, forged, s, true)
		w.commit(ctx, l, s, false)
	case way < 40: // it asks in the name of others
		if other := w.another(); other != nil {
			w.commit(ctx, other, s, true)
			w.finish(ctx, other, true)
		}
		w.commit(ctx, l, s, false)
	case way < 60: // it asks twice, and fails then
		w.commit(ctx, l, s, false)
		w.commit(ctx, l, s, false)
		w.finish(ctx, l, false)
	default:
		w.commit(ctx, l, s, false)
	}
}

// another is a lease of another client, if there is one.
func (w *worker) another() *pb.Lease {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, o := range w.leases {
		if o.client != w.n {
			return o.lease
		}
	}
	return nil
}

// store stores a small snapshot. It is asked for again while nobody answers.
func (w *worker) store(ctx context.Context, as *pb.Assignment) (sim.Snapshot, bool) {
	data := fmt.Appendf(nil, "%s of run %s, epoch %d", as.GetSource(), as.GetLease().GetRun(), as.GetLease().GetEpoch())
	for range tries {
		limited, cancel := context.WithTimeout(ctx, callLimit)
		s, err := sim.Store(limited, w.door(), as, data)
		cancel()
		if err == nil {
			return s, true
		}
		if outcome(err) == history.Refused || clock.Sleep(ctx, retryPause) != nil {
			break
		}
	}
	return sim.Snapshot{}, false
}

// commit asks for the snapshot's commit, again while there is no answer.
func (w *worker) commit(ctx context.Context, l *pb.Lease, s sim.Snapshot, forged bool) {
	w.ask(ctx, history.Op{Kind: history.Commit, Run: l.GetRun(), Epoch: l.GetEpoch(), Snapshot: s.Wire.GetId(), Forged: forged}, func(ctx context.Context) error {
		return s.Commit(ctx, w.door(), l)
	})
}

// finish tells that the run has failed.
func (w *worker) finish(ctx context.Context, l *pb.Lease, forged bool) {
	w.ask(ctx, history.Op{Kind: history.Finish, Run: l.GetRun(), Epoch: l.GetEpoch(), Forged: forged}, func(ctx context.Context) error {
		_, err := w.door().FinishRun(ctx, &pb.FinishRunRequest{Lease: l, Failure: &pb.Failure{Code: string(problem.Failed), Message: "simulated"}})
		return err
	})
}

// ask calls f until there is an answer, and records each time.
func (w *worker) ask(ctx context.Context, op history.Op, f func(context.Context) error) {
	op.Client, op.Agent = w.n, w.name
	for range tries {
		op.Call = w.record.Now()
		limited, cancel := context.WithTimeout(ctx, callLimit)
		op.Outcome = outcome(f(limited))
		cancel()
		w.record.Record(op)
		if op.Outcome != history.Unknown || clock.Sleep(ctx, retryPause) != nil {
			return
		}
	}
}

// outcome says what an error tells of a call: whether it was refused, or
// whether nobody knows.
func outcome(err error) history.Outcome {
	if err == nil {
		return history.Done
	}
	switch problem.CodeOf(err) {
	case problem.InvalidInput, problem.NotFound, problem.Conflict, problem.Denied:
		return history.Refused
	case problem.Failed:
		if problem.ReasonOf(err) == reasonIncomplete {
			return history.Refused // it is looked at before anything is decided
		}
	}
	return history.Unknown
}

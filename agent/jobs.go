package agent

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

// Why a run is stopped before its end.
var (
	errCancelled = problem.New(problem.Cancelled, "the run was cancelled")
	errLeaseLost = problem.New(problem.Unavailable, "the lease of the run was lost").
			WithHint("The controller did not hear of this agent in time; it gives the run out anew.")
	errSuperseded = errors.New("the run was given out anew")
	errShutdown   = errors.New("the agent is being stopped")
)

// keptTaken is of how many runs it is remembered that their end was taken.
const keptTaken = 64

// jobs are the runs in hand, by run id.
type jobs struct {
	clock clock.Clock
	mu    sync.Mutex
	all   map[string]*job
	// taken are the leases of the last runs whose end a controller has taken. A list of
	// all that is to do, on its way meanwhile, may still name them.
	taken []uplink.Lease
	wg    sync.WaitGroup
}

func newJobs(c clock.Clock) *jobs { return &jobs{clock: c, all: map[string]*job{}} }

// job is one run in hand.
type job struct {
	lease uplink.Lease
	// held lasts as long as the run is this agent's to carry out and to end; drop
	// ends it. cancel ends the work alone, whose end is then still to be told.
	held         context.Context
	drop, cancel context.CancelCauseFunc
	// after is closed when the work of an older epoch of the run has ended.
	after <-chan struct{}
	ended chan struct{}
	taken bool // its end, by a controller; who carries it out says so
	// The lease lasts until a time of this host's own, in monotonic time, so that no
	// clock of anybody can stretch it. expiry ends the job then; but a process that
	// was stopped wakes to everything at once, so whoever sends asks lasts as well.
	clock    clock.Clock
	duration time.Duration
	expiry   *time.Timer
	log      *jobLog

	mu          sync.Mutex
	until       time.Time
	telling     bool
	phase       string
	watch       func() (done, total, sent int64)
	unsaidLines []uplink.LogLine
}

// begin registers a job for the assignment, unless it is in hand already or its end
// was taken, and returns the context of its work. An older epoch of the same run is stopped: its
// work would be refused anyway.
func (js *jobs) begin(ctx context.Context, as uplink.Assignment, logger *slog.Logger) (context.Context, *job, bool) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if slices.Contains(js.taken, as.Lease) {
		return nil, nil, false
	}
	j := &job{
		lease: as.Lease, duration: as.Duration, log: newJobLog(logger.Handler()), ended: make(chan struct{}),
		clock: js.clock, until: js.clock.Now().Add(as.Duration),
	}
	if old := js.all[as.Lease.Run]; old != nil {
		if old.lease.Epoch >= as.Lease.Epoch {
			return nil, nil, false
		}
		old.drop(errSuperseded)
		j.after = old.ended
	}
	j.held, j.drop = context.WithCancelCause(ctx)
	work, cancel := context.WithCancelCause(j.held)
	j.cancel = cancel
	j.expiry = time.AfterFunc(as.Duration, func() { j.drop(errLeaseLost) })
	js.all[as.Lease.Run] = j
	js.wg.Add(1)
	return work, j, true
}

// end forgets a job.
func (js *jobs) end(j *job) {
	js.mu.Lock()
	defer js.mu.Unlock()
	j.expiry.Stop()
	j.drop(nil)
	close(j.ended)
	if js.all[j.lease.Run] == j {
		delete(js.all, j.lease.Run)
	}
	if j.taken {
		js.taken = append(js.taken, j.lease)
		js.taken = js.taken[max(0, len(js.taken)-keptTaken):]
	}
	js.wg.Done()
}

func (js *jobs) wait() { js.wg.Wait() }

func (js *jobs) leases() []uplink.Lease {
	js.mu.Lock()
	defer js.mu.Unlock()
	var out []uplink.Lease
	for _, j := range js.all {
		out = append(out, j.lease)
	}
	return out
}

// cancel stops the work of the run of exactly that lease, if it is in hand. Its
// end is still to be told.
func (js *jobs) cancel(l uplink.Lease) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if j := js.all[l.Run]; j != nil && j.lease == l {
		j.cancel(errCancelled)
	}
}

// lose gives the run of exactly that lease up, if it is in hand.
func (js *jobs) lose(l uplink.Lease) {
	js.mu.Lock()
	defer js.mu.Unlock()
	if j := js.all[l.Run]; j != nil && j.lease == l {
		j.lose()
	}
}

// dropAll gives every run up.
func (js *jobs) dropAll(why error) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		j.drop(why)
	}
}

// keepOnly gives every run up that is not among the assignments.
func (js *jobs) keepOnly(as []uplink.Assignment) {
	keep := map[uplink.Lease]bool{}
	for _, a := range as {
		keep[a.Lease] = true
	}
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, j := range js.all {
		if !keep[j.lease] {
			j.lose()
		}
	}
}

// renew lengthens leases by their duration from when it was asked for: the
// controller, which counts from later, never takes one back that we still hold.
func (js *jobs) renew(ls []uplink.Lease, asked time.Time) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, l := range ls {
		if j := js.all[l.Run]; j != nil && j.lease == l {
			j.renew(asked)
		}
	}
}

// renew lengthens the lease, unless it has run out already: then it stays so.
func (j *job) renew(asked time.Time) {
	if j.lasts() != nil || !j.expiry.Stop() {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.until = asked.Add(j.duration)
	j.expiry.Reset(j.until.Sub(j.clock.Now()))
}

// tell marks that the work is done and its end is being told.
func (j *job) tell() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.telling = true
}

// lose gives the run up, as the controller does not count it among ours any more.
// While its end is being told it may be that end which the controller means, and
// whose answer is on its way: that answer decides, or the lease's own time.
func (j *job) lose() {
	j.mu.Lock()
	telling := j.telling
	j.mu.Unlock()
	if !telling {
		j.drop(errLeaseLost)
	}
}

// lasts says why the lease is over, nil while it is not. It sees by the clock
// that it is, also before the timer could.
func (j *job) lasts() error {
	j.mu.Lock()
	over := !j.clock.Now().Before(j.until)
	j.mu.Unlock()
	if over {
		j.drop(errLeaseLost)
	}
	return context.Cause(j.held)
}

// patience is how long the controller may take to answer a heartbeat, so that
// there is time to find another for the leases in hand.
func (js *jobs) patience() time.Duration {
	js.mu.Lock()
	defer js.mu.Unlock()
	limit := beatLimit
	for _, j := range js.all {
		limit = min(limit, j.duration/3)
	}
	return limit
}

// progress tells how far each run is, with the log lines since the last time.
func (js *jobs) progress() []uplink.Progress {
	js.mu.Lock()
	defer js.mu.Unlock()
	var out []uplink.Progress
	for _, j := range js.all {
		out = append(out, j.progress())
	}
	return out
}

// unsaid takes log lines back that could not be told.
func (js *jobs) unsaid(ps []uplink.Progress) {
	js.mu.Lock()
	defer js.mu.Unlock()
	for _, p := range ps {
		if j := js.all[p.Lease.Run]; j != nil && j.lease == p.Lease {
			j.mu.Lock()
			j.unsaidLines = bounded(append(p.Logs, j.unsaidLines...))
			j.mu.Unlock()
		}
	}
}

func (j *job) progress() uplink.Progress {
	j.mu.Lock()
	defer j.mu.Unlock()
	p := uplink.Progress{Lease: j.lease, Phase: j.phase, Logs: append(j.unsaidLines, j.log.news()...)}
	j.unsaidLines = nil
	if j.watch != nil {
		p.BytesDone, p.BytesTotal, p.BytesSent = j.watch()
	}
	return p
}

// hold is the lease as whoever sends for the run has to see it.
func (j *job) hold() uplink.Hold { return uplink.Hold{Lease: j.lease, Lasts: j.lasts} }

// Phase implements the Reporters of backup and restore.
func (j *job) Phase(what string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.phase = what
}

func (j *job) setWatch(f func() (done, total, sent int64)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.watch = f
}

// backupReporter and restoreReporter give a job the Watch that each kind of run speaks.
type (
	backupReporter  struct{ *job }
	restoreReporter struct{ *job }
)

func (r backupReporter) Watch(f func() (raw, sent int64)) {
	r.setWatch(func() (int64, int64, int64) {
		raw, sent := f()
		return raw, 0, sent
	})
}

func (r restoreReporter) Watch(f func() (done, total int64)) {
	r.setWatch(func() (int64, int64, int64) {
		done, total := f()
		return done, total, 0
	})
}

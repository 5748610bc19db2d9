package scale

import (
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/clock"
)

// tally gathers what the agents are told during one stage. It is safe for
// concurrent use.
type tally struct {
	clock clock.Clock

	mu        sync.Mutex
	news      chan struct{}
	in        int // agents in a session
	inventory int // agents that have reported their sources in this stage
	sessions  []time.Duration
	beats     []time.Duration
	failed    int             // heartbeats
	runs      map[string]*run // by id
	finished  int             // runs, one way or the other
	unmade    int             // of these
}

// run is when what happened to a run. Its agent may hear of it before we know
// its id.
type run struct{ asked, heard, made time.Time }

func newTally(c clock.Clock) *tally {
	return &tally{clock: c, news: make(chan struct{}), runs: map[string]*run{}}
}

// change makes a change and wakes whoever waits for one.
func (t *tally) change(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	f()
	close(t.news)
	t.news = make(chan struct{})
}

func (t *tally) session(took time.Duration) {
	t.change(func() { t.in++; t.sessions = append(t.sessions, took) })
}

// gone notes that a session has ended, or did not come about.
func (t *tally) gone(was bool) {
	if was {
		t.change(func() { t.in-- })
	}
}

func (t *tally) reported() { t.change(func() { t.inventory++ }) }

func (t *tally) beat(took time.Duration, err error) {
	t.change(func() {
		if err != nil {
			t.failed++
		} else {
			t.beats = append(t.beats, took)
		}
	})
}

// of gives the run of an id. t.mu is held.
func (t *tally) of(id string) *run {
	r := t.runs[id]
	if r == nil {
		r = &run{}
		t.runs[id] = r
	}
	return r
}

// request notes that a run was asked for at a time.
func (t *tally) request(id string, at time.Time) { t.change(func() { t.of(id).asked = at }) }

// assigned notes that an agent has heard of its run. A second time, after a
// lease was lost, says nothing of how long it takes.
func (t *tally) assigned(id string) {
	now := t.clock.Now()
	t.change(func() {
		if r := t.of(id); r.heard.IsZero() {
			r.heard = now
		}
	})
}

func (t *tally) done(id string, err error) {
	now := t.clock.Now()
	t.change(func() {
		t.finished++
		if err != nil {
			t.unmade++
			return
		}
		t.of(id).made = now
	})
}

// begin forgets what was gathered; who is in a session stays.
func (t *tally) begin() {
	t.change(func() {
		t.inventory, t.sessions, t.beats, t.failed, t.finished, t.unmade = 0, nil, nil, 0, 0, 0
		t.runs = map[string]*run{}
	})
}

// into puts what was gathered into a stage.
func (t *tally) into(s *Stage) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var heard, made []time.Duration
	for _, r := range t.runs {
		if r.asked.IsZero() {
			continue
		}
		if !r.heard.IsZero() {
			heard = append(heard, r.heard.Sub(r.asked))
		}
		if !r.made.IsZero() {
			made = append(made, r.made.Sub(r.asked))
		}
	}
	s.Sessions, s.Beats, s.BeatsFailed = measure.SpreadOf(t.sessions), measure.SpreadOf(t.beats), t.failed
	s.Assigned, s.Done, s.RunsFailed = measure.SpreadOf(heard), measure.SpreadOf(made), t.unmade
}

// look returns what f sees, and a channel that closes at the next change.
func (t *tally) look(f func() bool) (bool, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return f(), t.news
}

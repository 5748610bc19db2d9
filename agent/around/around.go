// Package around does what is done around the dumps of one host: it runs hooks
// before and after them, and pauses or stops companions meanwhile. What it has
// paused or stopped goes on again whatever happens: it is written down before,
// and taken up when the agent starts again after a crash.
package around

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// Reasons for which a backup fails here.
const (
	ReasonHook      problem.Reason = "hook-failed"      // what is done before it failed
	ReasonCompanion problem.Reason = "companion-failed" // a companion could not be paused or stopped
)

// Place is a container with hooks.
type Place struct {
	Name     string
	Instance engine.Instance
	Hooks    source.Hooks
}

// Companion is a container that takes part in a backup.
type Companion struct {
	Place
	ID string
	// Action is source.ActionPause, source.ActionStop or empty.
	Action string
	// Resting says that it did not run when it was last looked at: it takes part if it
	// was a run that has stopped it, and not if it was somebody else.
	Resting bool
}

// Work is one backup with what is around it.
type Work struct {
	Run, Source string
	Own         Place
	// Companions in the order in which they are dealt with; they go on in the other.
	Companions []Companion
	Logger     *slog.Logger
	Phase      func(string)
}

// Options are what an Around is made of.
type Options struct {
	// Dir is a folder of its own, in which it writes down what it holds.
	Dir    string
	Switch provider.Switch
	Clock  clock.Clock
	Logger *slog.Logger
}

// Around is what is around the dumps of one host. It is safe for concurrent use.
type Around struct {
	Options
	http *http.Client
	// life ends with Run.
	life context.Context
	end  context.CancelFunc
	// recovered is closed when what a crash has left behind goes on again.
	recovered chan struct{}

	mu   sync.Mutex
	held map[string]*hold // by container
	// turns are of containers with hooks that are paused or stopped, too: while one run
	// has them rest no other could run a hook in them. Who has put something in has it.
	turns map[string]chan struct{}
	busy  sync.WaitGroup // those who try again to have something go on
}

// hold is a container that is paused or stopped, and the runs for which.
type hold struct {
	action string
	runs   map[string]bool
}

// New returns an Around; Run has to run beside it.
func New(o Options) *Around {
	life, end := context.WithCancel(context.Background())
	return &Around{
		Options: o, recovered: make(chan struct{}), held: map[string]*hold{}, turns: map[string]chan struct{}{}, life: life, end: end,
		// A redirect would carry what was posted to somebody who was not named.
		http: &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }},
	}
}

// Backup carries out a dump with what is around it. When what is done before
// fails there is no dump; what is done after runs in any case, also when ctx has
// ended, and never changes the outcome.
func (a *Around) Backup(ctx context.Context, w Work, dump func(context.Context) error) (err error) {
	if err := a.recovery(ctx, w); err != nil {
		return err
	}
	leave, err := a.takeTurns(ctx, w)
	defer leave()
	if err != nil {
		return err
	}
	w.Companions = slices.DeleteFunc(slices.Clone(w.Companions), func(c Companion) bool { return c.Resting && a.off(ctx, c) })
	places := []Place{w.Own}
	for _, c := range w.Companions {
		places = append(places, c.Place)
	}
	defer func() {
		outcome := "succeeded"
		if err != nil {
			outcome = "failed"
		}
		for _, p := range places {
			a.after(context.WithoutCancel(ctx), w, p, outcome)
		}
	}()
	for i := len(places) - 1; i >= 0; i-- {
		if err := a.before(ctx, w, places[i]); err != nil {
			return err
		}
	}
	release, err := a.quiet(ctx, w)
	defer release()
	if err != nil {
		return err
	}
	return dump(ctx)
}

// recoveryLimit is how long a backup waits for what a crash has left paused or
// stopped to go on.
const recoveryLimit = 5 * time.Minute

// recovery waits, before anything is paused or stopped, until what a crash has left
// so goes on.
func (a *Around) recovery(ctx context.Context, w Work) error {
	if !slices.ContainsFunc(w.Companions, func(c Companion) bool { return c.Action != "" }) {
		return nil
	}
	w.Phase("waiting for what an earlier run has paused")
	select {
	case <-a.recovered:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(recoveryLimit):
		return problem.New(problem.Failed, "containers that were paused or stopped when the agent ended do not go on").WithReason(ReasonCompanion).
			WithHint("The agent's log says which, and why not: it tries again. One that is removed is not waited for.")
	}
}

// off says whether a companion is stopped, and not for another run. One that cannot
// be looked at counts, for the failure that this comes to.
func (a *Around) off(ctx context.Context, c Companion) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.held[c.ID] != nil {
		return false
	}
	is, err := a.Switch.Condition(ctx, c.ID)
	return err == nil && is != provider.Running
}

// takeTurns waits until no other run is at work with the companions in whose
// containers hooks are run before and after they rest. leave is to be called in any
// case. All runs take them in the same order, so that none waits for the other.
func (a *Around) takeTurns(ctx context.Context, w Work) (leave func(), _ error) {
	var taken []chan struct{}
	leave = func() {
		for _, t := range taken {
			<-t
		}
	}
	inOrder := slices.SortedFunc(slices.Values(w.Companions), func(a, b Companion) int { return cmp.Compare(a.ID, b.ID) })
	for _, c := range inOrder {
		if c.Action == "" || len(c.Hooks.Before)+len(c.Hooks.After) == 0 {
			continue
		}
		a.mu.Lock()
		t := a.turns[c.ID]
		if t == nil {
			t = make(chan struct{}, 1)
			a.turns[c.ID] = t
		}
		a.mu.Unlock()
		w.Phase("waiting for its turn with the companion " + c.Name)
		select {
		case t <- struct{}{}:
			taken = append(taken, t)
		case <-ctx.Done():
			return leave, context.Cause(ctx)
		}
	}
	return leave, nil
}

// quiet pauses and stops the companions. release has them go on, and is to be
// called in any case.
func (a *Around) quiet(ctx context.Context, w Work) (release func(), _ error) {
	nothing := func() {}
	var acting []Companion
	for _, c := range w.Companions {
		if c.Action != "" {
			acting = append(acting, c)
		}
	}
	if len(acting) == 0 {
		return nothing, nil
	}
	w.Phase("pausing what belongs to it")
	note := note{Run: w.Run, Source: w.Source}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, c := range acting {
		if a.held[c.ID] != nil { // another run has paused it: it stays so until both are done
			note.Containers = append(note.Containers, noted{c.ID, c.Name, a.held[c.ID].action})
			continue
		}
		switch is, err := a.Switch.Condition(ctx, c.ID); {
		case err != nil:
			return nothing, problem.Wrap(problem.Failed, err, "look at the companion %s", c.Name).WithReason(ReasonCompanion)
		case is == provider.Running:
			note.Containers = append(note.Containers, noted{c.ID, c.Name, c.Action})
		default: // whoever paused or stopped it has it go on, too
			w.Logger.Info("companion is left as it is", "container", c.Name, "condition", string(is))
		}
	}
	if len(note.Containers) == 0 {
		return nothing, nil
	}
	if err := a.write(note); err != nil {
		return nothing, problem.Wrap(problem.Failed, err, "write down what is to go on afterwards").WithReason(ReasonCompanion).
			WithHint("Give the agent a data folder that it can write to.")
	}
	release = func() { a.release(context.WithoutCancel(ctx), note) }
	for _, c := range note.Containers {
		if h := a.held[c.ID]; h != nil {
			h.runs[w.Run] = true
			continue
		}
		a.held[c.ID] = &hold{action: c.Action, runs: map[string]bool{w.Run: true}}
		act := a.Switch.Pause
		if c.Action == source.ActionStop {
			act = a.Switch.Stop
		}
		began := a.Clock.Now()
		if err := act(ctx, c.ID); err != nil {
			return release, problem.Wrap(problem.Failed, err, "%s the companion %s", c.Action, c.Name).WithReason(ReasonCompanion).
				WithHint("Look at the container, or take its label %s away.", "baktainer.companion.action")
		}
		w.Logger.Info("companion rests", "container", c.Name, "action", c.Action, "took", a.Clock.Now().Sub(began).Round(time.Millisecond))
	}
	return release, nil
}

// release has the containers of a run go on that no other run holds. What does
// not at once is tried again until it does, or this process ends: then the next
// one takes it up.
func (a *Around) release(ctx context.Context, n note) {
	a.mu.Lock()
	var due []noted
	for _, c := range n.Containers {
		h := a.held[c.ID]
		if h == nil || !h.runs[n.Run] {
			continue
		}
		if delete(h.runs, n.Run); len(h.runs) == 0 {
			due = append(due, noted{c.ID, c.Name, h.action})
		}
	}
	// It is done while a.mu is held, so that no other run takes a container for
	// running, or for somebody else's, on its way.
	err := a.goOn(ctx, due)
	a.mu.Unlock()
	if err == nil {
		a.forget(n)
		return
	}
	a.Logger.Error("companions do not go on; trying again", "run", n.Run, "source", n.Source, "error", err)
	a.busy.Go(func() {
		for pause := time.Second; clock.Sleep(a.life, pause) == nil; pause = min(2*pause, time.Minute) {
			a.mu.Lock()
			err := a.goOn(a.life, due)
			a.mu.Unlock()
			if err == nil {
				a.forget(n)
				return
			}
			a.Logger.Error("companions still do not go on", "run", n.Run, "source", n.Source, "error", err)
		}
	})
}

// goOnLimit bounds one attempt to have a container go on.
const goOnLimit = 30 * time.Second

// goOn has containers go on, in the order opposite to that in which they were
// paused, and forgets each that does. a.mu is held.
func (a *Around) goOn(ctx context.Context, due []noted) error {
	var failed []error
	for i := len(due) - 1; i >= 0; i-- {
		c := due[i]
		if h := a.held[c.ID]; h != nil && len(h.runs) > 0 {
			continue // another run wants it to rest by now
		}
		err := a.wake(ctx, c)
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %w", c.Name, err))
			continue
		}
		delete(a.held, c.ID)
	}
	return errors.Join(failed...)
}

func (a *Around) wake(ctx context.Context, c noted) error {
	ctx, cancel := context.WithTimeout(ctx, goOnLimit)
	defer cancel()
	is, err := a.Switch.Condition(ctx, c.ID)
	switch {
	case err != nil:
		return err
	case is == provider.Paused && c.Action == source.ActionPause:
		err = a.Switch.Unpause(ctx, c.ID)
	case is == provider.Stopped && c.Action == source.ActionStop:
		err = a.Switch.Start(ctx, c.ID)
	}
	if problem.CodeOf(err) == problem.NotFound {
		return nil // somebody has removed it
	}
	return err
}

package agent

import (
	"context"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	// firstBeat is the heartbeat's period before the controller has named one.
	firstBeat = 5 * time.Second
	// Reconnecting waits from minPause, doubling, to maxPause, with jitter.
	minPause = 200 * time.Millisecond
	maxPause = 15 * time.Second
	// From this pause on failures are told at the level of a warning.
	loudPause = 2 * time.Second
	// A session that lasted this long was a good one: back-off starts over.
	goodSession = 30 * time.Second
)

// keepSession holds a session with the controller, and opens another whenever
// it is lost, until ctx ends. Runs in hand go on meanwhile, for as long as their
// leases last.
func (a *Agent) keepSession(ctx context.Context) {
	pause := minPause
	for ctx.Err() == nil {
		began := a.Clock.Now()
		err := a.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if a.Clock.Now().Sub(began) > goodSession {
			pause = minPause
		}
		wait := pause/2 + rand.N(pause) //nolint:gosec // jitter needs no secrecy
		level := slog.LevelWarn
		if pause < loudPause {
			level = slog.LevelDebug // a controller that has just started needs a moment
		}
		a.Logger.Log(ctx, level, "no session with the controller; trying again", "error", err, "in", wait.Round(time.Millisecond))
		_ = clock.Sleep(ctx, wait)
		pause = min(2*pause, maxPause)
	}
}

// session holds one session until it ends and says why it did.
func (a *Agent) session(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel()

	var once sync.Once
	hello := uplink.Hello{Host: a.Host, Version: a.Version, Concurrency: a.Concurrency, Held: a.jobs.leases()}
	return a.Controller.Session(ctx, hello, func(u uplink.Update) {
		once.Do(func() {
			a.Logger.Info("session with the controller", "session", u.Session)
			wg.Go(func() { a.beat(ctx, cancel, u.Session) })
			wg.Go(func() { a.reportInventory(ctx, u.Session) })
		})
		a.obey(ctx, u)
	})
}

// obey starts and stops runs as the controller says.
func (a *Agent) obey(ctx context.Context, u uplink.Update) {
	if u.Complete {
		a.jobs.keepOnly(u.Assign)
	}
	for _, as := range u.Assign {
		a.start(context.WithoutCancel(ctx), as)
	}
	for _, l := range u.Cancel {
		a.jobs.cancel(l)
	}
}

// beat sends heartbeats until ctx ends. It gives the session up when the
// controller does not know it.
func (a *Agent) beat(ctx context.Context, giveUp func(), session string) {
	period := firstBeat
	for {
		progress := a.jobs.progress()
		b, err := a.Controller.Heartbeat(ctx, session, progress, a.health())
		if err != nil {
			a.jobs.unsaid(progress) // for the next beat, or the next session's first
		}
		switch {
		case ctx.Err() != nil:
			return
		case problem.CodeOf(err) == problem.NotFound:
			giveUp()
			return
		case err != nil:
			a.Logger.Warn("heartbeat failed", "error", err)
		default:
			if b.Period > 0 {
				period = b.Period
			}
			a.jobs.renew(b.Renewed)
			for _, l := range b.Lost {
				a.jobs.drop(l, errLeaseLost)
			}
		}
		if clock.Sleep(ctx, period) != nil {
			return
		}
	}
}

// reportInventory tells the controller the sources, now and whenever they change.
func (a *Agent) reportInventory(ctx context.Context, session string) {
	for {
		all, known, news := a.sources.list()
		if known {
			if err := a.Controller.ReportInventory(ctx, session, all); err != nil {
				if ctx.Err() != nil {
					return
				}
				a.Logger.Warn("inventory not reported; trying again", "error", err)
				_ = clock.Sleep(ctx, time.Second)
				continue
			}
		}
		select {
		case <-news:
		case <-ctx.Done():
			return
		}
	}
}

func (a *Agent) health() []uplink.NamedHealth {
	var out []uplink.NamedHealth
	for _, p := range a.Providers {
		out = append(out, uplink.NamedHealth{Name: p.Name(), Health: p.Health()})
	}
	return out
}

package agent

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/clock"
)

const (
	// firstBeat is the heartbeat's period before the controller has named one.
	firstBeat = 5 * time.Second
	// beatLimit is the longest that a heartbeat may take: a leader that says nothing
	// is left for whoever leads now.
	beatLimit = 10 * time.Second
	// From this pause on failures are told at the level of a warning.
	loudPause = 2 * time.Second
	// Pauses are no longer than this while leases are in hand, which run out.
	busyPause = 5 * time.Second
	// A session that lasted this long was a good one: back-off starts over.
	goodSession = 30 * time.Second
)

// keepSession holds a session with the controller that leads, and opens another
// whenever it is lost, until ctx ends. Runs in hand go on meanwhile, for as long
// as their leases last.
func (a *Agent) keepSession(ctx context.Context) {
	pause := uplink.Backoff{Most: uplink.MaxPause}
	for ctx.Err() == nil {
		began := a.Clock.Now()
		err := a.session(ctx)
		if ctx.Err() != nil {
			return
		}
		if a.Clock.Now().Sub(began) > goodSession {
			pause.Reset()
		}
		level := slog.LevelDebug // a controller that has just started needs a moment
		if pause.Long(loudPause) {
			level = slog.LevelWarn
		}
		wait := pause.Next()
		if len(a.jobs.leases()) > 0 {
			wait = min(wait, busyPause)
		}
		a.Logger.Log(ctx, level, "no session with the controller; trying again", "error", err, "in", wait.Round(time.Millisecond))
		_ = clock.Sleep(ctx, wait)
	}
}

// session holds one session until it ends and says why it did.
func (a *Agent) session(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	var wg sync.WaitGroup
	defer wg.Wait()
	defer cancel(nil)
	defer a.Connected(false)

	var once sync.Once
	wanted := newWanted()
	hello := uplink.Hello{Host: a.Host, Version: a.Version, Concurrency: a.Concurrency, Held: a.jobs.leases()}
	err := a.Controller.Session(ctx, hello, func(u uplink.Update) {
		once.Do(func() {
			a.Logger.Info("session with the controller", "session", u.Session)
			a.Connected(true)
			wg.Go(func() { cancel(a.beat(ctx, u.Session)) })
			wg.Go(func() { a.reportInventory(ctx, u.Session) })
			wg.Go(func() { a.renewTrust(ctx, wanted) })
		})
		a.obey(ctx, u)
		wanted.raise(u.Trust)
		if u.Logs != nil {
			wg.Go(func() { a.showLog(ctx, *u.Logs) })
		}
	})
	if cause := context.Cause(ctx); cause != nil {
		return cause // what the heartbeat met tells more than that it ended the session
	}
	return err
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

// beat sends heartbeats until one fails, or ctx ends. With one that fails the
// session is given up: its controller is not there, does not lead any more, or
// does not know the session, and the leases in hand need somebody to renew them.
func (a *Agent) beat(ctx context.Context, session string) error {
	period := firstBeat
	for {
		asked, pulse := a.Clock.Now(), uplink.Pulse{Runs: a.jobs.progress(), Providers: a.health()}
		if a.TrustVersion != nil {
			pulse.Trust = a.TrustVersion()
		}
		b, err := a.Controller.Heartbeat(ctx, session, a.jobs.patience(), pulse)
		if err != nil {
			a.jobs.unsaid(pulse.Runs) // for the next session's first beat
			return err
		}
		if b.Period > 0 {
			period = b.Period
		}
		a.jobs.renew(b.Renewed, asked)
		for _, l := range b.Lost {
			a.jobs.lose(l)
		}
		if err := clock.Sleep(ctx, period); err != nil {
			return err
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

// showLog answers a request for the agent's log.
func (a *Agent) showLog(ctx context.Context, q uplink.LogRequest) {
	var lines []uplink.LogLine
	if a.Recent != nil {
		for _, l := range a.Recent.Lines(q.Lines) {
			lines = append(lines, uplink.LogLine{Time: l.Time, Level: l.Level, Message: l.Text})
		}
	}
	if err := a.Controller.SendLogs(ctx, q.ID, lines); err != nil && ctx.Err() == nil {
		a.Logger.Warn("the log was asked for and not taken", "error", err)
	}
}

func (a *Agent) health() []uplink.NamedHealth {
	var out []uplink.NamedHealth
	for _, p := range a.Providers {
		out = append(out, uplink.NamedHealth{Name: p.Name(), Health: p.Health()})
	}
	return out
}

package scale

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// stageLimit bounds how long is waited for the end of a stage.
const stageLimit = 10 * time.Minute

// Options say what to measure.
type Options struct {
	Binary string
	// Memory is what the leader tries to stay under, as its setting has it.
	Memory string
	Agents int
	// Sources is how many each agent has.
	Sources int
	// Steady is how long the leader is watched at rest, and while runs trickle in.
	Steady time.Duration
	// Rate is how many runs a second trickle in.
	Rate float64
	// Snapshots is how many the ledger has; 0: no ledger is measured.
	Snapshots int
	Out       io.Writer // progress
}

// run is a measurement under way.
type measurement struct {
	Options
	figures *Figures
	leader  *leader
	fleet   *fleet
	tally   *tally
	clock   clock.Clock
	began   time.Time
}

// Run measures all of it. What did not come about is in the figures, as far as
// the rest could go on.
func Run(ctx context.Context, o Options) (_ *Figures, err error) {
	m := &measurement{Options: o, clock: clock.System{}}
	m.began = m.clock.Now()
	m.figures = &Figures{Made: m.began.UTC().Format(time.DateOnly), Agents: o.Agents, Sources: o.Agents * o.Sources, Memory: o.Memory, Machine: machine()}
	if o.Agents > 0 {
		if err := m.agents(ctx); err != nil {
			return m.figures, err
		}
	}
	if o.Snapshots > 0 && ctx.Err() == nil {
		if err := m.ledger(ctx); err != nil {
			return m.figures, err
		}
	}
	return m.figures, ctx.Err()
}

// agents puts one leader through all stages.
func (m *measurement) agents(ctx context.Context) (err error) {
	if m.leader, err = startLeader(ctx, m.Binary, m.Memory); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, m.leader.close()) }()
	if s, err := m.leader.admin.GetStatus(ctx, &pb.GetStatusRequest{}); err == nil {
		m.figures.Version = s.GetVersion()
	}
	m.tally = newTally(m.clock)
	var fleetErr error
	m.stage(ctx, "all agents connect", func(ctx context.Context) error {
		m.fleet, fleetErr = newFleet(ctx, m.leader, m.Agents, m.Sources, m.tally, m.clock)
		if fleetErr != nil {
			return fleetErr
		}
		return m.until(ctx, "all agents have reported", func() bool { return m.tally.in == m.Agents && m.tally.inventory >= m.Agents })
	})
	if fleetErr != nil {
		return fleetErr
	}
	defer func() { err = errors.Join(m.fleet.close(), err) }()
	m.stage(ctx, "at rest", func(ctx context.Context) error { return clock.Sleep(ctx, m.Steady) })
	m.stage(ctx, fmt.Sprintf("%g runs a second", m.Rate), m.trickle)
	m.stage(ctx, "all sources due at once", m.burst)
	m.stage(ctx, "all connections cut", func(ctx context.Context) error {
		if n := m.fleet.cut(); n < m.Agents {
			return fmt.Errorf("only %d connections were open", n)
		}
		return m.allBack(ctx)
	})
	m.stage(ctx, "leader killed and started", func(ctx context.Context) error {
		m.leader.kill()
		if err := m.leader.start(ctx); err != nil {
			return err
		}
		if err := m.leader.process.Mark(); err != nil {
			return err
		}
		return m.allBack(ctx)
	})
	return nil
}

// allBack waits until every agent has a new session.
func (m *measurement) allBack(ctx context.Context) error {
	return m.until(ctx, "all agents are back", func() bool { return m.tally.in == m.Agents && len(m.tally.sessions) >= m.Agents })
}

// stage measures one stage. What goes wrong in it is part of its figures.
func (m *measurement) stage(ctx context.Context, name string, do func(context.Context) error) {
	if ctx.Err() != nil {
		return
	}
	m.tally.begin()
	s := Stage{Name: name}
	began := m.clock.Now()
	err := m.leader.process.Mark()
	if err == nil {
		// Not what ends with the stage: agents live on.
		err = do(ctx)
	}
	s.Wall = m.clock.Now().Sub(began).Seconds()
	var measured error
	s.CPU, s.RSS, measured = m.leader.process.Since()
	m.tally.into(&s)
	if measured != nil {
		measured = fmt.Errorf("%w; the end of its log: %s", measured, m.leader.lastWords())
	}
	if err = errors.Join(err, measured); err != nil {
		s.Wrong = append(s.Wrong, err.Error())
	}
	m.figures.Stages = append(m.figures.Stages, s)
	m.say("%-28s %6.1f s  CPU %5.1f s  RSS %4d MiB  sessions %v  beats %v (%d failed)  assigned %v  done %v (%d failed) %v",
		s.Name, s.Wall, s.CPU, s.RSS>>20, s.Sessions, s.Beats, s.BeatsFailed, s.Assigned, s.Done, s.RunsFailed, s.Wrong)
}

// until waits for a condition of the tally.
func (m *measurement) until(ctx context.Context, what string, ok func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, stageLimit)
	defer cancel()
	for {
		done, news := m.tally.look(ok)
		if done {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s: %w", what, ctx.Err())
		}
	}
}

// trickle asks for runs of sources by chance, at an even rate.
func (m *measurement) trickle(ctx context.Context) error {
	n := int(m.Steady.Seconds() * m.Rate)
	order := rand.New(rand.NewPCG(1, 1)).Perm(m.Agents * m.Sources) //nolint:gosec // a load, no secret
	var asking sync.WaitGroup
	errs := make(chan error, n)
	began := m.clock.Now()
	for i := range n {
		due := began.Add(time.Duration(float64(i) / m.Rate * float64(time.Second)))
		if clock.Sleep(ctx, due.Sub(m.clock.Now())) != nil {
			break
		}
		pick := order[i%len(order)]
		asking.Go(func() {
			if err := m.ask(ctx, &pb.StartBackupRequest{Sources: []string{sourceName(pick/m.Sources, pick%m.Sources)}}); err != nil {
				errs <- err
			}
		})
	}
	asking.Wait()
	close(errs)
	for err := range errs {
		return err
	}
	return m.until(ctx, "all runs have ended", func() bool { return m.tally.finished >= n })
}

// ask asks for backups and notes their runs.
func (m *measurement) ask(ctx context.Context, req *pb.StartBackupRequest) error {
	at := m.clock.Now()
	resp, err := m.leader.admin.StartBackup(ctx, req)
	if err != nil {
		return fmt.Errorf("ask for a backup: %w", err)
	}
	for _, r := range resp.GetRuns() {
		m.tally.request(r.GetId(), at)
	}
	return nil
}

// burst asks for a backup of everything, as at midnight.
func (m *measurement) burst(ctx context.Context) error {
	if err := m.ask(ctx, &pb.StartBackupRequest{All: true}); err != nil {
		return err
	}
	return m.until(ctx, "all runs have ended", func() bool { return m.tally.finished >= m.Agents*m.Sources })
}

// say prints a line of progress.
func (m *measurement) say(format string, args ...any) {
	fmt.Fprintf(m.Out, "%7s  %s\n", m.clock.Now().Sub(m.began).Round(time.Second), fmt.Sprintf(format, args...))
}

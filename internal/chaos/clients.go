package chaos

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/history"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/chaos/sims"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// clientsEvery is how often a run is asked for that a client carries out.
	clientsEvery = 300 * time.Millisecond
	// clientsLimit bounds the wait for the end of their last runs.
	clientsLimit = 2 * time.Minute
)

// clients are simulated agents, in a process of their own on the rig's network,
// whose operations are recorded.
type clients struct {
	proc    *procs.Process
	history string
	stop    context.CancelFunc
	asking  sync.WaitGroup
}

func (c *clients) kill() {
	c.stop()
	c.asking.Wait()
	c.proc.Kill()
}

// startClients starts them, and asks for runs of theirs all the time.
func (r *Rig) startClients(ctx context.Context) error {
	path := filepath.Join(r.Logs, "history.jsonl")
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("remove an old history: %w", err)
	}
	argv := append(r.net.Exec(clientsName), r.ClientCommand...)
	argv = append(argv, "-controllers", addresses(), "-token-file", r.tokenFile("agent"), "-clients", fmt.Sprint(r.Clients), "-seed", fmt.Sprint(r.Seed), "-history", path)
	proc := procs.New(procs.Spec{Name: clientsName, Argv: argv, Env: environment(), Log: filepath.Join(r.Logs, clientsName+".log")}, r.journal)
	if err := proc.Start(); err != nil {
		return err
	}
	asking, stop := context.WithCancel(ctx)
	r.clients = &clients{proc: proc, history: path, stop: stop}
	r.clients.asking.Go(func() {
		random := rand.New(rand.NewPCG(r.Seed, 2)) //nolint:gosec // it is to be repeatable
		for asking.Err() == nil {
			source := sims.SourceName(random.IntN(r.Clients), random.IntN(sims.Sources))
			limited, cancel := context.WithTimeout(asking, askOnce)
			_, _ = r.backup(limited, source) // during a fault there may be nobody to ask
			cancel()
			_ = clock.Sleep(asking, clientsEvery) // its only error ends the loop
		}
	})
	return nil
}

// endClients waits for the end of the clients' runs and checks their history.
func (r *Rig) endClients(ctx context.Context) error {
	r.clients.stop()
	r.clients.asking.Wait()
	limited, cancel := context.WithTimeout(ctx, clientsLimit)
	defer cancel()
	for r.clientRuns(limited) > 0 {
		if clock.Sleep(limited, 5*askPause) != nil {
			return errors.New("runs of theirs have not ended")
		}
	}
	if !r.clients.proc.Running() {
		return errors.New("they have ended by themselves; see the log of " + clientsName)
	}
	if err := r.clients.proc.Terminate(limited); err != nil {
		return err
	}
	ops, err := history.Load(r.clients.history)
	if err != nil {
		return err
	}
	reads, err := r.reads(ctx, ops)
	if err != nil {
		return err
	}
	v, err := history.Check(append(ops, reads...), filepath.Join(r.Logs, "history.html"))
	r.figures.History = &v
	if err == nil && v.Operations == 0 {
		err = errors.New("they did nothing")
	}
	return err
}

// clientRuns counts the runs of theirs that are at work.
func (r *Rig) clientRuns(ctx context.Context) int {
	busy := 1
	_ = r.ask(ctx, func(ctx context.Context, a apis) error { // one that fails leaves it at busy
		resp, err := a.admin.ListRuns(ctx, &pb.ListRunsRequest{Limit: runsLimit})
		if err != nil {
			return err
		}
		busy = 0
		for _, run := range resp.GetRuns() {
			if strings.HasPrefix(run.GetSource(), sims.Prefix) && !ended(run) {
				busy++
			}
		}
		return nil
	})
	return busy
}

// reads tells for each run of a history what is listed of it in the end.
func (r *Rig) reads(ctx context.Context, ops []history.Op) ([]history.Op, error) {
	listed := map[string]string{} // snapshot by run
	now := r.clock.Now().UnixNano()
	for client := range r.Clients {
		for source := range sims.Sources {
			err := r.ask(ctx, func(ctx context.Context, a apis) error {
				resp, err := a.admin.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Source: sims.SourceName(client, source), Limit: listLimit})
				for _, s := range resp.GetSnapshots() {
					listed[s.GetRun()] = s.GetId()
				}
				return err
			})
			if err != nil {
				return nil, err
			}
		}
	}
	var reads []history.Op
	seen := map[string]bool{}
	for _, o := range ops {
		if seen[o.Run] {
			continue
		}
		seen[o.Run] = true
		reads = append(reads, history.Op{Client: r.Clients, Kind: history.Read, Run: o.Run, Outcome: history.Done, Snapshot: listed[o.Run], Call: now, Return: r.clock.Now().UnixNano()})
	}
	return reads, nil
}

// Package chaos is a fault rig: a cluster of real processes, each on a network
// address of its own, that backs up real databases while it is killed, stopped,
// cut off, starved of disk and told a wrong time. After each fault it checks that
// the cluster has kept its word.
package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/chaos/check"
	"github.com/baktainer/baktainer/internal/chaos/disks"
	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/chaos/load"
	"github.com/baktainer/baktainer/internal/chaos/network"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/clock"
)

// port is where controllers listen, each on its own address.
const port = 8468

// Stores of a rig.
const (
	// Shared: all controllers see the store's folder.
	Shared = "shared"
	// Peer: it is the first controller's, and the others reach it through that.
	Peer = "peer"
)

// Options say what to do.
type Options struct {
	Seed uint64
	Plan []plan.Fault
	// Budget is how long faults are begun; 0: until the plan is done.
	Budget time.Duration
	// Binary is the program; Clocked, if any, the one with a clock that can be stepped.
	Binary, Clocked string
	// Logs is the folder where the logs of all processes are kept.
	Logs string
	// Store is shared or peer.
	Store string
	// Expect has the controllers form the cluster together, rather than one by one.
	Expect bool
	// DumpBytes is about the size of each dump.
	DumpBytes int64
	// Clients is how many simulated agents make a history that is checked.
	Clients int
	// ClientCommand runs them; the rig adds the arguments.
	ClientCommand []string
	Out           io.Writer // progress
}

// Rig is one cluster under faults.
type Rig struct {
	Options
	name, dir string
	clock     clock.Clock
	began     time.Time
	lock      *os.File
	journal   *procs.Journal
	witness   *check.Witness
	figures   *figures.Figures
	net       *network.Network

	controllers []*controller
	agents      []*agent
	twin        *agent // of an agent that is stopped
	databases   []*load.Database
	clients     *clients
	writing     sync.WaitGroup
	stopWriting context.CancelFunc
	verifyTurn  int
	read        map[string]bool // snapshots that were verified, by id
	forgotten   map[string]bool // snapshots that the rig has pruned: the ledger's chain has gaps
}

// The nodes of a rig, besides the controllers.
var (
	controllerNames = []string{"c1", "c2", "c3"}
	agentNames      = []string{"a1", "a2", "a3"}
	twinName        = "b1"
	clientsName     = "s1"
)

// databases of a rig: kind and host.
var databaseKinds = []struct{ name, kind, host string }{{"pg1", "postgres", "a1"}, {"my1", "mariadb", "a2"}, {"pg2", "postgres", "a3"}}

// command runs a command to its end and returns what it prints.
func command(ctx context.Context, args ...string) (string, error) {
	u, err := measure.Run(ctx, measure.Command{Args: args, Keep: true})
	return u.Output, err
}

// Run sets a rig up, carries the plan out and takes the rig down again, whatever
// happens. The figures are those of what was done, in any case.
func Run(ctx context.Context, o Options) (_ *figures.Figures, err error) {
	r := &Rig{Options: o, name: network.Name(o.Seed), clock: clock.System{}, witness: check.NewWitness(), read: map[string]bool{}, forgotten: map[string]bool{}}
	r.dir = filepath.Join(os.TempDir(), r.name)
	r.began = r.clock.Now()
	r.journal = procs.NewJournal(r.clock)
	r.journal.Observe(r.witness.Observe)
	r.figures = &figures.Figures{
		Made: r.began.UTC().Format(time.DateOnly), Seed: o.Seed, Machine: machine(),
		Settings: figures.Settings{Controllers: len(controllerNames), Agents: len(agentNames), DumpBytes: o.DumpBytes, Store: o.Store, Lease: lease},
	}
	for _, d := range databaseKinds {
		r.figures.Settings.Databases = append(r.figures.Settings.Databases, d.kind)
	}
	if err := r.claim(); err != nil {
		return r.figures, err
	}
	defer func() { err = errors.Join(err, r.down(context.WithoutCancel(ctx))) }()
	if err := r.up(ctx); err != nil {
		return r.figures, fmt.Errorf("set up the rig: %w", err)
	}
	r.say("the cluster works: %s", r.name)
	for _, f := range o.Plan {
		if ctx.Err() != nil || (o.Budget > 0 && r.clock.Now().Sub(r.began) > o.Budget) {
			break
		}
		out := r.round(ctx, f)
		if ctx.Err() != nil { // somebody broke it off: it shows nothing
			break
		}
		r.figures.Faults = append(r.figures.Faults, out)
		r.tell(out)
		if !r.sound(out) {
			r.figures.Wrong = append(r.figures.Wrong, "the run was broken off: the cluster did not come back by itself")
			break
		}
		if len(r.figures.Faults)%pruneEvery == 0 {
			r.prune(ctx)
		}
	}
	r.end(ctx)
	r.figures.Took = r.clock.Now().Sub(r.began).Seconds()
	return r.figures, ctx.Err()
}

// sound says whether the cluster is fit for another fault.
func (r *Rig) sound(f figures.Fault) bool {
	return !slices.ContainsFunc(f.Wrong, func(w string) bool { return strings.HasPrefix(w, notSettled) })
}

// end checks all once more, and the clients' history.
func (r *Rig) end(ctx context.Context) {
	for _, d := range r.databases {
		r.figures.Writes += d.Writes()
	}
	if ctx.Err() != nil || len(r.figures.Faults) == 0 {
		return
	}
	if r.clients != nil {
		if err := r.endClients(ctx); err != nil {
			r.figures.Wrong = append(r.figures.Wrong, fmt.Sprintf("the clients' history: %v", err))
		}
	}
	r.figures.Wrong = append(r.figures.Wrong, r.compare(ctx)...)
	r.figures.Snapshots = r.witness.Snapshots() + r.figures.Pruned
	for _, c := range r.controllers {
		r.figures.Wrong = append(r.figures.Wrong, c.panics(r.journal)...)
	}
}

// up sets everything up.
func (r *Rig) up(ctx context.Context) error {
	var err error
	nodes := append(append(slices.Clone(controllerNames), agentNames...), twinName, clientsName)
	if r.net, err = network.New(r.name, nodes, port, command, r.clock); err != nil {
		return err
	}
	if err := r.net.Up(ctx); err != nil {
		return err
	}
	if err := disks.Share(ctx, r.dir, command); err != nil {
		return err
	}
	started := make(chan error, 1)
	go func() { started <- r.startDatabases(ctx) }()
	err = r.startCluster(ctx)
	if err := errors.Join(err, <-started); err != nil {
		return err
	}
	ctx, r.stopWriting = context.WithCancel(ctx)
	for _, d := range r.databases {
		r.writing.Go(func() { d.Write(ctx) })
	}
	var wait figures.Fault
	if r.settle(ctx, &wait); len(wait.Wrong) > 0 {
		return errors.New(strings.Join(wait.Wrong, "; "))
	}
	if r.Clients > 0 {
		return r.startClients(ctx)
	}
	return nil
}

func (r *Rig) startDatabases(ctx context.Context) error {
	var mu sync.Mutex
	var starting sync.WaitGroup
	var errs []error
	found := make([]*load.Database, len(databaseKinds))
	for i, d := range databaseKinds {
		starting.Go(func() {
			db, err := load.Start(ctx, load.Options{Rig: r.name, Name: r.name + "-" + d.name, Kind: d.kind, Host: d.host, Bytes: r.DumpBytes})
			mu.Lock()
			defer mu.Unlock()
			found[i] = db
			errs = append(errs, err)
		})
	}
	starting.Wait()
	r.databases = slices.DeleteFunc(found, func(d *load.Database) bool { return d == nil })
	return errors.Join(errs...)
}

// say prints a line of progress.
func (r *Rig) say(format string, args ...any) {
	fmt.Fprintf(r.Out, "%8s  %s\n", r.clock.Now().Sub(r.began).Round(100*time.Millisecond), fmt.Sprintf(format, args...))
}

// tell prints what came of a fault.
func (r *Rig) tell(f figures.Fault) {
	line := fmt.Sprintf("%3d %-28s victim %-3s", f.N, f.Name(), f.Victim)
	if !f.Hit {
		line += " (too late)"
	}
	for what, seconds := range map[string]float64{"next commit": f.NextCommit, "gap": f.Gap, "elected": f.Elected} {
		if seconds > 0 {
			line += fmt.Sprintf("  %s %.3f s", what, seconds)
		}
	}
	line += fmt.Sprintf("  churn %.1f s  reached %.1f s", f.Churn, f.Reached)
	line += fmt.Sprintf("  run %s (epoch %d, %d dumps)  settled %.1f s", f.Ended, f.Epoch, f.Dumps, f.Settled)
	r.say("%s", line)
	for _, n := range f.Notes {
		r.say("      %s", n)
	}
	for _, w := range f.Wrong {
		r.say("      WRONG: %s", w)
	}
}

func machine() string {
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return strings.TrimSpace("Linux " + string(kernel))
}

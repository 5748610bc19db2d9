// Package dispatch says who: it holds the agents' sessions, leases queued runs
// to them, keeps the leases alive by their heartbeats, and takes back the runs
// of agents that are lost. Liveness is in the leader's memory; facts go through
// the state.
package dispatch

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var tracer = otel.Tracer("github.com/baktainer/baktainer/controller")

// Reasons for which the dispatcher gives a run up, or refuses a call.
const (
	ReasonAgentLost problem.Reason = "agent-lost" // the agent stopped renewing its lease
	ReasonNoAgent   problem.Reason = "no-agent"   // the agent of the source did not come back in time
	ReasonGone      problem.Reason = "source-gone"
	ReasonInvalid   problem.Reason = "source-invalid"
	ReasonReportAll problem.Reason = "report-all" // changes of an inventory that is not known here
)

// MaxAttempts is how often a backup is tried whose agent is lost. A restore is
// tried once: nobody knows what half of one has left in its target.
const MaxAttempts = 3

// Node is what the dispatcher needs of the consensus.
type Node interface {
	queue.Proposer
	View() *state.View
	IsLeader() bool
	// CommandLevel is the newest version of commands that all members understand.
	CommandLevel() uint32
}

// Options are the dispatcher's parts and times.
type Options struct {
	Node Node
	// Key gives a source's key of a generation, 0 being the newest.
	Key func(source string, generation uint32) (repo.SourceKey, error)
	// Damaged lists a source's packs that are not to be built upon.
	Damaged func(ctx context.Context, source string) ([]string, error)
	// Paused says why no backup is begun at present, empty when they may be. nil: they
	// always may.
	Paused func() string
	// Controllers says where the controllers are, TrustVersion whom to trust by now.
	// Agents are told when either changes. nil: they are told nothing.
	Controllers  func() []*pb.ControllerInfo
	TrustVersion func() uint64
	// Ingest lists the controllers through which a source's objects go, best first.
	// nil: that is left to the agent.
	Ingest func(source string) []string
	// Caller says whether who calls may end a run of the agent. nil: anybody may.
	Caller func(ctx context.Context, agent string) error
	Clock  clock.Clock
	Logger *slog.Logger
	// LeaseDuration is how long a lease lasts without a heartbeat.
	LeaseDuration time.Duration
	// Attempts is how often a scheduled backup is tried whose source says nothing of
	// it, and TimeLimit how long an attempt may take; 0: once, and for ever.
	Attempts  int
	TimeLimit time.Duration
	// AgentDeadline is how long a queued run waits for its agent to come back.
	AgentDeadline time.Duration
	// Tick is how often clocks are looked at.
	Tick time.Duration
}

// Dispatcher implements the session side of the agent's service.
type Dispatcher struct {
	Options
	wake chan struct{} // something other than the state has changed

	mu     sync.Mutex
	agents map[string]*agent
	leases map[string]*lease   // by run
	live   map[string]*live    // by run
	asked  map[string]*logWait // requests for logs, by id
	news   chan struct{}       // closed when what is in live changes
	began  time.Time           // of this leadership; zero without it
	told   whereabouts         // what the sessions were last woken for
}

// lease is the leader's memory of a lease: only its clock ends one.
type lease struct {
	agent    string
	epoch    uint64
	until    time.Time
	recorded time.Time // what the state has; renewed in batches
}

// New returns a dispatcher that has no agents yet.
func New(o Options) *Dispatcher {
	return &Dispatcher{
		Options: o, wake: make(chan struct{}, 1), news: make(chan struct{}),
		agents: map[string]*agent{}, leases: map[string]*lease{}, live: map[string]*live{}, asked: map[string]*logWait{},
	}
}

// Run dispatches until ctx ends, which it does when leadership is lost. Leases
// found in the state are armed anew before anything is reassigned: the leader
// before may have renewed them without the state's knowledge.
func (d *Dispatcher) Run(ctx context.Context) {
	d.mu.Lock()
	d.began = d.Clock.Now()
	d.leases = map[string]*lease{}
	d.mu.Unlock()
	ticker := time.NewTicker(d.Tick)
	defer ticker.Stop()
	for due := true; ctx.Err() == nil; {
		view := d.Node.View()
		if due {
			d.lookAtClocks(ctx)
		}
		d.step(ctx)
		due = false
		select {
		case <-ctx.Done():
		case <-view.Changed():
		case <-d.wake:
		case <-ticker.C:
			due = true
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.began = time.Time{}
	for _, a := range d.agents { // they find the new leader
		a.endSession(problem.New(problem.Unavailable, "this controller does not lead any more"))
	}
}

// lookAtClocks does what time alone brings about: leases end and are renewed,
// sources move on from agents that are lost.
func (d *Dispatcher) lookAtClocks(ctx context.Context) {
	d.followLeases()
	d.endLeases(ctx)
	d.recordLeases(ctx)
	d.takeOverSources(ctx)
}

// step does all that follows from a change of the state or of an agent: runs are
// granted, sessions hear of it. It is linear in agents and active runs, since
// there are as many steps as changes.
func (d *Dispatcher) step(ctx context.Context) {
	d.followLeases()
	d.grant(ctx)
	d.tellSessions()
}

func (d *Dispatcher) leadsSince() time.Time {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.began
}

func (d *Dispatcher) kick() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

func (d *Dispatcher) propose(ctx context.Context, c *pb.Command) error {
	c.Actor = "dispatcher"
	return d.Node.Propose(ctx, c)
}

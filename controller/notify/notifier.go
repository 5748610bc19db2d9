package notify

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/condition"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Node is what the notifier needs of the consensus.
type Node interface {
	Propose(ctx context.Context, cmd *pb.Command) error
	View() *state.View
}

// Options are what a Notifier is made of.
type Options struct {
	Node   Node
	Clock  clock.Clock
	Logger *slog.Logger
	// Controller is this one's name.
	Controller string
	Settings   config.Notify
	Channels   []*Channel
	// Text is the built-in one when nil, Zone UTC.
	Text *Text
	Zone *time.Location

	// Stores tells of the stores that were looked at, Agents of all agents. Missed
	// tells which fires of schedules were passed over, Every how often a source is
	// backed up, 0 when never. Retention tells why nothing of a source is forgotten,
	// as in Source. Each may be nil.
	Stores func() []Store
	Agents func() []*pb.AgentInfo
	Missed func(*state.View) []Missed
	Every  func(*state.View, *pb.Source) time.Duration

	Retention func(source string) *string
	// Look is how often the state is judged when it changes; 5 s when 0.
	Look time.Duration
}

// The pace of a notifier.
const (
	usualLook = 5 * time.Second
	// lookAnyway is how often time alone is taken to have changed something.
	lookAnyway = 30 * time.Second
	// lookShare bounds what judging costs: it rests so many times as long as it took.
	lookShare = 20
	// mostChanges is how many changes go into one command: far below its limit in bytes.
	mostChanges = 200
	retryPause  = time.Second
)

// Notifier judges and tells. Only the leader's may run.
type Notifier struct {
	Options

	mu     sync.Mutex
	failed map[string]string // what went wrong last, by channel
	judged uint64            // the newest state that was
}

// New returns a notifier. It may serve before it runs.
func New(o Options) (*Notifier, error) {
	if o.Text == nil {
		var err error
		if o.Text, err = BuiltIn(); err != nil {
			return nil, err
		}
	}
	if o.Zone == nil {
		o.Zone = time.UTC
	}
	if o.Look <= 0 {
		o.Look = usualLook
	}
	return &Notifier{Options: o, failed: map[string]string{}}, nil
}

// Run judges and tells until ctx ends.
func (n *Notifier) Run(ctx context.Context) {
	n.again(ctx, "the channels are not known to the cluster yet", n.introduce)
	var parts sync.WaitGroup
	for _, c := range n.Channels {
		parts.Go(func() { n.deliver(ctx, c) })
	}
	n.watch(ctx)
	parts.Wait()
}

// again does the work until it succeeds or ctx ends.
func (n *Notifier) again(ctx context.Context, failed string, work func(context.Context) error) {
	for ctx.Err() == nil {
		err := work(ctx)
		if err == nil || ctx.Err() != nil {
			return
		}
		n.Logger.Warn(failed, "error", err)
		_ = clock.Sleep(ctx, retryPause) // its only error ends the loop
	}
}

func (n *Notifier) propose(ctx context.Context, cmd *pb.Command) error {
	cmd.Actor = "notifier"
	return n.Node.Propose(ctx, cmd)
}

// introduce says which channels there are, so that events wait for them and for
// no others. A new one is told what the others have not been told yet.
func (n *Notifier) introduce(ctx context.Context) error {
	c := &pb.SettleChannels{Complete: true}
	for _, ch := range n.Channels {
		c.Channels = append(c.Channels, &pb.Channel{Name: ch.Name})
	}
	return n.propose(ctx, &pb.Command{Command: &pb.Command_SettleChannels{SettleChannels: c}})
}

// watch judges whenever the state has changed, and now and then.
func (n *Notifier) watch(ctx context.Context) {
	began := n.Clock.Now()
	var index uint64
	var looked time.Time
	for ctx.Err() == nil {
		now := n.Clock.Now()
		view := n.Node.View()
		if view.Index() != index || now.Sub(looked) >= lookAnyway {
			if err := n.judge(ctx, view, began, now); err != nil && ctx.Err() == nil {
				n.Logger.Warn("what is wrong is not noted yet", "error", err)
			} else {
				index, looked = view.Index(), now
				n.noteJudged(index)
			}
		}
		_ = clock.Sleep(ctx, max(n.Look, lookShare*n.Clock.Now().Sub(now))) // its only error ends the loop
	}
}

// judge notes what begins and ends.
func (n *Notifier) judge(ctx context.Context, view *state.View, began, now time.Time) error {
	facts := n.facts(view, began, now)
	changes := Judge(view.Conditions(), facts, n.Settings, now)
	mark := view.NotifyMark()
	if len(changes) == 0 && mark.GetBegun() && facts.Ledger == mark.GetLedger() {
		return nil
	}
	for start := 0; start == 0 || start < len(changes); start += mostChanges {
		c := &pb.RecordConditions{Changes: changes[start:min(start+mostChanges, len(changes))]}
		if start+mostChanges >= len(changes) {
			c.Ledger = facts.Ledger
		}
		if err := n.propose(ctx, &pb.Command{Command: &pb.Command_RecordConditions{RecordConditions: c}}); err != nil {
			return fmt.Errorf("record conditions: %w", err)
		}
		for _, change := range c.GetChanges() {
			n.log(change)
		}
	}
	return nil
}

// log writes what begins and ends to the log, whoever else is told.
func (n *Notifier) log(c *pb.ConditionChange) {
	cond := c.GetCondition()
	words := condition.Of(cond.GetKind())
	switch {
	case c.GetQuiet() || cond.GetKind() == pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED: // other lines tell of it
	case c.GetClosed():
		n.Logger.Info(words.Ended, words.Of, cond.GetSubject())
	default:
		n.Logger.Warn(words.Began, words.Of, cond.GetSubject(), "message", cond.GetMessage())
	}
}

// facts gathers what is judged. Before notifications have begun no success is
// news.
func (n *Notifier) facts(view *state.View, began, now time.Time) Facts {
	var f Facts
	f.Sources = n.sources(view)
	if n.Stores != nil {
		f.Stores = n.Stores()
	}
	if n.Agents != nil {
		for _, a := range n.Agents() {
			f.Agents = append(f.Agents, agentOf(a, began, now))
		}
	}
	if !view.NotifyMark().GetBegun() {
		f.Ledger = view.LedgerHead().GetLedgerIndex()
		return f
	}
	if f.Ledger = view.NotifyMark().GetLedger(); n.wantsSuccesses() {
		f.Successes, f.Ledger = successes(view, f.Ledger, now.Add(-giveUp))
	}
	return f
}

// agentOf counts an agent's silence from when this leader began at the earliest:
// it knows of nothing before.
func agentOf(a *pb.AgentInfo, began, now time.Time) Agent {
	known := Agent{Name: a.GetId(), Excused: a.GetDrained() || a.GetRevokedAt() != nil}
	if !a.GetConnected() {
		since := began
		if seen := a.GetLastSeenAt(); seen != nil && seen.AsTime().After(since) {
			since = seen.AsTime()
		}
		known.Silent = max(now.Sub(since), 1)
	}
	return known
}

func (n *Notifier) wantsSuccesses() bool {
	for _, c := range n.Channels {
		if c.Ping {
			return true
		}
	}
	return told(n.Settings.Events, pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED)
}

// wants says whether a channel tells of an event.
func (n *Notifier) wants(c *Channel, e *pb.ConditionEvent) bool {
	success := e.GetCondition().GetKind() == pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED
	if c.Ping {
		return success
	}
	return !success || told(n.Settings.Events, e.GetCondition().GetKind())
}

// settle notes that a channel has come so far. One that the cluster knows no
// more is another leader's business.
func (n *Notifier) settle(ctx context.Context, c *Channel, sequence uint64, sent *time.Time) {
	ch := &pb.Channel{Name: c.Name, Sequence: sequence}
	if sent != nil {
		ch.SentAt = timestamppb.New(*sent)
	}
	n.again(ctx, "it is not noted yet what was told", func(ctx context.Context) error {
		err := n.propose(ctx, &pb.Command{Command: &pb.Command_SettleChannels{SettleChannels: &pb.SettleChannels{Channels: []*pb.Channel{ch}}}})
		if problem.ReasonOf(err) == state.ReasonNoChannel {
			return nil
		}
		return err
	})
}

func (n *Notifier) noteJudged(index uint64) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.judged = index
}

func (n *Notifier) noteFailure(c *Channel, err error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if err == nil {
		delete(n.failed, c.Name)
		return
	}
	n.failed[c.Name] = err.Error()
}

// TestNotification implements the service: each channel is tried once.
func (n *Notifier) test(ctx context.Context) []*pb.ChannelTest {
	tests := make([]*pb.ChannelTest, len(n.Channels))
	var all sync.WaitGroup
	for i, c := range n.Channels {
		all.Go(func() {
			m := compose(nil, n.Zone)
			m.Test = true
			err := n.send(ctx, c, m)
			tests[i] = &pb.ChannelTest{Channel: c.Name, Ok: err == nil}
			if p, ok := errors.AsType[*problem.Problem](err); ok {
				tests[i].Error, tests[i].Hint = p.Error(), p.Hint
			}
		})
	}
	all.Wait()
	return tests
}

// told says whether people asked to be told.
func told(events []config.Event, k pb.ConditionKind) bool {
	return slices.Contains(events, condition.Of(k).Event)
}

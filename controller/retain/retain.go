// Package retain lets go of what is not to be kept: it applies policies, plans
// prunes, records and carries them out, takes up those that were interrupted,
// watches the space that is left, and checks and repairs what a store holds. Nothing else in the controller deletes data.
package retain

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/retention"
	"github.com/baktainer/baktainer/internal/store"
)

// Reasons for which a prune is refused or fails.
const (
	ReasonPlanChanged problem.Reason = "plan-changed" // another would be made now than the one that was asked for
	ReasonPlanLost    problem.Reason = "plan-lost"    // the recorded plan is not in the store
	ReasonNotDeleted  problem.Reason = "not-deleted"  // the store refused to delete an object
)

// Node is what this package needs of the consensus.
type Node interface {
	queue.Proposer
	View() *state.View
	IsLeader() bool
}

// Options are what a Retain is made of.
type Options struct {
	Node   Node
	Repo   *repo.Repository
	Store  store.Store
	Clock  clock.Clock
	Logger *slog.Logger
	// Copy writes the copies of ledger entries that the store lacks yet; nil: they
	// are all there.
	Copy func(context.Context) error

	// Policy is for sources that say nothing themselves; Policies are those that
	// have names.
	Policy   retention.Policy
	Policies retention.Policies
	// Least is what is kept of a source too whose labels have a policy.
	Least retention.Policy
	// Zone is where days begin; nil: UTC.
	Zone *time.Location
	// Undo is how long what was forgotten can be taken back for certain.
	Undo time.Duration
	// Freeze is how many of a source's newest backups fail before nothing of it is
	// forgotten; 0: that does not matter.
	Freeze int
	// Verifier verifies what is to count, at most once in VerifyEvery for each
	// source; nil: only people do.
	Verifier    Verifier
	VerifyEvery time.Duration
	// Every is how often the policies are applied; 1 h.
	Every time.Duration
	// CompactBelow is of how many hundredths of a pack the newest snapshot uses less
	// when the next backup is to store them anew; 0: only the agent decides.
	CompactBelow int
	// Space is watched every SpaceEvery; 30 s.
	Space      SpaceLimits
	SpaceEvery time.Duration
}

// Retain prunes. It is safe for concurrent use.
type Retain struct {
	Options

	mu       sync.Mutex
	progress map[string]Progress // of prunes under way here, by plan
	frozen   map[string]frozen   // by source, as found last
	space    spaceState
	stuck    map[string]time.Time // when, for want of space, nothing of a source could be pruned
	sparse   map[string][]string  // packs that are to be compacted, by source
	news     chan struct{}        // closed when progress changes
	// saving is held while a plan is saved and not recorded yet, and by whoever
	// removes plans that are not recorded.
	saving sync.RWMutex
}

// frozen says why nothing of a source is forgotten, and whether its backups fail: it
// may be for that.
type frozen struct{ why, failing string }

// Progress is how far a prune is.
type Progress struct{ Objects, Bytes int64 }

// New returns a Retain that prunes what is recorded while Run runs.
func New(o Options) *Retain {
	if o.Every <= 0 {
		o.Every = time.Hour
	}
	if o.SpaceEvery <= 0 {
		o.SpaceEvery = 30 * time.Second
	}
	return &Retain{Options: o, progress: map[string]Progress{}, frozen: map[string]frozen{}, stuck: map[string]time.Time{}, sparse: map[string][]string{}, news: make(chan struct{})}
}

// Progress tells how far the prune by a plan is here, and gives a channel that is
// closed when that changes.
func (r *Retain) Progress(plan string) (Progress, <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.progress[plan], r.news
}

func (r *Retain) tell(plan string, p Progress) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.progress[plan] = p
	close(r.news)
	r.news = make(chan struct{})
}

func (r *Retain) forgetProgress(plan string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.progress, plan)
}

// mustLead says where to go when this controller does not decide.
func (r *Retain) mustLead(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !r.Node.IsLeader() {
		return problem.New(problem.Unavailable, "this controller does not lead at present").WithHint("Try again in a few seconds.")
	}
	return nil
}

// Damaged lists the packs of a source that are marked as damaged. When there are more
// than a backup can be told of that is an error, so that it builds on none.
func (r *Retain) Damaged(ctx context.Context, source string) (ids []string, err error) {
	err = r.Store.List(ctx, repo.DamagedPrefix(source), func(i store.Info) error {
		if o, err := repo.ParseName(i.Name); err == nil && o.Kind == repo.KindDamaged {
			if len(ids) == maxAvoided {
				return problem.New(problem.Corrupt, "more than %d packs are marked as damaged", maxAvoided).WithSource(source)
			}
			ids = append(ids, o.ID)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the marks of damaged packs: %w", err)
	}
	return ids, nil
}

// maxAvoided bounds how many packs a backup is told to avoid: the ids go in one message.
const maxAvoided = 10_000

// Package retain lets go of what is not to be kept: it plans prunes, records
// and carries them out, takes up those that were interrupted, and checks and
// repairs what a store holds. Nothing else in the controller deletes data.
package retain

import (
	"context"
	"fmt"
	"log/slog"
	"sync"

	"github.com/baktainer/baktainer/controller/queue"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
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
}

// Retain prunes. It is safe for concurrent use.
type Retain struct {
	Options

	mu       sync.Mutex
	progress map[string]Progress // of prunes under way here, by plan
	news     chan struct{}       // closed when progress changes
	// saving is held while a plan is saved and not recorded yet, and by whoever
	// removes plans that are not recorded.
	saving sync.RWMutex
}

// Progress is how far a prune is.
type Progress struct{ Objects, Bytes int64 }

// New returns a Retain that prunes what is recorded while Run runs.
func New(o Options) *Retain {
	return &Retain{Options: o, progress: map[string]Progress{}, news: make(chan struct{})}
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

// Damaged lists the packs of a source that are marked as damaged.
func (r *Retain) Damaged(ctx context.Context, source string) (ids []string, err error) {
	err = r.Store.List(ctx, repo.DamagedPrefix(source), func(i store.Info) error {
		if o, err := repo.ParseName(i.Name); err == nil && o.Kind == repo.KindDamaged && len(ids) < maxAvoided {
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

package controller

import (
	"cmp"
	"slices"
	"sync"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// routes says through which controllers the objects of a run go. It is the
// leader's, and remembers which run it has sent where.
type routes struct {
	node interface {
		View() *state.View
		LeaderID() string
		Membership() []consensus.Member
	}
	store string

	mu    sync.Mutex
	first map[string]string // by source: the controller that its run was sent to
}

func newRoutes(node *consensus.Node, store string) *routes {
	return &routes{node: node, store: store, first: map[string]string{}}
}

// candidate is a controller that may take in the objects of a run.
type candidate struct {
	id      string
	healthy bool
	direct  bool // it reaches the store by itself
	runs    int  // that were sent to it and are at work
	leads   bool
}

// order lists the controllers for the objects of a source's run, best first.
func (r *routes) order(source string) []string {
	view := r.node.View()
	r.mu.Lock()
	defer r.mu.Unlock()
	load, busy := map[string]int{}, map[string]bool{}
	for _, run := range view.ActiveRuns() {
		if run.GetState() == pb.RunState_RUN_STATE_RUNNING && run.GetSource() != source {
			busy[run.GetSource()] = true
			load[r.first[run.GetSource()]]++
		}
	}
	for s := range r.first {
		if !busy[s] {
			delete(r.first, s)
		}
	}
	var direct []string
	for _, s := range view.Stores() {
		if s.GetName() == r.store {
			direct = s.GetControllers()
		}
	}
	leads := r.node.LeaderID()
	var all []candidate
	for _, m := range r.node.Membership() {
		all = append(all, candidate{m.ID, m.Healthy || m.Leader, slices.Contains(direct, m.ID), load[m.ID], m.ID == leads})
	}
	ids := rank(all)
	if len(ids) > 0 {
		r.first[source] = ids[0]
	}
	return ids
}

// rank puts those first that are well, then those that reach the store by
// themselves, then those with least to do; the leader has other work as well.
func rank(all []candidate) []string {
	slices.SortStableFunc(all, func(a, b candidate) int {
		return cmp.Or(
			after(!a.healthy, !b.healthy), after(!a.direct, !b.direct),
			cmp.Compare(a.runs, b.runs), after(a.leads, b.leads), cmp.Compare(a.id, b.id))
	})
	ids := make([]string, len(all))
	for i, c := range all {
		ids[i] = c.id
	}
	return ids
}

// after orders what is true behind what is not.
func after(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return 1
	}
	return -1
}

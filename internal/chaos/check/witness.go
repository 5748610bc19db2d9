// Package check says whether a cluster kept its word through a fault: what was
// acknowledged is there, nothing is there twice, nothing is there in part.
package check

import (
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/baktainer/baktainer/internal/chaos/procs"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// What processes log of a backup.
const (
	LineLeased     = "run leased"          // controller: run, agent, epoch
	LineDumping    = "dumping"             // agent: run, streams
	LineToolEnded  = "the dump tool ended" // agent: run, stream
	LineBegins     = "object begins"       // controller: run, object
	LineStored     = "object stored"       // controller: run, object
	LineAsked      = "commit asked"        // controller: run
	LineCommitted  = "snapshot committed"  // controller and agent: run, snapshot
	LineLeadership = "leadership changed"  // controller: leader
)

// seen is a snapshot that somebody was told of.
type seen struct {
	run string
	by  string
}

// Witness remembers which snapshots anybody was told to exist, and how often
// the dump of a run was begun. It is safe for concurrent use.
type Witness struct {
	mu        sync.Mutex
	snapshots map[string]seen // by id
	dumps     map[string]int  // by run
	wrong     []string
}

// NewWitness returns one that has seen nothing.
func NewWitness() *Witness {
	return &Witness{snapshots: map[string]seen{}, dumps: map[string]int{}}
}

// Observe takes note of a line of a log.
func (w *Witness) Observe(e procs.Entry) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch e.Message {
	case LineDumping:
		w.dumps[e.Attrs["run"]]++
	case LineCommitted:
		w.see(e.Attrs["snapshot"], e.Attrs["run"], e.Process)
	}
}

// see takes note of a snapshot. w.mu is held.
func (w *Witness) see(id, run, by string) {
	if id == "" {
		return
	}
	if was, ok := w.snapshots[id]; ok {
		if was.run != run {
			w.wrong = append(w.wrong, fmt.Sprintf("snapshot %s is of run %s for %s and of run %s for %s", id, was.run, was.by, run, by))
		}
		return
	}
	for other, was := range w.snapshots {
		if was.run == run {
			w.wrong = append(w.wrong, fmt.Sprintf("two commits: run %s is snapshot %s for %s and snapshot %s for %s", run, other, was.by, id, by))
		}
	}
	w.snapshots[id] = seen{run, by}
}

// Dumps is how often the dump of a run was begun.
func (w *Witness) Dumps(run string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.dumps[run]
}

// Told says whether anybody was told that the run was committed, and as what.
func (w *Witness) Told(run string) (snapshot string, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, s := range w.snapshots {
		if s.run == run {
			return id, true
		}
	}
	return "", false
}

// Snapshots is how many snapshots were seen.
func (w *Witness) Snapshots() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.snapshots)
}

// Forget says that a snapshot was forgotten on purpose.
func (w *Witness) Forget(id string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	delete(w.snapshots, id)
}

// Seen are the ids of all snapshots that were seen so far.
func (w *Witness) Seen() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Sorted(maps.Keys(w.snapshots))
}

// Compare holds a listing of all snapshots against those that were seen before
// it was asked for, and takes note of it. It returns what is wrong, and the ids
// that are new.
func (w *Witness) Compare(before []string, listed []*pb.Snapshot, by string) (fresh, wrong []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	there := map[string]bool{}
	for _, s := range listed {
		there[s.GetId()] = true
		if _, ok := w.snapshots[s.GetId()]; !ok {
			fresh = append(fresh, s.GetId())
		}
		w.see(s.GetId(), s.GetRun(), by)
	}
	for _, id := range before {
		if s, ok := w.snapshots[id]; ok && !there[id] {
			wrong = append(wrong, fmt.Sprintf("lost: snapshot %s of run %s, which %s was told of, is not listed", id, s.run, s.by))
		}
	}
	wrong = append(wrong, w.wrong...)
	w.wrong = nil
	return fresh, wrong
}

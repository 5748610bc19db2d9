package state

import (
	"iter"

	"github.com/hashicorp/go-memdb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// View is the state at one moment. It never changes and is safe for concurrent
// use. The messages it gives out are shared: clone one before changing it.
type View struct {
	table
	index   uint64
	sources uint64 // index of the newest command that changed one
	// definitions is the index of the newest command that changed what a schedule says.
	definitions uint64
	changed     chan struct{}
}

func newView(db *memdb.MemDB, index uint64) *View {
	// A transaction that only reads holds the root as it is now; nothing in it is written to.
	return &View{table: table{db.Txn(false)}, index: index, changed: make(chan struct{})}
}

// Changed returns a channel that is closed when there is a newer view.
func (v *View) Changed() <-chan struct{} { return v.changed }

// Index is the place in the Raft log of the newest command in the view.
func (v *View) Index() uint64 { return v.index }

// At is the same view as if the newest command in it were at that place in the Raft log.
func (v *View) At(index uint64) *View {
	moved := *v
	moved.index = index
	return &moved
}

// SourcesIndex is the place in the Raft log of the newest command that changed a
// source: while it stays the same, so do they.
func (v *View) SourcesIndex() uint64 { return v.sources }

// Cluster returns the cluster's id, empty until it has one.
func (v *View) Cluster() string {
	c, _ := first[*pb.ClusterRecord](v.table, tableCluster, indexID, "cluster")
	return c.GetId()
}

// Sources lists all sources by name, those that are gone too.
func (v *View) Sources() []*pb.Source {
	return collect(rows[*pb.Source](v.table, tableSources, indexID, "", false), 0)
}

// Source returns one source.
func (v *View) Source(name string) (*pb.Source, bool) {
	return first[*pb.Source](v.table, tableSources, indexID, name)
}

// SourcesOf lists the sources that an agent has, by name, without those that are gone.
func (v *View) SourcesOf(agent string) []*pb.Source {
	return collect(rows[*pb.Source](v.table, tableSources, indexAgent, sourceKey(agent), false), 0)
}

// Run returns one run.
func (v *View) Run(id string) (*pb.Run, bool) {
	return first[*pb.Run](v.table, tableRuns, indexID, id)
}

// Runs lists runs, newest first, at most limit of them when it is positive; of
// one source unless that is empty.
func (v *View) Runs(source string, limit int) []*pb.Run {
	return collect(v.newestRuns(source), limit)
}

func (v *View) newestRuns(source string) iter.Seq[*pb.Run] {
	if source == "" {
		return rows[*pb.Run](v.table, tableRuns, indexTime, "", true)
	}
	return rows[*pb.Run](v.table, tableRuns, indexSource, sourceKey(source), true)
}

// RunsOf lists runs of one kind, or of all when that is unspecified, as Runs does.
func (v *View) RunsOf(kind pb.RunKind, source string, limit int) []*pb.Run {
	return collect(only(v.newestRuns(source), func(r *pb.Run) bool { return kind == pb.RunKind_RUN_KIND_UNSPECIFIED || r.GetKind() == kind }), limit)
}

// ActiveRuns lists the runs that are queued or leased, oldest first.
func (v *View) ActiveRuns() []*pb.Run {
	return collect(rows[*pb.Run](v.table, tableRuns, indexActive, "", false), 0)
}

// LeasedRuns lists the runs that are leased, oldest first.
func (v *View) LeasedRuns() []*pb.Run {
	return collect(rows[*pb.Run](v.table, tableRuns, indexLeased, "", false), 0)
}

// LeasedTo lists the runs that are leased to an agent, oldest first.
func (v *View) LeasedTo(agent string) []*pb.Run {
	return collect(rows[*pb.Run](v.table, tableRuns, indexAgent, sourceKey(agent), false), 0)
}

// Totals counts the runs that have ended since the cluster began, by kind and state.
func (v *View) Totals() []*pb.RunTotal {
	return collect(rows[*pb.RunTotal](v.table, tableTotals, indexID, "", false), 0)
}

// Prune returns the newest prune of a source.
func (v *View) Prune(source string) (*pb.Prune, bool) {
	return first[*pb.Prune](v.table, tablePrunes, indexID, source)
}

// ActivePrunes lists the prunes that have not ended, by source.
func (v *View) ActivePrunes() []*pb.Prune {
	return collect(rows[*pb.Prune](v.table, tablePrunes, indexActive, "", false), 0)
}

// Counts are how many of each thing there are.
type Counts struct {
	Sources         map[pb.SourceState]int
	Queued, Running int
	Snapshots       int
}

// Counts counts. It goes through sources and active runs.
func (v *View) Counts() Counts {
	c := Counts{Sources: map[pb.SourceState]int{}, Snapshots: int(v.LedgerHead().GetLedgerIndex()) - v.counted(countForgotten)}
	for s := range rows[*pb.Source](v.table, tableSources, indexID, "", false) {
		c.Sources[s.GetState()]++
	}
	for r := range rows[*pb.Run](v.table, tableRuns, indexActive, "", false) {
		if r.GetState() == pb.RunState_RUN_STATE_RUNNING {
			c.Running++
		} else {
			c.Queued++
		}
	}
	return c
}

// only leaves out the rows that are not wanted.
func only[T any](seq func(yield func(T) bool), wanted func(T) bool) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		for row := range seq {
			if wanted(row) && !yield(row) {
				return
			}
		}
	}
}

// collect makes a list of at most limit rows, of all when limit is not positive.
func collect[T any](seq func(yield func(T) bool), limit int) []T {
	var list []T
	for row := range seq {
		list = append(list, row)
		if limit > 0 && len(list) == limit {
			break
		}
	}
	return list
}

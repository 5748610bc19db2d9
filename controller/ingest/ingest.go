// Package ingest takes in what agents send: packs and manifests, which it stores
// as they are, and the request to commit a snapshot, which it grants only when
// everything that the manifest names is in the store.
package ingest

import (
	"context"
	"log/slog"
	"sync"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Log is what the ingest needs of the replicated state.
type Log interface {
	View() *state.View
	Propose(context.Context, *pb.Command) error
}

// Options are what an Ingest is made of.
type Options struct {
	Log  Log
	Repo *repo.Repository
	// Store is where objects go, StoreName its name in ledger entries.
	Store     store.Store
	StoreName string
	Logger    *slog.Logger
}

// Ingest stores objects and commits snapshots. It is safe for concurrent use.
type Ingest struct {
	Options

	mu sync.Mutex
	// received are the hashes of the packs taken in under each lease, so that the
	// commit need not read them again. Lost with the process, and then read again.
	received map[lease]map[string]ledger.Hash
	copies   copies
}

type lease struct {
	run   string
	epoch uint64
}

// New returns an Ingest.
func New(o Options) *Ingest {
	return &Ingest{Options: o, received: map[lease]map[string]ledger.Hash{}}
}

// held gives the run that a lease is for, if the lease is still good.
func (i *Ingest) held(l *pb.Lease) (*pb.Run, error) { return state.HeldRun(i.Log.View(), l) }

func (i *Ingest) note(l *pb.Lease, name string, sum ledger.Hash) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := lease{l.GetRun(), l.GetEpoch()}
	if i.received[key] == nil {
		i.received[key] = map[string]ledger.Hash{}
	}
	i.received[key][name] = sum
}

func (i *Ingest) noted(l *pb.Lease, name string) (ledger.Hash, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	sum, ok := i.received[lease{l.GetRun(), l.GetEpoch()}][name]
	return sum, ok
}

// Forget drops what is remembered of leases that have ended.
func (i *Ingest) Forget(v *state.View) {
	i.mu.Lock()
	defer i.mu.Unlock()
	for l := range i.received {
		if r, ok := v.Run(l.run); !ok || state.Ended(r) || r.GetEpoch() != l.epoch {
			delete(i.received, l)
		}
	}
}

func refuse(format string, args ...any) *problem.Problem {
	return problem.New(problem.InvalidInput, format, args...)
}

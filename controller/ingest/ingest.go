// Package ingest takes in what agents send: packs and manifests, which it stores
// as they are, and the request to commit a snapshot, which it grants only when
// everything that the manifest names is in the store.
package ingest

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/baktainer/baktainer/controller/lease"
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
	// Leads says whether this controller leads: others wait for a lease that they
	// have not heard of, and leave the copies of the ledger to it. nil: it does.
	Leads func() bool
	// Caller says whether who calls may act for the agent. nil: anybody may.
	Caller func(ctx context.Context, agent string) error
	// ReceiptKey seals receipts; all controllers have the same. Without one they are
	// neither given nor taken.
	ReceiptKey [32]byte
}

// Ingest stores objects and commits snapshots. It is safe for concurrent use.
type Ingest struct {
	Options

	mu sync.Mutex
	// received are the hashes of the packs taken in under each lease, so that the
	// commit need not read them again. Lost with the process, and then read again.
	received map[held]map[string]ledger.Hash
	copies   copies
	uploads  atomic.Int32 // in flight
	leases   lease.Check
}

// held is a lease as a key.
type held struct {
	run   string
	epoch uint64
}

// New returns an Ingest.
func New(o Options) *Ingest {
	return &Ingest{
		Options: o, received: map[held]map[string]ledger.Hash{}, copies: copies{turn: make(chan struct{}, 1)},
		leases: lease.Check{View: o.Log.View, Leads: o.Leads, Caller: o.Caller},
	}
}

// Uploads is how many objects are being taken in now.
func (i *Ingest) Uploads() int { return int(i.uploads.Load()) }

func (i *Ingest) leads() bool { return i.Leads == nil || i.Leads() }

func (i *Ingest) note(l *pb.Lease, name string, sum ledger.Hash) {
	i.mu.Lock()
	defer i.mu.Unlock()
	key := held{l.GetRun(), l.GetEpoch()}
	if i.received[key] == nil {
		i.forget(i.Log.View()) // so that what is remembered is bounded wherever agents send to
		i.received[key] = map[string]ledger.Hash{}
	}
	i.received[key][name] = sum
}

func (i *Ingest) noted(l *pb.Lease, name string) (ledger.Hash, bool) {
	i.mu.Lock()
	defer i.mu.Unlock()
	sum, ok := i.received[held{l.GetRun(), l.GetEpoch()}][name]
	return sum, ok
}

// Forget drops what is remembered of leases that have ended.
func (i *Ingest) Forget(v *state.View) {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.forget(v)
}

func (i *Ingest) forget(v *state.View) {
	for l := range i.received {
		if r, ok := v.Run(l.run); !ok || state.Ended(r) || r.GetEpoch() != l.epoch {
			delete(i.received, l)
		}
	}
}

func refuse(format string, args ...any) *problem.Problem {
	return problem.New(problem.InvalidInput, format, args...)
}

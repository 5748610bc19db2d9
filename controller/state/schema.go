package state

import (
	"encoding/binary"
	"fmt"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/types/known/timestamppb"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type timestamp = timestamppb.Timestamp

// The tables and their indexes. Every index orders its rows by bytes.
const (
	tableSources   = "sources"
	tableRuns      = "runs"
	tableSnapshots = "snapshots" // the ledger
	tableSchedules = "schedules"
	tableApplied   = "applied"
	tableStores    = "stores"
	tableCluster   = "cluster"
	tableTotals    = "totals"
	tablePrunes    = "prunes"   // the newest of each source
	tableCounter   = "counters" // how many rows a table has, where that is needed

	tableAuthority  = "authority"
	tableTokens     = "tokens"
	tableIdentities = "identities"
	tableAgents     = "agents" // what was set for them
	tableLimits     = "limits"
	tableAudit      = "audit"
	tableMembers    = "members"

	tableConditions = "conditions" // what is wrong
	tableEvents     = "events"     // beginnings and ends of conditions that somebody is yet to be told
	tableChannels   = "channels"
	tableNotify     = "notify"

	countForgotten = "forgotten" // snapshots, as if they were a table

	indexID     = "id"
	indexSource = "source" // by source, then time
	indexTime   = "time"
	indexActive = "active" // runs that have not ended, by time; prunes that have not, by source
	indexLeased = "leased" // runs that are leased, by time
	indexFire   = "fire"   // snapshots, and runs that schedules made, by source and fire time
	indexAgent  = "agent"  // sources that are not gone, and runs that are leased, by agent
	indexHash   = "hash"
	// Snapshots by source and place in the ledger: those that count, and those that are forgotten.
	indexCounted, indexForgotten = "counted", "forgotten"

	onlyRow = "only" // the key of a table's only row

	prefix = "_prefix" // after an index: all rows whose key begins so
)

// counter is how many rows a table has.
type counter struct {
	table string
	rows  int
}

// counted gives a counter, 0 when there is none yet.
func (t table) counted(what string) int {
	if c, ok := first[*counter](t, tableCounter, indexID, what); ok {
		return c.rows
	}
	return 0
}

func schema() *memdb.DBSchema {
	s := &memdb.DBSchema{Tables: map[string]*memdb.TableSchema{}}
	add := func(table string, indexes ...*memdb.IndexSchema) {
		t := &memdb.TableSchema{Name: table, Indexes: map[string]*memdb.IndexSchema{}}
		for _, i := range indexes {
			t.Indexes[i.Name] = i
		}
		s.Tables[table] = t
	}
	add(tableSources,
		by(indexID, (*pb.Source).GetName),
		some(indexAgent, present, func(s *pb.Source) string { return sourceKey(s.GetAgent()) + s.GetName() }))
	add(tableRuns,
		by(indexID, (*pb.Run).GetId),
		by(indexTime, runKey),
		by(indexSource, func(r *pb.Run) string { return sourceKey(r.GetSource()) + runKey(r) }),
		some(indexActive, active, runKey),
		some(indexLeased, leased, runKey),
		some(indexAgent, leased, func(r *pb.Run) string { return sourceKey(r.GetAgent()) + runKey(r) }),
		some(indexFire, scheduled, func(r *pb.Run) string { return fireKey(r.GetSource(), r.GetFireTime()) + r.GetId() }))
	add(tableSnapshots,
		by(indexID, (*pb.Snapshot).GetId),
		by(indexTime, func(s *pb.Snapshot) string { return numberKey(s.GetLedgerIndex()) }),
		by(indexSource, snapshotKey),
		some(indexCounted, counts, snapshotKey),
		some(indexForgotten, forgotten, snapshotKey),
		by(indexFire, func(s *pb.Snapshot) string { return sourceKey(s.GetSource()) + timeKey(s.GetFireTime()) }))
	add(tableSchedules,
		by(indexID, (*pb.Schedule).GetId),
		some(indexSource, func(s *pb.Schedule) bool { return s.GetSource() != "" }, func(s *pb.Schedule) string { return sourceKey(s.GetSource()) + s.GetId() }),
		some(indexTime, func(s *pb.Schedule) bool { return s.GetNextFireAt() != nil }, func(s *pb.Schedule) string { return timeKey(s.GetNextFireAt()) + s.GetId() }))
	add(tableApplied,
		by(indexID, (*pb.AppliedRequest).GetRequestId),
		by(indexTime, func(a *pb.AppliedRequest) string { return numberKey(a.GetIndex()) + a.GetRequestId() }))
	add(tableStores, by(indexID, (*pb.StoreRecord).GetName))
	add(tableCluster, by(indexID, func(*pb.ClusterRecord) string { return "cluster" }))
	add(tableTotals, by(indexID, func(t *pb.RunTotal) string { return totalKey(t.GetKind(), t.GetState()) }))
	add(tablePrunes,
		by(indexID, (*pb.Prune).GetSource),
		some(indexActive, func(p *pb.Prune) bool { return p.GetEndedAt() == nil }, (*pb.Prune).GetSource))
	addCluster(add)
	add(tableCounter, by(indexID, func(c *counter) string { return c.table }))
	return s
}

// addCluster adds the tables of the cluster itself: who is in it, who may come in.
func addCluster(add func(table string, indexes ...*memdb.IndexSchema)) {
	add(tableAuthority, by(indexID, func(*pb.AuthorityRecord) string { return onlyRow }))
	add(tableTokens,
		by(indexID, func(t *pb.TokenRow) string { return t.GetToken().GetId() }),
		by(indexHash, func(t *pb.TokenRow) string { return string(t.GetHash()) }),
		by(indexTime, func(t *pb.TokenRow) string { return timeKey(t.GetToken().GetExpiresAt()) + t.GetToken().GetId() }))
	add(tableIdentities, by(indexID, func(i *pb.Identity) string { return identityKey(i.GetRole(), i.GetName()) }))
	add(tableAgents, by(indexID, (*pb.AgentRecord).GetId))
	add(tableLimits, by(indexID, func(*pb.Limits) string { return onlyRow }))
	add(tableAudit,
		by(indexID, (*audited).id),
		by(indexTime, func(a *audited) string { return numberKey(a.place) }))
	add(tableMembers, by(indexID, (*pb.MemberRecord).GetId))
	add(tableConditions, by(indexID, func(c *pb.Condition) string { return conditionKey(c.GetKind(), c.GetSubject()) }))
	add(tableEvents, by(indexID, func(e *pb.ConditionEvent) string { return numberKey(e.GetSequence()) }))
	add(tableChannels, by(indexID, (*pb.Channel).GetName))
	add(tableNotify, by(indexID, func(*pb.NotifyMark) string { return onlyRow }))
}

// present says whether a source is where its agent says.
func present(s *pb.Source) bool { return s.GetState() != pb.SourceState_SOURCE_STATE_GONE }

// identityKey orders identities by role, then by name.
func identityKey(role pb.Role, name string) string { return fmt.Sprintf("%03d %s", role, name) }

// runKey orders runs by the time at which they were queued.
func runKey(r *pb.Run) string { return timeKey(r.GetQueuedAt()) + r.GetId() }

// snapshotKey orders snapshots by source, then by their place in the ledger.
func snapshotKey(s *pb.Snapshot) string {
	return sourceKey(s.GetSource()) + numberKey(s.GetLedgerIndex())
}

func sourceKey(source string) string { return source + "\x00" }

func numberKey(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

func timeKey(t *timestamp) string {
	b := binary.BigEndian.AppendUint64(nil, uint64(t.GetSeconds())^1<<63) // negative before positive
	return string(binary.BigEndian.AppendUint32(b, uint32(t.GetNanos())))
}

func totalKey(kind pb.RunKind, state pb.RunState) string {
	return fmt.Sprintf("%03d %03d", kind, state)
}

// by makes a unique index over key.
func by[T any](name string, key func(T) string) *memdb.IndexSchema {
	return some(name, func(T) bool { return true }, key)
}

// some makes a unique index over those rows that are in it.
func some[T any](name string, in func(T) bool, key func(T) string) *memdb.IndexSchema {
	return &memdb.IndexSchema{Name: name, Unique: true, AllowMissing: true, Indexer: keyed[T]{in, key}}
}

// keyed implements memdb's index over a function of the row.
type keyed[T any] struct {
	in  func(T) bool
	key func(T) string
}

func (k keyed[T]) FromObject(row any) (bool, []byte, error) {
	r, ok := row.(T)
	if !ok {
		return false, nil, fmt.Errorf("a %T is no row of this table", row)
	}
	if !k.in(r) {
		return false, nil, nil
	}
	return true, []byte(k.key(r)), nil
}

func (k keyed[T]) FromArgs(args ...any) ([]byte, error) {
	if len(args) == 1 {
		if s, ok := args[0].(string); ok {
			return []byte(s), nil
		}
	}
	return nil, fmt.Errorf("want one string to look up, have %v", args)
}

func (k keyed[T]) PrefixFromArgs(args ...any) ([]byte, error) { return k.FromArgs(args...) }

// table reads rows within one transaction. Its misuse, which memdb answers with
// an error, looks like an absent row.
type table struct{ txn *memdb.Txn }

// first returns the row with that key, or the first whose key begins so when
// the index is a prefix one.
func first[T any](t table, name, index, key string) (row T, ok bool) {
	if t.txn == nil {
		return row, false
	}
	found, err := t.txn.First(name, index, key)
	if err != nil || found == nil {
		return row, false
	}
	row, ok = found.(T)
	return row, ok
}

// rows goes through the rows whose key begins with key, in order or backwards.
func rows[T any](t table, name, index, key string, backwards bool) func(yield func(T) bool) {
	return func(yield func(T) bool) {
		if t.txn == nil {
			return
		}
		get := t.txn.Get
		if backwards {
			get = t.txn.GetReverse
		}
		it, err := get(name, index+prefix, key)
		if err != nil {
			return
		}
		for found := it.Next(); found != nil; found = it.Next() {
			if row, ok := found.(T); ok && !yield(row) {
				return
			}
		}
	}
}

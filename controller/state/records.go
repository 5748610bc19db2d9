package state

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"google.golang.org/protobuf/proto"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// records goes through all rows, table by table, each in the order of its keys.
func (v *View) records() func(yield func(*pb.StateRecord) bool) {
	return func(yield func(*pb.StateRecord) bool) {
		_ = each(v, tableCluster, func(r *pb.ClusterRecord) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Cluster{Cluster: r}})
		}) && each(v, tableStores, func(r *pb.StoreRecord) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Store{Store: r}})
		}) && each(v, tableSchedules, func(r *pb.Schedule) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Schedule{Schedule: r}})
		}) && each(v, tableSources, func(r *pb.Source) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Source{Source: r}})
		}) && each(v, tableRuns, func(r *pb.Run) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Run{Run: r}})
		}) && each(v, tableTotals, func(r *pb.RunTotal) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_RunTotal{RunTotal: r}})
		}) && each(v, tableSnapshots, func(r *pb.Snapshot) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Snapshot{Snapshot: r}})
		}) && each(v, tablePrunes, func(r *pb.Prune) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Prune{Prune: r}})
		}) && each(v, tableApplied, func(r *pb.AppliedRequest) bool {
			return yield(&pb.StateRecord{Record: &pb.StateRecord_Applied{Applied: r}})
		}) && v.clusterRecords(yield)
	}
}

func (v *View) clusterRecords(yield func(*pb.StateRecord) bool) bool {
	return each(v, tableAuthority, func(r *pb.AuthorityRecord) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Authority{Authority: r}})
	}) && each(v, tableTokens, func(r *pb.TokenRow) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Token{Token: r}})
	}) && each(v, tableIdentities, func(r *pb.Identity) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Identity{Identity: r}})
	}) && each(v, tableAgents, func(r *pb.AgentRecord) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Agent{Agent: r}})
	}) && each(v, tableLimits, func(r *pb.Limits) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Limits{Limits: r}})
	}) && each(v, tableAudit, func(r *audited) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Audit{Audit: r.record}})
	}) && each(v, tableMembers, func(r *pb.MemberRecord) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Member{Member: r}})
	}) && v.notifyRecords(yield)
}

func (v *View) notifyRecords(yield func(*pb.StateRecord) bool) bool {
	return each(v, tableConditions, func(r *pb.Condition) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Condition{Condition: r}})
	}) && each(v, tableEvents, func(r *pb.ConditionEvent) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_ConditionEvent{ConditionEvent: r}})
	}) && each(v, tableChannels, func(r *pb.Channel) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_Channel{Channel: r}})
	}) && each(v, tableNotify, func(r *pb.NotifyMark) bool {
		return yield(&pb.StateRecord{Record: &pb.StateRecord_NotifyMark{NotifyMark: r}})
	})
}

// each goes through a table in the order of time where it has one, else of ids;
// false when it was stopped.
func each[T any](v *View, name string, yield func(T) bool) bool {
	index := indexID
	switch name {
	case tableRuns, tableSnapshots, tableApplied, tableAudit:
		index = indexTime
	}
	for row := range rows[T](v.table, name, index, "", false) {
		if !yield(row) {
			return false
		}
	}
	return true
}

// reading is what is counted while a raft snapshot is read.
type reading struct {
	*writer
	applied, forgotten int
	events             int
	entries            uint64
}

func (w *writer) readRecords(in *checkedReader) error {
	rd := &reading{writer: w}
	for {
		size, err := binary.ReadUvarint(in)
		if err != nil {
			return fmt.Errorf("length of a record: %w", err)
		}
		if size == 0 {
			break
		}
		if size > maxRecord {
			return fmt.Errorf("a record of %d bytes", size)
		}
		b := make([]byte, size)
		if _, err := io.ReadFull(in, b); err != nil {
			return fmt.Errorf("record: %w", err)
		}
		record := &pb.StateRecord{}
		if err := proto.Unmarshal(b, record); err != nil {
			return fmt.Errorf("decode record: %w", err)
		}
		if err := rd.read(record); err != nil {
			return err
		}
		if w.broken != nil {
			return w.broken
		}
	}
	w.put(tableCounter, &counter{tableApplied, rd.applied})
	w.put(tableCounter, &counter{countForgotten, rd.forgotten})
	w.put(tableCounter, &counter{tableEvents, rd.events})
	return w.broken
}

func (w *reading) read(record *pb.StateRecord) error {
	switch r := record.GetRecord().(type) {
	case *pb.StateRecord_Cluster:
		w.put(tableCluster, r.Cluster)
	case *pb.StateRecord_Store:
		w.put(tableStores, r.Store)
	case *pb.StateRecord_Schedule:
		w.put(tableSchedules, r.Schedule)
	case *pb.StateRecord_Source:
		w.put(tableSources, r.Source)
	case *pb.StateRecord_Run:
		w.put(tableRuns, r.Run)
	case *pb.StateRecord_RunTotal:
		w.put(tableTotals, r.RunTotal)
	case *pb.StateRecord_Snapshot:
		if w.entries++; r.Snapshot.GetLedgerIndex() != w.entries {
			return fmt.Errorf("ledger entry %d comes where %d should", r.Snapshot.GetLedgerIndex(), w.entries)
		}
		w.put(tableSnapshots, r.Snapshot)
		if !counts(r.Snapshot) {
			w.forgotten++
		}
	case *pb.StateRecord_Prune:
		w.put(tablePrunes, r.Prune)
	case *pb.StateRecord_Applied:
		w.applied++
		w.put(tableApplied, r.Applied)
	default:
		return w.readCluster(record)
	}
	return nil
}

func (w *reading) readCluster(record *pb.StateRecord) error {
	switch r := record.GetRecord().(type) {
	case *pb.StateRecord_Authority:
		w.put(tableAuthority, r.Authority)
	case *pb.StateRecord_Token:
		w.put(tableTokens, r.Token)
	case *pb.StateRecord_Identity:
		w.put(tableIdentities, r.Identity)
	case *pb.StateRecord_Agent:
		w.put(tableAgents, r.Agent)
	case *pb.StateRecord_Limits:
		w.put(tableLimits, r.Limits)
	case *pb.StateRecord_Audit:
		w.addAudit(r.Audit)
	case *pb.StateRecord_Member:
		w.put(tableMembers, r.Member)
	default:
		return w.readNotify(record)
	}
	return nil
}

func (w *reading) readNotify(record *pb.StateRecord) error {
	switch r := record.GetRecord().(type) {
	case *pb.StateRecord_Condition:
		w.put(tableConditions, r.Condition)
	case *pb.StateRecord_ConditionEvent:
		w.events++
		w.put(tableEvents, r.ConditionEvent)
	case *pb.StateRecord_Channel:
		w.put(tableChannels, r.Channel)
	case *pb.StateRecord_NotifyMark:
		w.put(tableNotify, r.NotifyMark)
	default:
		return errors.New("a record of a newer version")
	}
	return nil
}

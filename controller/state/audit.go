package state

import (
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// KeptAudit is how many audit records are kept.
const KeptAudit = 10_000

// Bounds of an audit record, in bytes.
const (
	maxWho     = 200
	maxRequest = 2 << 10
	maxFailure = 2 << 10
)

// audited is an audit record and its place among them: the order in which they
// came, whatever the clocks of the controllers said. A raft snapshot keeps the
// order and not the numbers.
type audited struct {
	place  uint64
	record *pb.AuditRecord
}

func (a *audited) id() string { return a.record.GetId() }

// beginAudit keeps a record of a call, and lets go of the oldest.
func (w *writer) beginAudit(c *pb.BeginAudit) error {
	r := c.GetRecord()
	if !idPattern.MatchString(r.GetId()) || r.GetActor() == "" || r.GetMethod() == "" {
		return bad("audit record %.40q: who did what is missing", r.GetId())
	}
	begun := &pb.AuditRecord{
		Id: r.GetId(), Time: w.at, Actor: cut(r.GetActor(), maxWho), Origin: cut(r.GetOrigin(), maxWho),
		Method: cut(r.GetMethod(), maxWho), Request: cut(r.GetRequest(), maxRequest),
	}
	if known, ok := first[*audited](w.table, tableAudit, indexID, r.GetId()); ok {
		again := proto.CloneOf(known.record)
		again.Time, again.EndedAt, again.Failure = w.at, nil, nil
		if proto.Equal(again, begun) {
			return nil // begun before
		}
		return refuse(ReasonDuplicate, "there is an audit record %s already", r.GetId())
	}
	w.addAudit(begun)
	return nil
}

func (w *writer) addAudit(r *pb.AuditRecord) {
	place := uint64(1)
	for newest := range rows[*audited](w.table, tableAudit, indexTime, "", true) {
		place = newest.place + 1
		break
	}
	w.put(tableAudit, &audited{place, r})
	n := w.counted(tableAudit) + 1
	for ; n > KeptAudit; n-- {
		oldest, ok := first[*audited](w.table, tableAudit, indexTime+prefix, "")
		if !ok {
			break
		}
		w.drop(tableAudit, oldest)
	}
	w.put(tableCounter, &counter{tableAudit, n})
}

func (w *writer) endAudit(c *pb.EndAudit) error {
	known, ok := first[*audited](w.table, tableAudit, indexID, c.GetId())
	switch {
	case !ok:
		return problem.New(problem.NotFound, "there is no audit record %.40q", c.GetId()).WithReason(ReasonNoAudit)
	case known.record.GetEndedAt() != nil:
		return nil // ended before
	}
	ended := proto.CloneOf(known.record)
	ended.EndedAt = w.at
	if f := c.GetFailure(); f != nil {
		ended.Failure = &pb.Failure{
			Code: cut(f.GetCode(), maxWho), Reason: cut(f.GetReason(), maxWho), Source: cut(f.GetSource(), maxWho),
			Message: cut(f.GetMessage(), maxFailure), Hint: cut(f.GetHint(), maxFailure),
		}
	}
	w.put(tableAudit, &audited{known.place, ended})
	return nil
}

// Audit lists the audit records, newest first, at most limit of them when it is
// positive.
func (v *View) Audit(limit int) []*pb.AuditRecord {
	var list []*pb.AuditRecord
	for row := range rows[*audited](v.table, tableAudit, indexTime, "", true) {
		list = append(list, row.record)
		if limit > 0 && len(list) == limit {
			break
		}
	}
	return list
}

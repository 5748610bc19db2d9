package state

import (
	"fmt"
	"sync"
	"sync/atomic"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Tables are the facts of a cluster, copy on write: a View of them is
// immutable and costs nothing to take. Safe for concurrent use.
type Tables struct {
	mu   sync.Mutex // held by whoever makes the next view
	db   *memdb.MemDB
	view atomic.Pointer[View]
}

// New returns empty tables.
func New() *Tables {
	db, err := memdb.NewMemDB(schema())
	t := &Tables{db: db}
	t.view.Store(&View{changed: make(chan struct{})})
	if err == nil { // the schema is a constant: TestSchema shows that it is valid
		t.view.Store(newView(db, 0))
	}
	return t
}

// View returns the present facts.
func (t *Tables) View() *View { return t.view.Load() }

// Apply carries out one command of the Raft log at the given index. A refusal is
// a *problem.Problem and leaves everything as it was; ErrUnknownCommand says
// that the command was not understood at all. A command whose request id has
// been seen is not carried out again and has the first one's result. cmd is
// kept: the caller must not change it afterwards.
func (t *Tables) Apply(index uint64, cmd *pb.Command) error {
	if cmd.GetCommand() == nil || cmd.GetVersion() > CommandVersion {
		if cmd.GetSkippable() {
			return nil
		}
		return fmt.Errorf("apply command of version %d: %w", cmd.GetVersion(), ErrUnknownCommand)
	}
	if n := proto.Size(cmd); n > MaxCommandSize {
		return problem.New(problem.InvalidInput, "the command has %d bytes, more than %d", n, MaxCommandSize).WithReason(ReasonTooLarge)
	}
	t.mu.Lock()
	defer t.mu.Unlock()

	remember := cmd.GetRequestId() != "" && cmd.GetRenewLeases() == nil // renewing twice is harmless
	w := &writer{table: table{t.db.Txn(true)}, index: index, version: cmd.GetVersion(), at: cmd.GetProposedAt()}
	if remember {
		if seen, ok := first[*pb.AppliedRequest](w.table, tableApplied, indexID, cmd.GetRequestId()); ok {
			w.txn.Abort()
			return problemOf(seen.GetFailure())
		}
	}
	refusal := w.apply(cmd)
	if refusal != nil { // drop whatever was written before the refusal
		w.txn.Abort()
		w.txn = t.db.Txn(true)
		w.sources, w.definitions = false, false
	}
	if remember {
		w.remember(cmd.GetRequestId(), refusal)
	}
	if w.broken != nil {
		w.txn.Abort()
		return fmt.Errorf("write to the tables: %w", w.broken)
	}
	w.txn.Commit()
	next := newView(t.db, index)
	if next.sources = t.View().sources; w.sources {
		next.sources = index
	}
	if next.definitions = t.View().definitions; w.definitions {
		next.definitions = index
	}
	if refusal != nil { // nobody who waits for news has any
		next.changed = t.View().changed
		t.view.Store(next)
		return refusal
	}
	t.publish(next)
	return nil
}

// publish replaces the present view and wakes those who wait for a newer one.
func (t *Tables) publish(next *View) {
	close(t.view.Swap(next).changed)
}

// writer carries out one command within one transaction.
type writer struct {
	table
	index uint64
	// version of the command: what is done since a later one must not be done, or
	// members of that version would have another state.
	version uint32
	at      *timestamp
	// sources says that one of them was written to; a refusal drops that again.
	sources bool
	// definitions says so of what a schedule says.
	definitions bool
	broken      error // first failure of the tables themselves: a defect of ours
}

func (w *writer) put(table string, row any) {
	w.sources = w.sources || table == tableSources
	if err := w.txn.Insert(table, row); err != nil && w.broken == nil {
		w.broken = fmt.Errorf("insert into %s: %w", table, err)
	}
}

func (w *writer) drop(table string, row any) {
	if err := w.txn.Delete(table, row); err != nil && w.broken == nil {
		w.broken = fmt.Errorf("delete from %s: %w", table, err)
	}
}

// remember keeps the result of a request, and forgets the oldest beyond KeptRequests.
func (w *writer) remember(request string, result error) {
	w.put(tableApplied, &pb.AppliedRequest{RequestId: request, Index: w.index, Failure: failureOf(result)})
	n := w.counted(tableApplied) + 1
	for ; n > KeptRequests; n-- {
		oldest, ok := first[*pb.AppliedRequest](w.table, tableApplied, indexTime+prefix, "")
		if !ok {
			break
		}
		w.drop(tableApplied, oldest)
	}
	w.put(tableCounter, &counter{tableApplied, n})
}

// add changes a counter.
func (w *writer) add(what string, by int) {
	w.put(tableCounter, &counter{what, w.counted(what) + by})
}

func (w *writer) apply(cmd *pb.Command) error {
	if !valid(w.at) {
		return bad("proposed_at is missing")
	}
	switch c := cmd.GetCommand().(type) {
	case *pb.Command_ReportSources:
		return w.reportSources(c.ReportSources)
	case *pb.Command_QueueRuns:
		return w.queueRuns(c.QueueRuns)
	case *pb.Command_GrantLease:
		return w.grantLease(c.GrantLease)
	case *pb.Command_RenewLeases:
		return w.renewLeases(c.RenewLeases)
	case *pb.Command_ReleaseLease:
		return w.releaseLease(c.ReleaseLease)
	case *pb.Command_CommitRun:
		return w.commitRun(c.CommitRun)
	case *pb.Command_EndRun:
		return w.endRun(c.EndRun)
	case *pb.Command_RetryRun:
		return w.retryRun(c.RetryRun)
	case *pb.Command_RequestCancel:
		return w.requestCancel(c.RequestCancel)
	case *pb.Command_SetSchedule:
		return w.setSchedule(c.SetSchedule)
	case *pb.Command_RecordVerification:
		return w.recordVerification(c.RecordVerification)
	case *pb.Command_RegisterStore:
		return w.registerStore(c.RegisterStore)
	case *pb.Command_SetCluster:
		return w.setCluster(c.SetCluster)
	}
	return w.applySchedules(cmd)
}

func (w *writer) applySchedules(cmd *pb.Command) error {
	switch c := cmd.GetCommand().(type) {
	case *pb.Command_FireSchedules:
		return w.fireSchedules(c.FireSchedules)
	case *pb.Command_SetSchedules:
		return w.setSchedules(c.SetSchedules)
	case *pb.Command_PauseSchedules:
		return w.pauseSchedules(c.PauseSchedules)
	case *pb.Command_DeferRuns:
		return w.deferRuns(c.DeferRuns)
	}
	return w.applyRetention(cmd)
}

func (w *writer) applyRetention(cmd *pb.Command) error {
	switch c := cmd.GetCommand().(type) {
	case *pb.Command_ForgetSnapshots:
		return w.forgetSnapshots(c.ForgetSnapshots)
	case *pb.Command_UnforgetSnapshots:
		return w.unforgetSnapshots(c.UnforgetSnapshots)
	case *pb.Command_BeginPrune:
		return w.beginPrune(c.BeginPrune)
	case *pb.Command_EndPrune:
		return w.endPrune(c.EndPrune)
	case *pb.Command_RecordDamage:
		return w.recordDamage(c.RecordDamage)
	case *pb.Command_SetHold:
		return w.setHold(c.SetHold)
	case *pb.Command_SetTags:
		return w.setTags(c.SetTags)
	}
	return w.applyCluster(cmd)
}

func (w *writer) applyCluster(cmd *pb.Command) error {
	switch c := cmd.GetCommand().(type) {
	case *pb.Command_SetAuthority:
		return w.setAuthority(c.SetAuthority)
	case *pb.Command_CreateToken:
		return w.createToken(c.CreateToken)
	case *pb.Command_RevokeToken:
		return w.revokeToken(c.RevokeToken)
	case *pb.Command_IssueIdentity:
		return w.issueIdentity(c.IssueIdentity)
	case *pb.Command_RevokeIdentity:
		return w.revokeIdentity(c.RevokeIdentity)
	case *pb.Command_SetAgent:
		return w.setAgent(c.SetAgent)
	case *pb.Command_SetLimits:
		return w.setLimits(c.SetLimits)
	case *pb.Command_BeginAudit:
		return w.beginAudit(c.BeginAudit)
	case *pb.Command_EndAudit:
		return w.endAudit(c.EndAudit)
	case *pb.Command_SetMember:
		return w.setMember(c.SetMember)
	case *pb.Command_DropMember:
		return w.dropMember(c.DropMember)
	}
	return w.applyNotify(cmd)
}

func (w *writer) applyNotify(cmd *pb.Command) error {
	switch c := cmd.GetCommand().(type) {
	case *pb.Command_RecordConditions:
		return w.recordConditions(c.RecordConditions)
	case *pb.Command_SettleChannels:
		return w.settleChannels(c.SettleChannels)
	}
	return bad("the command is of no kind known here")
}

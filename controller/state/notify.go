package state

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// KeptEvents is how many events wait at most for channels that cannot be
// reached; the oldest go first.
const KeptEvents = 10_000

// Bounds of what is kept of conditions: bytes, and how many channels there are.
const (
	maxSubject  = 300
	maxTold     = 500
	maxChannels = 100
)

// ReasonNoChannel says that the last word of the leader knew of no such channel.
const ReasonNoChannel problem.Reason = "no-channel"

func conditionKey(kind pb.ConditionKind, subject string) string {
	return fmt.Sprintf("%03d %s", kind, subject)
}

// recordConditions opens and closes conditions. What is so already is passed
// over, so that whoever judges by an older view repeats nothing.
func (w *writer) recordConditions(c *pb.RecordConditions) error {
	before := w.notifyMark()
	mark := &pb.NotifyMark{Sequence: before.GetSequence(), Ledger: max(before.GetLedger(), c.GetLedger()), Begun: true}
	fresh := c.GetLedger() > before.GetLedger() // otherwise its successes were told before
	for _, change := range c.GetChanges() {
		if err := checkCondition(change.GetCondition()); err != nil {
			return err
		}
		w.changeCondition(mark, change, fresh)
	}
	w.put(tableNotify, mark)
	w.dropTold()
	return nil
}

func checkCondition(c *pb.Condition) error {
	_, known := pb.ConditionKind_name[int32(c.GetKind())]
	switch {
	case !known || c.GetKind() == pb.ConditionKind_CONDITION_KIND_UNSPECIFIED:
		return bad("a condition is of no known kind")
	case c.GetSubject() == "" || len(c.GetSubject()) > maxSubject:
		return bad("the subject of a condition is %.40q", c.GetSubject())
	}
	return nil
}

func (w *writer) changeCondition(mark *pb.NotifyMark, change *pb.ConditionChange, fresh bool) {
	c := change.GetCondition()
	told := &pb.Condition{
		Kind: c.GetKind(), Subject: c.GetSubject(), OpenedAt: w.at, Quiet: change.GetQuiet(),
		Message: cut(c.GetMessage(), maxTold), Hint: cut(c.GetHint(), maxTold), Run: cut(c.GetRun(), maxWho),
	}
	if c.GetKind() == pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED { // it happens, and is never open
		if fresh && !change.GetQuiet() {
			w.addEvent(mark, told, false)
		}
		return
	}
	known, open := first[*pb.Condition](w.table, tableConditions, indexID, conditionKey(c.GetKind(), c.GetSubject()))
	switch {
	case open == !change.GetClosed():
	case !open:
		w.put(tableConditions, told)
		if !told.GetQuiet() {
			w.addEvent(mark, told, false)
		}
	default:
		w.drop(tableConditions, known)
		if !known.GetQuiet() && !change.GetQuiet() { // who was not told of the beginning need not hear of the end
			told.OpenedAt = known.GetOpenedAt()
			w.addEvent(mark, told, true)
		}
	}
}

func (w *writer) addEvent(mark *pb.NotifyMark, c *pb.Condition, closed bool) {
	mark.Sequence++
	w.put(tableEvents, &pb.ConditionEvent{Sequence: mark.GetSequence(), Condition: c, Closed: closed, At: w.at})
	w.add(tableEvents, 1)
}

// dropTold drops the events that no channel has yet to tell, and the oldest of
// too many. Without channels there is nobody to tell.
func (w *writer) dropTold() {
	told := w.notifyMark().GetSequence()
	for ch := range rows[*pb.Channel](w.table, tableChannels, indexID, "", false) {
		told = min(told, ch.GetSequence())
	}
	for {
		oldest, ok := first[*pb.ConditionEvent](w.table, tableEvents, indexID+prefix, "")
		if !ok || oldest.GetSequence() > told && w.counted(tableEvents) <= KeptEvents {
			return
		}
		w.drop(tableEvents, oldest)
		w.add(tableEvents, -1)
	}
}

// settleChannels notes how far channels have come. With complete it says which
// there are; otherwise all of them have to be known, so that one who no longer
// leads cannot bring back what was forgotten.
func (w *writer) settleChannels(c *pb.SettleChannels) error {
	if len(c.GetChannels()) > maxChannels {
		return bad("there are %d channels, more than %d", len(c.GetChannels()), maxChannels)
	}
	last := w.notifyMark().GetSequence()
	begins := last
	if oldest, ok := first[*pb.ConditionEvent](w.table, tableEvents, indexID+prefix, ""); ok {
		begins = oldest.GetSequence() - 1
	}
	named := map[string]bool{}
	for _, ch := range c.GetChannels() {
		known, ok := first[*pb.Channel](w.table, tableChannels, indexID, ch.GetName())
		switch {
		case ch.GetName() == "" || len(ch.GetName()) > maxWho:
			return bad("the channel's name is %.40q", ch.GetName())
		case ch.GetSequence() > last:
			return bad("channel %s: there is no event %d yet", ch.GetName(), ch.GetSequence())
		case ch.GetSentAt() != nil && !valid(ch.GetSentAt()):
			return bad("channel %s: its time is out of range", ch.GetName())
		case !ok && !c.GetComplete():
			return problem.New(problem.NotFound, "there is no channel %s", ch.GetName()).WithReason(ReasonNoChannel)
		}
		named[ch.GetName()] = true
		next := &pb.Channel{Name: ch.GetName(), Sequence: max(known.GetSequence(), ch.GetSequence()), SentAt: known.GetSentAt()}
		if !ok {
			next.Sequence = max(next.GetSequence(), begins) // what others have yet to tell is for it, too
		}
		if timeKey(ch.GetSentAt()) > timeKey(next.GetSentAt()) {
			next.SentAt = ch.GetSentAt()
		}
		w.put(tableChannels, next)
	}
	if c.GetComplete() {
		for _, ch := range collect(rows[*pb.Channel](w.table, tableChannels, indexID, "", false), 0) {
			if !named[ch.GetName()] {
				w.drop(tableChannels, ch)
			}
		}
	}
	w.dropTold()
	return nil
}

func (t table) notifyMark() *pb.NotifyMark {
	m, _ := first[*pb.NotifyMark](t, tableNotify, indexID, onlyRow)
	return m
}

// NotifyMark is how far notifications have come as a whole; nil: they have not begun.
func (v *View) NotifyMark() *pb.NotifyMark { return v.notifyMark() }

// Conditions lists what is wrong at present, by kind and subject.
func (v *View) Conditions() []*pb.Condition {
	return collect(rows[*pb.Condition](v.table, tableConditions, indexID, "", false), 0)
}

// Channels lists the channels by name, with how far each has come.
func (v *View) Channels() []*pb.Channel {
	return collect(rows[*pb.Channel](v.table, tableChannels, indexID, "", false), 0)
}

// Channel returns one channel.
func (v *View) Channel(name string) (*pb.Channel, bool) {
	return first[*pb.Channel](v.table, tableChannels, indexID, name)
}

// Events lists the events after that place, in their order. It goes through all
// that are kept.
func (v *View) Events(after uint64) []*pb.ConditionEvent {
	return collect(only(rows[*pb.ConditionEvent](v.table, tableEvents, indexID, "", false), func(e *pb.ConditionEvent) bool {
		return e.GetSequence() > after
	}), 0)
}

// Streak is how the last backups of a source went.
type Streak struct {
	// Failures is how many failed in a row, up to the newest; those that were cancelled do not count.
	Failures int
	// Newest is the newest backup that succeeded or failed, Oldest the oldest run that is kept of any kind; nil: none.
	Newest, Oldest *pb.Run
}

// Streak looks at the backups of a source that have ended and are kept.
func (v *View) Streak(source string) (s Streak) {
	for r := range rows[*pb.Run](v.table, tableRuns, indexSource, sourceKey(source), false) {
		s.Oldest = r
		break
	}
	for r := range only(v.newestRuns(source), func(r *pb.Run) bool { return decided(r, pb.RunKind_RUN_KIND_BACKUP) }) {
		if s.Newest == nil {
			s.Newest = r
		}
		if r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED {
			return s
		}
		s.Failures++
	}
	return s
}

// LastDrill is the newest drill of a source that succeeded or failed, among the runs
// that are kept; nil: there is none.
func (v *View) LastDrill(source string) *pb.Run {
	for r := range only(v.newestRuns(source), func(r *pb.Run) bool { return decided(r, pb.RunKind_RUN_KIND_DRILL) }) {
		return r
	}
	return nil
}

// decided says whether a run is of a kind, and succeeded or failed.
func decided(r *pb.Run, kind pb.RunKind) bool {
	return r.GetKind() == kind && (r.GetState() == pb.RunState_RUN_STATE_SUCCEEDED || r.GetState() == pb.RunState_RUN_STATE_FAILED)
}

package notify

import (
	"time"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Facts are what is judged.
type Facts struct {
	Sources []Source
	Stores  []Store
	Agents  []Agent
	// Successes are the snapshots that were committed since the last judgement, and
	// Ledger the place up to which they were looked for.
	Successes []Success
	Ledger    uint64
}

// Source is what is known of one source.
type Source struct {
	Name string
	// Gone says that its container is: nothing is said of it any more.
	Gone bool
	// Failures is how many of its last backups failed in a row, Failure the last of
	// them, and Run its run.
	Failures int
	Failure  *pb.Failure
	Run      string
	// Known is since when the source has been there, as far as is known, and
	// LastSuccess when it was last backed up: zero for never.
	Known, LastSuccess time.Time
	// Sizes are those of its last snapshots in bytes, newest first, Snapshot is the newest.
	Sizes    []int64
	Snapshot string
	// Every is the time between two backups of its schedule, 0 when it has none.
	Every time.Duration
	// Damaged are the snapshots that have lost bytes, newest first.
	Damaged []string
	// Retention says why nothing of it is forgotten, other than that its backups
	// fail; empty when it may be, nil when that is not known.
	Retention *string
	// Strange is what looks like an accident in Snapshot.
	Strange []string
	// Drill is the newest drill of it that succeeded or failed, nil when there was none.
	Drill *pb.Run
	// Missed is the last fire of its schedule that was passed over, nil for none.
	Missed *Missed
}

// Missed is a fire of a schedule that nothing came of.
type Missed struct {
	Source string
	Fire   time.Time
	// Why is a phrase, such as "the one before had not ended".
	Why string
}

// Store is what is known of one store.
type Store struct {
	Name string
	// Free and Total are bytes, Total 0 when it has no limit.
	Free, Total int64
	// Least is how many bytes are to be free; 0: that does not matter.
	Least int64
	// Paused says why no backup is begun; empty: they are.
	Paused string
	// Failing is why it cannot be written to, empty when it can, and Since how long
	// that has been so.
	Failing string
	Since   time.Duration
}

// Agent is what is known of one agent.
type Agent struct {
	Name string
	// Silent is for how long it has not been connected, 0 when it is.
	Silent time.Duration
	// Excused says that nobody waits for it: it is drained or revoked.
	Excused bool
}

// Success is one backup.
type Success struct {
	Source, Run, Snapshot string
	RawBytes              int64
}

// Bounds of what is looked at: snapshots of a source, and new entries of the
// ledger at once.
const (
	compared      = 7
	mostSuccesses = 500
)

// sources reads the facts about sources off the state, and what else is told of them.
func (n *Notifier) sources(v *state.View) []Source {
	var missed []Missed
	if n.Missed != nil {
		missed = n.Missed(v)
	}
	last := map[string]*Missed{}
	for _, m := range missed {
		if was := last[m.Source]; was == nil || m.Fire.After(was.Fire) {
			last[m.Source] = &m
		}
	}
	all := v.Sources()
	facts := make([]Source, 0, len(all))
	for _, src := range all {
		f := Source{Name: src.GetName(), Gone: src.GetState() == pb.SourceState_SOURCE_STATE_GONE}
		if !f.Gone {
			f.look(v, src)
			f.Missed = last[f.Name]
			if n.Every != nil {
				f.Every = n.Every(v, src)
			}
			if n.Retention != nil {
				f.Retention = n.Retention(f.Name)
			}
		}
		facts = append(facts, f)
	}
	return facts
}

func (f *Source) look(v *state.View, src *pb.Source) {
	streak := v.Streak(f.Name)
	f.Known = src.GetReportedAt().AsTime()
	if t := streak.Oldest.GetQueuedAt(); t != nil && t.AsTime().Before(f.Known) {
		f.Known = t.AsTime()
	}
	if f.Failures = streak.Failures; f.Failures > 0 {
		f.Failure, f.Run = streak.Newest.GetFailure(), streak.Newest.GetId()
	}
	f.Drill = v.LastDrill(f.Name)
	for i, s := range v.Snapshots(f.Name, 0) {
		if i == 0 {
			f.LastSuccess, f.Snapshot, f.Strange = s.GetCommittedAt().AsTime(), s.GetId(), s.GetStrange()
		}
		if i <= compared {
			f.Sizes = append(f.Sizes, s.GetRawBytes())
		}
		if s.GetDamagedAt() != nil {
			f.Damaged = append(f.Damaged, s.GetId())
		}
	}
}

// successes lists what was committed after that place of the ledger, and is news:
// the place is not kept up to date while nobody wants to know of successes.
func successes(v *state.View, after uint64, news time.Time) (list []Success, upTo uint64) {
	upTo = min(v.LedgerHead().GetLedgerIndex(), after+mostSuccesses)
	for i := after + 1; i <= upTo; i++ {
		if s, ok := v.LedgerEntry(i); ok && s.GetCommittedAt().AsTime().After(news) {
			list = append(list, Success{Source: s.GetSource(), Run: s.GetRun(), Snapshot: s.GetId(), RawBytes: s.GetRawBytes()})
		}
	}
	return list, max(upTo, after)
}

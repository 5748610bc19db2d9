package notify

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"

	"github.com/baktainer/baktainer/internal/condition"
	"github.com/baktainer/baktainer/internal/config"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Below this much a snapshot that grows is of no interest, in bytes, and one that
// shrinks has lost nothing: an empty database doubles in size by its first table.
const (
	leastGrowth = 1 << 20
	leastLoss   = 4 << 10
	// leastCompared is how many snapshots make a usual size.
	leastCompared = 3
)

// leastStale is the shortest time that is too long by itself.
const leastStale = 48 * time.Hour

// storePatience is how long a store may fail before it is told of: a probe may
// fail for a moment.
const storePatience = 90 * time.Second

// verdict is what a finding means for its condition.
type verdict int

const (
	unclear verdict = iota // leave it as it is
	bad
	good
	pointless // nobody wants to know any more: it ends, and is not told
)

// finding is what the facts say of one possible condition.
type finding struct {
	kind          pb.ConditionKind
	subject       string
	verdict       verdict
	message, hint string
	run           string
}

// judgement is what a Judge goes by.
type judgement struct {
	settings config.Notify
	now      time.Time
	open     map[string]*pb.Condition
	found    []finding
}

// Judge says what begins and what ends: open is what is wrong so far. A change
// that people did not ask for is quiet. It depends on its arguments alone, and
// what it gives has their order.
func Judge(open []*pb.Condition, f Facts, settings config.Notify, now time.Time) []*pb.ConditionChange {
	j := &judgement{settings: settings, now: now, open: map[string]*pb.Condition{}}
	for _, c := range open {
		j.open[key(c.GetKind(), c.GetSubject())] = c
	}
	for _, s := range f.Sources {
		j.source(s)
	}
	for _, s := range f.Stores {
		j.store(s)
	}
	for _, a := range f.Agents {
		j.agent(a)
	}
	changes := j.changes()
	changes = append(changes, j.vanished(f)...)
	for _, s := range f.Successes {
		changes = append(changes, &pb.ConditionChange{Condition: &pb.Condition{
			Kind: pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED, Subject: s.Source, Run: s.Run,
			Message: fmt.Sprintf("snapshot %s of %s", s.Snapshot, amount(s.RawBytes)),
		}})
	}
	return changes
}

func key(kind pb.ConditionKind, subject string) string { return fmt.Sprintf("%d %s", kind, subject) }

func (j *judgement) find(kind pb.ConditionKind, subject string, v verdict, message, hint, run string) {
	j.found = append(j.found, finding{kind, subject, v, message, hint, run})
}

// changes are what the findings change.
func (j *judgement) changes() (list []*pb.ConditionChange) {
	for _, f := range j.found {
		_, open := j.open[key(f.kind, f.subject)]
		if f.verdict == unclear || open == (f.verdict == bad) {
			continue
		}
		change := &pb.ConditionChange{
			Condition: &pb.Condition{Kind: f.kind, Subject: f.subject, Message: f.message, Hint: f.hint, Run: f.run},
			Closed:    f.verdict != bad,
			Quiet:     !told(j.settings.Events, f.kind),
		}
		switch {
		case f.verdict == pointless:
			change.Quiet = true
		case f.verdict == good:
			change.Quiet = change.Quiet || !slices.Contains(j.settings.Events, config.EventRecovery)
		}
		list = append(list, change)
	}
	return list
}

// vanished ends what is open of subjects that are not there any more. Stores are
// looked at only after a while, so that none is known at first.
func (j *judgement) vanished(f Facts) (list []*pb.ConditionChange) {
	there := map[string]bool{}
	for _, found := range j.found {
		there[key(found.kind, found.subject)] = true
	}
	for _, c := range j.open {
		if there[key(c.GetKind(), c.GetSubject())] || condition.Of(c.GetKind()).Of == "store" && len(f.Stores) == 0 {
			continue
		}
		list = append(list, &pb.ConditionChange{Condition: &pb.Condition{Kind: c.GetKind(), Subject: c.GetSubject()}, Closed: true, Quiet: true})
	}
	slices.SortFunc(list, func(a, b *pb.ConditionChange) int {
		return strings.Compare(key(a.GetCondition().GetKind(), a.GetCondition().GetSubject()), key(b.GetCondition().GetKind(), b.GetCondition().GetSubject()))
	})
	return list
}

func (j *judgement) source(s Source) {
	if s.Gone {
		return // it is not there: what is open of it ends
	}
	j.failure(s)
	j.missed(s)
	j.size(s)
	j.stale(s)
	j.damaged(s)
	j.contents(s)
	j.drill(s)
	j.retention(s)
}

func (j *judgement) failure(s Source) {
	v, message := unclear, ""
	enough := max(j.settings.Failures, 1)
	switch {
	case s.Failures >= enough && s.Failures > 1:
		v, message = bad, fmt.Sprintf("the last %d backups failed; the last one: %s", s.Failures, s.Failure.GetMessage())
	case s.Failures >= enough:
		v, message = bad, s.Failure.GetMessage()
	case s.Failures == 0 && s.LastSuccess.IsZero():
		v = pointless // nothing is known of it any more
	case s.Failures == 0:
		v, message = good, ""
	}
	j.find(pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED, s.Name, v, message, s.Failure.GetHint(), s.Run)
}

// missed goes by the fire alone: what was passed over is made good by any later
// backup.
func (j *judgement) missed(s Source) {
	const kind = pb.ConditionKind_CONDITION_KIND_RUN_MISSED
	was, open := j.open[key(kind, s.Name)]
	switch {
	case s.Missed != nil && s.Missed.Fire.After(s.LastSuccess) && !s.Missed.Fire.Before(s.Known):
		message := fmt.Sprintf("the backup of %s was not made", s.Missed.Fire.UTC().Format("2006-01-02 15:04 MST"))
		if s.Missed.Why != "" {
			message += ": " + s.Missed.Why
		}
		j.find(kind, s.Name, bad, message, fmt.Sprintf("`baktainer backup %s` makes one now.", s.Name), "")
	case open && s.LastSuccess.After(was.GetOpenedAt().AsTime()):
		j.find(kind, s.Name, good, "", "", "")
	default: // who passed it over may have forgotten that
		j.find(kind, s.Name, unclear, "", "", "")
	}
}

// size compares a source's newest snapshot with the median of those before. When
// a new size has become the usual one that ends it, too.
func (j *judgement) size(s Source) {
	const kind = pb.ConditionKind_CONDITION_KIND_SIZE_ANOMALY
	switch {
	case j.settings.SizeHigh == 0:
		j.find(kind, s.Name, pointless, "", "", "")
		return
	case len(s.Sizes) <= leastCompared:
		j.find(kind, s.Name, unclear, "", "", "")
		return
	}
	newest, before := s.Sizes[0], slices.Sorted(slices.Values(s.Sizes[1:min(len(s.Sizes), compared+1)]))
	usual := before[len(before)/2]
	if len(before)%2 == 0 {
		usual = before[len(before)/2-1]/2 + usual/2
	}
	message := fmt.Sprintf("snapshot %s has %s; usual are %s, the median of the %d before", s.Snapshot, amount(newest), amount(usual), len(before))
	share := float64(newest) / float64(max(usual, 1)) * 100
	switch {
	case share < float64(j.settings.SizeLow) && usual-newest >= leastLoss:
		j.find(kind, s.Name, bad, message, "Has the database lost data? If not, nothing is to be done.", "")
	case share > float64(j.settings.SizeHigh) && newest-usual >= leastGrowth:
		j.find(kind, s.Name, bad, message, "Has the database grown so much? If so, nothing is to be done.", "")
	default:
		j.find(kind, s.Name, good, message, "", "")
	}
}

func (j *judgement) stale(s Source) {
	const kind = pb.ConditionKind_CONDITION_KIND_NO_BACKUP
	limit := j.settings.Stale
	if j.settings.StaleAuto && s.Every > 0 {
		limit = max(leastStale, 2*s.Every)
	}
	since, message := s.LastSuccess, "the last successful backup was made %s ago"
	if since.IsZero() {
		since, message = s.Known, "it has been there for %s without a successful backup"
	}
	age := j.now.Sub(since)
	switch {
	case limit == 0:
		j.find(kind, s.Name, pointless, "", "", "")
	case age > limit:
		j.find(kind, s.Name, bad, fmt.Sprintf(message, span(age)), fmt.Sprintf("`baktainer source show %s` and `baktainer run ls %s` tell more.", s.Name, s.Name), s.Run)
	case s.LastSuccess.IsZero():
		j.find(kind, s.Name, unclear, "", "", "")
	default:
		j.find(kind, s.Name, good, "", "", "")
	}
}

func (j *judgement) damaged(s Source) {
	message := ""
	switch n := len(s.Damaged); {
	case n == 1:
		message = fmt.Sprintf("bytes of snapshot %s are damaged or missing", s.Damaged[0])
	case n > 1:
		message = fmt.Sprintf("bytes of %d snapshots are damaged or missing, of %s too", n, s.Damaged[0])
	}
	v := good
	if message != "" {
		v = bad
	}
	j.find(pb.ConditionKind_CONDITION_KIND_SNAPSHOT_DAMAGED, s.Name, v, message,
		fmt.Sprintf("`baktainer snapshot ls %s` marks them, and which are good; `baktainer store check --read-data` tells what is lost.", s.Name), "")
}

// contents goes by the newest snapshot. That the next one is as this one is does not
// mean that all is well again: nobody is told.
func (j *judgement) contents(s Source) {
	const kind = pb.ConditionKind_CONDITION_KIND_CONTENTS_STRANGE
	if len(s.Strange) == 0 {
		j.find(kind, s.Name, pointless, "", "", "")
		return
	}
	message := fmt.Sprintf("snapshot %s: %s", s.Snapshot, s.Strange[0])
	if n := len(s.Strange) - 1; n > 0 {
		message += fmt.Sprintf(", and %d more like that", n)
	}
	j.find(kind, s.Name, bad, message, "If nobody has deleted it on purpose, the snapshot before still has it: `baktainer snapshot ls "+s.Name+"`. `baktainer snapshot hold` keeps that one.", "")
}

// drill goes by the newest one. Before any, and when it is long forgotten, nothing
// is known.
func (j *judgement) drill(s Source) {
	const kind = pb.ConditionKind_CONDITION_KIND_DRILL_FAILED
	switch {
	case s.Drill == nil:
		j.find(kind, s.Name, unclear, "", "", "")
	case s.Drill.GetState() == pb.RunState_RUN_STATE_SUCCEEDED:
		j.find(kind, s.Name, good, "", "", "")
	default:
		f := s.Drill.GetFailure()
		j.find(kind, s.Name, bad, fmt.Sprintf("snapshot %s: %s", s.Drill.GetSnapshot(), f.GetMessage()), f.GetHint(), s.Drill.GetId())
	}
}

func (j *judgement) retention(s Source) {
	v := good
	switch {
	case s.Retention == nil:
		v = unclear // it was not looked at yet
	case *s.Retention != "":
		v = bad
	}
	message := ""
	if v == bad {
		message = "nothing of it is forgotten: " + *s.Retention
	}
	j.find(pb.ConditionKind_CONDITION_KIND_RETENTION_STOPPED, s.Name, v, message, fmt.Sprintf("`baktainer retention preview %s` tells more.", s.Name), "")
}

// store has its room end low a little later than it begins, so that it does not
// go to and fro.
func (j *judgement) store(s Store) {
	v := unclear
	switch {
	case s.Least == 0:
		v = pointless
	case s.Total == 0: // not known, or without end
	case s.Free < s.Least:
		v = bad
	case s.Free >= s.Least+s.Least/10:
		v = good
	}
	j.find(pb.ConditionKind_CONDITION_KIND_LOW_SPACE, s.Name, v, fmt.Sprintf("%s of %s are free", amount(s.Free), amount(s.Total)),
		"`baktainer prune --all --dry-run` tells what could go; a backup that finds no room fails.", "")

	v = good
	if s.Paused != "" {
		v = bad
	}
	j.find(pb.ConditionKind_CONDITION_KIND_BACKUPS_PAUSED, s.Name, v, s.Paused, "They go on by themselves when there is room; restores do now.", "")

	v = good
	switch {
	case s.Failing != "" && s.Since < storePatience:
		v = unclear
	case s.Failing != "":
		v = bad
	}
	j.find(pb.ConditionKind_CONDITION_KIND_STORE_FAILING, s.Name, v, s.Failing, "Backups fail until it can be written to; `baktainer status` tells how it is.", "")
}

func (j *judgement) agent(a Agent) {
	v := good
	switch {
	case a.Excused || j.settings.Silent == 0:
		v = pointless
	case a.Silent >= j.settings.Silent:
		v = bad
	case a.Silent > 0:
		v = unclear
	}
	message := ""
	if v == bad {
		message = fmt.Sprintf("it has not been connected for %s: what is on its host is not backed up", span(a.Silent))
	}
	j.find(pb.ConditionKind_CONDITION_KIND_AGENT_SILENT, a.Name, v, message,
		fmt.Sprintf("Does it run? Its log says what it tries. `baktainer agent drain %s` if it is to be away.", a.Name), "")
}

func amount(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// span is a duration in the largest unit that fits twice or more.
func span(d time.Duration) string {
	for _, unit := range []struct {
		name string
		of   time.Duration
	}{{"days", 24 * time.Hour}, {"hours", time.Hour}, {"minutes", time.Minute}} {
		if n := d / unit.of; n >= 2 {
			return fmt.Sprintf("%d %s", n, unit.name)
		}
	}
	return fmt.Sprintf("%d seconds", d/time.Second)
}

package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/chaos/history"
	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/scale"
)

const nothing = "*Not measured yet.*"

// table is one in Markdown.
type table struct{ b strings.Builder }

func head(cells ...string) *table {
	t := &table{}
	t.row(cells...)
	fmt.Fprintf(&t.b, "|%s\n", strings.Repeat("---|", len(cells)))
	return t
}

func (t *table) row(cells ...string) { fmt.Fprintf(&t.b, "| %s |\n", strings.Join(cells, " | ")) }

func count(n int) string {
	s := fmt.Sprint(n)
	for at := len(s) - 3; at > 0; at -= 3 {
		s = s[:at] + "," + s[at:]
	}
	return s
}

func seconds(s float64) string {
	switch {
	case s == 0:
		return "–"
	case s < 0.1:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 10:
		return fmt.Sprintf("%.2f s", s)
	}
	return fmt.Sprintf("%.1f s", s)
}

func spread(s measure.Spread) (p50, p99, most string) {
	return seconds(s.P50), seconds(s.P99), seconds(s.Max)
}

func spreadOf(all []float64) measure.Spread {
	var d []time.Duration
	for _, s := range all {
		d = append(d, time.Duration(s*float64(time.Second)))
	}
	return measure.SpreadOf(d)
}

// tables makes all tables by name.
func tables(runs []*figures.Figures, size *scale.Figures) map[string]string {
	var faults []figures.Fault
	for _, r := range runs {
		faults = append(faults, r.Faults...)
	}
	all := map[string]string{
		"runs": runsTable(runs), "totals": totals(runs), "kills": kills(faults), "failover": failover(faults),
		"disturbances": disturbances(faults), "stale": stale(faults), "history": histories(runs),
	}
	for name, text := range scaleTables(size) {
		all[name] = text
	}
	return all
}

func runsTable(runs []*figures.Figures) string {
	if len(runs) == 0 {
		return nothing
	}
	t := head("made", "version", "seed", "store", "faults", "took", "transactions of the databases meanwhile", "things wrong")
	for _, r := range runs {
		took := (time.Duration(r.Took) * time.Second).String()
		t.row(r.Made, r.Version, fmt.Sprint(r.Seed), r.Settings.Store, count(len(r.Faults)), took, count(int(r.Writes)), count(len(r.AllWrong())))
	}
	return t.b.String()
}

// wrongs counts what was wrong by its kind: its first word or words.
func wrongs(runs []*figures.Figures, kind string) int {
	n := 0
	for _, r := range runs {
		for _, w := range r.AllWrong() {
			if strings.Contains(w, kind) {
				n++
			}
		}
	}
	return n
}

func totals(runs []*figures.Figures) string {
	if len(runs) == 0 {
		return nothing
	}
	snapshots, verified := 0, 0
	for _, r := range runs {
		snapshots += r.Snapshots
		verified += r.Verified
	}
	t := head("", "")
	t.row("snapshots that anybody was told of", count(snapshots))
	t.row("of these lost", count(wrongs(runs, "lost: ")))
	t.row("runs with two commits", count(wrongs(runs, "two commits: ")))
	t.row("second snapshots of one fire time", count(wrongs(runs, "two snapshots of one fire time: ")))
	t.row("partial snapshots listed", count(wrongs(runs, "partial: ")))
	t.row("breaks in the ledger's chain", count(wrongs(runs, "ledger: ")))
	t.row("readings of a snapshot from its first byte to its last", count(verified))
	t.row("of these with a mismatch", count(wrongs(runs, "cannot be read: ")))
	return t.b.String()
}

// order sorts names of faults as the plan has them.
func order(names []string) []string {
	known := plan.Names()
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(slices.Index(known, a), slices.Index(known, b)) })
	return slices.Compact(names)
}

// kills tells what became of the run in each phase in which a process was killed.
func kills(faults []figures.Fault) string {
	byName := map[string][]figures.Fault{}
	var names []string
	for _, f := range faults {
		switch plan.Kind(f.Kind) {
		case plan.KillLeader, plan.KillIngest, plan.KillAgent, plan.RestartAll:
			byName[f.Name()] = append(byName[f.Name()], f)
			names = append(names, f.Name())
		}
	}
	if len(names) == 0 {
		return nothing
	}
	t := head("killed", "phase", "times", "still in the phase", "dump went on, no restart", "dumped again", "run failed", "wrong")
	for _, name := range order(names) {
		hit, on, again, failed, wrong := 0, 0, 0, 0, 0
		for _, f := range byName[name] {
			if f.Hit {
				hit++
			}
			switch {
			case f.Ended != "succeeded":
				failed++
			case f.Dumps <= 1:
				on++
			default:
				again++
			}
			wrong += len(f.Wrong)
		}
		kind, phase, _ := strings.Cut(name, "/")
		t.row(kind, phase, count(len(byName[name])), count(hit), count(on), count(again), count(failed), count(wrong))
	}
	return t.b.String()
}

// failover tells how long nothing was decided.
func failover(faults []figures.Fault) string {
	type kind struct {
		what string
		of   func(figures.Fault) float64
		is   []plan.Kind
	}
	next, gap, elected := func(f figures.Fault) float64 { return f.NextCommit }, func(f figures.Fault) float64 { return f.Gap }, func(f figures.Fault) float64 { return f.Elected }
	t := head("", "times", "p50", "p99", "most")
	any := false
	for _, k := range []kind{
		{"kill -9 of the leader, to the next commit", next, []plan.Kind{plan.KillLeader, plan.KillIngest}},
		{"SIGSTOP of the leader, to the next commit", next, []plan.Kind{plan.StopLeader}},
		{"the leader cut off, to the next commit among the others", next, []plan.Kind{plan.Isolate, plan.CutIn, plan.CutOut}},
		{"the leader's disk fails or hangs, to the next commit", next, []plan.Kind{plan.DiskFull, plan.DiskHang, plan.FailLeader}},
		{"planned hand-over, longest time without a commit", gap, []plan.Kind{plan.HandOver}},
		{"SIGTERM of the leader, longest time without a commit", gap, []plan.Kind{plan.TermLeader}},
		{"kill -9 of all controllers, from their start to a leader", elected, []plan.Kind{plan.RestartAll}},
		{"the same with new addresses for all", elected, []plan.Kind{plan.ReaddrAll}},
	} {
		var all []float64
		for _, f := range faults {
			if slices.Contains(k.is, plan.Kind(f.Kind)) && k.of(f) > 0 {
				all = append(all, k.of(f))
			}
		}
		if len(all) == 0 {
			continue
		}
		any = true
		p50, p99, most := spread(spreadOf(all))
		t.row(k.what, count(len(all)), p50, p99, most)
	}
	if !any {
		return nothing
	}
	return t.b.String()
}

// disturbances tells how soon everything was as before.
func disturbances(faults []figures.Fault) string {
	if len(faults) == 0 {
		return nothing
	}
	byKind := map[string][]figures.Fault{}
	var names []string
	for _, f := range faults {
		byKind[f.Kind] = append(byKind[f.Kind], f)
		names = append(names, f.Name())
	}
	t := head("fault", "times", "all as before, p50", "most", "runs that succeeded", "failed", "wrong")
	var done []string
	for _, name := range order(names) {
		kind, _, _ := strings.Cut(name, "/")
		if slices.Contains(done, kind) {
			continue
		}
		done = append(done, kind)
		var settled []float64
		succeeded, wrong := 0, 0
		for _, f := range byKind[kind] {
			settled = append(settled, f.Settled)
			if f.Ended == "succeeded" {
				succeeded++
			}
			wrong += len(f.Wrong)
		}
		p50, _, most := spread(spreadOf(settled))
		t.row(kind, count(len(settled)), p50, most, count(succeeded), count(len(settled)-succeeded), count(wrong))
	}
	return t.b.String()
}

// stale tells of agents that came back after their run was given away.
func stale(faults []figures.Fault) string {
	times, away, granted := 0, 0, 0
	for _, f := range faults {
		if plan.Kind(f.Kind) != plan.StopAgent {
			continue
		}
		times++
		if f.Stale {
			away++
		}
		for _, w := range f.Wrong {
			if strings.HasPrefix(w, "stale: ") {
				granted++
			}
		}
	}
	if times == 0 {
		return nothing
	}
	t := head("agents stopped", "their run was given away meanwhile", "commits of theirs that were taken afterwards")
	t.row(count(times), count(away), count(granted))
	return t.b.String()
}

// histories sums the verdicts of all runs up.
func histories(runs []*figures.Figures) string {
	var all history.Verdict
	any := false
	for _, r := range runs {
		if v := r.History; v != nil {
			any = true
			all.Operations += v.Operations
			all.Runs += v.Runs
			all.Unknown += v.Unknown
			all.Stale += v.Stale
			all.StaleDone += v.StaleDone
			all.Wrong = append(all.Wrong, v.Wrong...)
			all.Undecided = append(all.Undecided, v.Undecided...)
		}
	}
	if !any {
		return nothing
	}
	t := head("operations", "runs", "without an answer", "stale or forged writes", "of these granted", "runs that no order explains", "undecided")
	t.row(count(all.Operations), count(all.Runs), count(all.Unknown), count(all.Stale), count(all.StaleDone), count(len(all.Wrong)), count(len(all.Undecided)))
	return t.b.String()
}

package report

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/workload"
)

// A Bar is something that we want to be true, and what was measured.
type Bar struct {
	What  string
	Limit string // for people
	Got   string
	Held  figures.Value // what was measured over what is allowed: 1 is just met
	Wish  bool          // "if you can"
}

// Met says that the bar was measured and met.
func (b Bar) Met() bool { return b.Held.Known() && b.Held.V <= 1 }

// Verdict says it in words.
func (b Bar) Verdict() string {
	switch {
	case !b.Held.Known():
		return "not measured"
	case b.Met():
		return "met"
	case b.Wish:
		return fmt.Sprintf("missed by %.0f %% (a wish)", (b.Held.V-1)*100)
	default:
		return fmt.Sprintf("**missed by %.0f %%**", (b.Held.V-1)*100)
	}
}

// backups are the steps that back up.
var backups = []string{"day0", "day1", "day2", "day3", "unchanged"}

// Bars measures the figures against what was asked for.
func Bars(f *figures.Figures) []Bar {
	r := results{f}
	var all []Bar
	ratio := func(what string, limit float64, than string, got, peer figures.Value) {
		over := got.Over(peer)
		all = append(all, Bar{What: what, Limit: fmt.Sprintf("≤ %.2f × %s", limit, than), Got: times(over), Held: over.Over(exactly(limit))})
	}
	for _, h := range workload.Histories() {
		ratio("stored after four days, "+h, 0.5, "the better of restic and borg", r.stored("baktainer", h), figures.Least(r.stored("restic", h), r.stored("borg", h)))
	}
	for _, h := range workload.Histories() {
		ratio("new bytes of days 1 to 3, "+h, 0.10, "the better of restic and borg", r.increment("baktainer", h), figures.Least(r.increment("restic", h), r.increment("borg", h)))
	}
	for _, h := range workload.Histories() {
		ratio("CPU of day 1, "+h, 0.5, "restic", r.get("baktainer", h, "day1", figures.CPU), r.get("restic", h, "day1", figures.CPU))
	}
	ratio("CPU of day 0", 0.7, "restic", r.get("baktainer", workload.Uniform, "day0", figures.CPU), r.get("restic", workload.Uniform, "day0", figures.CPU))
	inside := r.get("pg_dump", "live", "inside", figures.Wall)
	ratio("wall time of the first backup of a live database", 1.10, "pg_dump > /dev/null", r.get("baktainer", "live", "first", figures.Wall), inside)
	ratio("wall time of a later backup of it", 1.10, "pg_dump > /dev/null", r.get("baktainer", "live", "again", figures.Wall), inside)
	for _, h := range workload.Histories() {
		ratio("wall time of a restore, "+h, 1, "restic", r.get("baktainer", h, "restore", figures.Wall), r.get("restic", h, "restore", figures.Wall))
	}
	for _, h := range workload.Histories() {
		ratio("CPU of a restore, "+h, 0.5, "restic", r.get("baktainer", h, "restore", figures.CPU), r.get("restic", h, "restore", figures.CPU))
		all[len(all)-1].Wish = true
	}
	for _, part := range r.halves() {
		all = append(all, r.memory("peak RSS of "+part+", backup, restore and verify of the dumps", part, r.everyStep()))
	}
	for _, part := range r.halves() {
		all = append(all, r.memory("peak RSS of "+part+", stream of "+bytesOf(r.get("baktainer", "stream", "backup", streamed)), part, []figures.Key{{Tool: "baktainer", History: "stream", Step: "backup"}}))
	}
	return append(all, r.limited())
}

// memoryBar is how much memory agent and controller may take, each.
const memoryBar = 128 << 20

// memory is the bar of the peak of one process in some steps.
func (r results) memory(what, part string, keys []figures.Key) Bar {
	var peak figures.Value
	for _, k := range keys {
		if v := r.f.Most(k, figures.PartRSS(part)); v.Known() {
			peak = figures.Value{V: max(peak.V, v.V), N: peak.N + v.N}
		}
	}
	return Bar{What: what, Limit: "< 128 MiB", Got: mib(peak), Held: peak.Over(exactly(memoryBar))}
}

// limited is the bar of the stream through little memory.
func (r results) limited() Bar {
	b := Bar{What: "a stream of " + bytesOf(r.get("baktainer", "limited", "backup", streamed)) + " in 256 MiB (cgroup)", Limit: "completes, and is found right", Got: "–"}
	backup, verify := r.get("baktainer", "limited", "backup", figures.Wall), r.get("baktainer", "limited", "verify", figures.Wall)
	switch {
	case verify.Known() && backup.Known():
		b.Got, b.Held = fmt.Sprintf("%.0f s, and %.0f s to read it again", backup.V, verify.V), exactly(1)
	case backup.Known():
		b.Got = "completes, not found right"
	}
	return b
}

func exactly(v float64) figures.Value { return figures.Value{V: v, N: 1} }

func streamed(s figures.Sample) float64 { return float64(s.Bytes) }

// results looks things up in the figures.
type results struct{ f *figures.Figures }

// get is a median. Both histories begin with the same dump: a tool that keeps a
// file a day is measured on it once, under the first.
func (r results) get(tool, history, step string, m figures.Measure) figures.Value {
	if step == "day0" && (tool == "gzip" || tool == "zstd") {
		history = workload.Uniform
	}
	return r.f.Median(figures.Key{Tool: tool, History: history, Step: step}, m)
}

// stored is the size of what a tool keeps after four days.
func (r results) stored(tool, history string) figures.Value {
	if tool == "gzip" || tool == "zstd" {
		return r.get(tool, history, "day0", figures.New).Plus(r.increment(tool, history))
	}
	return r.get(tool, history, "day3", figures.Stored)
}

// increment is what days 1 to 3 add.
func (r results) increment(tool, history string) figures.Value {
	day1, day2, day3 := r.get(tool, history, "day1", figures.New), r.get(tool, history, "day2", figures.New), r.get(tool, history, "day3", figures.New)
	return day1.Plus(day2).Plus(day3)
}

// halves are the names of the processes that we are.
func (r results) halves() []string {
	if r.f.Settings.Apart {
		return []string{"agent", "controller"}
	}
	return []string{"up"}
}

// everyStep are the keys of all that both halves do with the dumps.
func (r results) everyStep() []figures.Key {
	var all []figures.Key
	for _, h := range workload.Histories() {
		for _, step := range append([]string{"restore", "verify"}, backups...) {
			all = append(all, figures.Key{Tool: "baktainer", History: h, Step: step})
		}
	}
	return all
}

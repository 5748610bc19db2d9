// Package plan chooses the faults of a run: which, in what order, at what moment.
// The same seed gives the same plan, so that what went wrong once can be looked
// for again.
package plan

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"path"
	"slices"
	"strings"
	"time"
)

// Phase is the moment of a backup at which a fault strikes.
type Phase string

// The phases of a backup, in their order.
const (
	Granted   Phase = "granted"    // the run was leased, its agent is about to begin
	MidPack   Phase = "mid-pack"   // a pack is on its way, and the dump tool goes on
	LastPack  Phase = "last-pack"  // the dump tool has ended, its last pack is on its way
	Manifest  Phase = "manifest"   // the manifest is on its way
	Commit    Phase = "commit"     // the commit was asked for
	JustAfter Phase = "just-after" // the commit has happened, its agent may not know
)

// Phases are all of them, in order.
func Phases() []Phase { return []Phase{Granted, MidPack, LastPack, Manifest, Commit, JustAfter} }

// Kind is a kind of fault.
type Kind string

// The kinds of faults.
const (
	KillLeader  Kind = "kill-leader" // kill -9
	KillIngest  Kind = "kill-ingest" // the controller that takes in the run's data
	KillAgent   Kind = "kill-agent"
	StopAgent   Kind = "stop-agent"  // SIGSTOP until the run was given away, then SIGCONT
	StopLeader  Kind = "stop-leader" // SIGSTOP until another leads, then SIGCONT
	Isolate     Kind = "isolate-leader"
	CutIn       Kind = "cut-into-leader" // what others send does not reach it
	CutOut      Kind = "cut-out-of-leader"
	PartPair    Kind = "part-leader-and-follower"
	PartAgent   Kind = "part-agent" // the agent from all controllers
	Loss        Kind = "lose-packets"
	Delay       Kind = "delay"
	DiskFull    Kind = "fill-leader-disk"
	DiskHang    Kind = "hang-leader-disk"
	DiskFail    Kind = "fail-follower-disk"
	FailLeader  Kind = "fail-leader-disk"
	HandOver    Kind = "hand-over"   // leadership is given to another, on request
	TermLeader  Kind = "term-leader" // SIGTERM
	RestartAll  Kind = "restart-all" // kill -9 of all controllers at once
	ReaddrAll   Kind = "readdress-all"
	ClockLeader Kind = "step-leader-clock"
	ClockFollow Kind = "step-follower-clock"
	ClockAgent  Kind = "step-agent-clock"
)

// sort is what there is to know of a kind before it strikes.
type sort struct {
	kind   Kind
	phases []Phase
	// from and to bound how long it lasts; zero where its end is an event.
	from, to time.Duration
	// clocks says that it needs the build whose clock can be stepped.
	clocks bool
}

var sorts = []sort{
	{kind: KillLeader, phases: Phases()},
	{kind: KillIngest, phases: Phases()},
	{kind: KillAgent, phases: Phases()},
	{kind: StopAgent, phases: []Phase{MidPack, LastPack, Manifest, Commit}},
	{kind: StopLeader, phases: []Phase{MidPack, Commit}},
	{kind: Isolate, phases: []Phase{MidPack, Commit}, from: 4 * time.Second, to: 8 * time.Second},
	{kind: CutIn, phases: []Phase{MidPack, Commit}, from: 4 * time.Second, to: 8 * time.Second},
	{kind: CutOut, phases: []Phase{MidPack, Commit}, from: 4 * time.Second, to: 8 * time.Second},
	{kind: PartPair, phases: []Phase{MidPack}, from: 4 * time.Second, to: 8 * time.Second},
	{kind: PartAgent, phases: []Phase{MidPack, Commit}, from: 2 * time.Second, to: 10 * time.Second},
	{kind: Loss, phases: []Phase{MidPack}, from: 5 * time.Second, to: 10 * time.Second},
	{kind: Delay, phases: []Phase{Granted}, from: 5 * time.Second, to: 10 * time.Second},
	{kind: DiskFull, phases: []Phase{MidPack}, from: 3 * time.Second, to: 6 * time.Second},
	{kind: DiskHang, phases: []Phase{MidPack, Commit}, from: 14 * time.Second, to: 22 * time.Second},
	{kind: DiskFail, phases: []Phase{MidPack}, from: 3 * time.Second, to: 6 * time.Second},
	{kind: FailLeader, phases: []Phase{MidPack, Commit}, from: 3 * time.Second, to: 6 * time.Second},
	{kind: HandOver, phases: []Phase{MidPack, Commit}},
	{kind: TermLeader, phases: []Phase{MidPack, Commit}},
	{kind: RestartAll, phases: []Phase{MidPack, Commit}},
	{kind: ReaddrAll, phases: []Phase{MidPack}},
	{kind: ClockLeader, phases: []Phase{MidPack}, from: 4 * time.Second, to: 8 * time.Second, clocks: true},
	{kind: ClockFollow, phases: []Phase{MidPack}, from: 4 * time.Second, to: 8 * time.Second, clocks: true},
	{kind: ClockAgent, phases: []Phase{MidPack}, from: 4 * time.Second, to: 8 * time.Second, clocks: true},
}

// Fault is one fault of a plan.
type Fault struct {
	N     int           `json:"n"`
	Kind  Kind          `json:"kind"`
	Phase Phase         `json:"phase"`
	Lasts time.Duration `json:"lasts,omitempty"`
	// Source says whose run it strikes: the index of a source, to be taken modulo
	// how many there are.
	Source int `json:"source"`
	// Dice decides what else there is to choose.
	Dice uint64 `json:"dice"`
}

// Name is the fault's kind and phase: "kill-leader/mid-pack".
func (f Fault) Name() string { return string(f.Kind) + "/" + string(f.Phase) }

// String is the fault for people.
func (f Fault) String() string {
	s := fmt.Sprintf("%3d %s", f.N, f.Name())
	if f.Lasts > 0 {
		s += fmt.Sprintf(" for %s", f.Lasts)
	}
	return s
}

// NeedsClocks says whether the fault steps a clock.
func (f Fault) NeedsClocks() bool {
	return slices.ContainsFunc(sorts, func(s sort) bool { return s.kind == f.Kind && s.clocks })
}

// Options say what to plan.
type Options struct {
	Seed uint64
	// Each is how often each kind strikes in each of its phases; at least 1.
	Each int
	// Only are patterns of names, as in path.Match, of which one has to match;
	// "kill-leader" stands for "kill-leader/*". Empty: all but those with clocks.
	Only []string
	// Most is how many faults there are at most; 0: all.
	Most int
}

// Make makes a plan.
func Make(o Options) ([]Fault, error) {
	wanted, err := matcher(o.Only)
	if err != nil {
		return nil, err
	}
	random := rand.New(rand.NewPCG(o.Seed, 0)) //nolint:gosec // it is to be repeatable
	var all []Fault
	for _, s := range sorts {
		for _, phase := range s.phases {
			for range max(1, o.Each) {
				f := Fault{Kind: s.kind, Phase: phase, Source: random.IntN(60), Dice: random.Uint64()}
				if s.to > 0 {
					f.Lasts = s.from + time.Duration(random.Int64N(int64(s.to-s.from))).Round(time.Millisecond)
				}
				if wanted(f, s) {
					all = append(all, f)
				}
			}
		}
	}
	if len(all) == 0 {
		return nil, fmt.Errorf("no fault is named %s; there are: %s", strings.Join(o.Only, " or "), strings.Join(Names(), ", "))
	}
	random.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	if o.Most > 0 && len(all) > o.Most {
		all = all[:o.Most]
	}
	for i := range all {
		all[i].N = i + 1
	}
	return all, nil
}

func matcher(only []string) (func(Fault, sort) bool, error) {
	for _, pattern := range only {
		if _, err := path.Match(pattern, ""); err != nil {
			return nil, errors.Join(fmt.Errorf("read the pattern %q", pattern), err)
		}
	}
	return func(f Fault, s sort) bool {
		if len(only) == 0 {
			return !s.clocks
		}
		return slices.ContainsFunc(only, func(pattern string) bool {
			if !strings.Contains(pattern, "/") {
				pattern += "/*"
			}
			ok, _ := path.Match(pattern, f.Name()) // it was read above
			return ok
		})
	}, nil
}

// Names lists all faults that there are, by name.
func Names() []string {
	var names []string
	for _, s := range sorts {
		for _, phase := range s.phases {
			names = append(names, Fault{Kind: s.kind, Phase: phase}.Name())
		}
	}
	return names
}

// Package scale measures how much one controller can take: simulated agents in
// great number, all their connections cut at once, all their sources due at
// once, and a ledger as it is after years. The leader is the real program in a
// process of its own; the agents are another process, this one.
package scale

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/baktainer/baktainer/internal/bench/measure"
)

// Figures is one run.
type Figures struct {
	Made    string  `json:"made"` // the day it began
	Version string  `json:"version"`
	Machine Machine `json:"machine"`
	Memory  string  `json:"memory"` // the leader's setting
	Agents  int     `json:"agents"`
	Sources int     `json:"sources"` // in all
	// Stages are what the leader was put through, in order.
	Stages []Stage `json:"stages,omitempty"`
	Ledger *Ledger `json:"ledger,omitempty"`
}

// Machine is where the run took place.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory"`
}

// Stage is one thing that the leader was put through.
type Stage struct {
	Name string  `json:"name"`
	Wall float64 `json:"wall_s"`
	// CPU are the leader's seconds of processor time, RSS the peak of its memory.
	CPU float64 `json:"cpu_s"`
	RSS int64   `json:"rss"`
	// Sessions is how long agents took to be (back) in a session.
	Sessions measure.Spread `json:"sessions"`
	// Beats is how long heartbeats took; BeatsFailed how many were not answered.
	Beats       measure.Spread `json:"beats"`
	BeatsFailed int            `json:"beats_failed"`
	// Assigned is how long runs took from the request until their agents heard of
	// them, Done until their snapshots were committed; RunsFailed how many were not.
	Assigned   measure.Spread `json:"assigned"`
	Done       measure.Spread `json:"done"`
	RunsFailed int            `json:"runs_failed"`
	// Wrong tells of what did not come about.
	Wrong []string `json:"wrong,omitempty"`
}

// Ledger is what a great many snapshots cost.
type Ledger struct {
	Snapshots int `json:"snapshots"`
	Sources   int `json:"sources"`
	// Build is how long their commands took to be applied; Heap what the tables
	// take of memory then.
	Build float64 `json:"build_s"`
	Heap  int64   `json:"heap"`
	// Raft is the size of the raft snapshot; Write and Read are how long the state
	// took to write it and to read it.
	Raft  int64   `json:"raft_snapshot"`
	Write float64 `json:"write_s"`
	Read  float64 `json:"read_s"`
	// Process is what a real controller made of it.
	Process *LedgerProcess `json:"process,omitempty"`
}

// LedgerProcess is a real controller with such a ledger.
type LedgerProcess struct {
	Restore float64 `json:"restore_s"` // cluster restore
	Save    float64 `json:"save_s"`    // cluster snapshot
	RSS     int64   `json:"rss"`
	Restart float64 `json:"restart_s"` // from start to first answer
	// Lists are how long listings took over the API.
	Lists []List `json:"lists"`
}

// List is one kind of listing.
type List struct {
	What string         `json:"what"`
	Rows int            `json:"rows"`
	Took measure.Spread `json:"took"`
}

// Wrong lists what did not come about, and heartbeats and runs that failed where
// nothing was broken on purpose.
func (f *Figures) Wrong() []string {
	var wrong []string
	for _, s := range f.Stages {
		for _, w := range s.Wrong {
			wrong = append(wrong, s.Name+": "+w)
		}
		if s.RunsFailed > 0 {
			wrong = append(wrong, fmt.Sprintf("%s: %d runs failed", s.Name, s.RunsFailed))
		}
	}
	return wrong
}

// Save writes the figures into a file.
func (f *Figures) Save(path string) error {
	b, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("encode the figures: %w", err)
	}
	if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil { //nolint:gosec // figures are for everybody
		return fmt.Errorf("save the figures: %w", err)
	}
	return nil
}

// Load reads figures from a file.
func Load(path string) (*Figures, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the figures: %w", err)
	}
	f := &Figures{}
	if err := json.Unmarshal(b, f); err != nil {
		return nil, fmt.Errorf("read the figures in %s: %w", path, err)
	}
	return f, nil
}

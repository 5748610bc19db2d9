// Package figures holds what one run of the fault rig found: one entry for each
// fault, and what was wrong.
package figures

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/baktainer/baktainer/internal/chaos/history"
)

// Figures is one run.
type Figures struct {
	Made     string   `json:"made"` // the day it began
	Version  string   `json:"version"`
	Machine  string   `json:"machine"`
	Seed     uint64   `json:"seed"`
	Settings Settings `json:"settings"`
	Took     float64  `json:"took_s"`
	Faults   []Fault  `json:"faults"`
	// Snapshots that anybody was told of; Verified of them were read again, from
	// the first byte to the last, and matched.
	Snapshots int `json:"snapshots"`
	Verified  int `json:"verified"`
	// Pruned is how many were forgotten and pruned meanwhile.
	Pruned int `json:"pruned"`
	// Writes is how many transactions the databases had.
	Writes  int64            `json:"writes"`
	History *history.Verdict `json:"history,omitempty"`
	// Wrong is what was found wrong apart from single faults.
	Wrong []string `json:"wrong,omitempty"`
}

// Settings are what the run was asked for.
type Settings struct {
	Controllers int      `json:"controllers"`
	Agents      int      `json:"agents"`
	Databases   []string `json:"databases"`
	DumpBytes   int64    `json:"dump_bytes"` // of each database, about
	Store       string   `json:"store"`      // shared or peer
	Lease       string   `json:"lease"`
}

// Fault is what came of one fault.
type Fault struct {
	N     int    `json:"n"`
	Kind  string `json:"kind"`
	Phase string `json:"phase"`
	// Victim is the process that it struck, Run the run whose phase it was.
	Victim string `json:"victim,omitempty"`
	Leader bool   `json:"leader,omitempty"` // the victim led
	Run    string `json:"run,omitempty"`
	// Hit says that the phase was not over when it struck.
	Hit bool `json:"hit"`
	// NextCommit is how long it took from the fault until the next command was
	// committed, Gap the longest time without a commit around a hand-over, Elected
	// the time from the start of all controllers until one led, in seconds.
	NextCommit float64 `json:"next_commit_s,omitempty"`
	Gap        float64 `json:"gap_s,omitempty"`
	Elected    float64 `json:"elected_s,omitempty"`
	// Churn is how long the database took to be written anew before, Reached how
	// long the backup took to be in the phase.
	Churn   float64 `json:"churn_s,omitempty"`
	Reached float64 `json:"reached_s,omitempty"`
	// Settled is how long it took from the fault until everything was as before.
	Settled float64 `json:"settled_s,omitempty"`
	// Ended is how the run ended, Epoch its last lease, Dumps how often its dump
	// was begun.
	Ended string `json:"ended,omitempty"`
	Epoch uint64 `json:"epoch,omitempty"`
	Dumps int    `json:"dumps,omitempty"`
	// Stale says that somebody whose lease had been given away came back.
	Stale bool `json:"stale,omitempty"`
	// Wrong is what was found wrong afterwards.
	Wrong []string `json:"wrong,omitempty"`
	Notes []string `json:"notes,omitempty"`
}

// Name is the fault's kind and phase.
func (f *Fault) Name() string { return f.Kind + "/" + f.Phase }

// Note takes note of something that is not wrong.
func (f *Fault) Note(format string, args ...any) {
	f.Notes = append(f.Notes, fmt.Sprintf(format, args...))
}

// Blame takes note of something that is wrong.
func (f *Fault) Blame(format string, args ...any) {
	f.Wrong = append(f.Wrong, fmt.Sprintf(format, args...))
}

// AllWrong lists all that was wrong.
func (f *Figures) AllWrong() []string {
	var all []string
	for i := range f.Faults {
		for _, w := range f.Faults[i].Wrong {
			all = append(all, fmt.Sprintf("fault %d, %s: %s", f.Faults[i].N, f.Faults[i].Name(), w))
		}
	}
	if f.History != nil {
		for _, w := range f.History.Wrong {
			all = append(all, "history: "+w)
		}
		if f.History.StaleDone > 0 {
			all = append(all, fmt.Sprintf("history: %d stale writes were granted", f.History.StaleDone))
		}
	}
	return append(all, f.Wrong...)
}

// Save writes the figures into a file.
func (f *Figures) Save(path string) error {
	b, err := json.MarshalIndent(f, "", " ")
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

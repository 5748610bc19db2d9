// Package figures holds what one run of the benchmark found: the machine, the
// data, and one sample for each step of each tool in each round. It knows how
// to summarise samples and nothing of how they came about.
package figures

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
)

// Figures is one run.
type Figures struct {
	Made     string    `json:"made"` // the day it began
	Settings Settings  `json:"settings"`
	Machine  Machine   `json:"machine"`
	Versions []Version `json:"versions"`
	Tables   []Table   `json:"tables"`
	Dumps    []Dump    `json:"dumps"`
	Commands []Command `json:"commands"`
	Samples  []Sample  `json:"samples"`
}

// Settings are what the run was asked for.
type Settings struct {
	Rounds int     `json:"rounds"`
	Scale  float64 `json:"scale"` // of the data set; 1 is a gigabyte of dump
	Big    float64 `json:"big"`   // of the big streams; 1 is 10 and 20 GB, 0 none
	Apart  bool    `json:"apart"` // agent and controller were two processes over mutual TLS
}

// Machine is where the run took place.
type Machine struct {
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory int64  `json:"memory"`
	Kernel string `json:"kernel"`
	System string `json:"system"`
	Disk   string `json:"disk"` // file system of the repositories
}

// Version is that of one tool.
type Version struct {
	Tool    string `json:"tool"`
	Version string `json:"version"`
}

// Table tells what is in one table of the data set, and what changes each day.
type Table struct {
	Name     string `json:"name"`
	Rows     int    `json:"rows"`
	Changed  int    `json:"changed"`  // rows a day, in both histories
	Appended int    `json:"appended"` // rows a day, in the local history
	Holds    string `json:"holds"`
}

// Dump is one day of one history.
type Dump struct {
	History string `json:"history"`
	Day     int    `json:"day"`
	Bytes   int64  `json:"bytes"`
}

// Command is a command line that was measured.
type Command struct {
	Tool string `json:"tool"`
	Step string `json:"step"`
	Line string `json:"line"`
}

// Sample is one step of one tool in one round. What a step does not have is
// zero; a step that failed has a Gap and nothing else.
type Sample struct {
	Tool    string  `json:"tool"`
	History string  `json:"history"`
	Step    string  `json:"step"`
	Round   int     `json:"round"`
	Wall    float64 `json:"wall_s,omitempty"`
	CPU     float64 `json:"cpu_s,omitempty"` // of all parts
	RSS     int64   `json:"peak_rss,omitempty"`
	Parts   []Part  `json:"parts,omitempty"` // where a tool is several processes
	Bytes   int64   `json:"bytes,omitempty"` // read or written by the step
	New     int64   `json:"new,omitempty"`   // bytes that the repository grew by; below zero, shrank
	Stored  int64   `json:"stored,omitempty"`
	Gap     string  `json:"gap,omitempty"`
}

// Part is one process of a tool.
type Part struct {
	Name string  `json:"name"`
	CPU  float64 `json:"cpu_s"`
	RSS  int64   `json:"peak_rss"`
}

// Part returns the part of that name.
func (s Sample) Part(name string) (Part, bool) {
	for _, p := range s.Parts {
		if p.Name == name {
			return p, true
		}
	}
	return Part{}, false
}

// Key names what samples of different rounds have in common.
type Key struct{ Tool, History, Step string }

// Measure takes one figure of a sample.
type Measure func(Sample) float64

// Wall is the time that a step took, in seconds.
func Wall(s Sample) float64 { return s.Wall }

// CPU seconds, user and system, of all parts of the tool.
func CPU(s Sample) float64 { return s.CPU }

// RSS is the peak of resident memory, of the largest part.
func RSS(s Sample) float64 { return float64(s.RSS) }

// New is the number of bytes that the repository grew by.
func New(s Sample) float64 { return float64(s.New) }

// Stored is the size of the repository after the step.
func Stored(s Sample) float64 { return float64(s.Stored) }

// PartRSS is the peak of resident memory of one part.
func PartRSS(name string) Measure {
	return func(s Sample) float64 { p, _ := s.Part(name); return float64(p.RSS) }
}

// PartCPU are the CPU seconds of one part.
func PartCPU(name string) Measure {
	return func(s Sample) float64 { p, _ := s.Part(name); return p.CPU }
}

// Value is a median, or the lack of one.
type Value struct {
	V float64
	N int // samples that it is the median of; 0: there is no value
}

// Known says that there is a value.
func (v Value) Known() bool { return v.N > 0 }

// Over is the ratio of two values.
func (v Value) Over(w Value) Value {
	if !v.Known() || !w.Known() || w.V == 0 {
		return Value{}
	}
	return Value{v.V / w.V, min(v.N, w.N)}
}

// Plus is the sum of two values, if both are known.
func (v Value) Plus(w Value) Value {
	if !v.Known() || !w.Known() {
		return Value{}
	}
	return Value{v.V + w.V, min(v.N, w.N)}
}

// Least is the smallest of the known values.
func Least(values ...Value) Value {
	var least Value
	for _, v := range values {
		if v.Known() && (!least.Known() || v.V < least.V) {
			least = v
		}
	}
	return least
}

// Median summarises the samples of a key that have no gap.
func (f *Figures) Median(k Key, m Measure) Value {
	var all []float64
	for _, s := range f.Samples {
		if s.Gap == "" && (Key{s.Tool, s.History, s.Step}) == k {
			all = append(all, m(s))
		}
	}
	return median(all)
}

// Most is the largest of the samples of a key, for peaks.
func (f *Figures) Most(k Key, m Measure) Value {
	var most Value
	for _, s := range f.Samples {
		if s.Gap == "" && (Key{s.Tool, s.History, s.Step}) == k {
			most = Value{max(most.V, m(s)), most.N + 1}
		}
	}
	return most
}

func median(all []float64) Value {
	if len(all) == 0 {
		return Value{}
	}
	slices.Sort(all)
	mid := len(all) / 2
	if len(all)%2 == 1 {
		return Value{all[mid], len(all)}
	}
	return Value{(all[mid-1] + all[mid]) / 2, len(all)}
}

// Gaps returns the samples that have none of the figures they should have.
func (f *Figures) Gaps() []Sample {
	var gaps []Sample
	for _, s := range f.Samples {
		if s.Gap != "" {
			gaps = append(gaps, s)
		}
	}
	return gaps
}

// Load reads figures that Save wrote.
func Load(path string) (*Figures, error) {
	content, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read figures: %w", err)
	}
	f := new(Figures)
	if err := json.Unmarshal(content, f); err != nil {
		return nil, fmt.Errorf("read figures of %s: %w", path, err)
	}
	return f, nil
}

// Save writes the figures as JSON.
func (f *Figures) Save(path string) error {
	content, err := json.MarshalIndent(f, "", " ")
	if err != nil {
		return fmt.Errorf("put figures into JSON: %w", err)
	}
	if err := os.WriteFile(path, append(content, '\n'), 0o600); err != nil {
		return fmt.Errorf("write figures: %w", err)
	}
	return nil
}

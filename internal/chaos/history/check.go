package history

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// checkLimit bounds the check of one run's operations.
const checkLimit = time.Minute

// Verdict is what a check found.
type Verdict struct {
	Operations int `json:"operations"`
	Runs       int `json:"runs"`
	// Stale counts the writes that came with a lease that had been given away, or
	// with none; StaleDone those of them that were granted, which must be none.
	Stale     int `json:"stale"`
	StaleDone int `json:"stale_done"`
	Unknown   int `json:"unknown"`
	// Wrong tells of the runs whose operations no order explains, Undecided of
	// those for which none was found in time.
	Wrong     []string `json:"wrong,omitempty"`
	Undecided []string `json:"undecided,omitempty"`
}

// Check checks a history. Where picture is not empty, that of the first run
// that is wrong is drawn into a file of that name.
func Check(ops []Op, picture string) (Verdict, error) {
	v := Verdict{Operations: len(ops)}
	newest := map[string]uint64{} // by run
	byRun := map[string][]Op{}
	for _, o := range ops {
		byRun[o.Run] = append(byRun[o.Run], o)
		if o.Kind == Grant {
			newest[o.Run] = max(newest[o.Run], o.Epoch)
		}
		if o.Outcome == Unknown {
			v.Unknown++
		}
	}
	v.Runs = len(byRun)
	v.countStale(byRun)
	m := model()
	for _, run := range sortedRuns(byRun) {
		result, info := porcupine.CheckOperationsVerbose(m, operations(byRun[run]), checkLimit)
		switch result {
		case porcupine.Ok:
			continue
		case porcupine.Unknown:
			v.Undecided = append(v.Undecided, run)
			continue
		}
		text := "run " + run
		for _, o := range byRun[run] {
			text += fmt.Sprintf("\n  [%d, %d] %s", o.Call, o.Return, o)
		}
		v.Wrong = append(v.Wrong, text)
		if picture != "" && len(v.Wrong) == 1 {
			if err := porcupine.VisualizePath(m, info, picture); err != nil {
				return v, fmt.Errorf("draw a history: %w", err)
			}
		}
	}
	return v, nil
}

// countStale counts the writes that came after a newer lease had been seen.
func (v *Verdict) countStale(byRun map[string][]Op) {
	for _, ops := range byRun {
		for _, o := range ops {
			if o.Kind != Commit && o.Kind != Finish {
				continue
			}
			stale := o.Forged || slices.ContainsFunc(ops, func(g Op) bool {
				return g.Kind == Grant && g.Epoch > o.Epoch && g.Return < o.Call
			})
			if stale {
				v.Stale++
			}
			if stale && o.Outcome == Done {
				v.StaleDone++
			}
		}
	}
}

// operations gives porcupine its form. A lease was granted some time before its
// agent heard of it, and what has no answer may happen at any later time.
func operations(ops []Op) []porcupine.Operation {
	var all []porcupine.Operation
	for _, o := range ops {
		op := porcupine.Operation{ClientId: o.Client, Input: o, Output: o.Outcome, Call: o.Call, Return: o.Return}
		if o.Kind == Grant {
			op.Call = math.MinInt64
		}
		if o.Outcome == Unknown {
			op.Return = math.MaxInt64
		}
		all = append(all, op)
	}
	return all
}

func sortedRuns(byRun map[string][]Op) []string {
	var runs []string
	for run := range byRun {
		runs = append(runs, run)
	}
	slices.Sort(runs)
	return runs
}

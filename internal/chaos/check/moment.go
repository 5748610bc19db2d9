package check

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/chaos/plan"
	"github.com/baktainer/baktainer/internal/chaos/procs"
)

// Moment waits in the logs, from a line on, for a phase of a run, and returns
// the line that showed it.
func Moment(ctx context.Context, j *procs.Journal, from int, run string, phase plan.Phase) (procs.Entry, error) {
	next := func(from int, match func(procs.Entry) bool) (procs.Entry, error) {
		e, err := j.Next(ctx, from, func(e procs.Entry) bool { return e.Attrs["run"] == run && match(e) })
		if err != nil {
			return e, fmt.Errorf("wait for run %s to be %s: %w", run, phase, err)
		}
		return e, nil
	}
	switch phase {
	case plan.Granted:
		return next(from, says(LineLeased))
	case plan.MidPack:
		return next(from, begins("/packs/"))
	case plan.Manifest:
		return next(from, begins("/manifests/"))
	case plan.Commit:
		return next(from, says(LineAsked))
	case plan.JustAfter:
		return next(from, says(LineCommitted))
	case plan.LastPack:
		dumping, err := next(from, says(LineDumping))
		if err != nil {
			return dumping, err
		}
		last := dumping
		for range number(dumping.Attrs["streams"]) {
			if last, err = next(last.Seq+1, says(LineToolEnded)); err != nil {
				return last, err
			}
		}
		return next(last.Seq+1, begins("/packs/"))
	}
	return procs.Entry{}, fmt.Errorf("there is no phase %q", phase)
}

// Over says whether the phase that a line showed was over at a later line: then
// what struck in between struck too late.
func Over(j *procs.Journal, shown procs.Entry, until int, phase plan.Phase) bool {
	run := shown.Attrs["run"]
	var end func(procs.Entry) bool
	switch phase {
	case plan.MidPack, plan.LastPack, plan.Manifest:
		end = func(e procs.Entry) bool { return e.Message == LineStored && e.Attrs["object"] == shown.Attrs["object"] }
	case plan.Commit:
		end = says(LineCommitted)
	case plan.Granted:
		end = begins("/packs/")
	default:
		return false
	}
	return len(j.Since(shown.Seq, func(e procs.Entry) bool { return e.Seq < until && e.Attrs["run"] == run && end(e) })) > 0
}

func says(line string) func(procs.Entry) bool {
	return func(e procs.Entry) bool { return e.Message == line }
}

func begins(kind string) func(procs.Entry) bool {
	return func(e procs.Entry) bool { return e.Message == LineBegins && strings.Contains(e.Attrs["object"], kind) }
}

func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil {
		return 1
	}
	return n
}

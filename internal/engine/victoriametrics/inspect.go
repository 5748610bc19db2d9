package victoriametrics

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/line"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	kindMetric = "metric"
	maxName    = 256 // of a metric, as it is listed
)

// inspector takes each line apart and counts samples by metric.
type inspector struct {
	part  []byte // of a line whose end has not come yet
	any   bool   // there were bytes
	ended bool
	wrong error

	seen    line.Tally
	objects []engine.Object
	known   map[string]int // places in objects
	last    string         // name of the metric before, and its place
	at      int
	others  int64 // samples of metrics that are not listed
}

func newInspector() *inspector { return &inspector{known: map[string]int{}, at: -1} }

func (i *inspector) Write(p []byte) (int, error) {
	i.any = i.any || len(p) > 0
	for rest := p; len(rest) > 0 && i.wrong == nil; {
		n := bytes.IndexByte(rest, '\n')
		if n < 0 {
			if i.part = append(i.part, rest...); len(i.part) > line.Max {
				i.wrong = fmt.Errorf("a line is longer than %d bytes", line.Max)
			}
			break
		}
		if len(i.part) == 0 {
			i.line(rest[:n])
		} else {
			i.part = append(i.part, rest[:n]...)
			i.line(i.part)
			i.part = i.part[:0]
		}
		rest = rest[n+1:]
	}
	return len(p), nil
}

func (i *inspector) line(b []byte) {
	if i.ended {
		i.wrong = fmt.Errorf("something follows its last line")
		return
	}
	if t, last := line.ParseLast(b); last {
		if i.ended = true; t != i.seen {
			i.wrong = fmt.Errorf("its last line tells of %d samples", t.Samples)
		}
		return
	}
	parts, err := line.Split(b)
	if err == nil {
		err = i.count(parts)
	}
	i.wrong = err
}

func (i *inspector) count(p line.Parts) error {
	name, err := p.Metric()
	if err != nil {
		return err
	}
	if len(name) > maxName {
		name = strings.ToValidUTF8(name[:maxName], "?")
	}
	i.seen.Lines++
	i.seen.Samples += p.Samples
	if i.at < 0 || name != i.last {
		at, known := i.known[name]
		switch {
		case known:
		case len(i.objects) < engine.MaxObjects:
			at = len(i.objects)
			i.objects = append(i.objects, engine.Object{Kind: kindMetric, Name: name})
			i.known[name] = at
		default:
			i.others += p.Samples
			return nil
		}
		i.last, i.at = name, at
	}
	i.objects[i.at].Rows += p.Samples
	return nil
}

func (i *inspector) Finish() (engine.Contents, error) {
	switch {
	case !i.any:
		return engine.Contents{}, problem.New(problem.Failed, "the dump is empty").WithReason(engine.ReasonEmpty)
	case i.wrong != nil:
		return engine.Contents{}, problem.Wrap(problem.Failed, i.wrong, "after %d samples the dump is wrong", i.seen.Samples).WithReason(engine.ReasonMalformed)
	case !i.ended || len(i.part) > 0:
		return engine.Contents{}, problem.New(problem.Failed, "the dump ends after %d samples, before its last line", i.seen.Samples).WithReason(engine.ReasonTruncated)
	}
	// The server gives them in any order.
	slices.SortFunc(i.objects, func(a, b engine.Object) int { return cmp.Compare(a.Name, b.Name) })
	notes := []string{fmt.Sprintf("%d samples", i.seen.Samples)}
	if i.others > 0 {
		notes = append(notes, fmt.Sprintf("%d of them are of metrics beyond the first %d, which are not listed", i.others, engine.MaxObjects))
	}
	return engine.Contents{Objects: i.objects, Notes: notes}, nil
}

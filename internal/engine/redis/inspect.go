package redis

import (
	"errors"
	"fmt"
	"slices"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/redis/rdb"
	"github.com/baktainer/baktainer/internal/problem"
)

// byNote begins the note that tells the version of the server, unknownNote that of a
// dump that no restore can take apart.
const (
	byNote      = "dumped by server version "
	unknownNote = "checked by checksum only: holds values of the unknown kind "
)

type inspector struct{ parser *rdb.Parser }

func newInspector() *inspector { return &inspector{rdb.New(nil)} }

func (i *inspector) Write(p []byte) (int, error) { return i.parser.Write(p) }

func (i *inspector) Finish() (engine.Contents, error) {
	summary, err := i.parser.Finish()
	if err != nil {
		return engine.Contents{}, explainDump(err)
	}
	var c engine.Contents
	numbers := make([]uint64, 0, len(summary.Keys))
	for n := range summary.Keys {
		numbers = append(numbers, n)
	}
	slices.Sort(numbers)
	for _, n := range numbers[:min(len(numbers), (engine.MaxObjects-1)/2)] {
		name := fmt.Sprintf("db%d", n)
		c.Objects = append(c.Objects, engine.Object{Kind: "database", Name: name, Rows: summary.Keys[n]})
		if expiring := summary.Expiring[n]; expiring > 0 {
			c.Objects = append(c.Objects, engine.Object{Kind: engine.KindExpiring, Name: name, Rows: expiring})
		}
	}
	if summary.Libraries > 0 {
		c.Objects = append(c.Objects, engine.Object{Kind: "functions", Name: "libraries", Rows: summary.Libraries})
	}
	c.Notes = append(c.Notes, fmt.Sprintf("RDB version %d", summary.Version))
	if summary.Server != "" {
		c.Notes = append(c.Notes, byNote+summary.Server)
	}
	if summary.Unknown != 0 {
		c.Notes = append(c.Notes, fmt.Sprintf("%s%d, keys are counted up to the first", unknownNote, summary.Unknown))
	}
	return c, nil
}

// explainDump makes a problem of what the parser finds wrong.
func explainDump(err error) *problem.Problem {
	p := problem.Wrap(problem.Failed, err, "check the dump").WithReason(engine.ReasonMalformed)
	switch {
	case errors.Is(err, rdb.ErrEmpty):
		p.Reason = engine.ReasonEmpty
	case errors.Is(err, rdb.ErrTruncated):
		p.Reason = engine.ReasonTruncated
	case errors.Is(err, rdb.ErrUnknown):
		p.Reason = engine.ReasonUnsupported
		p.Hint = "Write the snapshot to a file with `baktainer dump` and let the server load it at its start as dump.rdb."
	case errors.Is(err, rdb.ErrTooLong):
		p.Reason = engine.ReasonUnsupported
		p.Hint = "No command takes a value of this size. Write the snapshot to a file with `baktainer dump` and let the server load it at its start as dump.rdb."
	}
	return p
}

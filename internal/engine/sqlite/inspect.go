package sqlite

import (
	"fmt"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/image"
	"github.com/baktainer/baktainer/internal/problem"
)

// inspector counts the bytes of an image and compares them with its header.
type inspector struct {
	head []byte // at most image.HeaderSize bytes
	size int64
}

func (i *inspector) Write(p []byte) (int, error) {
	if missing := image.HeaderSize - len(i.head); missing > 0 {
		i.head = append(i.head, p[:min(missing, len(p))]...)
	}
	i.size += int64(len(p))
	return len(p), nil
}

func (i *inspector) Finish() (engine.Contents, error) {
	fail := func(reason problem.Reason, format string, args ...any) (engine.Contents, error) {
		return engine.Contents{}, problem.New(problem.Failed, format, args...).WithReason(reason)
	}
	if i.size == 0 {
		return fail(engine.ReasonEmpty, "the dump is empty")
	}
	if i.size < image.HeaderSize {
		return fail(engine.ReasonTruncated, "the dump ends after %d bytes, within the header", i.size)
	}
	h, err := image.Parse(i.head)
	switch {
	case err != nil:
		return fail(engine.ReasonMalformed, "the dump is not a database: %v", err)
	case h.Pages == 0:
		return fail(engine.ReasonMalformed, "the dump's header does not say how many pages follow")
	case i.size < h.Size():
		return fail(engine.ReasonTruncated, "the dump has %d of %d bytes", i.size, h.Size())
	case i.size > h.Size():
		return fail(engine.ReasonMalformed, "the dump has %d bytes, its header says %d", i.size, h.Size())
	}
	journal := "with a rollback journal"
	if h.WAL {
		journal = "with a write-ahead log"
	}
	return engine.Contents{
		Objects: []engine.Object{{Kind: "database", Name: "main", Rows: -1}},
		Notes:   []string{fmt.Sprintf("%d pages of %d bytes, %s", h.Pages, h.PageSize, journal)},
	}, nil
}

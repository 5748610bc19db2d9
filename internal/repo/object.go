package repo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

// corrupt is the problem of stored bytes that are not what was stored.
func corrupt(src, object string, err error) error {
	return problem.Wrap(problem.Corrupt, err, "read %s", object).WithReason(ReasonCorrupt).WithSource(src).
		WithHint("The object was damaged in the store, or replaced. Take another snapshot for the restore, and verify the store.")
}

// readObject reads length bytes from offset of an object, or, when length is -1,
// all of it, which may be limit bytes.
func readObject(ctx context.Context, objects ObjectReader, src, name string, offset, length, limit int64) ([]byte, error) {
	rc, err := objects.Get(ctx, name, offset, length)
	if err != nil {
		return nil, readFailure(ctx, src, name, err)
	}
	defer rc.Close()
	var b []byte
	if length >= 0 {
		b, err = readN(rc, length)
	} else if b, err = io.ReadAll(io.LimitReader(rc, limit+1)); int64(len(b)) > limit {
		err = malformed("the object is larger than %d bytes", limit)
	}
	if err != nil {
		return nil, readFailure(ctx, src, name, err)
	}
	return b, nil
}

// readFailure tells a store that has lost or damaged the object from one that
// does not answer.
func readFailure(ctx context.Context, src, name string, err error) error {
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("read %s: %w", name, context.Cause(ctx))
	case errors.Is(err, store.ErrNotExist) || problem.CodeOf(err) == problem.NotFound:
		return problem.Wrap(problem.Corrupt, err, "read %s", name).WithReason(ReasonMissingObject).WithSource(src).
			WithHint("The object is gone from the store. Take another snapshot for the restore, and verify the store.")
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, store.ErrRange):
		return corrupt(src, name, malformed("the object is cut short"))
	case errors.Is(err, errMalformed):
		return corrupt(src, name, err)
	}
	return fmt.Errorf("read %s: %w", name, err)
}

// readTail reads and opens the index of a pack.
func readTail(ctx context.Context, objects ObjectReader, key SourceKey, c Cipher, src string, ref PackRef) (*packIndex, error) {
	name := PackName(src, ref.ID)
	if ref.Tail > maxTail || ref.Tail > ref.Size {
		return nil, corrupt(src, name, malformed("the pack's lengths cannot be"))
	}
	tail, err := readObject(ctx, objects, src, name, ref.Size-ref.Tail, ref.Tail, 0)
	if err != nil {
		return nil, err
	}
	x, err := openTail(key, c, ref, tail)
	if err != nil {
		return nil, corrupt(src, name, err)
	}
	return x, nil
}

package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // FORMAT.md
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

//go:embed FORMAT.md
var description []byte

// Repository is an open repository: its id and the key that all others come from.
type Repository struct {
	ID     string
	Master MasterKey
}

// Create makes a repository in a store that has none. When there is one, the
// error wraps store.ErrExists.
func Create(ctx context.Context, st store.Store, key KeyFile, now time.Time) (*Repository, error) {
	return create(ctx, st, key, now, rand.Reader)
}

func create(ctx context.Context, st store.Store, key KeyFile, now time.Time, random io.Reader) (*Repository, error) {
	failed := func(err error) (*Repository, error) {
		if errors.Is(err, store.ErrExists) {
			return nil, problem.Wrap(problem.Conflict, err, "create repository in %s: there is one", st.Describe()).WithReason(ReasonHasRepository)
		}
		return nil, fmt.Errorf("create repository in %s: %w", st.Describe(), err)
	}
	// A store that has lost its format.json must not get a second key.
	for _, prefix := range []string{SourcesPrefix, LedgerPrefix, FormatCopyName} {
		err := st.List(ctx, prefix, func(store.Info) error { return store.ErrExists })
		if err != nil {
			return failed(err)
		}
	}
	f, master, err := newFormat(key, now, random)
	if err != nil {
		return failed(err)
	}
	b, err := f.encode()
	if err != nil {
		return failed(err)
	}
	// Who puts format.json has made the repository. The others may be there from an attempt cut short.
	for _, object := range []struct {
		name  string
		data  []byte
		again bool
	}{{DescriptionName, description, true}, {FormatName, b, false}, {FormatCopyName, b, true}} {
		_, err := st.Put(ctx, object.name, bytes.NewReader(object.data))
		if err != nil && (!object.again || !errors.Is(err, store.ErrExists)) {
			return failed(err)
		}
	}
	return &Repository{ID: f.ID, Master: master}, nil
}

// Open opens the repository in a store. Problems: NotFound (ReasonNoRepository),
// Denied (ReasonWrongKey), Corrupt, InvalidInput (ReasonNewerFormat). When
// format.json is missing or damaged its copy serves.
func Open(ctx context.Context, st store.Store, key KeyFile) (*Repository, error) {
	r, err := open(ctx, st, key, FormatName)
	if c := problem.CodeOf(err); err == nil || c != problem.NotFound && c != problem.Corrupt {
		return r, err
	}
	if r, again := open(ctx, st, key, FormatCopyName); again == nil {
		return r, nil
	}
	return nil, err
}

func open(ctx context.Context, st store.Store, key KeyFile, name string) (*Repository, error) {
	b, err := readObject(ctx, st, "", name, 0, -1, maxFormatFile)
	if errors.Is(err, store.ErrNotExist) {
		return nil, problem.Wrap(problem.NotFound, err, "open repository in %s: there is none", st.Describe()).
			WithReason(ReasonNoRepository).WithHint("Check the store's location; a new repository is made by the first start of a controller.")
	}
	if err != nil {
		return nil, fmt.Errorf("open repository in %s: %w", st.Describe(), err)
	}
	f, err := parseFormat(b)
	if err != nil {
		return nil, err
	}
	master, err := f.unlock(key)
	if err != nil {
		return nil, err
	}
	return &Repository{ID: f.ID, Master: master}, nil
}

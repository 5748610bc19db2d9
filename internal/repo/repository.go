package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	_ "embed" // FORMAT.md
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

//go:embed FORMAT.md
var formatText []byte

// description is what a store gets of it.
var description = describing(formatText)

// Repository is an open repository: its id, and the keys that all others come
// from. It hides them from formats and logs.
type Repository struct {
	ID string
	// Generation is the newest that the key opened, the one to write under.
	Generation uint32
	keys       keyring
}

// Create makes a repository in a store that has none, with a slot for one key.
// When there is one, the error wraps store.ErrExists.
func Create(ctx context.Context, st store.Store, key Key, now time.Time) (*Repository, error) {
	return create(ctx, st, key, now, rand.Reader)
}

func create(ctx context.Context, st store.Store, key Key, now time.Time, random io.Reader) (*Repository, error) {
	failed := func(err error) (*Repository, error) {
		if errors.Is(err, store.ErrExists) {
			return nil, problem.Wrap(problem.Conflict, err, "create repository in %s: there is one", st.Describe()).WithReason(ReasonHasRepository)
		}
		return nil, fmt.Errorf("create repository in %s: %w", st.Describe(), err)
	}
	// A store that has lost its format.json must not get a second key.
	for _, prefix := range []string{FormatName, FormatCopyName, SourcesPrefix, LedgerPrefix, EarlierKeysPrefix} {
		err := st.List(ctx, prefix, func(store.Info) error { return store.ErrExists })
		if err != nil {
			return failed(err)
		}
	}
	var id [packIDSize]byte
	var master MasterKey
	for _, b := range [][]byte{id[:], master[:]} {
		if _, err := io.ReadFull(random, b); err != nil {
			return failed(fmt.Errorf("make a key: %w", err))
		}
	}
	f := newFormat(hex.EncodeToString(id[:]), now)
	b, err := f.encode()
	if err != nil {
		return failed(err)
	}
	slot, err := newSlot(f.ID, 1, master, key, "first key", now, random)
	if err != nil {
		return failed(err)
	}
	// Who puts format.json has made the repository, and its key is in the store by
	// then. A slot left by an attempt that was cut short names a repository that
	// never came to be, and is ignored.
	if err := putOnce(ctx, st, DescriptionName, description); err != nil {
		return failed(err)
	}
	if err := putSlot(ctx, st, slot); err != nil {
		return failed(err)
	}
	if _, err := st.Put(ctx, FormatName, bytes.NewReader(b)); err != nil {
		return failed(err)
	}
	if err := putOnce(ctx, st, FormatCopyName, b); err != nil {
		return failed(err)
	}
	return &Repository{ID: f.ID, Generation: 1, keys: newKeyring(1, master)}, nil
}

// putOnce puts an object that may be there.
func putOnce(ctx context.Context, st store.Store, name string, b []byte) error {
	if _, err := st.Put(ctx, name, bytes.NewReader(b)); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	return nil
}

// Open opens the repository in a store, reading only. Objects that are missing or
// damaged are served by their copies. Problems: NotFound (ReasonNoRepository),
// Denied (ReasonWrongKey, ReasonNoSlot), Corrupt, InvalidInput (ReasonNewerFormat).
func Open(ctx context.Context, st store.Store, key Key) (*Repository, error) {
	f, slots, err := readFormat(ctx, st)
	if err != nil {
		return nil, err
	}
	ring, err := slots.open(ctx, st, f.ID, key)
	if err != nil {
		return nil, err
	}
	return &Repository{ID: f.ID, Generation: ring.newest, keys: ring}, nil
}

// readFormat reads format.json, or its copy when that is missing, damaged, or of a
// repository that has no key slot, and the slots.
func readFormat(ctx context.Context, st store.Store) (f formatFile, slots storedSlots, err error) {
	for i, name := range []string{FormatName, FormatCopyName} {
		read, again := readFormatObject(ctx, st, name)
		var found storedSlots
		if again == nil {
			if found, again = readSlots(ctx, st, read.ID); again != nil {
				again = fmt.Errorf("open repository in %s: %w", st.Describe(), again)
			}
		}
		if again == nil && (i == 0 || err != nil || len(found) > 0) {
			f, slots, err = read, found, nil
		} else if i == 0 {
			err = again
		}
		if len(found) > 0 || again != nil && problem.CodeOf(again) != problem.NotFound && !Damaging(again) {
			break
		}
	}
	return f, slots, err
}

func readFormatObject(ctx context.Context, st store.Store, name string) (formatFile, error) {
	b, err := readObject(ctx, st, "", name, 0, -1, maxFormatFile)
	if errors.Is(err, store.ErrNotExist) {
		return formatFile{}, problem.Wrap(problem.NotFound, err, "open repository in %s: there is none", st.Describe()).
			WithReason(ReasonNoRepository).WithHint("Check the store's location; a new repository is made by the first start of a controller.")
	}
	if err != nil {
		return formatFile{}, fmt.Errorf("open repository in %s: %w", st.Describe(), err)
	}
	return parseFormat(b)
}

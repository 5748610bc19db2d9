package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// openRepository opens the repository in the store. On the very first start,
// when there is neither a repository nor a key, it makes both and says plainly
// that the key wants a copy. It never makes a key for a repository that exists:
// that would only hide that the right one is missing.
func openRepository(ctx context.Context, st store.Store, keyPath string, now time.Time, log *slog.Logger) (*repo.Repository, error) {
	key, err := readKey(keyPath)
	if err == nil {
		return openOrCreate(ctx, st, key, keyPath, now, log)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if _, err := st.Stat(ctx, repo.FormatName); err == nil {
		return nil, problem.New(problem.Denied, "the store %s has a repository, and its key is not at %s", st.Describe(), keyPath).
			WithHint("Put the copy of the key that you kept there, or name it with --key-file. Without it nothing in the store can be read.")
	} else if !errors.Is(err, store.ErrNotExist) {
		return nil, fmt.Errorf("look for a repository in %s: %w", st.Describe(), err)
	}
	key, err = repo.GenerateKeyFile()
	if err != nil {
		return nil, fmt.Errorf("make a repository key: %w", err)
	}
	if err := writeKey(keyPath, key.Encode()); err != nil {
		return nil, err
	}
	r, err := repo.Create(ctx, st, key, now)
	if err != nil {
		return nil, fmt.Errorf("create a repository in %s: %w", st.Describe(), err)
	}
	warnAboutKey(log, keyPath)
	return r, nil
}

func openOrCreate(ctx context.Context, st store.Store, key repo.KeyFile, keyPath string, now time.Time, log *slog.Logger) (*repo.Repository, error) {
	r, err := repo.Open(ctx, st, key)
	if problem.ReasonOf(err) != repo.ReasonNoRepository {
		return r, err
	}
	// A key without a repository: made by hand, or the first start was cut short.
	r, err = repo.Create(ctx, st, key, now)
	if err != nil {
		return nil, fmt.Errorf("create a repository in %s: %w", st.Describe(), err)
	}
	warnAboutKey(log, keyPath)
	return r, nil
}

func warnAboutKey(log *slog.Logger, keyPath string) {
	log.Warn("a new repository key was made: KEEP A COPY OF IT SOMEWHERE ELSE. Without it no backup can ever be read; whoever has it can read them all", "key", keyPath)
}

func readKey(path string) (repo.KeyFile, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return repo.KeyFile{}, problem.Wrap(problem.Denied, err, "read the repository key")
	}
	key, err := repo.ParseKeyFile(text)
	if err != nil {
		return repo.KeyFile{}, fmt.Errorf("read the repository key %s: %w", path, err)
	}
	return key, nil
}

// writeKey writes the key so that a crash leaves either all of it or nothing.
func writeKey(path string, text []byte) (err error) {
	defer func() {
		if err != nil {
			err = problem.Wrap(problem.Failed, err, "write the repository key %s", path)
		}
	}()
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".key-*") // 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name()) //nolint:errcheck // gone after the link, unless something failed
	_, err = f.Write(text)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil { // never replaces a key
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

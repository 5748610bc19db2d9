package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"time"

	"github.com/baktainer/baktainer/internal/cli"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

// openRepository opens the repository in the store with the key that the
// settings name. On the very first start, when there is no repository, it makes
// one, and, when there is no key file either, that too, and says plainly that
// the key wants a copy. It never makes a key for a repository that exists: that
// would only hide that the right one is missing.
func openRepository(ctx context.Context, st store.Store, c config.Config, now time.Time, log *slog.Logger) (*repo.Repository, error) {
	where := cli.KeySourceOf(c)
	key, err := where.Read()
	switch {
	case err == nil:
	case !where.IsKeyFile() || !errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("read the key of the repository: %w", err)
	default:
		if key, err = makeKey(ctx, st, c); err != nil {
			return nil, err
		}
	}
	r, err := repo.Open(ctx, st, key)
	if problem.ReasonOf(err) == repo.ReasonNoRepository {
		// The first start, or one that was cut short, or a key made by hand.
		if err := firstStart(c.DataDir, st); err != nil {
			return nil, err
		}
		if r, err = repo.Create(ctx, st, key, now); err == nil {
			log.Warn("a new repository was made: KEEP A COPY OF ITS KEY SOMEWHERE ELSE. Without it no backup can ever be read; whoever has it can read them all", "key", where.String())
		}
	}
	if err != nil {
		return nil, err
	}
	return r, checkPin(c.DataDir, r, key, log)
}

// makeKey makes the key of a repository that is not there yet.
func makeKey(ctx context.Context, st store.Store, c config.Config) (repo.Key, error) {
	path := c.KeyFile
	for _, name := range []string{repo.FormatName, repo.FormatCopyName} {
		_, err := st.Stat(ctx, name)
		switch {
		case err == nil:
			return nil, problem.New(problem.Denied, "the store %s has a repository, and its key is not at %s", st.Describe(), path).
				WithHint("Put the copy of the key that you kept there, or name it with --key-file, or use another key of it with --passphrase-file or --identity-file. Without a key nothing in the store can be read.")
		case !errors.Is(err, store.ErrNotExist):
			return nil, fmt.Errorf("look for a repository in %s: %w", st.Describe(), err)
		}
	}
	if err := firstStart(c.DataDir, st); err != nil {
		return nil, err
	}
	key, err := repo.GenerateKeyFile()
	if err != nil {
		return nil, fmt.Errorf("make a repository key: %w", err)
	}
	if err := cli.WriteKeyFile(path, key); err != nil {
		return nil, err
	}
	return key, nil
}

package fs

import (
	"context"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/store"
)

// List implements store.Store. It holds the names of one directory of each level at a time.
func (s *Store) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	dir := "" // the deepest directory that the prefix fixes
	if i := strings.LastIndexByte(prefix, '/'); i >= 0 {
		dir = prefix[:i]
		if store.CheckName(dir) != nil {
			return nil // no object's name begins so
		}
	}
	return s.list(ctx, dir, prefix, fn)
}

func (s *Store) list(ctx context.Context, dir, prefix string, fn func(store.Info) error) error {
	entries, err := s.files.readDir(s.path(dir))
	if err = known(err); errors.Is(err, store.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("list %s: %w", dir, err)
	}
	// In the order of whole names a directory stands where its name with the slash does.
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		switch {
		case store.CheckName(name) != nil:
		case e.IsDir() && (strings.HasPrefix(name+"/", prefix) || strings.HasPrefix(prefix, name+"/")):
			names = append(names, name+"/")
		case e.Type().IsRegular() && strings.HasPrefix(name, prefix):
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if below, ok := strings.CutSuffix(name, "/"); ok {
			if err := s.list(ctx, below, prefix, fn); err != nil {
				return err
			}
			continue
		}
		info, err := s.stat(name)
		if errors.Is(err, store.ErrNotExist) {
			continue // deleted since
		}
		if err != nil {
			return fmt.Errorf("list %s: %w", name, err)
		}
		if err := fn(info); err != nil {
			return err
		}
	}
	return nil
}

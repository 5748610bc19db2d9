// Package fs keeps objects as files in a directory. An object appears under its
// name whole and synced, or not at all: it is written beside the others under a
// temporary name that no object can have, synced, renamed without replacing
// anything, and its directory is synced too.
package fs

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/store"
)

const (
	// temporary begins the names of files that are being written. store.CheckName
	// refuses such names, so they are never taken for objects.
	temporary = ".tmp-"
	// staleAfter is how long a temporary file lies untouched before Open removes it.
	staleAfter = time.Hour
)

// Store is a directory. It is safe for concurrent use, by several processes too.
type Store struct {
	dir string

	mu     sync.Mutex
	synced map[string]bool // directories known to be durable
}

var _ store.Store = (*Store)(nil)

// Open opens the directory, makes it if need be, and removes what writes that
// were cut short long ago have left.
func Open(dir string) (*Store, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	for p := dir; ; p = filepath.Dir(p) {
		if err := syncDir(p); err != nil && p == dir {
			return nil, fmt.Errorf("open store: %w", err)
		}
		if p == filepath.Dir(p) {
			break
		}
	}
	s := &Store{dir: dir, synced: map[string]bool{dir: true}}
	if err := s.removeStale(clock.System{}.Now()); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func (s *Store) removeStale(now time.Time) error {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), temporary) {
			continue
		}
		info, err := e.Info()
		if err != nil || !info.Mode().IsRegular() || now.Sub(info.ModTime()) < staleAfter {
			continue
		}
		if err := os.Remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// Describe implements store.Store.
func (s *Store) Describe() string { return "fs:" + s.dir }

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	if err := store.CheckName(name); err != nil {
		return store.Info{}, err
	}
	info, err := s.put(ctx, name, r)
	if err != nil {
		return store.Info{}, wrapPut(name, err)
	}
	return info, nil
}

func wrapPut(name string, err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	return fmt.Errorf("put %s: %w", name, err)
}

func (s *Store) put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	path := s.path(name)
	if _, err := os.Lstat(path); err == nil {
		return store.Info{}, store.ErrExists
	}
	tmp := filepath.Join(s.dir, temporary+rand.Text())
	defer func() { _ = os.Remove(tmp) }() // gone already when all went well
	if err := write(ctx, tmp, r); err != nil {
		return store.Info{}, err
	}
	parent := filepath.Dir(path)
	if err := s.makeDir(parent); err != nil {
		return store.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return store.Info{}, context.Cause(ctx)
	}
	if err := renameNew(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = store.ErrExists
		}
		return store.Info{}, err
	}
	if err := syncDir(parent); err != nil {
		_ = os.Remove(path) // not known to be durable, so not there
		return store.Info{}, err
	}
	return s.stat(name)
}

// write makes a file of all of r, on disk when it returns.
func write(ctx context.Context, path string, r io.Reader) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, contextReader{ctx, r})
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// contextReader ends with its context.
type contextReader struct {
	ctx context.Context // Read has no other way to it
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if r.ctx.Err() != nil {
		return 0, context.Cause(r.ctx)
	}
	return r.r.Read(p)
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	if err := check(ctx, name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(s.path(name), os.O_RDONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", name, known(err))
	}
	info, err := f.Stat()
	switch {
	case err != nil:
	case !info.Mode().IsRegular():
		err = store.ErrNotExist
	default:
		if length == -1 {
			length = info.Size() - offset
		}
		if offset < 0 || length < 0 || offset > info.Size()-length {
			err = fmt.Errorf("%w: %d+%d of %d bytes", store.ErrRange, offset, length, info.Size())
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("get %s: %w", name, err), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{contextReader{ctx, io.NewSectionReader(f, offset, length)}, f}, nil
}

// Stat implements store.Store.
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	if err := check(ctx, name); err != nil {
		return store.Info{}, err
	}
	info, err := s.stat(name)
	if err != nil {
		return store.Info{}, fmt.Errorf("stat %s: %w", name, err)
	}
	return info, nil
}

func (s *Store) stat(name string) (store.Info, error) {
	info, err := os.Lstat(s.path(name))
	if err != nil {
		return store.Info{}, known(err)
	}
	if !info.Mode().IsRegular() {
		return store.Info{}, store.ErrNotExist
	}
	return store.Info{Name: name, Size: info.Size(), Modified: info.ModTime()}, nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := check(ctx, name); err != nil {
		return err
	}
	err := known(os.Remove(s.path(name)))
	if errors.Is(err, store.ErrNotExist) {
		return nil
	}
	if err == nil {
		err = syncDir(filepath.Dir(s.path(name)))
	}
	if err != nil {
		return fmt.Errorf("delete %s: %w", name, err)
	}
	return nil
}

func (s *Store) path(name string) string { return filepath.Join(s.dir, filepath.FromSlash(name)) }

func check(ctx context.Context, name string) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return store.CheckName(name)
}

// known turns the system's ways to say that there is no such file into ErrNotExist.
func known(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return store.ErrNotExist
	}
	return err
}

// makeDir makes a directory below the store's, and its parents, durable.
func (s *Store) makeDir(dir string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.makeDirLocked(dir)
}

func (s *Store) makeDirLocked(dir string) error {
	if s.synced[dir] {
		return nil
	}
	parent := filepath.Dir(dir)
	if err := s.makeDirLocked(parent); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Also when it was there: whoever made it may not have come to this.
	if err := syncDir(parent); err != nil {
		return err
	}
	if len(s.synced) > 1<<16 {
		s.synced = map[string]bool{s.dir: true}
	}
	s.synced[dir] = true
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

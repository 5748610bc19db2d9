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
	dir   string
	files files

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
	s, err := open(dir, system{}, clock.System{}.Now())
	if err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	return s, nil
}

func open(dir string, files files, now time.Time) (*Store, error) {
	if err := files.makeDirs(dir); err != nil {
		return nil, err
	}
	// Up to the root, since whoever made the directories may not have come to this.
	for p := dir; ; p = filepath.Dir(p) {
		if err := files.syncDir(p); err != nil && !foreign(err) {
			return nil, err
		}
		if p == filepath.Dir(p) {
			break
		}
	}
	s := &Store{dir: dir, files: files, synced: map[string]bool{dir: true}}
	return s, s.removeStale(now)
}

// foreign says whether a directory cannot be synced, or changed, because it is not
// ours, or is on a file system that cannot; then we have not changed it either. A
// store that is like that can be read, and refuses what is put.
func foreign(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, syscall.EROFS) || errors.Is(err, syscall.EINVAL)
}

func (s *Store) removeStale(now time.Time) error {
	entries, err := s.files.readDir(s.dir)
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
		if err := s.files.remove(filepath.Join(s.dir, e.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) && !foreign(err) {
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
	if _, err := s.files.lstat(path); err == nil {
		return store.Info{}, s.exists(path)
	}
	tmp := filepath.Join(s.dir, temporary+rand.Text())
	defer func() { _ = s.files.remove(tmp) }() // gone already when all went well
	written, err := s.write(ctx, tmp, r)
	if err != nil {
		return store.Info{}, err
	}
	parent := filepath.Dir(path)
	if err := s.makeDir(parent); err != nil {
		return store.Info{}, err
	}
	if err := ctx.Err(); err != nil {
		return store.Info{}, context.Cause(ctx)
	}
	if err := s.files.renameNew(tmp, path); err != nil {
		if errors.Is(err, fs.ErrExist) {
			err = s.exists(path)
		}
		return store.Info{}, err
	}
	if err := s.files.syncDir(parent); err != nil {
		_ = s.files.remove(path) // not known to be durable, so not there
		return store.Info{}, err
	}
	return store.Info{Name: name, Size: written.Size(), Modified: written.ModTime()}, nil
}

// exists gives the error for an object that is there already, once it is durable:
// whoever stored it may have been cut short before it was.
func (s *Store) exists(path string) error {
	if err := s.files.syncDir(filepath.Dir(path)); err != nil {
		return err
	}
	return store.ErrExists
}

// write makes a file of all of r, on disk when it returns.
func (s *Store) write(ctx context.Context, path string, r io.Reader) (fs.FileInfo, error) {
	f, err := s.files.create(path)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(f, contextReader{ctx, r})
	if err == nil {
		err = f.Sync()
	}
	info, statErr := f.Stat()
	return info, errors.Join(err, statErr, f.Close())
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
	f, err := s.files.open(s.path(name))
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
	info, err := s.files.lstat(s.path(name))
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
	err := known(s.files.remove(s.path(name)))
	// Also when it is gone: whoever removed it may not have come to this.
	if err == nil || errors.Is(err, store.ErrNotExist) {
		err = known(s.files.syncDir(filepath.Dir(s.path(name))))
	}
	if err != nil && !errors.Is(err, store.ErrNotExist) {
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
	if err := s.files.makeDir(dir); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	// Also when it was there: whoever made it may not have come to this.
	if err := s.files.syncDir(parent); err != nil {
		return err
	}
	if len(s.synced) > 1<<16 {
		s.synced = map[string]bool{s.dir: true}
	}
	s.synced[dir] = true
	return nil
}

// Package mem keeps objects in memory, for tests.
package mem

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/store"
)

// Store is a map of objects.
type Store struct {
	mu      sync.RWMutex
	objects map[string]object
}

type object struct {
	data     []byte
	modified time.Time
}

var _ store.Store = (*Store)(nil)

// New returns an empty store.
func New() *Store { return &Store{objects: map[string]object{}} }

// Describe implements store.Store.
func (s *Store) Describe() string { return "mem:" }

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	if err := store.CheckName(name); err != nil {
		return store.Info{}, err
	}
	data, err := io.ReadAll(r)
	if err == nil {
		err = ctx.Err()
	}
	if err != nil {
		return store.Info{}, fmt.Errorf("put %s: %w", name, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.objects[name]; ok {
		return store.Info{}, fmt.Errorf("put %s: %w", name, store.ErrExists)
	}
	o := object{data, time.Unix(0, 0).UTC()}
	s.objects[name] = o
	return store.Info{Name: name, Size: int64(len(data)), Modified: o.modified}, nil
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	o, err := s.object(ctx, name)
	if err != nil {
		return nil, err
	}
	size := int64(len(o.data))
	if length == -1 {
		length = size - offset
	}
	if offset < 0 || length < 0 || offset > size || length > size-offset {
		return nil, fmt.Errorf("get %s: %w: %d+%d of %d bytes", name, store.ErrRange, offset, length, size)
	}
	return io.NopCloser(bytes.NewReader(o.data[offset : offset+length])), nil
}

func (s *Store) object(ctx context.Context, name string) (object, error) {
	if err := ctx.Err(); err != nil {
		return object{}, err
	}
	if err := store.CheckName(name); err != nil {
		return object{}, err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	o, ok := s.objects[name]
	if !ok {
		return object{}, fmt.Errorf("get %s: %w", name, store.ErrNotExist)
	}
	return o, nil
}

// Stat implements store.Store.
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	o, err := s.object(ctx, name)
	return store.Info{Name: name, Size: int64(len(o.data)), Modified: o.modified}, err
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	s.mu.RLock()
	objects := maps.Clone(s.objects)
	s.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(objects)) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if err := fn(store.Info{Name: name, Size: int64(len(objects[name].data)), Modified: objects[name].modified}); err != nil {
			return err
		}
	}
	return nil
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := store.CheckName(name); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.objects, name)
	return nil
}

// Space implements store.Store.
func (s *Store) Space(context.Context) (free, total int64, ok bool, err error) {
	return 0, 0, false, nil
}

// Change replaces an object's bytes by what fn makes of a copy of them, as no
// store would: for tests of damage. fn returning nil removes the object.
func (s *Store) Change(name string, fn func([]byte) []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	o, ok := s.objects[name]
	if !ok {
		return
	}
	if o.data = fn(bytes.Clone(o.data)); o.data == nil {
		delete(s.objects, name)
		return
	}
	s.objects[name] = o
}

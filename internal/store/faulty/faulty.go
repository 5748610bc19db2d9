// Package faulty is a store that fails as it is told to, for tests: a wrapper
// around another store and a plan of faults. The same plan and the same calls
// always fail in the same way.
package faulty

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/baktainer/baktainer/internal/store"
)

// ErrFault is what planned failures wrap.
var ErrFault = errors.New("planned fault")

// Op is one of the store's methods.
type Op string

// The methods that can fail.
const (
	Put    Op = "put"
	Get    Op = "get"
	Stat   Op = "stat"
	List   Op = "list"
	Delete Op = "delete"
)

// Kind is what goes wrong.
type Kind int

// The kinds. Each says for which methods it is meant.
const (
	// Fail returns an error and does nothing (all).
	Fail Kind = iota
	// NoSpace returns store.ErrNoSpace after half of the bytes are read (Put).
	NoSpace
	// Torn leaves half of the object visible and returns an error (Put).
	Torn
	// TornSilently leaves half of the object visible and returns nil (Put).
	TornSilently
	// LostAnswer does all and returns an error nevertheless (Put, Delete).
	LostAnswer
	// Lost returns nil and keeps nothing (Put).
	Lost
	// Short ends the reader half-way with io.EOF (Get).
	Short
	// Broken ends the reader half-way with an error (Get).
	Broken
	// Flip turns one bit of what is read, in the byte Offset (Get).
	Flip
	// Hang waits until the call's context ends (all).
	Hang
)

// Fault is one thing that goes wrong.
type Fault struct {
	Op   Op
	Kind Kind
	// Name restricts it to objects whose name contains this; empty: all.
	Name string
	// Nth is the call, among those that match, at which it happens, from 1; 0: each.
	Nth int
	// Offset is the byte within the object that Flip changes.
	Offset int64
}

// Store wraps another store.
type Store struct {
	store.Store
	mu     sync.Mutex
	faults []Fault
	seen   []int // calls that matched, per fault
	calls  []string
}

var _ store.Store = (*Store)(nil)

// Wrap gives a store that behaves like st but for the faults.
func Wrap(st store.Store, faults ...Fault) *Store {
	return &Store{Store: st, faults: faults, seen: make([]int, len(faults))}
}

// Calls lists the calls so far, "put name", in order.
func (s *Store) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.calls...)
}

// fault gives what goes wrong with this call, nil for nothing.
func (s *Store) fault(op Op, name string) *Fault {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, string(op)+" "+name)
	var hit *Fault
	for i := range s.faults {
		f := &s.faults[i]
		if f.Op != op || !strings.Contains(name, f.Name) {
			continue
		}
		if s.seen[i]++; hit == nil && (f.Nth == 0 || f.Nth == s.seen[i]) {
			hit = f
		}
	}
	return hit
}

// plain does what is the same for all methods. stop says that the call is over.
func (f *Fault) plain(ctx context.Context, name string) (stop bool, err error) {
	switch {
	case f == nil:
		return false, nil
	case f.Kind == Hang:
		<-ctx.Done()
		return true, context.Cause(ctx)
	case f.Kind == Fail:
		return true, fmt.Errorf("%s %s: %w", f.Op, name, ErrFault)
	}
	return false, nil
}

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	f := s.fault(Put, name)
	if stop, err := f.plain(ctx, name); stop || f == nil {
		if stop {
			return store.Info{}, err
		}
		return s.Store.Put(ctx, name, r)
	}
	if f.Kind == LostAnswer {
		info, err := s.Store.Put(ctx, name, r)
		return store.Info{}, errors.Join(err, fmt.Errorf("put %s: %w", info.Name, ErrFault))
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return store.Info{}, err
	}
	half := bytes.NewReader(data[:len(data)/2])
	switch f.Kind {
	case NoSpace:
		return store.Info{}, fmt.Errorf("put %s: %w: %w", name, store.ErrNoSpace, ErrFault)
	case Torn:
		_, err := s.Store.Put(ctx, name, half)
		return store.Info{}, errors.Join(err, fmt.Errorf("put %s: %w", name, ErrFault))
	case TornSilently:
		_, err = s.Store.Put(ctx, name, half)
	case Lost:
	default:
		return s.Store.Put(ctx, name, bytes.NewReader(data))
	}
	return store.Info{Name: name, Size: int64(len(data))}, err
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	f := s.fault(Get, name)
	if stop, err := f.plain(ctx, name); stop {
		return nil, err
	}
	rc, err := s.Store.Get(ctx, name, offset, length)
	if f == nil || err != nil {
		return rc, err
	}
	data, err := io.ReadAll(rc)
	if err = errors.Join(err, rc.Close()); err != nil {
		return nil, err
	}
	var r io.Reader = bytes.NewReader(data)
	switch at := f.Offset - offset; f.Kind {
	case Short:
		r = bytes.NewReader(data[:len(data)/2])
	case Broken:
		r = io.MultiReader(bytes.NewReader(data[:len(data)/2]), failing{fmt.Errorf("get %s: %w", name, ErrFault)})
	case Flip:
		if at >= 0 && at < int64(len(data)) {
			data[at] ^= 0x10
		}
	}
	return io.NopCloser(r), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Stat implements store.Store.
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	if stop, err := s.fault(Stat, name).plain(ctx, name); stop {
		return store.Info{}, err
	}
	return s.Store.Stat(ctx, name)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	if stop, err := s.fault(List, prefix).plain(ctx, prefix); stop {
		return err
	}
	return s.Store.List(ctx, prefix, fn)
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	f := s.fault(Delete, name)
	if stop, err := f.plain(ctx, name); stop {
		return err
	}
	err := s.Store.Delete(ctx, name)
	if f != nil && f.Kind == LostAnswer {
		err = errors.Join(err, fmt.Errorf("delete %s: %w", name, ErrFault))
	}
	return err
}

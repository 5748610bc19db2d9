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
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/baktainer/baktainer/internal/store"
)

// Store wraps another store.
type Store struct {
	store.Store
	plan Plan

	mu       sync.Mutex
	seen     []int // calls that matched, per fault
	calls    []string
	injected map[Kind]int
	lied     map[string]bool
	sizes    map[string]int64 // of objects put, for Capacity
	used     int64            // their sum, and what is being put
	changes  map[string]change
}

// change is the last one of an object, for Lag.
type change struct {
	call    int
	info    store.Info
	deleted bool
}

var _ store.Store = (*Store)(nil)

// Wrap gives a store that behaves like st but for the faults.
func Wrap(st store.Store, faults ...Fault) *Store { return New(st, Plan{Faults: faults}) }

// New gives a store that behaves like st but for what the plan says.
func New(st store.Store, plan Plan) *Store {
	return &Store{
		Store: st, plan: plan, seen: make([]int, len(plan.Faults)),
		injected: map[Kind]int{}, lied: map[string]bool{}, sizes: map[string]int64{}, changes: map[string]change{},
	}
}

// Calls lists the calls so far, "put name", in order.
func (s *Store) Calls() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.calls)
}

// Injected counts what went wrong so far.
func (s *Store) Injected() map[Kind]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.injected)
}

// Lied lists, in order, the objects that a Put said were stored and were not, or
// not as they were given.
func (s *Store) Lied() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Sorted(maps.Keys(s.lied))
}

// happened counts a fault, and the lie about an object if it is one.
func (s *Store) happened(k Kind, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.injected[k]++
	if k.Lies() && name != "" {
		s.lied[name] = true
	}
}

// begin notes a call, finds what goes wrong with it, and does what is the same
// for all methods. stop says that the call is over.
func (s *Store) begin(ctx context.Context, op Op, name string) (h hit, stop bool, err error) {
	h = s.match(op, name)
	if h.Fault == nil {
		return h, false, nil
	}
	switch h.Kind {
	case Fail:
		s.happened(Fail, "")
		return h, true, fmt.Errorf("%s %s: %w", op, name, ErrFault)
	case Slow, Hang:
		s.happened(h.Kind, "")
		if h.Gate != nil {
			err = h.Gate(ctx, op, name)
		}
		if err == nil && h.Kind == Hang {
			<-ctx.Done()
			err = context.Cause(ctx)
		}
		if err != nil {
			return h, true, fmt.Errorf("%s %s: %w", op, name, err)
		}
	}
	return h, false, nil
}

func (s *Store) match(op Op, name string) (first hit) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls = append(s.calls, string(op)+" "+name)
	for i := range s.plan.Faults {
		f := &s.plan.Faults[i]
		if f.Op != op || !strings.Contains(name, f.Name) {
			continue
		}
		s.seen[i]++
		if h, ok := s.plan.draw(i, s.seen[i]); ok && first.Fault == nil {
			first = h
		}
	}
	return first
}

// is says whether this fault is to be done.
func (h hit) is(k Kind) bool { return h.Fault != nil && h.Kind == k }

// Put implements store.Store.
func (s *Store) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	h, stop, err := s.begin(ctx, Put, name)
	if stop {
		return store.Info{}, err
	}
	fault := fmt.Errorf("put %s: %w", name, ErrFault)
	switch {
	case h.is(LostAnswer):
		s.happened(h.Kind, "")
		_, err := s.put(ctx, name, r)
		return store.Info{}, errors.Join(err, fault)
	case h.is(NoSpace), h.is(Lost), h.is(Torn), h.is(TornSilently), h.is(Garbled), h.is(GarbledSilently):
	default:
		return s.put(ctx, name, r)
	}
	data, err := io.ReadAll(r)
	if err != nil {
		return store.Info{}, err
	}
	info := store.Info{Name: name, Size: int64(len(data))}
	stored := data
	switch h.Kind {
	case NoSpace:
		s.happened(h.Kind, "")
		return store.Info{}, fmt.Errorf("%w: %w", store.ErrNoSpace, fault)
	case Lost:
		s.happened(h.Kind, name)
		return info, nil
	case Torn, TornSilently:
		stored = data[:h.cutOf(data)]
	case Garbled, GarbledSilently:
		stored = bytes.Clone(data)
		from := h.cutOf(data)
		to := len(data)
		if h.random != nil && to > 0 {
			to = from + 1 + h.random.IntN(to-from)
		}
		for i := from; i < to; i++ {
			stored[i] ^= 0xff
		}
	}
	// A Put that fails by itself, because there is such an object, is no lie.
	if _, err := s.put(ctx, name, bytes.NewReader(stored)); err != nil {
		return store.Info{}, err
	}
	if len(data) > 0 { // else there is nothing to damage
		s.happened(h.Kind, name)
	}
	if !h.Kind.Lies() {
		return store.Info{}, fault
	}
	return info, nil
}

func (h hit) cutOf(data []byte) int {
	if len(data) == 0 {
		return 0
	}
	return h.cut(len(data))
}

// put stores, within the capacity.
func (s *Store) put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	m := &metered{s: s, r: r}
	info, err := s.Store.Put(ctx, name, m)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.used -= m.n
		return info, err
	}
	s.sizes[name] = m.n
	s.changes[name] = change{call: len(s.calls), info: info}
	return info, nil
}

// metered takes what is read off the capacity.
type metered struct {
	s *Store
	r io.Reader
	n int64
}

func (m *metered) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	m.s.mu.Lock()
	defer m.s.mu.Unlock()
	m.n += int64(n)
	m.s.used += int64(n)
	if m.s.plan.Capacity > 0 && m.s.used > m.s.plan.Capacity {
		m.s.injected[NoSpace]++
		return 0, fmt.Errorf("%w: %w", store.ErrNoSpace, ErrFault)
	}
	return n, err
}

// Get implements store.Store.
func (s *Store) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	h, stop, err := s.begin(ctx, Get, name)
	if stop {
		return nil, err
	}
	rc, err := s.Store.Get(ctx, name, offset, length)
	if err != nil || !h.is(Short) && !h.is(Broken) && !h.is(Flip) {
		return rc, err
	}
	data, err := io.ReadAll(rc)
	if err = errors.Join(err, rc.Close()); err != nil {
		return nil, err
	}
	var r io.Reader = bytes.NewReader(data)
	if len(data) == 0 && h.Kind != Broken {
		return io.NopCloser(r), nil
	}
	switch cut := h.cutOf(data); h.Kind {
	case Short:
		r = bytes.NewReader(data[:cut])
	case Broken:
		r = io.MultiReader(bytes.NewReader(data[:cut]), failing{fmt.Errorf("get %s: %w", name, ErrFault)})
	case Flip:
		at := h.Offset - offset
		if h.random != nil {
			at = int64(cut)
		}
		if at < 0 || at >= int64(len(data)) {
			return io.NopCloser(r), nil
		}
		data[at] ^= 0x10
	}
	s.happened(h.Kind, "")
	return io.NopCloser(r), nil
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// Stat implements store.Store.
func (s *Store) Stat(ctx context.Context, name string) (store.Info, error) {
	if _, stop, err := s.begin(ctx, Stat, name); stop {
		return store.Info{}, err
	}
	return s.Store.Stat(ctx, name)
}

// List implements store.Store.
func (s *Store) List(ctx context.Context, prefix string, fn func(store.Info) error) error {
	h, stop, err := s.begin(ctx, List, prefix)
	if stop {
		return err
	}
	if s.plan.Lag == 0 && !h.is(Broken) {
		return s.Store.List(ctx, prefix, fn)
	}
	listed := map[string]store.Info{}
	if err := s.Store.List(ctx, prefix, func(i store.Info) error { listed[i.Name] = i; return nil }); err != nil {
		return err
	}
	s.age(prefix, listed)
	names := slices.Sorted(maps.Keys(listed))
	if h.is(Broken) {
		s.happened(Broken, "")
		names, err = names[:len(names)/2], fmt.Errorf("list %s: %w", prefix, ErrFault)
	}
	for _, name := range names {
		if err := fn(listed[name]); err != nil {
			return err
		}
	}
	return err
}

// age makes a list one of some calls ago.
func (s *Store) age(prefix string, listed map[string]store.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	stale := false
	for name, c := range s.changes {
		if !strings.HasPrefix(name, prefix) || len(s.calls)-c.call > s.plan.Lag {
			continue
		}
		stale = true
		if c.deleted {
			listed[name] = c.info
		} else {
			delete(listed, name)
		}
	}
	if stale {
		s.injected[StaleList]++
	}
}

// Delete implements store.Store.
func (s *Store) Delete(ctx context.Context, name string) error {
	h, stop, err := s.begin(ctx, Delete, name)
	if stop {
		return err
	}
	if h.is(Lost) {
		s.happened(Lost, "")
		return nil
	}
	info, statErr := s.Store.Stat(ctx, name)
	if err := s.Store.Delete(ctx, name); err != nil {
		return err
	}
	if statErr == nil {
		s.deleted(info)
	}
	if h.is(LostAnswer) {
		s.happened(LostAnswer, "")
		return fmt.Errorf("delete %s: %w", name, ErrFault)
	}
	return nil
}

// deleted gives back the room of an object that is gone.
func (s *Store) deleted(info store.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.used -= s.sizes[info.Name]
	delete(s.sizes, info.Name)
	delete(s.lied, info.Name)
	s.changes[info.Name] = change{call: len(s.calls), info: info, deleted: true}
}

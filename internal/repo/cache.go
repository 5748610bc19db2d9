package repo

import (
	"container/list"
	"slices"
	"sync"
)

// cache keeps the values used last, up to a number of bytes; at least one. It is
// for one goroutine.
type cache[K comparable, V any] struct {
	limit, size int64
	order       *list.List // of cached, most recent first
	items       map[K]*list.Element
	drop        func(V) // told of each value that had to go, unless nil
}

type cached[K comparable, V any] struct {
	key   K
	value V
	size  int64
}

func newCache[K comparable, V any](limit int64) *cache[K, V] {
	return &cache[K, V]{limit: limit, order: list.New(), items: map[K]*list.Element{}}
}

func (c *cache[K, V]) get(key K) (v V, ok bool) {
	e, ok := c.items[key]
	if !ok {
		return v, false
	}
	c.order.MoveToFront(e)
	return e.Value.(*cached[K, V]).value, true
}

// put keeps a value; others may have to go for it.
func (c *cache[K, V]) put(key K, value V, size int64) {
	c.items[key] = c.order.PushFront(&cached[K, V]{key, value, size})
	c.size += size
	for c.size > c.limit && c.order.Len() > 1 {
		gone, _ := c.remove(c.order.Back().Value.(*cached[K, V]).key)
		if c.drop != nil {
			c.drop(gone)
		}
	}
}

// remove gives a value that is not kept from now on.
func (c *cache[K, V]) remove(key K) (v V, ok bool) {
	e, ok := c.items[key]
	if !ok {
		return v, false
	}
	old := c.order.Remove(e).(*cached[K, V])
	delete(c.items, key)
	c.size -= old.size
	return old.value, true
}

// shared is a cache for many goroutines. A value is made once, by whoever asks
// for it first; who asks meanwhile waits. It is not reused while anybody holds it.
type shared[K comparable, V any] struct {
	mu    sync.Mutex
	cache *cache[K, *held[V]]
	// keep says of which errors the next one who asks is told without another try.
	keep func(error) bool
	// free gets values that are neither kept nor held.
	free func(V)
}

// held is a value, or the error instead of one, in the hands of some.
type held[V any] struct {
	value V
	err   error
	done  chan struct{} // closed when either is there
	refs  int           // those who hold it, and the cache
}

func newShared[K comparable, V any](limit int64, keep func(error) bool, free func(V)) *shared[K, V] {
	s := &shared[K, V]{cache: newCache[K, *held[V]](limit), keep: keep, free: free}
	s.cache.drop = s.unref
	return s
}

// get gives the value of a key, to be released after use. load makes one of so
// many bytes; it may ask for other values, as long as no circle comes of it.
func (s *shared[K, V]) get(key K, size int64, load func() (V, error)) (*held[V], error) {
	s.mu.Lock()
	h, ok := s.cache.get(key)
	if !ok {
		h = &held[V]{done: make(chan struct{}), refs: 1}
		s.cache.put(key, h, size)
	}
	h.refs++
	s.mu.Unlock()
	if ok {
		<-h.done
	} else {
		h.value, h.err = load()
		close(h.done)
	}
	if h.err == nil {
		return h, nil
	}
	if !ok && !s.keep(h.err) {
		s.mu.Lock()
		if now, ok := s.cache.items[key]; ok && now.Value.(*cached[K, *held[V]]).value == h {
			s.cache.remove(key)
		}
		s.mu.Unlock()
	}
	return nil, h.err
}

// has says whether a value is there or being made.
func (s *shared[K, V]) has(key K) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.cache.items[key]
	return ok
}

func (s *shared[K, V]) release(h *held[V]) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unref(h)
}

func (s *shared[K, V]) unref(h *held[V]) {
	if h.refs--; h.refs == 0 && h.err == nil && s.free != nil {
		s.free(h.value)
	}
}

// buffers keeps memory that is to be used again. It is for many goroutines.
type buffers struct {
	mu   sync.Mutex
	free [][]byte
	size int // bytes of them all
}

// maxSpare is how many bytes are kept. Frames and what they are made of have many
// sizes, so that a few buffers would seldom fit.
const maxSpare = 8 << 20

// take gives n bytes, with anything in them.
func (b *buffers) take(n int) []byte {
	b.mu.Lock()
	defer b.mu.Unlock()
	for i := len(b.free) - 1; i >= 0; i-- {
		if c := cap(b.free[i]); n <= c && c <= room(n)+n/4 {
			p := b.free[i]
			b.free[i] = b.free[len(b.free)-1]
			b.free = b.free[:len(b.free)-1]
			b.size -= c
			return p[:n]
		}
	}
	return make([]byte, n, room(n))
}

// room is the bytes that are set aside for n, so that the memory fits others too.
func room(n int) int {
	if n < 1<<16 {
		return (n + 1<<12 - 1) &^ (1<<12 - 1)
	}
	return (n + 1<<16 - 1) &^ (1<<16 - 1)
}

// give takes memory back; what has lain there longest may have to go for it.
func (b *buffers) give(p []byte) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if cap(p) == 0 {
		return
	}
	b.free = append(b.free, p)
	b.size += cap(p)
	gone := 0
	for ; b.size > maxSpare; gone++ {
		b.size -= cap(b.free[gone])
	}
	b.free = slices.Delete(b.free, 0, gone)
}

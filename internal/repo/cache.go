package repo

import "container/list"

// cache keeps the values used last, up to a number of bytes; at least one. It is
// for one goroutine.
type cache[K comparable, V any] struct {
	limit, size int64
	order       *list.List // of cached, most recent first
	items       map[K]*list.Element
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

// put keeps a value and returns one that had to go for it, to be used again.
func (c *cache[K, V]) put(key K, value V, size int64) (gone V) {
	c.items[key] = c.order.PushFront(&cached[K, V]{key, value, size})
	c.size += size
	for c.size > c.limit && c.order.Len() > 1 {
		old := c.order.Remove(c.order.Back()).(*cached[K, V])
		delete(c.items, old.key)
		c.size -= old.size
		gone = old.value
	}
	return gone
}

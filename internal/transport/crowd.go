package transport

import (
	"container/list"
	"io"
	"sync"
)

// crowd is the connections of those who have not shown yet who they are. There
// is room for so many; the oldest makes room for a new one, so that whoever
// opens connections and says nothing keeps out nobody but his like.
type crowd struct {
	mu    sync.Mutex
	room  int
	order list.List // of io.Closer, the oldest first
}

// enter takes a connection in until leave is called.
func (c *crowd) enter(conn io.Closer) (leave func()) {
	c.mu.Lock()
	var oldest io.Closer
	if c.order.Len() >= c.room {
		oldest, _ = c.order.Remove(c.order.Front()).(io.Closer)
	}
	place := c.order.PushBack(conn)
	c.mu.Unlock()
	if oldest != nil {
		_ = oldest.Close()
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.order.Remove(place) // does nothing when it had to make room
	}
}

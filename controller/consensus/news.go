package consensus

import "sync"

// news wakes everybody who waits for it. The zero value is ready.
type news struct {
	mu   sync.Mutex
	wake chan struct{} // nil while nobody waits
}

// next returns a channel that is closed by the next tell. To miss nothing, take
// it before looking at what it tells of.
func (n *news) next() <-chan struct{} {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wake == nil {
		n.wake = make(chan struct{})
	}
	return n.wake
}

func (n *news) tell() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.wake != nil {
		close(n.wake)
		n.wake = nil
	}
}

package consensus

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
)

// lan is a network of pipes, so that a whole cluster lives in one bubble of
// virtual time. Hosts are reached by what they advertise.
type lan struct {
	mu    sync.Mutex
	ports map[string]*port // by address
	gone  map[string]bool  // ids that nobody reaches, and that reach nobody
	wires map[*wire]struct{}
}

func newLAN() *lan {
	return &lan{ports: map[string]*port{}, gone: map[string]bool{}, wires: map[*wire]struct{}{}}
}

// plug connects a host to the network, at an address of its own.
func (l *lan) plug(id, address string) *port {
	p := &port{lan: l, id: id, address: address, incoming: make(chan net.Conn), closed: make(chan struct{})}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ports[address] = p
	return p
}

// isolate cuts hosts off from all others, and each other.
func (l *lan) isolate(ids ...string) {
	l.mu.Lock()
	var cut []*wire
	for _, id := range ids {
		l.gone[id] = true
	}
	for w := range l.wires { // both ends
		if l.gone[w.from] || l.gone[w.to] {
			cut = append(cut, w)
		}
	}
	l.mu.Unlock()
	for _, w := range cut {
		w.Close()
	}
}

func (l *lan) heal() {
	l.mu.Lock()
	defer l.mu.Unlock()
	clear(l.gone)
}

// reach gives the host at an address, as another sees it.
func (l *lan) reach(from, address string) *port {
	l.mu.Lock()
	defer l.mu.Unlock()
	p := l.ports[address]
	if p == nil || l.gone[from] || l.gone[p.id] {
		return nil
	}
	return p
}

func (l *lan) wire(from, to string) (near, far net.Conn) {
	a, b := net.Pipe()
	l.mu.Lock()
	defer l.mu.Unlock()
	wires := [2]*wire{{a, l, from, from, to}, {b, l, to, from, to}}
	for _, w := range wires {
		l.wires[w] = struct{}{}
	}
	return wires[0], wires[1]
}

// wire is one end of a connection.
type wire struct {
	net.Conn
	lan             *lan
	owner, from, to string
}

func (w *wire) Close() error {
	w.lan.mu.Lock()
	delete(w.lan.wires, w)
	w.lan.mu.Unlock()
	return w.Conn.Close()
}

// port implements Network.
type port struct {
	lan         *lan
	id, address string
	incoming    chan net.Conn
	closed      chan struct{}
	once        sync.Once
}

var errUnplugged = errors.New("unplugged")

func (p *port) Accept() (net.Conn, error) {
	select {
	case c := <-p.incoming:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *port) Addr() net.Addr { return name("0.0.0.0:1") } // what is listened on is not what is advertised

func (p *port) Close() error {
	p.once.Do(func() { close(p.closed) })
	p.lan.mu.Lock()
	defer p.lan.mu.Unlock()
	if p.lan.ports[p.address] == p {
		delete(p.lan.ports, p.address)
	}
	return nil
}

// Dial hangs when the other is cut off, as it does when packets are lost.
func (p *port) Dial(ctx context.Context, address string) (net.Conn, error) {
	to := p.lan.reach(p.id, address)
	if to == nil {
		p.lan.mu.Lock()
		lost := p.lan.ports[address] != nil
		p.lan.mu.Unlock()
		if lost {
			<-ctx.Done()
		}
		return nil, errors.Join(errUnplugged, ctx.Err())
	}
	near, far := p.lan.wire(p.id, to.id)
	select {
	case to.incoming <- far:
		return near, nil
	case <-to.closed:
	case <-ctx.Done():
	}
	return nil, errors.Join(errUnplugged, near.Close(), far.Close())
}

// members of a list, for messages.
func idsOf(list []Member, which func(Member) bool) []string {
	var ids []string
	for _, m := range list {
		if which(m) {
			ids = append(ids, m.ID)
		}
	}
	slices.Sort(ids)
	return ids
}

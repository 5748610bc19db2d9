package uplink

import (
	"cmp"
	"slices"
	"sync"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Controller is where one controller of the cluster is reached.
type Controller struct {
	ID      string
	Address string // HOST:PORT
}

// book has the addresses of all controllers: those that the user gave, which are
// never forgotten, and those that controllers have told of.
type book struct {
	given    []string
	remember func([]Controller)

	tell sync.Mutex // keeps what is remembered in the order in which it was heard

	mu    sync.Mutex
	known []entry // by id
	turn  int     // which address is asked first next time
}

// entry is a controller and where to reach it. One that gives no address, since
// it listens on nothing but a socket, is where it was heard of. So is one that is
// alone: what it takes for its address need not be good for agents.
type entry struct {
	Controller
	at string
}

func newBook(given []string, known []Controller, remember func([]Controller)) *book {
	b := &book{given: given, remember: remember}
	for _, c := range known {
		if c.ID != "" && c.Address != "" {
			b.known = append(b.known, entry{c, c.Address})
		}
	}
	return b
}

// hear takes in a list of controllers that came from the address. Only a list
// that is complete, as the leader tells, makes the agent forget the others: who
// was taken out of the cluster long ago may still answer with the list of then.
// It returns the leader's address, "" when the list names none, and whether
// anything is new.
func (b *book) hear(from string, list []*pb.ControllerInfo, complete bool) (leader string, news bool) {
	b.tell.Lock()
	defer b.tell.Unlock()
	heard := map[string]entry{}
	for _, c := range list {
		e := entry{Controller{c.GetId(), c.GetAddress()}, cmp.Or(c.GetAddress(), from)}
		if len(list) == 1 {
			e.at = from
		}
		if c.GetLeader() {
			leader = e.at
		}
		if c.GetId() != "" {
			heard[c.GetId()] = e
		}
	}
	if len(heard) == 0 {
		return leader, false
	}
	b.mu.Lock()
	before := b.known
	var known []entry
	for _, e := range before {
		if _, again := heard[e.ID]; !again && !complete {
			known = append(known, e)
		}
	}
	for _, e := range heard {
		known = append(known, e)
	}
	slices.SortFunc(known, func(x, y entry) int { return cmp.Compare(x.ID, y.ID) })
	b.known = known
	b.mu.Unlock()
	if was, is := lasting(before), lasting(known); b.remember != nil && !slices.Equal(was, is) {
		b.remember(is)
	}
	return leader, !slices.Equal(before, known)
}

// lasting are the controllers that can be found again after a restart.
func lasting(all []entry) []Controller {
	var out []Controller
	for _, e := range all {
		if e.Address != "" {
			out = append(out, e.Controller)
		}
	}
	return out
}

// all gives every address there is.
func (b *book) all() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.addresses()
}

// inTurn gives every address there is, beginning with another each time.
func (b *book) inTurn() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	all := b.addresses()
	if len(all) == 0 {
		return nil
	}
	first := b.turn % len(all)
	b.turn++
	return slices.Concat(all[first:], all[:first])
}

func (b *book) addresses() []string {
	var out []string
	for _, a := range b.given {
		out = appendNew(out, a)
	}
	for _, e := range b.known {
		out = appendNew(out, e.at)
	}
	return out
}

func appendNew(list []string, s string) []string {
	if slices.Contains(list, s) {
		return list
	}
	return append(list, s)
}

// place is a controller to send objects to.
type place struct {
	name    string // for people: its id, else its address
	address string
}

// places gives the controllers of these ids in their order, then all others.
func (b *book) places(ids []string) []place {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []place
	add := func(name, address string) {
		if !slices.ContainsFunc(out, func(p place) bool { return p.address == address }) {
			out = append(out, place{name, address})
		}
	}
	for _, id := range ids {
		for _, e := range b.known {
			if e.ID == id {
				add(e.ID, e.at)
			}
		}
	}
	for _, e := range b.known {
		add(e.ID, e.at)
	}
	for _, a := range b.given {
		add(a, a)
	}
	return out
}

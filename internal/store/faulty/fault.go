package faulty

import (
	"context"
	"errors"
	"math/rand/v2"
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
	// NoSpace returns store.ErrNoSpace after the bytes are read, and keeps nothing
	// (Put); so does every Put that does not fit in the plan's Capacity.
	NoSpace
	// Torn leaves the beginning of the object visible and returns an error (Put).
	Torn
	// TornSilently leaves the beginning of the object visible and returns nil (Put).
	TornSilently
	// Garbled leaves the object visible in its length, but a part of it wrong, and
	// returns an error (Put).
	Garbled
	// GarbledSilently does as Garbled and returns nil (Put).
	GarbledSilently
	// LostAnswer does all and returns an error nevertheless (Put, Delete).
	LostAnswer
	// Lost returns nil and does nothing (Put, Delete).
	Lost
	// Short ends the reader early with io.EOF (Get).
	Short
	// Broken ends the reader, or the list, early with an error (Get, List).
	Broken
	// Flip turns one bit of what is read (Get).
	Flip
	// Hang calls the fault's Gate, then waits until the call's context ends (all).
	Hang
	// Slow calls the fault's Gate, and does all once that returns nil (all).
	Slow
	// StaleList lists what was some calls ago: see the plan's Lag (List).
	StaleList
)

var kindNames = []string{
	"fail", "no space", "torn", "torn silently", "garbled", "garbled silently", "lost answer", "lost",
	"short", "broken", "flip", "hang", "slow", "stale list",
}

// String names the kind.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return "unknown"
	}
	return kindNames[k]
}

// Lies says whether the store claims success where there is none.
func (k Kind) Lies() bool { return k == TornSilently || k == GarbledSilently || k == Lost }

// Fault is one thing that goes wrong, at one call (Nth), at each, or at some of
// them (Chance).
type Fault struct {
	Op   Op
	Kind Kind
	// Name restricts it to objects whose name contains this; empty: all.
	Name string
	// Nth is the call, among those that match, at which it happens, from 1; 0: each.
	Nth int
	// Chance, if not 0, is the probability with which it happens at a call that
	// matches. Then the place of the damage is random too: the plan's seed decides.
	Chance float64
	// Offset is the byte within the object that Flip changes. The other damage is
	// done from the middle on.
	Offset int64
	// Gate is what Slow and Hang call, if it is not nil: it returns when the call is
	// to go on, or an error that the call is to fail with.
	Gate func(ctx context.Context, op Op, name string) error
}

// Plan is all that goes wrong. When several faults match a call, the first counts.
type Plan struct {
	// Seed decides everything that is random. Which call a fault hits depends on the
	// calls that matched it before, on nothing else.
	Seed   uint64
	Faults []Fault
	// Capacity is how many bytes the objects put through the plan may have together;
	// 0: no limit. Deleting them makes room.
	Capacity int64
	// Lag is for how many calls List does not see what was put, and still sees what
	// was deleted.
	Lag int
}

// hit is a fault that happens.
type hit struct {
	*Fault
	random *rand.Rand // nil for a fault without a Chance
}

// cut gives a place in n bytes, n > 0, at which damage begins.
func (h hit) cut(n int) int {
	if h.random == nil {
		return n / 2
	}
	return h.random.IntN(n)
}

// draw says whether the fault number i happens at the matching call number nth.
func (p *Plan) draw(i, nth int) (hit, bool) {
	f := &p.Faults[i]
	if f.Chance == 0 {
		return hit{Fault: f}, f.Nth == 0 || f.Nth == nth
	}
	random := rand.New(rand.NewPCG(p.Seed, uint64(i)<<32|uint64(nth))) //nolint:gosec // faults are to be repeatable
	return hit{f, random}, random.Float64() < f.Chance
}

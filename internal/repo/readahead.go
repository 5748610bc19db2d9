package repo

import "slices"

const (
	// maxRange is the most that one request to the store asks for, unless one frame has more.
	maxRange = 4 << 20
	// maxGuess is the most that is asked for because frames were asked for in order.
	maxGuess = 1 << 20
)

// arrival is the sealed bytes of a frame on their way.
type arrival struct {
	done chan struct{} // closed when it is over
	b    []byte
	err  error
	sole bool // of its request: when that fails there is nothing else to try
}

// track is how a pack is being read.
type track struct {
	next int   // the frame after the last that was asked for
	size int64 // of the last request
}

// arriving gives the arrival of a frame that is on its way, nil when none is.
// Frames that are asked for one after the other are fetched together with more
// and more of those that follow.
func (r *frameReader) arriving(x *packIndex, n int) *arrival {
	r.mu.Lock()
	if a, ok := r.ahead.remove(frameKey{x.id, n}); ok {
		r.mu.Unlock()
		return a
	}
	t, last := r.tracks[x.id], n
	size := int64(x.frames[n].size)
	if r.guesses && t.size > 0 && t.next == n {
		for limit := min(2*t.size, maxGuess); last+1 < len(x.frames) && r.absent(x, last+1); last++ {
			if size += int64(x.frames[last+1].size); size > limit {
				break
			}
		}
	}
	if last == n {
		r.tracks[x.id] = track{n + 1, size}
		r.mu.Unlock()
		return nil
	}
	as := r.announce(frameRange{x, n, last})
	r.ahead.remove(frameKey{x.id, n})
	r.mu.Unlock()
	r.request(frameRange{x, n, last}, as)
	return as[0]
}

// absent says whether a frame is neither there nor on its way. r.mu is held.
func (r *frameReader) absent(x *packIndex, n int) bool {
	key := frameKey{x.id, n}
	_, ok := r.ahead.items[key]
	return !ok && !r.frames.has(key)
}

// announce notes frames as being on their way.
func (r *frameReader) announce(g frameRange) []*arrival {
	x, as := g.x, make([]*arrival, 0, g.last-g.first+1)
	size := int64(0)
	for n := g.first; n <= g.last; n++ {
		a, key := &arrival{done: make(chan struct{}), sole: g.first == g.last}, frameKey{x.id, n}
		r.ahead.remove(key)
		r.ahead.put(key, a, int64(x.frames[n].size))
		size += int64(x.frames[n].size)
		as = append(as, a)
	}
	r.tracks[x.id] = track{g.last + 1, size}
	return as
}

// request fetches frames that were announced.
func (r *frameReader) request(g frameRange, as []*arrival) {
	x, from, end := g.x, &g.x.frames[g.first], &g.x.frames[g.last]
	rc, err := r.objects.Get(r.ctx, PackName(r.source, x.id.String()), from.offset, end.offset+int64(end.size)-from.offset)
	if err == nil {
		defer rc.Close()
	}
	for i, a := range as {
		if a.err = err; err == nil {
			a.b = r.spare.take(int(x.frames[g.first+i].size))
			err = readFull(rc, a.b)
			a.err = err
		}
		close(a.done)
	}
}

// abandon ends the wait for frames that nobody fetches.
func abandon(as []*arrival, err error) {
	for _, a := range as {
		a.err, a.sole = err, false // whoever wants it may try
		close(a.done)
	}
}

// frameRange is neighbouring frames of a pack.
type frameRange struct {
	x           *packIndex
	first, last int
}

// missing gives those of the frames of x that are neither there nor on their way,
// neighbours together, and notes them as being on their way.
func (r *frameReader) missing(x *packIndex, frames []int) (ranges []frameRange, arrivals [][]*arrival) {
	slices.Sort(frames)
	r.mu.Lock()
	defer r.mu.Unlock()
	size := int64(0)
	for _, n := range slices.Compact(frames) {
		if !r.absent(x, n) {
			continue
		}
		size += int64(x.frames[n].size)
		if k := len(ranges) - 1; k >= 0 && ranges[k].last == n-1 && size <= maxRange {
			ranges[k].last = n
			continue
		}
		size = int64(x.frames[n].size)
		ranges = append(ranges, frameRange{x, n, n})
	}
	for _, g := range ranges {
		arrivals = append(arrivals, r.announce(g))
	}
	return ranges, arrivals
}

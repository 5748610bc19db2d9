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
	f := r.announce(fetch{x: x, first: n, last: last})
	r.ahead.remove(frameKey{x.id, n})
	r.mu.Unlock()
	r.request(f)
	return f.arrivals[0]
}

// absent says whether a frame is neither there nor on its way. r.mu is held.
func (r *frameReader) absent(x *packIndex, n int) bool {
	key := frameKey{x.id, n}
	_, ok := r.ahead.items[key]
	return !ok && !r.frames.has(key)
}

// fetch is neighbouring frames of a pack that are to be fetched together.
type fetch struct {
	x           *packIndex
	first, last int
	arrivals    []*arrival // one for each, when they are announced
}

// span is where the frames lie in the pack.
func (f fetch) span() (from, to int64) {
	end := &f.x.frames[f.last]
	return f.x.frames[f.first].offset, end.offset + int64(end.size)
}

// announce notes frames as being on their way.
func (r *frameReader) announce(f fetch) fetch {
	size := int64(0)
	for n := f.first; n <= f.last; n++ {
		a, key := &arrival{done: make(chan struct{}), sole: f.first == f.last}, frameKey{f.x.id, n}
		r.ahead.remove(key)
		r.ahead.put(key, a, int64(f.x.frames[n].size))
		size += int64(f.x.frames[n].size)
		f.arrivals = append(f.arrivals, a)
	}
	r.tracks[f.x.id] = track{f.last + 1, size}
	return f
}

// request fetches frames that were announced.
func (r *frameReader) request(f fetch) {
	from, to := f.span()
	rc, err := r.objects.Get(r.ctx, PackName(r.source, f.x.id.String()), from, to-from)
	if err == nil {
		defer rc.Close()
	}
	r.arrive(f, func(b []byte) error {
		if err == nil {
			err = readFull(rc, b)
		}
		return err
	})
}

// arrive makes what was announced of what read gives.
func (r *frameReader) arrive(f fetch, read func([]byte) error) {
	for i, a := range f.arrivals {
		b := r.spare.take(int(f.x.frames[f.first+i].size))
		if a.err = read(b); a.err == nil {
			a.b = b
		} else {
			r.spare.give(b)
		}
		close(a.done)
	}
}

// abandon ends the wait for frames that nobody fetches.
func abandon(fetches []fetch, err error) {
	for _, f := range fetches {
		for _, a := range f.arrivals {
			a.err, a.sole = err, false // whoever wants it may try
			close(a.done)
		}
	}
}

// missing gives those of the frames of x that are neither there nor on their way,
// neighbours together, and notes them as being on their way.
func (r *frameReader) missing(x *packIndex, frames []int) (fetches []fetch) {
	slices.Sort(frames)
	r.mu.Lock()
	defer r.mu.Unlock()
	size := int64(0)
	for _, n := range slices.Compact(frames) {
		if !r.absent(x, n) {
			continue
		}
		size += int64(x.frames[n].size)
		if k := len(fetches) - 1; k >= 0 && fetches[k].last == n-1 && size <= maxRange {
			fetches[k].last = n
			continue
		}
		size = int64(x.frames[n].size)
		fetches = append(fetches, fetch{x: x, first: n, last: n})
	}
	for i, f := range fetches {
		fetches[i] = r.announce(f)
	}
	return fetches
}

package repo

import (
	"cmp"
	"slices"
)

// streamOrder is the order in which the newest snapshot of a base had the chunks
// of one stream. A chunk's place in it is its position. Writing the stream again,
// one finds here which chunks the new ones replace.
type streamOrder struct {
	runs   []orderedRun // by position
	sorted []uint32     // places in runs, by first entry
	length uint32       // one past the last position
	reach  uint32       // how many positions deltaSpan is about
}

type orderedRun struct{ first, count, at uint32 }

// newStreamOrder keeps runs, of chunks that have so many bytes on the average.
func newStreamOrder(runs []entryRun, average int64) *streamOrder {
	o := &streamOrder{reach: uint32(deltaSpan / max(average, 1)), runs: make([]orderedRun, 0, len(runs)), sorted: make([]uint32, 0, len(runs))}
	for _, r := range runs {
		if uint64(o.length)+uint64(r.count) >= 1<<32 {
			break
		}
		o.sorted = append(o.sorted, uint32(len(o.runs)))
		o.runs = append(o.runs, orderedRun{r.first, r.count, o.length})
		o.length += r.count
	}
	slices.SortFunc(o.sorted, func(a, b uint32) int {
		return cmp.Or(cmp.Compare(o.runs[a].first, o.runs[b].first), cmp.Compare(a, b))
	})
	return o
}

// sameEntry bounds how many uses of one entry are looked at.
const sameEntry = 16

// position gives the first position of an entry at or after near, else one
// before it. An entry that is used very often may not be found where it is best.
func (o *streamOrder) position(entry, near uint32) (position uint32, ok bool) {
	i, _ := slices.BinarySearchFunc(o.sorted, entry, func(r, e uint32) int {
		if o.runs[r].first <= e {
			return -1
		}
		return 1
	})
	for n := 0; i > 0 && n < sameEntry; n++ {
		i--
		r := o.runs[o.sorted[i]]
		if entry-r.first >= r.count {
			continue
		}
		p := r.at + entry - r.first
		if !ok || p >= near && (position < near || p < position) {
			position, ok = p, true
		}
	}
	return position, ok
}

// entries calls do with the runs of entries at positions from up to to, in order.
func (o *streamOrder) entries(from, to uint32, do func(entryRun) bool) {
	i, _ := slices.BinarySearchFunc(o.runs, from, func(r orderedRun, p uint32) int {
		if r.at+r.count <= p {
			return -1
		}
		return 1
	})
	for to = min(to, o.length); from < to; i++ {
		r := o.runs[i]
		n := min(r.at+r.count, to) - from
		if !do(entryRun{r.first + from - r.at, n}) {
			return
		}
		from += n
	}
}

// span is a range of positions: from ≤ p < to.
type span struct{ from, to uint32 }

// follower goes along an order while its stream is written anew.
type follower struct {
	order *streamOrder
	at    uint32 // where the base goes on after the last known chunk
}

// replaced gives the positions that the ith of n new chunks may stand for, which
// together stand where the positions from f.at up to to stood: counted from the
// front and from the back. Where as many came as went the two are one.
func (f *follower) replaced(i, n, to uint32) (front, back span) {
	clip := func(p int64) span {
		from, end := max(p, int64(f.at)), min(p+1, int64(to))
		if from >= end {
			return span{}
		}
		return span{uint32(from), uint32(end)}
	}
	front, back = clip(int64(f.at)+int64(i)), clip(int64(to)-int64(n)+int64(i))
	if front == back {
		back = span{}
	}
	return front, back
}

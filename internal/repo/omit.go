package repo

import "fmt"

// What a snapshot needs in the store grows with every one that is built upon the
// one before: packs are kept for a few chunks of theirs, or for the dictionaries
// that others have in them. Nothing is ever rewritten in place. Instead, packs
// that cost more than they are worth are left out of the base, and the next
// snapshot stores anew what is used of them. They can be deleted when the
// snapshots that list them are forgotten.
const (
	// A snapshot may need so many times what its chunks would take if they were
	// stored anew in one go; when it needs more, it is brought down to the second.
	omitAbove, omitDownTo = 2.0, 1.4
	// omitSlack is so much that packs of a small source are not worth a thought.
	omitSlack = 64 << 10
	// More than omitCrowd packs of less than omitSmall bytes are gathered in few large ones.
	omitCrowd, omitSmall = 48, defaultPackSize / 4
)

// packUse is what decides whether a pack is worth building upon.
type packUse struct {
	size      int64 // of the object
	raw, live int64 // bytes of its chunks, and of those that the newest snapshot uses
	leans     []int // packs that its dictionaries lie in
	lost      bool  // it leans on one that cannot be had
}

// omit tells of each pack why it should be left out, if it should. ratio is what
// a byte of chunks takes when it is stored without a dictionary.
func omit(packs []packUse, ratio float64) []string {
	o := omission{packs: packs, ratio: ratio, dependents: make([][]int, len(packs))}
	for i, p := range packs {
		for _, j := range p.leans {
			o.dependents[j] = append(o.dependents[j], i)
		}
	}
	reasons := make([]string, len(packs))
	small := 0
	for i, p := range packs {
		if p.lost {
			o.drop(reasons, i, "its dictionaries lie in a pack that cannot be had")
		}
		if p.size < omitSmall {
			small++
		}
	}
	if small > omitCrowd {
		for i, p := range packs {
			if p.size < omitSmall {
				o.drop(reasons, i, fmt.Sprintf("it is one of %d small ones", small))
			}
		}
	}
	ideal := o.ideal()
	if o.needed(reasons) <= omitAbove*ideal+omitSlack {
		return reasons
	}
	for share := int64(10); ; share += 10 {
		for i, p := range packs {
			if p.live*100 < p.raw*share || share > 100 {
				o.drop(reasons, i, fmt.Sprintf("%d of its %d bytes are used", p.live, p.raw))
			}
		}
		if share > 100 || o.needed(reasons) <= omitDownTo*ideal {
			return reasons
		}
	}
}

type omission struct {
	packs      []packUse
	ratio      float64
	dependents [][]int // packs that have dictionaries in each
}

// drop leaves a pack out, and those that could not be read without it.
func (o *omission) drop(reasons []string, i int, why string) {
	if reasons[i] != "" {
		return
	}
	reasons[i] = why
	for _, j := range o.dependents[i] {
		o.drop(reasons, j, "its dictionaries lie in a pack that is left out")
	}
}

// ideal is what the snapshot would take if all of it were stored anew.
func (o *omission) ideal() (sum float64) {
	for _, p := range o.packs {
		sum += float64(p.live) * o.ratio
	}
	return sum
}

// needed is about what the next snapshot would need in the store: packs that are
// used, packs that those lean on, and what is stored anew.
func (o *omission) needed(reasons []string) (sum float64) {
	seen := make([]bool, len(o.packs))
	var need func(i int)
	need = func(i int) {
		if seen[i] {
			return
		}
		seen[i] = true
		sum += float64(o.packs[i].size)
		for _, j := range o.packs[i].leans {
			need(j)
		}
	}
	for i, p := range o.packs {
		if reasons[i] != "" {
			sum += float64(p.live) * o.ratio
		} else if p.live > 0 {
			need(i)
		}
	}
	return sum
}

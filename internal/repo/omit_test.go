package repo

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"
)

func TestOmit(t *testing.T) {
	const mib = 1 << 20
	full := func(size int64) packUse { return packUse{size: size, raw: 4 * size, live: 4 * size} }
	part := func(size, percent int64, leans ...int) packUse {
		return packUse{size: size, raw: 4 * size, live: 4 * size * percent / 100, leans: leans}
	}
	many := func(n int, p packUse) (out []packUse) {
		for range n {
			out = append(out, p)
		}
		return out
	}
	for name, c := range map[string]struct {
		packs []packUse
		want  string // o: omitted
	}{
		"nothing":                   {nil, ""},
		"all used":                  {many(3, full(16*mib)), "..."},
		"half used":                 {[]packUse{part(16*mib, 51), part(16*mib, 51)}, ".."},
		"one sparse of many":        {append(many(3, full(16*mib)), part(16*mib, 5)), "...."},
		"mostly sparse":             {[]packUse{full(16 * mib), part(16*mib, 5), part(16*mib, 8), part(16*mib, 30)}, ".ooo"},
		"sparse and tiny":           {[]packUse{part(1000, 1), part(1000, 1)}, ".."},
		"unused":                    {[]packUse{part(16*mib, 0), part(16*mib, 0)}, ".."},
		"only for dictionaries":     {[]packUse{part(16*mib, 0), {size: mib, raw: 60 * mib, live: 60 * mib, leans: []int{0}}}, ".."},
		"dear dictionaries":         {[]packUse{part(16*mib, 0), {size: mib, raw: 10 * mib, live: 10 * mib, leans: []int{0}}}, "oo"},
		"one leans on a sparse one": {[]packUse{part(32*mib, 1), part(16*mib, 50), part(16*mib, 100, 0)}, "o.o"},
		"a dictionary is lost":      {[]packUse{full(16 * mib), {size: mib, raw: mib, live: mib, lost: true}, part(mib, 100, 1)}, ".oo"},
		"few small ones":            {many(omitCrowd, full(mib)), strings.Repeat(".", omitCrowd)},
		"a crowd of small ones":     {append(many(omitCrowd+1, full(mib)), full(16*mib)), strings.Repeat("o", omitCrowd+1) + "."},
	} {
		t.Run(name, func(t *testing.T) {
			got := ""
			for _, why := range omit(c.packs, 0.25) {
				if why == "" {
					got += "."
				} else {
					got += "o"
				}
			}
			if got != c.want {
				t.Errorf("omitted %q, want %q: %q", got, c.want, omit(c.packs, 0.25))
			}
		})
	}
}

// simulated is a source whose snapshots are built upon each other: chunks of one
// size, the packs that the newest snapshot lists, and what was written in all.
type simulated struct {
	r       *rand.Rand
	deltas  bool
	packs   []*simPack
	where   []*simPack // of each chunk of the newest version
	written float64
}

type simPack struct {
	size  float64
	raw   int
	leans map[*simPack]bool
}

const (
	simChunk = 64 << 10
	simRatio = 0.25
	simDelta = 0.02
)

func (s *simulated) uses() []packUse {
	number, live := map[*simPack]int{}, map[*simPack]int64{}
	for i, p := range s.packs {
		number[p] = i
	}
	for _, p := range s.where {
		live[p] += simChunk
	}
	uses := make([]packUse, len(s.packs))
	for i, p := range s.packs {
		uses[i] = packUse{size: int64(p.size), raw: int64(p.raw) * simChunk, live: live[p]}
		for q := range p.leans {
			uses[i].leans = append(uses[i].leans, number[q])
		}
	}
	return uses
}

// backup stores the chunks that change, and those in packs that are omitted.
func (s *simulated) backup(changed func(i int) bool) {
	out := map[*simPack]bool{}
	for i, why := range omit(s.uses(), simRatio) {
		if why != "" {
			out[s.packs[i]] = true
		}
	}
	var pack *simPack
	for i, old := range s.where {
		if !changed(i) && old != nil && !out[old] {
			continue
		}
		if pack == nil || pack.size > defaultPackSize {
			pack = &simPack{leans: map[*simPack]bool{}}
			s.packs = append(s.packs, pack)
		}
		cost := simRatio
		if s.deltas && old != nil && !out[old] {
			cost = simDelta
			pack.leans[old] = true
		}
		pack.raw++
		pack.size += cost * simChunk
		s.written += cost * simChunk
		s.where[i] = pack
	}
	// The manifest lists what is used and what that leans on.
	listed := map[*simPack]bool{}
	var list func(*simPack)
	list = func(p *simPack) {
		if !listed[p] {
			listed[p] = true
			for q := range p.leans {
				list(q)
			}
		}
	}
	for _, p := range s.where {
		list(p)
	}
	kept := s.packs[:0]
	for _, p := range s.packs {
		if listed[p] {
			kept = append(kept, p)
		}
	}
	s.packs = kept
}

func (s *simulated) needed() (sum float64) {
	for _, p := range s.packs {
		sum += p.size
	}
	return sum
}

// Whatever changes day by day, the newest snapshot needs little more than twice
// its size in the store, and not much more is written for that.
func TestOmissionBoundsWhatASnapshotNeeds(t *testing.T) {
	const days = 300
	for _, deltas := range []bool{false, true} {
		for name, change := range map[string]func(r *rand.Rand, n int) func(int) bool{
			"uniform": func(r *rand.Rand, _ int) func(int) bool { return func(int) bool { return r.IntN(6) == 0 } },
			"little":  func(r *rand.Rand, _ int) func(int) bool { return func(int) bool { return r.IntN(500) == 0 } },
			"local": func(r *rand.Rand, n int) func(int) bool {
				at := r.IntN(n)
				return func(i int) bool { return i >= at && i < at+n/50 }
			},
			"hot": func(r *rand.Rand, n int) func(int) bool {
				return func(i int) bool { return i > n*9/10 && r.IntN(3) == 0 || r.IntN(1000) == 0 }
			},
			"nothing": func(*rand.Rand, int) func(int) bool { return func(int) bool { return false } },
		} {
			for _, chunks := range []int{20, 4000} {
				t.Run(fmt.Sprintf("%s/deltas %v/%d chunks", name, deltas, chunks), func(t *testing.T) {
					t.Parallel()
					r := rand.New(rand.NewPCG(3, uint64(chunks)))
					s := &simulated{r: r, deltas: deltas, where: make([]*simPack, chunks)}
					s.backup(func(int) bool { return true })
					ideal, plain, worst := s.written, s.written, 0.0
					for range days {
						f := change(r, chunks)
						s.backup(func(i int) bool {
							if f(i) {
								plain += simRatio * simChunk
								return true
							}
							return false
						})
						worst = max(worst, s.needed()/(ideal+omitSlack))
					}
					t.Logf("needs at most %.2f of its size; written %.2f of what changed, uncompressed by deltas", worst, s.written/plain)
					if worst > 2.3 {
						t.Errorf("needs %.2f times its size", worst)
					}
					if s.written > 2.2*plain {
						t.Errorf("%.2f times as much is written as changes", s.written/plain)
					}
				})
			}
		}
	}
}

// When most of a source goes away at once, the second backup after that has let go of it.
func TestOmissionAfterMostWasDeleted(t *testing.T) {
	s := &simulated{where: make([]*simPack, 20_000)}
	s.backup(func(int) bool { return true })
	var left []*simPack
	for i, p := range s.where {
		if i%20 == 0 {
			left = append(left, p)
		}
	}
	s.where = left
	s.backup(func(int) bool { return false })
	s.backup(func(int) bool { return false })
	if ideal := float64(len(left)) * simChunk * simRatio; s.needed() > omitDownTo*ideal+omitSlack {
		t.Errorf("needs %.0f bytes, anew it would be %.0f", s.needed(), ideal)
	}
}

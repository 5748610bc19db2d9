package repo

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

func TestStreamOrder(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var runs []entryRun
		var flat []uint32 // entries by position
		for range r.IntN(12) {
			run := entryRun{r.Uint32N(40), 1 + r.Uint32N(8)}
			runs = append(runs, run)
			for n := range run.count {
				flat = append(flat, run.first+n)
			}
		}
		o := newStreamOrder(runs, 4<<10)
		if int(o.length) != len(flat) {
			t.Fatalf("%v: length %d, want %d", runs, o.length, len(flat))
		}
		for range 50 {
			entry, near := r.Uint32N(50), r.Uint32N(60)
			want := -1
			if near < o.length {
				want = slices.Index(flat[near:], entry)
			}
			if want >= 0 {
				want += int(near)
			} else {
				want = slices.Index(flat, entry)
			}
			p, ok := o.position(entry, near)
			if ok != (want >= 0) || ok && flat[p] != entry || ok && want >= int(near) && int(p) != want {
				t.Fatalf("%v: entry %d from %d on is at %d, %v, want %d", runs, entry, near, p, ok, want)
			}
			from, to := r.Uint32N(60), r.Uint32N(60)
			var got []uint32
			o.entries(from, to, func(r entryRun) bool {
				for n := range r.count {
					got = append(got, r.first+n)
				}
				return true
			})
			var wanted []uint32
			if end := min(int(to), len(flat)); int(from) < end {
				wanted = flat[from:end]
			}
			if !slices.Equal(got, wanted) {
				t.Fatalf("%v: positions %d to %d hold %v, want %v", runs, from, to, got, wanted)
			}
		}
	}
}

func TestWhatIsReplaced(t *testing.T) {
	for _, c := range []struct {
		at, to, n uint32
		want      string
	}{
		{10, 11, 1, "[10]"},
		{10, 13, 3, "[10][11][12]"},
		{10, 10, 3, "[][][]"},                 // inserted
		{10, 12, 1, "[10 11]"},                // two became one
		{10, 11, 3, "[10][][10]"},             // one became three
		{10, 100, 2, "[10 98][11 99]"},        // most was deleted
		{10, 5, 2, "[][]"},                    // the base goes on before
		{10, 13, 4, "[10][11 10][12 11][12]"}, // three became four
	} {
		f := follower{at: c.at}
		got := ""
		for i := range c.n {
			var at []uint32
			front, back := f.replaced(i, c.n, c.to)
			for _, s := range []span{front, back} {
				for p := s.from; p < s.to; p++ {
					at = append(at, p)
				}
			}
			got += fmt.Sprint(at)
		}
		if got != c.want {
			t.Errorf("%d new for %d to %d: %s, want %s", c.n, c.at, c.to, got, c.want)
		}
	}
}

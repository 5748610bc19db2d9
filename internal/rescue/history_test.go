package rescue

import (
	"fmt"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
)

// TestHistory spoils the ledger of three entries in every way, and wants the first
// place named that does not fit.
func TestHistory(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		spoil  func(t *testing.T, s *site)
		head   int      // the entry that is remembered; 0: none, 4: one that never was
		wrong  bool     // its hash is remembered wrongly
		misfit []string // "index+missing: reason"
		intact int
	}{
		"nothing":                    {intact: 3},
		"nothing, the head known":    {head: 3, intact: 3},
		"nothing, one before known":  {head: 2, intact: 3},
		"another head is remembered": {head: 2, wrong: true, misfit: []string{"2+0: its hash is"}, intact: 3},
		"the first is gone": {
			spoil:  func(_ *testing.T, s *site) { s.Change(repo.LedgerName(1), gone) },
			misfit: []string{"1+1: no copy"}, intact: 2,
		},
		"one in the middle is gone": {
			spoil:  func(_ *testing.T, s *site) { s.Change(repo.LedgerName(2), gone) },
			misfit: []string{"2+1: no copy"}, intact: 2,
		},
		"the last is gone, and nobody knows": {
			spoil:  func(_ *testing.T, s *site) { s.Change(repo.LedgerName(3), gone) },
			intact: 2,
		},
		"the last is gone, and somebody knows": {
			spoil: func(_ *testing.T, s *site) { s.Change(repo.LedgerName(3), gone) },
			head:  3, misfit: []string{"3+1: remembered"}, intact: 2,
		},
		"two at the end are gone": {
			spoil: func(_ *testing.T, s *site) {
				s.Change(repo.LedgerName(3), gone)
				s.Change(repo.LedgerName(2), gone)
			},
			head: 3, misfit: []string{"2+2: remembered"}, intact: 1,
		},
		"all are gone": {
			spoil: func(_ *testing.T, s *site) {
				for i := range uint64(3) {
					s.Change(repo.LedgerName(i+1), gone)
				}
			},
			head: 3, misfit: []string{"1+3: remembered"},
		},
		"one is damaged": {
			spoil:  func(_ *testing.T, s *site) { s.Change(repo.LedgerName(2), flip) },
			misfit: []string{"2+0: open"}, intact: 2,
		},
		"the remembered one is damaged": {
			spoil: func(_ *testing.T, s *site) { s.Change(repo.LedgerName(3), flip) },
			head:  3, misfit: []string{"3+0: open"}, intact: 2,
		},
		"one is where another was": {
			spoil:  func(_ *testing.T, s *site) { s.replay(repo.LedgerName(1), repo.LedgerName(3)) },
			misfit: []string{"3+0: copy of entry 1"}, intact: 2,
		},
		"damage, and a hole after it": {
			spoil: func(_ *testing.T, s *site) {
				s.Change(repo.LedgerName(1), flip)
				s.Change(repo.LedgerName(2), gone)
			},
			misfit: []string{"1+0: open", "2+1: no copy"}, intact: 1,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newSite(t)
			r := open(t, s)
			entries, _, err := r.entries(t.Context())
			if err != nil || len(entries) != 3 {
				t.Fatalf("%d entries, %v", len(entries), err)
			}
			var hash ledger.Hash
			if tt.head > 0 {
				hash = entries[tt.head-1].Hash
			}
			if tt.wrong {
				hash[0]++
			}
			if tt.spoil != nil {
				tt.spoil(t, s)
			}
			h, err := r.History(t.Context(), uint64(tt.head), hash)
			if err != nil {
				t.Fatal(err)
			}
			if h.Entries != tt.intact || (h.Head == nil) != (tt.intact == 0) {
				t.Errorf("%d entries are intact, the head is %v; want %d", h.Entries, h.Head, tt.intact)
			}
			var got []string
			for _, m := range h.Misfits {
				got = append(got, fmt.Sprintf("%d+%d: %v", m.Index, m.Missing, m.Err))
			}
			if len(got) != len(tt.misfit) {
				t.Fatalf("misfits %q, want %q", got, tt.misfit)
			}
			for i, want := range tt.misfit {
				place, reason, _ := strings.Cut(want, ": ")
				if !strings.HasPrefix(got[i], place+": ") || !strings.Contains(got[i], reason) {
					t.Errorf("misfit %q, want %q", got[i], want)
				}
			}
		})
	}
}

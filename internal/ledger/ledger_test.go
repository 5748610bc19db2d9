package ledger_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/ledger"
)

func entry() ledger.Entry {
	return ledger.Entry{
		Snapshot: "01HZX3V5M9Q8R7S6T5V4W3X2Y1", Source: "shop", Run: "a1", Epoch: 1, Engine: "postgres",
		FireTime:   time.Date(2026, 3, 1, 2, 0, 0, 123456789, time.FixedZone("x", 3600)),
		StartedAt:  time.Date(2026, 3, 1, 2, 0, 1, 0, time.UTC),
		CommitTime: time.Date(2026, 3, 1, 2, 0, 2, 999, time.UTC),
		Streams:    []ledger.Stream{{Name: "shop.sql", Kind: "database", Database: "shop", Format: "pg_dump-plain", Size: 7, SHA256: ledger.Hash{1}}},
		RawBytes:   7, NewBytes: 3, Manifest: ledger.Hash{2}, ManifestSize: 9, Root: ledger.Hash{3}, Stores: []string{"main"},
	}
}

func TestEntriesChain(t *testing.T) {
	one, two := entry(), entry()
	if err := one.Seal(nil); err != nil {
		t.Fatal(err)
	}
	if err := two.Seal(&one); err != nil {
		t.Fatal(err)
	}
	if err := one.Follows(nil); err != nil {
		t.Error(err)
	}
	if err := two.Follows(&one); err != nil {
		t.Error(err)
	}
	if two.Index != 2 || two.Previous != one.Hash {
		t.Errorf("entry 2 has index %d and previous %s", two.Index, two.Previous)
	}
	for name, change := range map[string]func(*ledger.Entry){
		"source":   func(e *ledger.Entry) { e.Source = "other" },
		"time":     func(e *ledger.Entry) { e.FireTime = e.FireTime.Add(time.Microsecond) },
		"stream":   func(e *ledger.Entry) { e.Streams[0].Size++ },
		"index":    func(e *ledger.Entry) { e.Index = 3 },
		"previous": func(e *ledger.Entry) { e.Previous = ledger.Hash{} },
		"hash":     func(e *ledger.Entry) { e.Hash[0]++ },
	} {
		t.Run(name, func(t *testing.T) {
			changed := entry()
			if err := changed.Seal(&one); err != nil {
				t.Fatal(err)
			}
			change(&changed)
			if changed.Follows(&one) == nil {
				t.Error("a changed entry passed")
			}
		})
	}
	if two.Follows(nil) == nil {
		t.Error("a second entry passed as the first")
	}
}

func TestAnEntrySurvivesEncoding(t *testing.T) {
	for name, change := range map[string]func(*ledger.Entry){
		"as it is":    func(*ledger.Entry) {},
		"no lists":    func(e *ledger.Entry) { e.Streams, e.Stores = nil, nil },
		"empty lists": func(e *ledger.Entry) { e.Streams, e.Stores = []ledger.Stream{}, []string{} },
	} {
		t.Run(name, func(t *testing.T) {
			e := entry()
			change(&e)
			if err := e.Seal(nil); err != nil {
				t.Fatal(err)
			}
			b, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			var back ledger.Entry
			if err := json.Unmarshal(b, &back); err != nil {
				t.Fatal(err)
			}
			if err := back.Follows(nil); err != nil {
				t.Errorf("after JSON: %v\n%s", err, b)
			}
			if !ledger.Intact(b, back.Hash) || ledger.Intact(append(b, ' '), back.Hash) {
				t.Errorf("the text does not have the hash that it states: %s", b)
			}
		})
	}
}

func TestAbsentAndEmptyListsHashAlike(t *testing.T) {
	absent, empty := entry(), entry()
	absent.Streams, absent.Stores = nil, nil
	empty.Streams, empty.Stores = []ledger.Stream{}, []string{}
	if absent.Seal(nil) != nil || empty.Seal(nil) != nil || absent.Hash != empty.Hash {
		t.Errorf("%s and %s", absent.Hash, empty.Hash)
	}
}

// The hash of a known entry never changes, or old ledgers would stop verifying.
func TestHashIsStable(t *testing.T) {
	e := entry()
	if err := e.Seal(nil); err != nil {
		t.Fatal(err)
	}
	const want = "2929c4db12397d8e5b8389bca83aecb784759bca7e1392ae5e25022c6c01d6ed"
	if got := e.Hash.String(); got != want {
		t.Errorf("hash %s, want %s", got, want)
	}
}

func TestATimeBeyondEncodingIsAnError(t *testing.T) {
	e := entry()
	e.FireTime = time.Date(10000, 1, 1, 0, 0, 0, 0, time.UTC)
	if e.Seal(nil) == nil {
		t.Error("sealed")
	}
}

func FuzzHashUnmarshal(f *testing.F) {
	f.Add(strings.Repeat("ab", 32))
	f.Add("")
	f.Add("zz")
	f.Fuzz(func(t *testing.T, text string) {
		var h ledger.Hash
		if h.UnmarshalText([]byte(text)) == nil && !strings.EqualFold(h.String(), text) {
			t.Errorf("%q became %s", text, h)
		}
	})
}

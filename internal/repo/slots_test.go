package repo

import (
	"encoding/json"
	"strings"
	"testing"

	"filippo.io/age"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
)

const testRepository = "00112233445566778899aabbccddeeff"

// cheap is a passphrase that takes no time to try.
func cheap(text string) Passphrase { return Passphrase{text, argonCost{1, 8, 1}} }

func ageIdentity(t testing.TB) AgeIdentity {
	t.Helper()
	k, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return AgeIdentity{k}
}

// testKeys are one of each type.
func testKeys(t testing.TB) map[string]Key {
	t.Helper()
	return map[string]Key{SlotKeyFile: vectorKey, SlotPassphrase: cheap("correct horse battery"), SlotAge: ageIdentity(t)}
}

// slotOf gives the only slot of a store.
func slotOf(t *testing.T, st *mem.Store) Slot {
	t.Helper()
	_, slots, err := ListSlots(t.Context(), st)
	if err != nil || len(slots) != 1 {
		t.Fatalf("%d slots, %v", len(slots), err)
	}
	return slots[0]
}

func change(fn func(*keySlot)) func([]byte) []byte {
	return func(b []byte) []byte {
		var s keySlot
		_ = json.Unmarshal(b, &s)
		fn(&s)
		b, _ = json.Marshal(s)
		return b
	}
}

// What opens a repository, and what is said when nothing does. First the slot is
// damaged alone and its copy serves, then the copy is too.
func TestSlotsAreGuarded(t *testing.T) {
	stranger := map[string]Key{SlotKeyFile: newKey(t), SlotPassphrase: cheap("incorrect horse battery"), SlotAge: ageIdentity(t)}
	for kind, key := range testKeys(t) {
		proof := problem.Corrupt // that the slot is this key's
		if kind == SlotPassphrase {
			proof = problem.Denied
		}
		for name, c := range map[string]struct {
			change func([]byte) []byte
			want   problem.Code
			reason problem.Reason
		}{
			"gone":          {func([]byte) []byte { return nil }, problem.Corrupt, ReasonCorrupt},
			"empty":         {func([]byte) []byte { return []byte{} }, problem.Corrupt, ReasonCorrupt},
			"cut short":     {func(b []byte) []byte { return b[:len(b)/2] }, problem.Corrupt, ReasonCorrupt},
			"large":         {func(b []byte) []byte { return append(b, make([]byte, maxSlotFile)...) }, problem.Corrupt, ReasonCorrupt},
			"newer":         {change(func(s *keySlot) { s.Version = 2 }), problem.InvalidInput, ReasonNewerFormat},
			"another id":    {change(func(s *keySlot) { s.ID = "0123456789abcdef" }), problem.Corrupt, ReasonCorrupt},
			"generation 0":  {change(func(s *keySlot) { s.Generation = 0 }), problem.Corrupt, ReasonCorrupt},
			"generation 2":  {change(func(s *keySlot) { s.Generation = 2 }), proof, ""},
			"wrapped":       {change(func(s *keySlot) { s.Wrapped[len(s.Wrapped)-1] ^= 1 }), proof, ""},
			"label":         {change(func(s *keySlot) { s.Label = "a\x1b[2J" }), problem.Corrupt, ReasonCorrupt},
			"another store": {change(func(s *keySlot) { s.Repository = testRepository }), problem.Corrupt, ReasonCorrupt},
			"unknown type":  {change(func(s *keySlot) { s.Type = "tpm" }), problem.Denied, ReasonNoSlot},
		} {
			t.Run(kind+" "+name, func(t *testing.T) {
				st := mem.New()
				r, err := Create(t.Context(), st, key, testTime)
				if err != nil {
					t.Fatal(err)
				}
				slot := slotOf(t, st)
				st.Change(KeySlotName(slot.ID), c.change)
				if healed, err := Open(t.Context(), st, key); err != nil || !sameRepository(healed, r) {
					t.Errorf("with a good copy: %v", err)
				}
				if name != "unknown type" && slotOf(t, st).Note == "" {
					t.Error("nothing is said of the damage")
				}
				st.Change(CopyName(KeySlotName(slot.ID)), c.change)
				if _, err := Open(t.Context(), st, key); problem.CodeOf(err) != c.want || c.reason != "" && problem.ReasonOf(err) != c.reason {
					t.Errorf("%v, want %q", err, c.want)
				}
			})
		}
		st := mem.New()
		if _, err := Create(t.Context(), st, key, testTime); err != nil {
			t.Fatal(err)
		}
		for other, key := range stranger {
			want := ReasonNoSlot
			if other == kind {
				want = ReasonWrongKey
			}
			_, err := Open(t.Context(), st, key)
			if problem.CodeOf(err) != problem.Denied || problem.ReasonOf(err) != want || want == ReasonNoSlot && !strings.Contains(problem.Text(err), keyNames[kind]) {
				t.Errorf("%s opened by a strange %s: %s", kind, other, problem.Text(err))
			}
		}
	}
}

// A slot must not cost its reader more than is allowed, nor less than it can cost.
func TestCostsAreBounded(t *testing.T) {
	for name, cost := range map[string]argonCost{
		"no time": {0, 64, 1}, "no memory": {1, 0, 1}, "no thread": {1, 64, 0}, "too little memory": {1, 15, 2}, "too long": {17, 64, 1},
		"4 GiB": {1, 4 << 20, 1}, "threads": {1, 1 << 12, 17}, "256 threads": {1, 1 << 12, 256}, "overflow": {1<<32 - 1, 1<<32 - 1, 1<<32 - 1}, "threads overflow": {1, 1 << 10, 1 << 31},
	} {
		st := mem.New()
		if _, err := Create(t.Context(), st, cheap("correct horse battery"), testTime); err != nil {
			t.Fatal(err)
		}
		slot := slotOf(t, st)
		for _, n := range []string{KeySlotName(slot.ID), CopyName(KeySlotName(slot.ID))} {
			st.Change(n, change(func(s *keySlot) { s.Time, s.MemoryKiB, s.Threads = cost.time, cost.memoryKiB, cost.threads }))
		}
		if _, err := Open(t.Context(), st, cheap("correct horse battery")); problem.CodeOf(err) != problem.Corrupt {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestPassphrases(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "long": strings.Repeat("a", maxPassphrase+1), "not text": "correct \xff horse battery"} {
		if _, err := NewPassphrase(text); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("%s: %v", name, err)
		}
	}
	st := mem.New()
	if _, err := Create(t.Context(), st, cheap("elevenchars"), testTime); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("a short passphrase: %v", err)
	}
	// As one keyboard composes it, and as another does.
	composed, err := NewPassphrase("caf\u00e9 au lait")
	if err != nil {
		t.Fatal(err)
	}
	combined, err := NewPassphrase("cafe\u0301 au lait")
	if err != nil || combined != composed {
		t.Errorf("spelled in two ways: %v", err)
	}
}

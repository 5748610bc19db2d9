package repo

import (
	"bytes"
	"testing"

	"github.com/baktainer/baktainer/internal/store/mem"
)

func FuzzParseKeyFile(f *testing.F) {
	f.Add(KeyFile{}.Encode())
	f.Add([]byte(typed(vectorKey, "- ", "\r\n")))
	f.Add([]byte(keyFilePrefix + "-AAAA-00000000"))
	f.Add([]byte("# nothing"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if k, err := ParseKeyFile(b); err == nil {
			if again, err := ParseKeyFile(k.Encode()); err != nil || again != k {
				t.Errorf("what was read cannot be written: %v", err)
			}
		}
	})
}

func FuzzParseAgeIdentity(f *testing.F) {
	f.Add([]byte("# public key: age1\n" + ageIdentity(f).identity.String() + "\n"))
	f.Add([]byte("AGE-SECRET-KEY-1"))
	f.Fuzz(func(_ *testing.T, b []byte) {
		if k, err := ParseAgeIdentity(b); err == nil {
			_, _ = ParseAgeRecipient(k.Recipient().String())
		}
	})
}

func FuzzParseFormat(f *testing.F) {
	b, _ := newFormat("00000000000000000000000000000000", testTime).encode()
	f.Add(b)
	f.Add([]byte(`{"format":"baktainer-repository","version":1,"id":"00000000000000000000000000000000"}`))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _ = parseFormat(b)
	})
}

// A slot is whatever the store says it is.
func FuzzKeySlot(f *testing.F) {
	const id = "0123456789abcdef"
	keys := testKeys(f)
	for _, k := range keys {
		s := keySlot{Format: slotKind, Version: slotVersion, Repository: testRepository, ID: id, Generation: 1}
		if err := k.wrap(&s, MasterKey{1}, noise(1)); err != nil {
			f.Fatal(err)
		}
		b, _ := s.encode()
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := parseSlot(id, b)
		if err != nil {
			return
		}
		if s.Type == SlotPassphrase && uint64(s.Time)*uint64(s.MemoryKiB) > 1<<10 {
			return // allowed, and slow
		}
		for _, k := range keys {
			if k.slotType() != s.Type {
				continue
			}
			if master, err := k.unwrap(s); err == nil && s.Type != SlotAge && master != (MasterKey{1}) {
				t.Errorf("a slot that was never made opens as %x", master[:])
			}
		}
		again, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := parseSlot(id, again); err != nil {
			t.Errorf("what was read cannot be written: %v", err)
		}
		st := mem.New()
		if _, err := st.Put(t.Context(), KeySlotName(id), bytes.NewReader(b)); err != nil {
			t.Fatal(err)
		}
		if slots, err := readSlots(t.Context(), st, s.Repository); err != nil || len(slots) != 1 {
			t.Errorf("%d slots, %v", len(slots), err)
		}
	})
}

func FuzzEarlierKey(f *testing.F) {
	object, err := sealEarlier(testRepository, 2, MasterKey{2}, MasterKey{1}, noise(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint32(2), object)
	f.Fuzz(func(t *testing.T, generation uint32, b []byte) {
		if _, err := openEarlier(testRepository, generation, MasterKey{2}, b); err == nil && !bytes.Equal(b, object) {
			t.Error("an earlier key that was never sealed opens")
		}
	})
}

func FuzzLedgerCopy(f *testing.F) {
	r := &Repository{Generation: 1, keys: newKeyring(1, MasterKey{1})}
	object, err := sealLedger(MasterKey{1}, 1, 3, []byte("{}"), bytes.NewReader(make([]byte, ledgerSalt)))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint64(3), object)
	f.Fuzz(func(t *testing.T, index uint64, b []byte) {
		if _, err := r.OpenLedger(index, b); err == nil && !bytes.Equal(b, object) {
			t.Error("a copy that was never sealed opens")
		}
	})
}

package repo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"
)

// keyVectors are what testdata/keys.json states about key slots, for whoever
// writes a reader of their own. Byte strings are in hexadecimal.
type keyVectors struct {
	Repository string           `json:"repository"`
	Slots      []slotVector     `json:"slots"`
	Earlier    []earlierVector  `json:"earlier"`
	Typed      []string         `json:"key_file_as_typed"` // each is the key file of the first slot
	Sources    []sourceKeyState `json:"source_keys"`
}

type slotVector struct {
	What   string `json:"what"`
	Key    string `json:"key"`    // text of the key file, passphrase, or text of the identity
	Master string `json:"master"` // master key
	Wrap   string `json:"wrap,omitempty"`
	Object string `json:"object"` // text of the slot
}

type earlierVector struct {
	Generation uint32 `json:"generation"`
	Master     string `json:"master"`
	Earlier    string `json:"earlier"`
	Object     string `json:"object"`
}

type sourceKeyState struct {
	Master string `json:"master"`
	Source string `json:"source"`
	Key    string `json:"key"`
}

const vectorIdentity = "AGE-SECRET-KEY-1SHF3RQXAPDSSDGH48P5K8VCTL5MDV9N09038QJ5CURV6DWEKYMJS964NZX"

// makeKeyVectors makes slots of each type, of a first and of a later generation.
func makeKeyVectors(t *testing.T) keyVectors {
	t.Helper()
	identity, err := ParseAgeIdentity([]byte(vectorIdentity))
	if err != nil {
		t.Fatal(err)
	}
	words, err := NewPassphrase("correct horse battery, cafe\u0301") // composed otherwise than NFC has it
	if err != nil {
		t.Fatal(err)
	}
	small := words
	small.cost = argonCost{1, 64, 2}
	v := keyVectors{Repository: testRepository}
	first, second := MasterKey(bytes.Repeat([]byte{1}, keySize)), MasterKey(bytes.Repeat([]byte{2}, keySize))
	for i, c := range []struct {
		what, text string
		key        Key
		generation uint32
	}{
		{"key file", string(vectorKey.Encode()), vectorKey, 1}, {"passphrase, cheap", "correct horse battery, cafe\u0301", small, 1},
		{"passphrase, as usual", "correct horse battery, caf\u00e9", words, 2}, {"age", vectorIdentity + "\n", identity, 1}, {"key file, generation 2", string(vectorKey.Encode()), vectorKey, 2},
	} {
		master := first
		if c.generation == 2 {
			master = second
		}
		s, err := newSlot(testRepository, c.generation, master, c.key, "for "+c.what+" – ключ", testTime, noise(byte(30+i)))
		if err != nil {
			t.Fatal(err)
		}
		b, err := s.encode()
		if err != nil {
			t.Fatal(err)
		}
		sv := slotVector{What: c.what, Key: c.text, Master: hex.EncodeToString(master[:]), Object: string(b)}
		switch k := c.key.(type) {
		case KeyFile:
			w := k.wrappingKey(s.Salt)
			sv.Wrap = hex.EncodeToString(w[:])
		case Passphrase:
			w := k.stretch(s)
			sv.Wrap = hex.EncodeToString(w[:])
		}
		v.Slots = append(v.Slots, sv)
	}
	object, err := sealEarlier(testRepository, 2, second, first, noise(40))
	if err != nil {
		t.Fatal(err)
	}
	v.Earlier = []earlierVector{{2, hex.EncodeToString(second[:]), hex.EncodeToString(first[:]), hex.EncodeToString(object)}}
	for _, m := range []MasterKey{first, second} {
		k := m.source(testSource, 1)
		v.Sources = append(v.Sources, sourceKeyState{hex.EncodeToString(m[:]), testSource, hex.EncodeToString(k.secret[:])})
	}
	v.Typed = []string{typed(vectorKey, " ", "\n"), typed(vectorKey, "-", "\r\n"), vectorKey.Line()}
	return v
}

// What this version makes is what the vectors hold, but for age, which draws its
// own randomness; and all that they hold opens.
func TestKeyVectors(t *testing.T) {
	path := filepath.Join("testdata", "keys.json")
	made := makeKeyVectors(t)
	if *update {
		b, _ := json.MarshalIndent(made, "", "  ")
		if err := os.WriteFile(path, append(b, '\n'), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want keyVectors
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Slots) != len(made.Slots) || len(want.Earlier) != 1 || len(want.Typed) != 3 {
		t.Fatal("the vectors are incomplete")
	}
	for i, v := range want.Slots {
		var id struct {
			ID string `json:"id"`
		}
		_ = json.Unmarshal([]byte(v.Object), &id)
		s, err := parseSlot(id.ID, []byte(v.Object))
		if err != nil {
			t.Fatalf("%s: %v", v.What, err)
		}
		if s.Type != SlotAge && v != made.Slots[i] {
			t.Errorf("%s is made otherwise: %s", v.What, made.Slots[i].Object)
		}
		var key Key
		switch s.Type {
		case SlotKeyFile:
			key, err = ParseKeyFile([]byte(v.Key))
		case SlotPassphrase:
			key, err = NewPassphrase(v.Key)
		default:
			key, err = ParseAgeIdentity([]byte(v.Key))
		}
		if err != nil {
			t.Fatalf("%s: %v", v.What, err)
		}
		if master, err := key.unwrap(s); err != nil || hex.EncodeToString(master[:]) != v.Master || !s.genuine(master) {
			t.Errorf("%s: %v", v.What, err)
		}
	}
	if want.Earlier[0] != made.Earlier[0] {
		t.Error("earlier keys are made otherwise")
	}
	for i, v := range want.Sources {
		if v != made.Sources[i] {
			t.Error("source keys are derived otherwise")
		}
	}
	for _, text := range want.Typed {
		if k, err := ParseKeyFile([]byte(text)); err != nil || k != vectorKey {
			t.Errorf("%q: %v", text, err)
		}
	}
}

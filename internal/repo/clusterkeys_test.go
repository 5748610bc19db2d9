package repo

import (
	"encoding/hex"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
)

// The keys are fixed for ever: a sealed authority must open after an upgrade.
func TestKeysOfAClusterAreFixed(t *testing.T) {
	var master MasterKey
	for i := range master {
		master[i] = byte(i)
	}
	r := &Repository{Generation: 1, keys: newKeyring(1, master)}
	authority, err := r.ClusterKey(1)
	if err != nil {
		t.Fatal(err)
	}
	receipts, err := r.ReceiptKey()
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		got  [keySize]byte
		want string
	}{
		"authority": {authority, "0204689a2b618bf2e8b97a514d58a3eeb41e5afd509f38ad7cdd18120b4bed1f"},
		"receipts":  {receipts, "021bae5bc7c1f3b432e9acf9e82fb49adab65849b25f24b0a5bd4019ff5a7c34"},
	} {
		if got := hex.EncodeToString(c.got[:]); got != c.want {
			t.Errorf("%s: %s, want %s", what, got, c.want)
		}
	}
}

func TestKeysOfAClusterFollowTheGeneration(t *testing.T) {
	key, err := GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	st, keys := keysOf(t, key)
	before, err := Open(t.Context(), st, key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.NewGeneration(t.Context(), false, testTime); err != nil {
		t.Fatal(err)
	}
	after, err := Open(t.Context(), st, key)
	if err != nil {
		t.Fatal(err)
	}
	if after.Generation != 2 {
		t.Fatalf("generation %d", after.Generation)
	}
	get := func(r *Repository, generation uint32) [keySize]byte {
		t.Helper()
		k, err := r.ClusterKey(generation)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	if get(before, 0) != get(before, 1) || get(before, 1) != get(after, 1) {
		t.Error("the key of one generation is not one key")
	}
	if get(after, 0) != get(after, 2) || get(after, 1) == get(after, 2) {
		t.Error("0 is not the newest generation, or two generations share a key")
	}
	if _, err := before.ClusterKey(2); problem.ReasonOf(err) != ReasonWrongKey {
		t.Errorf("a generation that was not opened: %v", err)
	}
	old, err := before.ReceiptKey()
	if err != nil {
		t.Fatal(err)
	}
	if fresh, err := after.ReceiptKey(); err != nil || fresh == old {
		t.Errorf("receipts of a new generation have the old one's key: %v", err)
	}
}

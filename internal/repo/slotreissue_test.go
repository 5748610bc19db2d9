package repo

import (
	"errors"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

func labels(t *testing.T, st store.Store) map[string]int {
	t.Helper()
	_, slots, err := ListSlots(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	n := map[string]int{}
	for _, s := range slots {
		n[s.Label]++
	}
	return n
}

func newKeyFile(t *testing.T) KeyFile {
	t.Helper()
	k, err := GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestAHolderThatAsksAgainHasOneSlot(t *testing.T) {
	st, keys := keysOf(t, newKeyFile(t))
	// The same label on a slot of another kind is a person's, and stays.
	if _, err := keys.Add(t.Context(), ageIdentity(t).Recipient(), "controller c2", testTime); err != nil {
		t.Fatal(err)
	}
	lost, other, kept := newKeyFile(t), newKeyFile(t), newKeyFile(t)
	for label, key := range map[string]KeyFile{"controller c2": lost, "controller c20": other} {
		if _, err := keys.Reissue(t.Context(), key, label, testTime); err != nil {
			t.Fatal(err)
		}
	}
	s, err := keys.Reissue(t.Context(), kept, "controller c2", testTime)
	if err != nil || s.Label != "controller c2" || s.Type != SlotKeyFile {
		t.Fatalf("%+v, %v", s, err)
	}
	if n := labels(t, st); n["controller c2"] != 2 || n["controller c20"] != 1 || n["first key"] != 1 {
		t.Errorf("slots %v", n)
	}
	for what, key := range map[string]KeyFile{"its new key": kept, "another's": other} {
		if _, err := Open(t.Context(), st, key); err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Open(t.Context(), st, lost); problem.ReasonOf(err) != ReasonWrongKey {
		t.Errorf("the key that was lost: %v", err)
	}
}

func TestReissueNeverShutsOutTheKeyAtHand(t *testing.T) {
	first := newKeyFile(t)
	st, keys := keysOf(t, first)
	if _, err := keys.Reissue(t.Context(), newKeyFile(t), "first key", testTime); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), st, first); err != nil {
		t.Error(err)
	}
	if _, err := keys.Reissue(t.Context(), newKeyFile(t), "", testTime); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("without a label: %v", err)
	}
}

// Wherever the power goes, whoever asks again gets a key that works, and one slot.
func TestReissueCanBeCutShortAnywhere(t *testing.T) {
	first := newKeyFile(t)
	for changes := 0; ; changes++ {
		st, keys := keysOf(t, first)
		if _, err := keys.Reissue(t.Context(), newKeyFile(t), "controller c2", testTime); err != nil {
			t.Fatal(err)
		}
		_, err := reopen(t, &dying{st, changes}, first).Reissue(t.Context(), newKeyFile(t), "controller c2", testTime)
		if err != nil && !errors.Is(err, errPower) {
			t.Fatalf("after %d changes: %v", changes, err)
		}
		again := newKeyFile(t)
		if _, err := reopen(t, st, first).Reissue(t.Context(), again, "controller c2", testTime); err != nil {
			t.Fatalf("again, after %d changes: %v", changes, err)
		}
		if _, err := Open(t.Context(), st, again); err != nil {
			t.Fatalf("after %d changes: %v", changes, err)
		}
		if n := labels(t, st); n["controller c2"] != 1 || n["first key"] != 1 {
			t.Fatalf("after %d changes: slots %v", changes, n)
		}
		if err == nil {
			if changes < 4 {
				t.Fatalf("it went through with %d changes", changes)
			}
			return
		}
	}
}

package repo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// dying is a store whose power goes after so many changes.
type dying struct {
	store.Store
	left int
}

var errPower = errors.New("the power went")

func (d *dying) Put(ctx context.Context, name string, r io.Reader) (store.Info, error) {
	if d.left--; d.left < 0 {
		return store.Info{}, errPower
	}
	return d.Store.Put(ctx, name, r)
}

func (d *dying) Delete(ctx context.Context, name string) error {
	if d.left--; d.left < 0 {
		return errPower
	}
	return d.Store.Delete(ctx, name)
}

// keysOf makes a repository whose first slot is the key's, and opens it for changes.
func keysOf(t *testing.T, key Key) (*mem.Store, *Keys) {
	t.Helper()
	st := mem.New()
	if _, err := Create(t.Context(), st, key, testTime); err != nil {
		t.Fatal(err)
	}
	return st, reopen(t, st, key)
}

func reopen(t *testing.T, st store.Store, key Key) *Keys {
	t.Helper()
	k, err := OpenKeys(t.Context(), st, key)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func (k *Keys) mustAdd(t *testing.T, h Holder) Slot {
	t.Helper()
	s, err := k.Add(t.Context(), h, "a label", testTime)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func count(t *testing.T, st store.Store) int {
	t.Helper()
	_, slots, err := ListSlots(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	return len(slots)
}

func wants(t *testing.T, what string, err error, code problem.Code) {
	t.Helper()
	if code == "" && err != nil || code != "" && problem.CodeOf(err) != code {
		t.Errorf("%s: %v, want %q", what, err, code)
	}
}

// Each key opens what the others do, until its slot is removed.
func TestAddAndRemove(t *testing.T) {
	keys := testKeys(t)
	for first, key := range keys {
		st, k := keysOf(t, key)
		slots := map[string]Slot{first: slotOf(t, st)}
		for kind, other := range keys {
			if kind == first {
				continue
			}
			h := Holder(other)
			if id, ok := other.(AgeIdentity); ok {
				h = id.Recipient()
			}
			slots[kind] = k.mustAdd(t, h)
			if slots[kind].Type != kind || slots[kind].Label != "a label" || slots[kind].Fingerprint != other.fingerprint() {
				t.Errorf("%+v", slots[kind])
			}
		}
		for kind, other := range keys {
			if r, err := Open(t.Context(), st, other); err != nil || !sameRepository(r, &Repository{ID: k.id, Generation: 1, keys: k.ring}) {
				t.Errorf("%s after %s: %v", kind, first, err)
			}
		}
		wants(t, "none such", k.Remove(t.Context(), "0123456789abcdef", true), problem.NotFound)
		wants(t, "the only one that is shown to open", k.Remove(t.Context(), slots[first].ID, false), problem.Conflict)
		if n := count(t, st); n != 3 {
			t.Fatalf("%d slots after refusals", n)
		}
		wants(t, "by force", k.Remove(t.Context(), slots[first].ID, true), "")
		if _, err := Open(t.Context(), st, key); problem.ReasonOf(err) != ReasonNoSlot {
			t.Errorf("the removed %s: %v", first, err)
		}
		for kind, other := range keys {
			if kind == first {
				continue
			}
			k = reopen(t, st, other)
			for id, s := range slots {
				if id != first && id != kind {
					wants(t, "another's", k.Remove(t.Context(), s.ID, false), "")
				}
			}
			wants(t, "the last", k.Remove(t.Context(), slots[kind].ID, true), problem.Conflict)
			if _, err := Open(t.Context(), st, other); err != nil || count(t, st) != 1 {
				t.Errorf("the last: %v, %d slots", err, count(t, st))
			}
			break
		}
	}
}

func TestAddIsRefused(t *testing.T) {
	st, k := keysOf(t, vectorKey)
	for name, c := range map[string]struct {
		holder Holder
		label  string
		want   problem.Code
	}{
		"has one":           {vectorKey, "", problem.Conflict},
		"weak":              {cheap("password"), "", problem.InvalidInput},
		"label too long":    {newKey(t), strings.Repeat("a", 201), problem.InvalidInput},
		"label with escape": {newKey(t), "\x1b[2J", problem.InvalidInput},
	} {
		_, err := k.Add(t.Context(), c.holder, c.label, testTime)
		wants(t, name, err, c.want)
	}
	if count(t, st) != 1 {
		t.Error("something was written")
	}
	for range maxSlots - 1 {
		k.mustAdd(t, newKey(t))
	}
	_, err := k.Add(t.Context(), newKey(t), "", testTime)
	wants(t, "too many", err, problem.Conflict)
	reopen(t, st, vectorKey)
	s := keySlot{Format: slotKind, Version: 1, Repository: k.id, ID: "0123456789abcdef", Generation: 1}
	if err := errors.Join(vectorKey.wrap(&s, MasterKey{1}, noise(3)), putSlot(t.Context(), st, &s)); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(t.Context(), st, vectorKey); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("%d slots: %v", maxSlots+1, err)
	}
}

// A slot that the store's operator made for himself is not the repository's.
func TestForgedSlots(t *testing.T) {
	st, k := keysOf(t, vectorKey)
	mallory := ageIdentity(t)
	forged, err := newSlot(k.id, 1, MasterKey{6}, mallory.Recipient(), "friend", testTime, noise(2))
	if err != nil {
		t.Fatal(err)
	}
	if err := putSlot(t.Context(), st, forged); err != nil {
		t.Fatal(err)
	}
	wants(t, "the last genuine one", k.Remove(t.Context(), slotIDs(t, st, SlotKeyFile)[0], true), problem.Conflict)
	next, err := k.NewGeneration(t.Context(), false, testTime)
	wants(t, "with a slot that is not kept", err, problem.Conflict)
	if len(next.Dropped) != 1 || next.Dropped[0].ID != forged.ID || next.Dropped[0].Damaged == "" {
		t.Errorf("dropped %+v", next.Dropped)
	}
	if _, err := k.NewGeneration(t.Context(), true, testTime); err != nil {
		t.Fatal(err)
	}
	if r, err := Open(t.Context(), st, mallory); err == nil {
		t.Errorf("opened %v", r)
	}
	// One of a genuine slot's fields changed, so that it is another's.
	friend := ageIdentity(t)
	s := k.mustAdd(t, friend.Recipient())
	for _, n := range []string{KeySlotName(s.ID), CopyName(KeySlotName(s.ID))} {
		st.Change(n, change(func(s *keySlot) { s.Recipient = mallory.Recipient().String() }))
	}
	if next, err := k.Succession(t.Context()); err != nil || len(next.Dropped) != 1 || len(next.Kept) != 1 {
		t.Errorf("%+v, %v", next, err)
	}
}

func slotIDs(t *testing.T, st store.Store, kind string) (ids []string) {
	t.Helper()
	_, slots, err := ListSlots(t.Context(), st)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range slots {
		if s.Type == kind {
			ids = append(ids, s.ID)
		}
	}
	return ids
}

func TestRotate(t *testing.T) {
	for kind, key := range testKeys(t) {
		fresh := map[string]Key{SlotKeyFile: newKey(t), SlotPassphrase: cheap("another horse battery"), SlotAge: ageIdentity(t)}[kind]
		st, k := keysOf(t, key)
		old := slotOf(t, st).ID
		if id, ok := fresh.(AgeIdentity); ok {
			_, err := k.Rotate(t.Context(), old, id.Recipient(), "", false, testTime)
			wants(t, "to a recipient that nobody has shown to open", err, problem.Conflict)
			wants(t, "back", k.Remove(t.Context(), slotIDs(t, st, SlotAge)[btoi(slotIDs(t, st, SlotAge)[0] == old)], false), "")
		}
		s, err := k.Rotate(t.Context(), old, fresh, "new", false, testTime)
		if err != nil || count(t, st) != 1 || s.Label != "new" {
			t.Fatalf("%s: %v, %d slots", kind, err, count(t, st))
		}
		if r, err := Open(t.Context(), st, fresh); err != nil || !sameRepository(r, &Repository{ID: k.id, Generation: 1, keys: k.ring}) {
			t.Errorf("%s: %v", kind, err)
		}
		if _, err := Open(t.Context(), st, key); problem.CodeOf(err) != problem.Denied {
			t.Errorf("the old %s: %v", kind, err)
		}
		_, err = reopen(t, st, fresh).Rotate(t.Context(), old, key, "", false, testTime)
		wants(t, "none such", err, problem.NotFound)
	}
	// The same key again: a slot of its own, sealed anew.
	st, k := keysOf(t, vectorKey)
	if _, err := k.Rotate(t.Context(), slotOf(t, st).ID, vectorKey, "", false, testTime); err != nil || count(t, st) != 1 {
		t.Error(err)
	}
}

func TestNewGeneration(t *testing.T) {
	keys := testKeys(t)
	absent := newKey(t)
	st, k := keysOf(t, keys[SlotKeyFile])
	k.mustAdd(t, keys[SlotPassphrase])
	k.mustAdd(t, keys[SlotAge])
	k.mustAdd(t, absent)
	before := reopen(t, st, absent)
	ledger1, err := (&Repository{Generation: 1, keys: k.ring}).SealLedger(1, []byte("{}"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.NewGeneration(t.Context(), false, testTime, keys[SlotPassphrase])
	wants(t, "one key is not there", err, problem.Conflict)
	if !strings.Contains(problem.Text(err), slotIDs(t, st, SlotKeyFile)[0]) && !strings.Contains(problem.Text(err), slotIDs(t, st, SlotKeyFile)[1]) {
		t.Error(problem.Text(err))
	}
	for generation := uint32(2); generation < 5; generation++ {
		next, err := k.NewGeneration(t.Context(), true, testTime, keys[SlotPassphrase])
		if err != nil || len(next.Kept) != 3 || len(next.Dropped) != btoi(generation == 2) || k.Generation() != generation {
			t.Fatalf("generation %d: %+v, %v", generation, next, err)
		}
	}
	if _, err := Open(t.Context(), st, absent); problem.ReasonOf(err) != ReasonWrongKey {
		t.Errorf("who was dropped: %v", err)
	}
	_, err = before.Add(t.Context(), newKey(t), "", testTime)
	wants(t, "who was dropped adds", err, problem.Denied)
	for kind, key := range keys {
		r, err := Open(t.Context(), st, key)
		if err != nil || r.Generation != 4 || !r.keys.complete() {
			t.Fatalf("%s: %v, %v", kind, r, err)
		}
		if plain, err := r.OpenLedger(1, ledger1); err != nil || string(plain) != "{}" {
			t.Errorf("%s, a ledger copy of generation 1: %v", kind, err)
		}
		seen := map[SourceKey]bool{}
		for g := range uint32(5) {
			sk, err := r.SourceKey("a", g)
			if err != nil || g > 0 && sk.Generation() != g || g == 0 && sk.Generation() != 4 {
				t.Errorf("source key of generation %d: %v", g, err)
			}
			seen[sk] = true
		}
		if len(seen) != 4 {
			t.Errorf("%d keys in 4 generations", len(seen))
		}
		_, err = r.SourceKey("a", 5)
		wants(t, "a generation to come", err, problem.Denied)
	}
}

// Old and new slots are there together before the old ones go: they must not be too
// many to be read.
func TestNewGenerationOfManySlots(t *testing.T) {
	st, k := keysOf(t, vectorKey)
	for range maxSlots / 2 {
		k.mustAdd(t, ageIdentity(t).Recipient())
	}
	_, err := k.NewGeneration(t.Context(), false, testTime)
	wants(t, "a new generation", err, problem.Conflict)
	if r, err := Open(t.Context(), st, vectorKey); err != nil || r.Generation != 1 || count(t, st) != maxSlots/2+1 {
		t.Errorf("afterwards: %v, %v", r, err)
	}
}

// Earlier keys are served by their copies; without either what is newer still opens.
func TestEarlierKeysAreGuarded(t *testing.T) {
	st, k := keysOf(t, vectorKey)
	for range 2 {
		if _, err := k.NewGeneration(t.Context(), false, testTime); err != nil {
			t.Fatal(err)
		}
	}
	flip := func(b []byte) []byte { b[40] ^= 1; return b }
	st.Change(EarlierKeyName(2), flip)
	if r, err := Open(t.Context(), st, vectorKey); err != nil || !r.keys.complete() {
		t.Errorf("with a good copy: %v", err)
	}
	st.Change(CopyName(EarlierKeyName(2)), flip)
	r, err := Open(t.Context(), st, vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	for g, want := range map[uint32]problem.Code{0: "", 3: "", 2: "", 1: problem.Corrupt} {
		_, err := r.SourceKey("a", g)
		wants(t, fmt.Sprintf("source key of generation %d", g), err, want)
	}
	_, err = reopen(t, st, vectorKey).NewGeneration(t.Context(), true, testTime)
	wants(t, "a new generation", err, problem.Corrupt)
}

// Whenever the power goes, those who could open the repository still can, and
// what was cut short can be done again.
func TestPowerGoes(t *testing.T) {
	mine, other, fresh := vectorKey, cheap("correct horse battery"), newKey(t)
	friend := ageIdentity(t)
	changes := map[string]struct {
		change func(k *Keys, slot string) error
		opened []Key // by these in the end
		closed []Key
	}{
		"add":    {func(k *Keys, _ string) error { _, err := k.Add(t.Context(), fresh, "", testTime); return err }, []Key{mine, other, friend, fresh}, nil},
		"remove": {func(k *Keys, slot string) error { return k.Remove(t.Context(), slot, false) }, []Key{mine, friend}, []Key{other}},
		"rotate": {func(k *Keys, slot string) error {
			_, err := k.Rotate(t.Context(), slot, fresh, "", false, testTime)
			return err
		}, []Key{mine, friend, fresh}, []Key{other}},
		"new generation": {func(k *Keys, _ string) error {
			_, err := k.NewGeneration(t.Context(), true, testTime, fresh)
			return err
		}, []Key{mine, friend, fresh}, []Key{other}},
	}
	for name, c := range changes {
		steps := 0
		for done := false; !done; steps++ {
			st, k := keysOf(t, mine)
			slot := k.mustAdd(t, other).ID
			k.mustAdd(t, friend.Recipient())
			failing := &dying{st, steps}
			err := c.change(reopen(t, failing, mine), slot)
			if done = err == nil; !done && !errors.Is(err, errPower) {
				t.Fatalf("%s, %d changes: %v", name, steps, err)
			}
			r, err := Open(t.Context(), st, mine)
			if err != nil || !r.keys.complete() || r.keys.masters[1] != k.ring.masters[1] {
				t.Fatalf("%s, power went after %d changes: %v", name, steps, err)
			}
			if r, err := Open(t.Context(), st, friend); err != nil || r.keys.masters[1] != k.ring.masters[1] {
				t.Errorf("%s, power went after %d changes, another key: %v", name, steps, err)
			}
			if !done {
				again := c.change(reopen(t, st, mine), slot)
				if code := problem.CodeOf(again); again != nil && code != problem.Conflict && code != problem.NotFound {
					t.Errorf("%s again, power went after %d changes: %v", name, steps, again)
				}
			}
			for i, key := range c.opened {
				if _, err := Open(t.Context(), st, key); err != nil {
					t.Errorf("%s, power went after %d changes, key %d: %v", name, steps, i, err)
				}
			}
			for _, key := range c.closed {
				if _, err := Open(t.Context(), st, key); err == nil {
					t.Errorf("%s, power went after %d changes: a key that was removed opens", name, steps)
				}
			}
		}
		if steps < 3 {
			t.Errorf("%s: cut short after %d changes only", name, steps)
		}
		t.Logf("%s: %d changes", name, steps-1)
	}
}

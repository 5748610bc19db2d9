package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

// Keys changes the key slots of a repository that is open with one key. Whatever
// is added is durable, and was read back, before what it replaces is removed: a
// crash at any time leaves the repository open to those who could open it.
// It is for one process at a time.
type Keys struct {
	store  store.Store
	id     string
	key    Key
	ring   keyring
	random io.Reader
}

// OpenKeys opens the repository in a store for changes of its keys. Its problems
// are those of Open.
func OpenKeys(ctx context.Context, st store.Store, key Key) (*Keys, error) {
	r, err := Open(ctx, st, key)
	if err != nil {
		return nil, err
	}
	return &Keys{store: st, id: r.ID, key: key, ring: r.keys, random: rand.Reader}, nil
}

// Repository is the id of the repository.
func (k *Keys) Repository() string { return k.id }

// Generation is the newest that the key opens.
func (k *Keys) Generation() uint32 { return k.ring.newest }

// Add makes a slot for one more holder.
func (k *Keys) Add(ctx context.Context, h Holder, label string, now time.Time) (Slot, error) {
	slots, err := k.current(ctx)
	if err != nil {
		return Slot{}, err
	}
	if has := k.slotOf(slots, h, ""); has != nil {
		return Slot{}, problem.New(problem.Conflict, "the %s has slot %s already", keyNames[has.versions[0].Type], has.id)
	}
	s, err := k.add(ctx, slots, h, label, now)
	if err != nil {
		return Slot{}, err
	}
	return s.describe(), nil
}

func (s *keySlot) describe() Slot { return storedSlot{id: s.ID, versions: []*keySlot{s}}.describe() }

// slotOf finds the slot of the newest generation that a holder has, but for one.
func (k *Keys) slotOf(slots storedSlots, h Holder, except string) *storedSlot {
	for i, s := range slots {
		v := k.genuine(s)
		if v == nil || s.id == except || v.Generation != k.ring.newest {
			continue
		}
		switch h := h.(type) {
		case Key:
			if k.opens(h, v) {
				return &slots[i]
			}
		case AgeRecipient:
			if v.Type == SlotAge && v.Recipient == h.String() {
				return &slots[i]
			}
		}
	}
	return nil
}

// current reads the slots, and refuses to go on when others have gone ahead.
func (k *Keys) current(ctx context.Context) (storedSlots, error) {
	slots, err := readSlots(ctx, k.store, k.id)
	if err != nil {
		return nil, fmt.Errorf("read the key slots: %w", err)
	}
	if len(slots) > 0 && slots[0].generation() > k.ring.newest {
		return nil, problem.New(problem.Denied, "there are keys of generation %d, and the key at hand opens generations up to %d", slots[0].generation(), k.ring.newest).
			WithReason(ReasonWrongKey).WithHint("Use a key that was added when, or since, that generation was made.")
	}
	return slots, nil
}

// add stores a slot of the newest generation, and reads it back.
func (k *Keys) add(ctx context.Context, slots storedSlots, h Holder, label string, now time.Time) (*keySlot, error) {
	master, err := k.ring.master(k.ring.newest)
	if err != nil {
		return nil, err
	}
	s, err := newSlot(k.id, k.ring.newest, master, h, label, now, k.random)
	if err != nil {
		return nil, err
	}
	if len(slots) >= maxSlots {
		return nil, problem.New(problem.Conflict, "there are %d key slots, and no more are allowed", len(slots)).WithHint("Remove one first.")
	}
	if err := putSlot(ctx, k.store, s); err != nil {
		return nil, err
	}
	return s, k.readBack(ctx, s, h)
}

// readBack makes sure that a slot is in the store as it should be, and opens.
func (k *Keys) readBack(ctx context.Context, s *keySlot, h Holder) error {
	stored, err := readSlot(ctx, k.store, s.ID, [2]bool{true, true})
	if err != nil {
		return fmt.Errorf("read back key slot %s: %w", s.ID, err)
	}
	want, err := s.encode()
	if err != nil {
		return err
	}
	if len(stored.versions) != 1 || stored.note != "" {
		return problem.New(problem.Corrupt, "the store did not keep key slot %s: %s", s.ID, stored.note).WithReason(ReasonCorrupt)
	}
	got, err := stored.versions[0].encode()
	if err != nil || !bytes.Equal(got, want) {
		return problem.New(problem.Corrupt, "the store did not keep key slot %s as it was", s.ID).WithReason(ReasonCorrupt)
	}
	if key, ok := h.(Key); ok {
		if master, err := key.unwrap(s); err != nil || master != k.ring.masters[s.Generation] {
			return problem.New(problem.Internal, "key slot %s does not open with the key that it was made for", s.ID)
		}
	}
	return nil
}

// genuine gives the version of a slot that somebody made who has the master key
// of its generation, nil when there is none.
func (k *Keys) genuine(s storedSlot) *keySlot {
	for _, v := range s.versions {
		if master, ok := k.ring.masters[v.Generation]; ok && v.known() && v.genuine(master) {
			return v
		}
	}
	return nil
}

// opens says whether a key opens a slot to the master key of its generation.
func (k *Keys) opens(key Key, v *keySlot) bool {
	if v == nil || v.Type != key.slotType() || key.fingerprint() != v.fingerprint() {
		return false
	}
	master, err := key.unwrap(v)
	return err == nil && master == k.ring.masters[v.Generation]
}

// Remove removes a slot. The last one is never removed, and the last one that the
// key at hand opens only by force.
func (k *Keys) Remove(ctx context.Context, id string, force bool) error {
	return k.remove(ctx, id, nil, force)
}

// remove removes a slot, another being known to open.
func (k *Keys) remove(ctx context.Context, id string, proven *keySlot, force bool) error {
	slots, err := k.current(ctx)
	if err != nil {
		return err
	}
	at := slices.IndexFunc(slots, func(s storedSlot) bool { return s.id == id })
	if at < 0 {
		return problem.New(problem.NotFound, "there is no key slot %.40q", id).WithHint("List them with: baktainer key ls")
	}
	goes := k.genuine(slots[at])
	left, open := 0, proven != nil
	for i, s := range slots {
		if v := k.genuine(s); i != at && v != nil && v.Generation == k.ring.newest {
			left++
			open = open || k.opens(k.key, v)
		}
	}
	switch {
	case left == 0:
		return problem.New(problem.Conflict, "slot %s is the last that opens the repository", id).WithHint("Add another key first.")
	case force:
	case !open:
		return problem.New(problem.Conflict, "slot %s is the last that the key at hand opens; nobody has shown that another works", id).
			WithHint("Open the repository with another of its keys, or use --force.")
	case goes != nil && goes.Generation != k.ring.newest && k.ring.lost != nil:
		return problem.Wrap(problem.Conflict, k.ring.lost, "slot %s opens generation %d, whose key may be had in no other way", id, goes.Generation).
			WithHint("Use --force to remove it nevertheless.")
	}
	return k.delete(ctx, id)
}

func (k *Keys) delete(ctx context.Context, id string) error {
	name := KeySlotName(id)
	if err := errors.Join(k.store.Delete(ctx, CopyName(name)), k.store.Delete(ctx, name)); err != nil {
		return fmt.Errorf("remove key slot %s: %w", id, err)
	}
	return nil
}

// Rotate replaces a slot by one for another key of its holder. No data is
// written anew, and the master key stays: whoever has the old key and a copy of
// the old slot can still open everything. It can be done again when it was cut short.
// With an error, a slot is returned when one was added.
func (k *Keys) Rotate(ctx context.Context, id string, h Holder, label string, force bool, now time.Time) (Slot, error) {
	slots, err := k.current(ctx)
	if err != nil {
		return Slot{}, err
	}
	if !slices.ContainsFunc(slots, func(s storedSlot) bool { return s.id == id }) {
		return Slot{}, problem.New(problem.NotFound, "there is no key slot %.40q", id).WithHint("List them with: baktainer key ls")
	}
	var s *keySlot
	if has := k.slotOf(slots, h, id); has != nil && has.note == "" {
		s = has.versions[0] // of an attempt that was cut short
	} else {
		if has != nil { // without its copy
			if err := k.delete(ctx, has.id); err != nil {
				return Slot{}, err
			}
		}
		if s, err = k.add(ctx, slots, h, label, now); err != nil {
			return Slot{}, err
		}
	}
	var proven *keySlot
	if _, ok := h.(Key); ok {
		proven = s // it was opened when it was read back
	}
	if err := k.remove(ctx, id, proven, force); err != nil {
		return s.describe(), fmt.Errorf("slot %s was added, and slot %s is still there: %w", s.ID, id, err)
	}
	return s.describe(), nil
}

package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

// Succession says who gets the key of a new generation.
type Succession struct {
	// Kept are the slots that are made anew, Dropped those whose holders would have to
	// be there with their keys: a key file or a passphrase that was not given.
	Kept, Dropped []Slot
	heirs         []heir
	old           []string // ids of all slots that there are
}

type heir struct {
	holder Holder
	label  string
}

// Succession tells who would get the key of a new generation: the key at hand,
// those given, and the age recipients that have slots. Nothing is written.
func (k *Keys) Succession(ctx context.Context, given ...Holder) (Succession, error) {
	slots, err := k.current(ctx)
	if err != nil {
		return Succession{}, err
	}
	var next Succession
	// The key at hand is first: whatever comes between, it opens all.
	for _, h := range append([]Holder{k.key}, given...) {
		if !slices.ContainsFunc(next.heirs, func(o heir) bool { return sameHolder(o.holder, h) }) {
			next.heirs = append(next.heirs, heir{holder: h})
		}
	}
	for _, s := range slots {
		next.old = append(next.old, s.id)
		v := k.genuine(s)
		i := next.heirOf(k, v)
		if i < 0 && v != nil && v.Type == SlotAge {
			if r, err := ParseAgeRecipient(v.Recipient); err == nil {
				i = len(next.heirs)
				next.heirs = append(next.heirs, heir{holder: r})
			}
		}
		if i < 0 {
			d := s.describe()
			if v == nil && d.Damaged == "" {
				d.Damaged = "nobody who has the repository's key made it as it is"
			}
			next.Dropped = append(next.Dropped, d)
			continue
		}
		if next.heirs[i].label == "" {
			next.heirs[i].label = v.Label
		}
		next.Kept = append(next.Kept, s.describe())
	}
	return next, nil
}

// heirOf finds whose slot it is, -1 when it is nobody's.
func (n *Succession) heirOf(k *Keys, v *keySlot) int {
	if v == nil {
		return -1
	}
	for i, h := range n.heirs {
		switch holder := h.holder.(type) {
		case Key:
			if k.opens(holder, v) {
				return i
			}
		case AgeRecipient:
			if v.Type == SlotAge && v.Recipient == holder.String() {
				return i
			}
		}
	}
	return -1
}

// sameHolder says whether two would get slots that open with the same key.
func sameHolder(a, b Holder) bool { return holderName(a) == holderName(b) }

func holderName(h Holder) string {
	switch h := h.(type) {
	case AgeRecipient:
		return SlotAge + h.String()
	case Passphrase:
		return SlotPassphrase + h.text
	case Key:
		return h.slotType() + h.fingerprint()
	}
	return ""
}

// NewGeneration makes a new master key. What is written from then on opens only
// with keys that get a slot of it: those in the succession. All earlier slots are
// removed; who would lose his is a problem Conflict unless drop is set. Earlier
// snapshots stay as they are, and whoever had a key to them still has it. It can
// be done again when it was cut short.
func (k *Keys) NewGeneration(ctx context.Context, drop bool, now time.Time, given ...Holder) (Succession, error) {
	next, err := k.Succession(ctx, given...)
	if err != nil {
		return next, err
	}
	if k.ring.lost != nil {
		return next, fmt.Errorf("make a new generation: %w", k.ring.lost)
	}
	if len(next.Dropped) > 0 && !drop {
		p := problem.New(problem.Conflict, "the keys of %d slots were not given, so that these cannot be made anew", len(next.Dropped)).
			WithHint("Give these keys too (--with-key-file, --with-passphrase-file), or say --drop-others: who has only these cannot read what is written from now on.")
		for _, s := range next.Dropped {
			p = p.WithDetails(fmt.Sprintf("%s  %s  %s", s.ID, s.Type, s.Label))
		}
		return next, p
	}
	// Old and new slots are there together for a moment, and more than so many are not read.
	if n := len(next.old) + len(next.heirs); n > maxSlots {
		return next, problem.New(problem.Conflict, "%d key slots are there and %d would be made, and there may be %d at a time", len(next.old), len(next.heirs), maxSlots).
			WithHint("Remove slots first: baktainer key remove.")
	}
	if err := k.noneUnreadable(ctx, next.Dropped); err != nil {
		return next, err
	}
	fresh := *k
	fresh.ring = keyring{masters: map[uint32]MasterKey{}, newest: k.ring.newest + 1}
	for g, m := range k.ring.masters {
		fresh.ring.masters[g] = m
	}
	var master MasterKey
	if _, err := io.ReadFull(k.random, master[:]); err != nil {
		return next, fmt.Errorf("make a master key: %w", err)
	}
	fresh.ring.masters[fresh.ring.newest] = master
	if err := fresh.putEarlier(ctx); err != nil {
		return next, err
	}
	made := map[string]bool{}
	var slots []Slot
	for _, h := range next.heirs {
		s, err := fresh.add(ctx, nil, h.holder, h.label, now)
		if err != nil {
			return next, err
		}
		made[s.ID] = true
		slots = append(slots, s.describe())
	}
	// As anybody would find it now.
	again, err := OpenKeys(ctx, k.store, k.key)
	if err != nil {
		return next, fmt.Errorf("open the repository under its new key: %w", err)
	}
	if again.ring.newest != fresh.ring.newest || !again.ring.complete() || again.ring.masters[fresh.ring.newest] != master {
		return next, problem.New(problem.Conflict, "the repository does not open under its new key: somebody else changes its keys").
			WithHint("Nothing was removed. Look at baktainer key ls, and do it again.")
	}
	for _, id := range next.old {
		if !made[id] {
			if err := k.delete(ctx, id); err != nil {
				return next, err
			}
		}
	}
	k.ring, next.Kept = fresh.ring, slots
	return next, nil
}

// noneUnreadable refuses to replace the earlier key of a generation that a slot
// may be of that cannot be read, and might be put back some day.
func (k *Keys) noneUnreadable(ctx context.Context, slots []Slot) error {
	for _, s := range slots {
		if s.Type != "" {
			continue
		}
		_, err := k.store.Stat(ctx, EarlierKeyName(k.ring.newest+1))
		switch {
		case errors.Is(err, store.ErrNotExist):
		case err != nil:
			return fmt.Errorf("look for keys of generation %d: %w", k.ring.newest+1, err)
		default:
			return problem.New(problem.Conflict, "key slot %s is damaged, and may be of generation %d", s.ID, k.ring.newest+1).
				WithHint("Put it back from a copy of the store, or remove it.")
		}
	}
	return nil
}

// putEarlier stores the key of the generation before the newest, sealed with the newest.
func (k *Keys) putEarlier(ctx context.Context) error {
	g := k.ring.newest
	name := EarlierKeyName(g)
	object, err := sealEarlier(k.id, g, k.ring.masters[g], k.ring.masters[g-1], k.random)
	if err != nil {
		return err
	}
	for _, n := range []string{name, CopyName(name)} {
		// No slot that can be read is of this generation, or current would have said so:
		// what is there was left by an attempt that was cut short, under a key that nobody has.
		if err := k.store.Delete(ctx, n); err != nil {
			return fmt.Errorf("store the earlier key: %w", err)
		}
		if _, err := k.store.Put(ctx, n, bytes.NewReader(object)); err != nil {
			return fmt.Errorf("store the earlier key: %w", err)
		}
	}
	got, err := readEarlier(ctx, k.store, k.id, g, k.ring.masters[g])
	if err == nil && got != k.ring.masters[g-1] {
		err = errors.New("the store did not keep it")
	}
	if err != nil {
		return fmt.Errorf("read back the earlier key: %w", err)
	}
	return nil
}

package repo

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
)

// Slot describes a key slot as the store has it.
type Slot struct {
	ID, Type, Label string
	// Fingerprint tells which key opens it: that of a key file, a public key; empty
	// for a passphrase.
	Fingerprint string
	Generation  uint32
	Created     time.Time
	// Damaged says why the slot cannot be used, empty when it can. When only one of
	// the object and its copy is damaged or missing, Note says so.
	Damaged, Note string
}

// ListSlots lists the key slots of the repository in a store, oldest generation
// first. It needs no key, so it believes what the store says.
func ListSlots(ctx context.Context, st store.Store) (repository string, list []Slot, err error) {
	f, slots, err := readFormat(ctx, st)
	if err != nil {
		return "", nil, err
	}
	for _, s := range slots {
		list = append(list, s.describe())
	}
	slices.SortFunc(list, func(a, b Slot) int {
		return cmp.Or(cmp.Compare(a.Generation, b.Generation), a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID))
	})
	return f.ID, list, nil
}

// maxSlots is how many a repository may have, and maxGuesses how many of them an
// opening tries that cost as much as those of a passphrase do.
const (
	maxSlots   = 64
	maxGuesses = 16
)

// storedSlot is a slot as it was read from the store.
type storedSlot struct {
	id string
	// versions are the object and its copy, as far as they can be read, one when they are the same.
	versions []*keySlot
	note     string
	err      error // of the first that cannot be read
}

func (s storedSlot) describe() Slot {
	d := Slot{ID: s.id, Note: s.note}
	if len(s.versions) == 0 {
		d.Damaged = fmt.Sprint(s.err)
		return d
	}
	v := s.versions[0]
	d.Type, d.Label, d.Generation, d.Created, d.Fingerprint = v.Type, v.Label, v.Generation, v.Created, v.fingerprint()
	if !v.known() {
		d.Damaged = fmt.Sprintf("its type %.40q is not known to this program", v.Type)
	}
	return d
}

type storedSlots []storedSlot

// readSlots reads all slots of a repository, newest generation first.
func readSlots(ctx context.Context, st store.Store, repository string) (storedSlots, error) {
	there := map[string][2]bool{} // object and copy, by id
	err := st.List(ctx, KeysPrefix, func(i store.Info) error {
		o, err := ParseName(i.Name)
		if err != nil || o.Kind != KindKeySlot {
			return nil
		}
		t := there[o.ID]
		if t[btoi(o.Copy)] = true; len(there) >= maxSlots && there[o.ID] == [2]bool{} {
			return problem.New(problem.Corrupt, "there are more than %d key slots", maxSlots).WithReason(ReasonCorrupt).
				WithHint("Remove the objects under %s that do not belong there.", KeysPrefix)
		}
		there[o.ID] = t
		return nil
	})
	if err != nil {
		return nil, err
	}
	var slots storedSlots
	for id, have := range there {
		s, err := readSlot(ctx, st, id, have)
		if err != nil {
			return nil, err
		}
		s.versions = slices.DeleteFunc(s.versions, func(v *keySlot) bool { return v.Repository != repository })
		if len(s.versions) > 0 || s.err != nil {
			slots = append(slots, s)
		}
	}
	slices.SortFunc(slots, func(a, b storedSlot) int {
		return cmp.Or(cmp.Compare(b.generation(), a.generation()), cmp.Compare(a.id, b.id))
	})
	return slots, nil
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

func (s storedSlot) generation() (newest uint32) {
	for _, v := range s.versions {
		newest = max(newest, v.Generation)
	}
	return newest
}

// readSlot reads a slot and its copy. An error means that the store did not answer.
func readSlot(ctx context.Context, st store.Store, id string, have [2]bool) (storedSlot, error) {
	s := storedSlot{id: id}
	name := KeySlotName(id)
	var first []byte
	for i, n := range []string{name, CopyName(name)} {
		if !have[i] {
			s.note = n + " is missing"
			continue
		}
		b, err := readObject(ctx, st, "", n, 0, -1, maxSlotFile)
		if err != nil && !Damaging(err) && !errors.Is(err, store.ErrNotExist) {
			return s, err
		}
		var v *keySlot
		if err == nil {
			v, err = parseSlot(id, b)
		}
		switch {
		case err != nil:
			s.note = fmt.Sprintf("%s cannot be used: %v", n, err)
			if s.err == nil {
				s.err = fmt.Errorf("read %s: %w", n, err)
			}
		case first != nil && bytes.Equal(first, b):
		default:
			if first != nil {
				s.note = n + " differs from " + name
			}
			first = b
			s.versions = append(s.versions, v)
		}
	}
	return s, nil
}

// open opens with a key all generations that it reaches.
func (slots storedSlots) open(ctx context.Context, objects ObjectReader, repository string, key Key) (keyring, error) {
	var ring keyring
	guesses := 0
	for _, s := range slots {
		for _, v := range s.versions {
			if v.Type != key.slotType() || ring.masters != nil && ring.complete() {
				continue
			}
			if guesses++; v.Type == SlotPassphrase && guesses > maxGuesses {
				continue
			}
			if err := ctx.Err(); err != nil {
				return ring, context.Cause(ctx)
			}
			master, err := key.unwrap(v)
			if err != nil {
				continue
			}
			if ring.masters == nil {
				ring = newKeyring(v.Generation, master)
			} else if _, ok := ring.masters[v.Generation]; !ok {
				ring.masters[v.Generation] = master
			}
			err = ring.extend(ctx, objects, repository, v.Generation)
			if err != nil && problem.CodeOf(err) != problem.Corrupt {
				return ring, err
			}
			ring.lost = cmp.Or(ring.lost, err)
			break
		}
	}
	if ring.masters == nil {
		return ring, slots.refusal(repository, key)
	}
	return ring, nil
}

// refusal says why a key opened no slot.
func (slots storedSlots) refusal(repository string, key Key) error {
	var sameKey, damaged, fits []string
	var newer error
	types := map[string]bool{}
	for _, s := range slots {
		if s.err != nil && problem.ReasonOf(s.err) == ReasonNewerFormat {
			newer = s.err
		} else if s.err != nil {
			damaged = append(damaged, s.err.Error())
		}
		for _, v := range s.versions[:min(1, len(s.versions))] {
			types[v.Type] = true
			if v.Type != key.slotType() || v.fingerprint() == "" {
				continue
			}
			fits = append(fits, v.fingerprint())
			if v.fingerprint() == key.fingerprint() {
				sameKey = append(sameKey, KeySlotName(s.id))
			}
		}
	}
	name := keyNames[key.slotType()]
	switch {
	case len(sameKey) > 0:
		return damagedSlot(repository, fmt.Errorf("the %s is the right one, and %s does not open with it", name, strings.Join(sameKey, ", ")))
	case len(damaged) > 0:
		return damagedSlot(repository, fmt.Errorf("the %s fits no slot that can be read; %s", name, strings.Join(damaged, "; ")))
	case newer != nil:
		return newer
	case len(types) == 0:
		return damagedSlot(repository, errors.New("the store has no key slot"))
	case !types[key.slotType()]:
		var others []string
		for t := range types {
			others = append(others, cmp.Or(keyNames[t], fmt.Sprintf("key of type %.40q", t)))
		}
		slices.Sort(others)
		return problem.New(problem.Denied, "open repository %s: it has no slot for a %s", repository, name).
			WithReason(ReasonNoSlot).WithHint("It opens with: %s.", strings.Join(others, ", "))
	}
	p := problem.New(problem.Denied, "open repository %s: the %s does not fit", repository, name).
		WithReason(ReasonWrongKey).WithHint("Give a key that was made for this store; baktainer key ls shows which ones were.")
	if len(fits) > 0 {
		p = p.WithDetails(fmt.Sprintf("the repository wants %s, the %s given is %s", strings.Join(fits, " or "), name, key.fingerprint()))
	}
	return p
}

var keyNames = map[string]string{SlotKeyFile: "key file", SlotPassphrase: "passphrase", SlotAge: "age identity"}

func damagedSlot(repository string, err error) error {
	return problem.Wrap(problem.Corrupt, err, "open repository %s", repository).WithReason(ReasonCorrupt).
		WithHint("Put back the objects under %s from a copy of the store, or open it with another key.", KeysPrefix)
}

// putSlot stores a slot and its copy.
func putSlot(ctx context.Context, st store.Store, s *keySlot) error {
	b, err := s.encode()
	if err != nil {
		return fmt.Errorf("encode key slot: %w", err)
	}
	name := KeySlotName(s.ID)
	for _, n := range []string{name, CopyName(name)} {
		if _, err := st.Put(ctx, n, bytes.NewReader(b)); err != nil {
			return fmt.Errorf("store key slot: %w", err)
		}
	}
	return nil
}

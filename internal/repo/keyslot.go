package repo

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/baktainer/baktainer/internal/problem"
)

const (
	slotKind     = "baktainer-key"
	slotVersion  = 1
	slotSalt     = 32
	maxSlotFile  = 64 << 10
	maxSlotLabel = 200
)

// errNotOpened says that a slot does not open with a key; it does not say whose fault it is.
var errNotOpened = errors.New("the key does not open it")

// keySlot holds a master key, wrapped for one holder. Fields and types that
// this version does not know are ignored.
type keySlot struct {
	Format     string    `json:"format"`
	Version    int       `json:"version"`
	Repository string    `json:"repository"`
	ID         string    `json:"id"`
	Generation uint32    `json:"generation"`
	Created    time.Time `json:"created"`
	Label      string    `json:"label"`
	Type       string    `json:"type"`
	KeyID      string    `json:"key_id,omitempty"` // tells which key file fits, and nothing about it
	Salt       []byte    `json:"salt,omitempty"`
	Time       uint32    `json:"time,omitempty"`
	MemoryKiB  uint32    `json:"memory_kib,omitempty"`
	Threads    uint32    `json:"threads,omitempty"`
	Recipient  string    `json:"recipient,omitempty"`
	Wrapped    []byte    `json:"wrapped"`
	Check      []byte    `json:"check"`
}

// newSlot wraps a master key for a holder.
func newSlot(repository string, generation uint32, master MasterKey, h Holder, label string, now time.Time, random io.Reader) (*keySlot, error) {
	if err := checkLabel(label); err != nil {
		return nil, problem.Wrap(problem.InvalidInput, err, "label a key slot")
	}
	var id [slotIDSize]byte
	if _, err := io.ReadFull(random, id[:]); err != nil {
		return nil, fmt.Errorf("make a key slot: %w", err)
	}
	s := &keySlot{
		Format: slotKind, Version: slotVersion, Repository: repository, ID: hex.EncodeToString(id[:]),
		Generation: generation, Created: now.UTC().Truncate(time.Second), Label: label,
	}
	if err := h.wrap(s, master, random); err != nil {
		return nil, fmt.Errorf("make a key slot: %w", err)
	}
	s.Check = s.check(master)
	return s, nil
}

// aad binds what is wrapped to its slot and repository.
func (s *keySlot) aad() []byte {
	return fmt.Appendf(nil, "baktainer/1 slot %s %s %s %d", s.Type, s.Repository, s.ID, s.Generation)
}

// check says that somebody with the master key made the slot as it is: what is
// wrapped for a public key alone anybody could have made.
func (s *keySlot) check(master MasterKey) []byte {
	key := derive(master[:], "baktainer/1 slot check", nil)
	h := hmac.New(sha256.New, key[:])
	h.Write(s.aad())
	for _, field := range [][]byte{[]byte(s.KeyID), []byte(s.Recipient), []byte(s.Label), s.Wrapped} {
		h.Write([]byte{0})
		h.Write(field)
	}
	return h.Sum(nil)
}

// genuine says whether a slot was made by somebody with the master key.
func (s *keySlot) genuine(master MasterKey) bool { return hmac.Equal(s.Check, s.check(master)) }

// fingerprint is that of the key that opens the slot, as the slot states it.
func (s *keySlot) fingerprint() string { return s.KeyID + s.Recipient }

func (s *keySlot) encode() ([]byte, error) {
	b, err := json.MarshalIndent(s, "", "  ")
	return append(b, '\n'), err
}

// parseSlot reads the object of the slot with an id.
func parseSlot(id string, b []byte) (*keySlot, error) {
	var s keySlot
	if len(b) > maxSlotFile {
		return nil, errors.New("it is too large")
	}
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	switch {
	case s.Format != slotKind:
		return nil, fmt.Errorf("its format is %.40q", s.Format)
	case s.Version > slotVersion:
		return nil, newerFormat(KeySlotName(id), s.Version, slotVersion)
	case s.Version < 1 || s.ID != id || !isPackID(s.Repository) || s.Generation < 1:
		return nil, fmt.Errorf("version %d, id %.40q, repository %.40q, generation %d", s.Version, s.ID, s.Repository, s.Generation)
	}
	if err := checkLabel(s.Label); err != nil {
		return nil, err
	}
	return &s, s.checkType()
}

// checkType checks the fields of the types that are known.
func (s *keySlot) checkType() error {
	salted := s.Recipient == "" && len(s.Salt) == slotSalt && len(s.Wrapped) == keySize+sealOverhead
	switch s.Type {
	case SlotKeyFile:
		if !salted || !isSlotID(s.KeyID) {
			return errors.New("it is not a whole slot of a key file")
		}
	case SlotPassphrase:
		if !salted || s.KeyID != "" {
			return errors.New("it is not a whole slot of a passphrase")
		}
		return s.checkCost()
	case SlotAge:
		if _, err := ParseAgeRecipient(s.Recipient); err != nil || s.KeyID != "" || len(s.Wrapped) == 0 {
			return errors.New("it is not a whole slot of an age recipient")
		}
	}
	return nil
}

func (s *keySlot) known() bool {
	return s.Type == SlotKeyFile || s.Type == SlotPassphrase || s.Type == SlotAge
}

// checkLabel keeps labels printable: one may come from a store that somebody else writes to.
func checkLabel(label string) error {
	if len(label) > maxSlotLabel || !utf8.ValidString(label) || strings.ContainsFunc(label, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return fmt.Errorf("the label has more than %d bytes, or characters that do not print", maxSlotLabel)
	}
	return nil
}

package repo

import (
	"io"
)

// The types of key slots.
const (
	SlotKeyFile    = "keyfile"
	SlotPassphrase = "passphrase"
	SlotAge        = "age"
)

// Holder is whom a key slot is made for: a Key, or an AgeRecipient, of whom only
// the public half is known.
type Holder interface {
	// wrap fills in a slot that has its id, repository and generation.
	wrap(s *keySlot, master MasterKey, random io.Reader) error
}

// Key opens a repository: a KeyFile, a Passphrase or an AgeIdentity. All hide
// themselves from formats and logs.
type Key interface {
	Holder
	// slotType is that of the slots that the key may open.
	slotType() string
	// fingerprint tells keys of a type apart without giving anything of them away;
	// empty for passphrases, of which even that would help to guess them.
	fingerprint() string
	// unwrap opens a slot of its type.
	unwrap(s *keySlot) (MasterKey, error)
}

// wrapSealed is how a slot is wrapped under a symmetric key.
func wrapSealed(s *keySlot, wrap [keySize]byte, master MasterKey) error {
	seal, err := newSeal(CipherAESGCM, wrap)
	if err != nil {
		return err
	}
	s.Wrapped = seal.append(nil, 0, master[:], s.aad())
	return nil
}

func unwrapSealed(s *keySlot, wrap [keySize]byte) (master MasterKey, err error) {
	seal, err := newSeal(CipherAESGCM, wrap)
	if err != nil {
		return master, err
	}
	b, err := seal.open(nil, 0, s.Wrapped, s.aad())
	if err != nil || len(b) != keySize {
		return master, errNotOpened
	}
	copy(master[:], b)
	return master, nil
}

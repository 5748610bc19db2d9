package repo

import (
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"filippo.io/age"

	"github.com/baktainer/baktainer/internal/problem"
)

// AgeIdentity is the secret half of an X25519 key of age (age-encryption.org). It
// hides itself from formats and logs.
type AgeIdentity struct{ identity *age.X25519Identity }

// AgeRecipient is the public half: what is wrapped for it, its identity opens.
type AgeRecipient struct{ recipient *age.X25519Recipient }

// ParseAgeIdentity reads an identity file as age-keygen writes it: comments and
// one line that begins with AGE-SECRET-KEY-1.
func ParseAgeIdentity(text []byte) (AgeIdentity, error) {
	bad := func(what string) (AgeIdentity, error) {
		return AgeIdentity{}, problem.New(problem.InvalidInput, "read age identity: %s", what).WithReason(ReasonDamagedKey).
			WithHint("Give the file that age-keygen made: it has one line that begins with AGE-SECRET-KEY-1.")
	}
	if len(text) > 64<<10 {
		return bad("it is too large to be one")
	}
	var found *age.X25519Identity
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(strings.TrimPrefix(l, "\ufeff"))
		if l == "" || l[0] == '#' {
			continue
		}
		if found != nil {
			return bad("it has more than one")
		}
		var err error
		if found, err = age.ParseX25519Identity(l); err != nil {
			return bad("it is damaged, or of another kind than X25519") // err may show a part of it
		}
	}
	if found == nil {
		return bad("there is none in it")
	}
	return AgeIdentity{found}, nil
}

// ParseAgeRecipient reads a public key, age1….
func ParseAgeRecipient(text string) (AgeRecipient, error) {
	r, err := age.ParseX25519Recipient(strings.TrimSpace(text))
	if err != nil {
		return AgeRecipient{}, problem.Wrap(problem.InvalidInput, err, "read age recipient %.80q", text).
			WithHint("Give the public key that age-keygen shows: it begins with age1.")
	}
	return AgeRecipient{r}, nil
}

// Recipient gives the public half.
func (k AgeIdentity) Recipient() AgeRecipient { return AgeRecipient{k.identity.Recipient()} }

// String gives the public key, age1….
func (r AgeRecipient) String() string { return r.recipient.String() }

// String hides the identity from fmt.
func (AgeIdentity) String() string { return hidden }

// GoString hides the identity from %#v.
func (AgeIdentity) GoString() string { return hidden }

// LogValue hides the identity from slog.
func (AgeIdentity) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the identity from JSON and the like.
func (AgeIdentity) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (AgeIdentity) slotType() string      { return SlotAge }
func (k AgeIdentity) fingerprint() string { return k.Recipient().String() }

func (k AgeIdentity) wrap(s *keySlot, master MasterKey, random io.Reader) error {
	return k.Recipient().wrap(s, master, random)
}

// wrap draws on age's own randomness; it asks for nothing else.
func (r AgeRecipient) wrap(s *keySlot, master MasterKey, _ io.Reader) error {
	s.Type, s.Recipient = SlotAge, r.String()
	var b bytes.Buffer
	w, err := age.Encrypt(&b, r.recipient)
	if err == nil {
		_, err = w.Write(s.agePlaintext(master))
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return fmt.Errorf("encrypt for %s: %w", r, err)
	}
	s.Wrapped = b.Bytes()
	return nil
}

func (k AgeIdentity) unwrap(s *keySlot) (master MasterKey, err error) {
	r, err := age.Decrypt(bytes.NewReader(s.Wrapped), k.identity)
	if err != nil {
		return master, errNotOpened
	}
	want := s.agePlaintext(MasterKey{})
	got := make([]byte, len(want)+1)
	n, err := io.ReadFull(r, got)
	aad := len(want) - keySize
	if err != io.ErrUnexpectedEOF || n != len(want) || !bytes.Equal(got[:aad], want[:aad]) { //nolint:errorlint // it is what ReadFull returns
		return master, errNotOpened
	}
	copy(master[:], got[aad:n])
	return master, nil
}

func (s *keySlot) agePlaintext(master MasterKey) []byte {
	return append(append(s.aad(), 0), master[:]...)
}

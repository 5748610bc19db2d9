package repo

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"unicode/utf8"

	"golang.org/x/crypto/argon2"
	"golang.org/x/text/unicode/norm"

	"github.com/baktainer/baktainer/internal/problem"
)

// Passphrase opens a repository with words that a person remembers or wrote
// down. It hides itself from formats and logs.
type Passphrase struct {
	text string
	cost argonCost
}

// argonCost is what it costs to try a passphrase.
type argonCost struct{ time, memoryKiB, threads uint32 }

// usualCost is the second recommendation of RFC 9106. Its first, 2 GiB, is more
// than a host that a database is to be rescued on may have to spare.
var usualCost = argonCost{time: 3, memoryKiB: 64 << 10, threads: 4}

// What a slot may demand: whoever can write to the store could otherwise make
// its readers run out of memory or time.
var maxCost = argonCost{time: 16, memoryKiB: 1 << 20, threads: 16}

const (
	maxPassphrase = 1024
	// MinPassphrase is how many characters a passphrase has at least when a slot is
	// made for it: whoever has the store can try as many as he likes.
	MinPassphrase = 12
)

// NewPassphrase makes a key of what a person typed.
func NewPassphrase(text string) (Passphrase, error) {
	bad := func(what string) (Passphrase, error) {
		return Passphrase{}, problem.New(problem.InvalidInput, "read passphrase: it %s", what).WithReason(ReasonDamagedKey)
	}
	switch {
	case text == "":
		return bad("is empty")
	case len(text) > maxPassphrase:
		return bad(fmt.Sprintf("has more than %d bytes", maxPassphrase))
	case !utf8.ValidString(text):
		return bad("is not UTF-8 text")
	}
	// The same words give the same bytes, whatever the keyboard composes them of.
	return Passphrase{norm.NFC.String(text), usualCost}, nil
}

// String hides the passphrase from fmt.
func (Passphrase) String() string { return hidden }

// GoString hides the passphrase from %#v.
func (Passphrase) GoString() string { return hidden }

// LogValue hides the passphrase from slog.
func (Passphrase) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the passphrase from JSON and the like.
func (Passphrase) MarshalText() ([]byte, error) { return []byte(hidden), nil }

func (Passphrase) slotType() string    { return SlotPassphrase }
func (Passphrase) fingerprint() string { return "" }

func (p Passphrase) wrap(s *keySlot, master MasterKey, random io.Reader) error {
	if n := utf8.RuneCountInString(p.text); n < MinPassphrase {
		return problem.New(problem.InvalidInput, "the passphrase has %d characters, at least %d are needed", n, MinPassphrase).
			WithHint("Whoever has the store can try passphrases as often as he likes. Six or more words that were drawn at random are good.")
	}
	s.Type, s.Salt = SlotPassphrase, make([]byte, slotSalt)
	s.Time, s.MemoryKiB, s.Threads = p.cost.time, p.cost.memoryKiB, p.cost.threads
	if _, err := io.ReadFull(random, s.Salt); err != nil {
		return fmt.Errorf("make salt: %w", err)
	}
	return wrapSealed(s, p.stretch(s), master)
}

func (p Passphrase) unwrap(s *keySlot) (MasterKey, error) {
	if err := s.checkCost(); err != nil { // again, since nothing else stands between the store and the memory
		return MasterKey{}, err
	}
	return unwrapSealed(s, p.stretch(s))
}

func (p Passphrase) stretch(s *keySlot) (key [keySize]byte) {
	copy(key[:], argon2.IDKey([]byte(p.text), s.Salt, s.Time, s.MemoryKiB, uint8(s.Threads), keySize))
	return key
}

func (s *keySlot) checkCost() error {
	c := argonCost{s.Time, s.MemoryKiB, s.Threads}
	if c.time < 1 || c.threads < 1 || c.memoryKiB < 8*c.threads {
		return errors.New("it has no cost")
	}
	if c.time > maxCost.time || c.memoryKiB > maxCost.memoryKiB || c.threads > maxCost.threads {
		return fmt.Errorf("to try it would cost %d × %d KiB of memory and %d threads, more than is allowed", c.time, c.memoryKiB, c.threads)
	}
	return nil
}

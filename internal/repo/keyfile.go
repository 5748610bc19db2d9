package repo

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"unicode"

	"github.com/baktainer/baktainer/internal/problem"
)

// KeyFile is the secret that opens a repository. It hides itself from formats
// and logs; Encode gives the file's text.
type KeyFile struct{ secret [keySize]byte }

const keyFilePrefix = "BAKTAINER-KEY-1"

// No padding, and letters and digits only: it survives being typed, printed and mailed.
var keyFileEncoding = base32.StdEncoding.WithPadding(base32.NoPadding)

// GenerateKeyFile makes a new random key.
func GenerateKeyFile() (KeyFile, error) {
	var k KeyFile
	_, err := rand.Read(k.secret[:])
	return k, err
}

// Encode gives the text of the key file. It is the secret itself.
func (k KeyFile) Encode() []byte {
	var b bytes.Buffer
	b.WriteString("# Baktainer repository key. Without it no backup can be read: keep a copy away from this machine.\n")
	b.WriteString(k.Line() + "\n")
	return b.Bytes()
}

// checksum catches a mistyped or damaged key before it is taken for a wrong one.
func (k KeyFile) checksum() string {
	sum := sha256.Sum256(append([]byte(keyFilePrefix), k.secret[:]...))
	return hex.EncodeToString(sum[:4])
}

// String hides the key from fmt.
func (KeyFile) String() string { return hidden }

// GoString hides the key from %#v.
func (KeyFile) GoString() string { return hidden }

// LogValue hides the key from slog.
func (KeyFile) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the key from JSON and the like.
func (KeyFile) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// id tells key files apart without giving anything of them away.
func (k KeyFile) id() string {
	b := derive(k.secret[:], "baktainer/1 key id", nil)
	return hex.EncodeToString(b[:8])
}

func (KeyFile) slotType() string      { return SlotKeyFile }
func (k KeyFile) fingerprint() string { return k.id() }

func (k KeyFile) wrappingKey(salt []byte) [keySize]byte {
	return derive(k.secret[:], "baktainer/1 key slot", salt)
}

func (k KeyFile) wrap(s *keySlot, master MasterKey, random io.Reader) error {
	s.Type, s.KeyID, s.Salt = SlotKeyFile, k.id(), make([]byte, slotSalt)
	if _, err := io.ReadFull(random, s.Salt); err != nil {
		return fmt.Errorf("make salt: %w", err)
	}
	return wrapSealed(s, k.wrappingKey(s.Salt), master)
}

func (k KeyFile) unwrap(s *keySlot) (MasterKey, error) {
	return unwrapSealed(s, k.wrappingKey(s.Salt))
}

// Line gives the key in one line, as Encode has it. It is the secret itself.
func (k KeyFile) Line() string {
	return keyFilePrefix + "-" + keyFileEncoding.EncodeToString(k.secret[:]) + "-" + k.checksum()
}

// Groups gives the key in groups of at most four characters, to be printed and
// typed: ParseKeyFile reads them in any case, with any spaces, dashes and line
// ends between. It is the secret itself.
func (k KeyFile) Groups() (prefix string, groups []string) {
	for _, part := range []string{keyFileEncoding.EncodeToString(k.secret[:]), k.checksum()} {
		for g := range slices.Chunk([]byte(part), 4) {
			groups = append(groups, string(g))
		}
	}
	return keyFilePrefix, groups
}

// ParseKeyFile reads the text of a key file, or the key as it was typed from
// paper: empty lines and lines that begin with # are skipped, and what is left is
// one key. Case, spaces, dashes and line ends within it do not matter. The error
// says what is wrong without showing any of it.
func ParseKeyFile(text []byte) (KeyFile, error) {
	damaged := func(what string) (KeyFile, error) {
		return KeyFile{}, problem.New(problem.InvalidInput, "read key file: %s", what).WithReason(ReasonDamagedKey).
			WithHint("Restore the key file from the copy that you kept. It has one line that begins with %s-.", keyFilePrefix)
	}
	if len(text) > 64<<10 {
		return damaged("it is too large to be a key file")
	}
	key := plainKey(text)
	body, ok := strings.CutPrefix(key, plainPrefix)
	switch {
	case key == "":
		return damaged("it has no key")
	case !ok && strings.HasPrefix(key, strings.TrimSuffix(plainPrefix, "1")):
		return damaged("its version is not known to this program; a newer one may read it")
	case !ok:
		return damaged("its key does not begin with " + keyFilePrefix + "-")
	case strings.Contains(body, plainPrefix):
		return damaged("it has more than one key")
	case len(body) < keyFileDigits+keyFileSum:
		return damaged(fmt.Sprintf("the key is cut short: %d characters are missing", keyFileDigits+keyFileSum-len(body)))
	case len(body) > keyFileDigits+keyFileSum:
		return damaged(fmt.Sprintf("the key has %d characters too many", len(body)-keyFileDigits-keyFileSum))
	}
	// Digits that the alphabet has not, for the letters that they are typed for.
	digits := strings.NewReplacer("0", "O", "8", "B").Replace(body[:keyFileDigits])
	if strings.Contains(digits, "1") {
		return damaged("the key has a digit 1, which should be the letter I or L")
	}
	secret, err := keyFileEncoding.DecodeString(digits)
	if err != nil || len(secret) != keySize {
		return damaged("the key has characters that do not belong there")
	}
	var k KeyFile
	copy(k.secret[:], secret)
	if !strings.EqualFold(body[keyFileDigits:], k.checksum()) {
		return damaged("the key does not match its checksum: a character is wrong")
	}
	// The digits have spare bits: only the one canonical spelling is a key.
	if keyFileEncoding.EncodeToString(secret) != digits {
		return damaged("the key is not spelled as it was written")
	}
	return k, nil
}

const (
	plainPrefix   = "BAKTAINERKEY1"
	keyFileDigits = (keySize*8 + 4) / 5
	keyFileSum    = 8
)

// plainKey is what is left of a text without comments, spaces, dashes and case.
func plainKey(text []byte) string {
	var b strings.Builder
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(strings.TrimPrefix(l, "\ufeff"))
		if strings.HasPrefix(l, "#") {
			continue
		}
		for _, r := range l {
			if r != '-' && !unicode.IsSpace(r) {
				b.WriteRune(unicode.ToUpper(r))
			}
		}
	}
	return b.String()
}

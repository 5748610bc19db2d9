package pki

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"unicode"

	"github.com/baktainer/baktainer/internal/problem"
)

// ReasonBadToken is that of a text that is no token.
const ReasonBadToken problem.Reason = "bad-token"

const (
	tokenPrefix = "BKTN-"
	tokenKind   = "1"
	digestSize  = 20
	digestText  = 32 // 20 bytes in base32
	secretText  = 26 // as crypto/rand.Text makes it: 128 bits and a little more
	alphabet    = "abcdefghijklmnopqrstuvwxyz234567"
)

var lowerBase32 = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// Token is what turns into a certificate: BKTN-1-DIGEST-SECRET. The digest is of
// the root of the cluster that the token is for, so that its holder knows that
// cluster when it meets it; the secret is what the cluster knows the token by.
//
// A token whose digest is "0" pins no root. It is for controllers that make a
// cluster together, and its secret is never sent.
//
// Only String tells the secret: fmt and slog show a token by its id.
type Token struct {
	digest [digestSize]byte
	pinned bool
	secret string
}

// NewToken makes a token for the cluster with that root certificate, and gives
// with it what the cluster keeps of it.
func NewToken(rootDER []byte) (Token, [sha256.Size]byte) {
	t := Token{digest: digestOf(rootDER), pinned: true, secret: strings.ToLower(rand.Text())}
	return t, t.Hash()
}

// NewUnpinned makes a token that pins no root.
func NewUnpinned() Token { return Token{secret: strings.ToLower(rand.Text())} }

func digestOf(der []byte) [digestSize]byte {
	sum := sha256.Sum256(der)
	return [digestSize]byte(sum[:digestSize])
}

// String is the whole token, its secret included: for handing it to its user.
func (t Token) String() string {
	digest := "0"
	if t.pinned {
		digest = lowerBase32.EncodeToString(t.digest[:])
	}
	return tokenPrefix + tokenKind + "-" + digest + "-" + t.secret
}

// Format implements fmt.Formatter, and hides the secret from every verb.
func (t Token) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, t.redacted()) }

// LogValue implements slog.LogValuer, and hides the secret.
func (t Token) LogValue() slog.Value { return slog.StringValue(t.redacted()) }

// MarshalText hides the secret from JSON, YAML and everything else that encodes text.
func (t Token) MarshalText() ([]byte, error) { return []byte(t.redacted()), nil }

func (t Token) redacted() string { return "token " + t.ID() }

// Secret is the part that the cluster asks for.
func (t Token) Secret() string { return t.secret }

// Hash is what a cluster keeps of a token: SHA-256 of its secret.
func (t Token) Hash() [sha256.Size]byte { return HashSecret(t.secret) }

// HashSecret is the hash of the token with that secret.
func HashSecret(secret string) [sha256.Size]byte { return sha256.Sum256([]byte(secret)) }

// ID is how people name a token without telling it.
func (t Token) ID() string {
	hash := t.Hash()
	return TokenID(hash[:])
}

// TokenID is the id of the token with that hash: its first 12 hex digits.
func TokenID(hash []byte) string { return hex.EncodeToString(hash[:min(6, len(hash))]) }

// Unpinned says whether the token pins no root.
func (t Token) Unpinned() bool { return !t.pinned }

// Matches says whether the token pins that root certificate.
func (t Token) Matches(rootDER []byte) bool {
	digest := digestOf(rootDER)
	return t.pinned && bytes.Equal(digest[:], t.digest[:])
}

// ParseToken reads a token as a person may have copied it. What is wrong with
// one is said without repeating any of it.
func ParseToken(text string) (Token, error) {
	text = strings.TrimFunc(text, func(r rune) bool { return unicode.IsSpace(r) || strings.ContainsRune("\"'`\uFEFF", r) })
	t, wrong := parseToken(text)
	if wrong != "" {
		return Token{}, problem.New(problem.InvalidInput, "the token cannot be used: %s", wrong).WithReason(ReasonBadToken).
			WithHint("Copy all of it: BKTN-1-, the digest of the cluster, a hyphen, and 26 letters and digits.")
	}
	return t, nil
}

func parseToken(text string) (t Token, wrong string) {
	if text == "" {
		return t, "it is empty"
	}
	if strings.ContainsFunc(text, unicode.IsSpace) {
		return t, "there is a space or a line break in it"
	}
	if len(text) < len(tokenPrefix) || !strings.EqualFold(text[:len(tokenPrefix)], tokenPrefix) {
		return t, "it does not begin with BKTN-"
	}
	parts := strings.Split(text[len(tokenPrefix):], "-")
	if parts[0] != tokenKind {
		return t, "it is of a kind that this version of Baktainer does not know, or its beginning is damaged"
	}
	if len(parts) != 3 {
		return t, fmt.Sprintf("it has %d parts between hyphens instead of 4", len(parts)+1)
	}
	digest, secret := strings.ToLower(parts[1]), strings.ToLower(parts[2])
	if t.pinned = digest != "0"; t.pinned {
		if wrong := misspelt("its third part, the digest of the cluster,", digest, digestText); wrong != "" {
			return t, wrong
		}
		raw, err := lowerBase32.DecodeString(digest)
		if err != nil || len(raw) != digestSize {
			return t, "its third part, the digest of the cluster, is damaged"
		}
		t.digest = [digestSize]byte(raw)
	}
	if wrong := misspelt("its last part, the secret,", secret, secretText); wrong != "" {
		return t, wrong
	}
	t.secret = secret
	return t, ""
}

// misspelt says what keeps a part from being so many characters of the alphabet.
func misspelt(what, part string, size int) string {
	if strings.Trim(part, alphabet) != "" {
		return what + " has a character that is none of a to z and 2 to 7"
	}
	if len(part) != size {
		return fmt.Sprintf("%s has %d characters instead of %d", what, len(part), size)
	}
	return ""
}

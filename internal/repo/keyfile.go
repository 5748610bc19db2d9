package repo

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base32"
	"encoding/hex"
	"log/slog"
	"strings"

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
	b.WriteString(keyFilePrefix + "-" + keyFileEncoding.EncodeToString(k.secret[:]) + "-" + k.checksum() + "\n")
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

// ParseKeyFile reads the text of a key file: empty lines and lines that begin
// with # are skipped, and the one line left is the key. The error says what is
// wrong without showing any of it.
func ParseKeyFile(text []byte) (KeyFile, error) {
	damaged := func(what string) (KeyFile, error) {
		return KeyFile{}, problem.New(problem.InvalidInput, "read key file: %s", what).WithReason(ReasonDamagedKey).
			WithHint("Restore the key file from the copy that you kept. It has one line that begins with %s-.", keyFilePrefix)
	}
	if len(text) > 64<<10 {
		return damaged("it is too large to be a key file")
	}
	line := ""
	for l := range strings.Lines(string(text)) {
		l = strings.TrimSpace(strings.TrimPrefix(l, "\ufeff"))
		if l == "" || l[0] == '#' {
			continue
		}
		if line != "" {
			return damaged("it has more than one key")
		}
		line = l
	}
	if line == "" {
		return damaged("it has no key")
	}
	body, ok := strings.CutPrefix(line, keyFilePrefix+"-")
	if !ok {
		if strings.HasPrefix(line, "BAKTAINER-KEY-") {
			return damaged("its version is not known to this program; a newer one may read it")
		}
		return damaged("its key does not begin with " + keyFilePrefix + "-")
	}
	digits, sum, _ := strings.Cut(body, "-")
	secret, err := keyFileEncoding.DecodeString(digits)
	if err != nil || len(secret) != keySize {
		return damaged("the key is cut short or has characters that do not belong there")
	}
	var k KeyFile
	copy(k.secret[:], secret)
	if sum != k.checksum() {
		return damaged("the key does not match its checksum: a character is wrong or missing")
	}
	// The digits have spare bits: only the one canonical spelling is a key.
	if keyFileEncoding.EncodeToString(secret) != digits {
		return damaged("the key is not spelled as it was written")
	}
	return k, nil
}

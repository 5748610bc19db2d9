package repo

import (
	"bytes"
	"crypto/hkdf"
	"crypto/sha256"
	"fmt"
	"log/slog"
)

const keySize = 32

// MasterKey is the random key of a repository that all others of its generation
// come from. It hides itself from formats and logs.
type MasterKey [keySize]byte

// SourceKey is the key to the snapshots of one source that lie in one
// generation, and to nothing else. It hides itself from formats and logs.
type SourceKey struct {
	secret     [keySize]byte
	generation uint32
}

// NewSourceKey makes a key of what its Secret gave. A generation of 0 means 1.
func NewSourceKey(secret []byte, generation uint32) (SourceKey, error) {
	k := SourceKey{generation: max(generation, 1)}
	if copy(k.secret[:], secret) != keySize || len(secret) != keySize {
		return SourceKey{}, fmt.Errorf("a source key of %d bytes, want %d", len(secret), keySize)
	}
	return k, nil
}

// Secret gives the key itself, to be sent to whoever may have it.
func (k SourceKey) Secret() []byte { return bytes.Clone(k.secret[:]) }

// Generation is that of the master key which it was derived from, from 1.
func (k SourceKey) Generation() uint32 { return k.generation }

const hidden = "[hidden]"

// String hides the key from fmt.
func (MasterKey) String() string { return hidden }

// GoString hides the key from %#v.
func (MasterKey) GoString() string { return hidden }

// LogValue hides the key from slog.
func (MasterKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the key from JSON and the like.
func (MasterKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// String hides the key from fmt.
func (SourceKey) String() string { return hidden }

// GoString hides the key from %#v.
func (SourceKey) GoString() string { return hidden }

// LogValue hides the key from slog.
func (SourceKey) LogValue() slog.Value { return slog.StringValue(hidden) }

// MarshalText hides the key from JSON and the like.
func (SourceKey) MarshalText() ([]byte, error) { return []byte(hidden), nil }

// Source gives the key of the source with that name in the first generation.
func (k MasterKey) Source(name string) SourceKey { return k.source(name, 1) }

func (k MasterKey) source(name string, generation uint32) SourceKey {
	return SourceKey{derive(k[:], "baktainer/1 source", []byte(name)), generation}
}

// ledgerKey seals one copy of a ledger entry.
func (k MasterKey) ledgerKey(salt []byte) [keySize]byte {
	return derive(k[:], "baktainer/1 ledger", salt)
}

// chunkKey names chunks, gearKey decides where they are cut.
func (k SourceKey) chunkKey() [keySize]byte { return derive(k.secret[:], "baktainer/1 chunk", nil) }
func (k SourceKey) gearKey() [keySize]byte  { return derive(k.secret[:], "baktainer/1 gear", nil) }

// packKey seals one pack: since no two packs share a key, a frame's number is nonce enough.
func (k SourceKey) packKey(id packID) [keySize]byte {
	return derive(k.secret[:], "baktainer/1 pack", id[:])
}

// manifestKey seals the body of one manifest.
func (k SourceKey) manifestKey(snapshot string, salt []byte) [keySize]byte {
	return derive(k.secret[:], "baktainer/1 manifest", append(salt[:len(salt):len(salt)], snapshot...))
}

// derive is HKDF-SHA256 without salt; info is the label, a zero byte and the context.
func derive(secret []byte, label string, context []byte) (key [keySize]byte) {
	info := make([]byte, 0, len(label)+1+len(context))
	info = append(append(append(info, label...), 0), context...)
	b, err := hkdf.Key(sha256.New, secret, nil, string(info), keySize)
	if err != nil {
		// Key fails for over-long outputs and, in FIPS mode, short secrets. Ours are 32 bytes.
		panic("derive key: " + err.Error()) //nolint:forbidigo // cannot happen, and no key must not pass for a key
	}
	copy(key[:], b)
	return key
}

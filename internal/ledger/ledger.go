// Package ledger holds the words for the record that makes a snapshot exist.
// Entries form a hash chain: each carries the hash of the one before it, so that
// nothing can be changed, dropped or inserted unseen.
package ledger

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Hash is a SHA-256.
type Hash [sha256.Size]byte

// String is the hash in hexadecimal.
func (h Hash) String() string { return fmt.Sprintf("%x", h[:]) }

// MarshalText implements encoding.TextMarshaler (hexadecimal).
func (h Hash) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (h *Hash) UnmarshalText(text []byte) error {
	if len(text) != 2*len(h) {
		return fmt.Errorf("parse hash: want %d hexadecimal digits, have %d characters", 2*len(h), len(text))
	}
	var parsed Hash
	if _, err := hex.Decode(parsed[:], text); err != nil {
		return fmt.Errorf("parse hash: %w", err)
	}
	*h = parsed
	return nil
}

// Stream is what the ledger keeps of one stream of a snapshot.
type Stream struct {
	Name     string `json:"name"`
	Kind     string `json:"kind"`
	Database string `json:"database,omitempty"`
	Format   string `json:"format"`
	Size     int64  `json:"size"`
	// SHA256 is of the dump as the tool wrote it: what sha256sum prints for an export.
	SHA256 Hash `json:"sha256"`
}

// Entry is the record of one snapshot. The JSON form, with fields in this
// order, is what is hashed, stored and shown: field names are stable.
type Entry struct {
	// Index counts from 1 without gaps.
	Index      uint64    `json:"index"`
	Snapshot   string    `json:"snapshot"` // ULID
	Source     string    `json:"source"`
	Run        string    `json:"run"`
	Epoch      uint64    `json:"epoch"`
	Engine     string    `json:"engine"`
	Server     string    `json:"server,omitempty"` // "PostgreSQL 15.18"
	Image      string    `json:"image,omitempty"`
	FireTime   time.Time `json:"fire_time"`
	StartedAt  time.Time `json:"started_at"`
	CommitTime time.Time `json:"committed_at"`
	Streams    []Stream  `json:"streams"`
	// RawBytes is the size of all dumps, NewBytes what this snapshot added to the store.
	RawBytes int64 `json:"raw_bytes"`
	NewBytes int64 `json:"new_bytes"`
	// Manifest is the SHA-256 of the manifest object as stored.
	Manifest     Hash  `json:"manifest"`
	ManifestSize int64 `json:"manifest_size"`
	// Generation is that of the key which the snapshot lies under; 0 means 1.
	Generation uint32 `json:"generation,omitempty"`
	// Root is the Merkle root over the snapshot's chunks (FORMAT.md).
	Root     Hash     `json:"root"`
	Stores   []string `json:"stores"`
	Previous Hash     `json:"previous"` // hash of entry Index-1, zero for the first
	Hash     Hash     `json:"hash"`     // of this entry with Hash zero
}

// Seal sets Index, Previous and Hash so that e follows previous, which is nil
// for the first entry. Times are brought to UTC and whole microseconds first, so
// that they survive encoding.
func (e *Entry) Seal(previous *Entry) error {
	e.Index, e.Previous = 1, Hash{}
	if previous != nil {
		e.Index, e.Previous = previous.Index+1, previous.Hash
	}
	for _, t := range []*time.Time{&e.FireTime, &e.StartedAt, &e.CommitTime} {
		*t = t.UTC().Truncate(time.Microsecond)
	}
	h, err := e.digest()
	if err != nil {
		return err
	}
	e.Hash = h
	return nil
}

// Follows says whether e is intact and comes directly after previous (nil: e is the first).
func (e Entry) Follows(previous *Entry) error {
	wantIndex, wantPrevious := uint64(1), Hash{}
	if previous != nil {
		wantIndex, wantPrevious = previous.Index+1, previous.Hash
	}
	h, err := e.digest()
	switch {
	case err != nil:
		return err
	case e.Index != wantIndex:
		return fmt.Errorf("ledger entry %d: expected index %d", e.Index, wantIndex)
	case e.Previous != wantPrevious:
		return fmt.Errorf("ledger entry %d: does not follow the entry before it", e.Index)
	case h != e.Hash:
		return fmt.Errorf("ledger entry %d: its content does not match its hash", e.Index)
	}
	return nil
}

// Intact says whether text, the JSON form of an entry, has the hash that it
// states. It goes by the text: what a later version adds to an entry is hashed too,
// and not known here.
func Intact(text []byte, hash Hash) bool {
	field := func(h Hash) []byte { return fmt.Appendf(nil, `"hash":"%s"`, h) }
	return sha256.Sum256(bytes.ReplaceAll(text, field(hash), field(Hash{}))) == hash
}

// MarshalJSON implements json.Marshaler. An absent list and an empty one are the
// same: encodings differ in which they give back.
func (e Entry) MarshalJSON() ([]byte, error) {
	if e.Streams == nil {
		e.Streams = []Stream{}
	}
	if e.Stores == nil {
		e.Stores = []string{}
	}
	type fields Entry
	return json.Marshal(fields(e))
}

func (e Entry) digest() (Hash, error) {
	e.Hash = Hash{}
	b, err := json.Marshal(e)
	if err != nil {
		return Hash{}, fmt.Errorf("encode ledger entry: %w", err)
	}
	return sha256.Sum256(b), nil
}

package repo

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

const (
	formatKind    = "baktainer-repository"
	formatVersion = 1
	maxFormatFile = 1 << 20
	slotKeyFile   = "keyfile"
)

// formatFile is format.json. Fields that this version does not know are ignored.
type formatFile struct {
	Format  string    `json:"format"`
	Version int       `json:"version"`
	ID      string    `json:"id"` // 32 hexadecimal digits
	Created time.Time `json:"created"`
	Slots   []keySlot `json:"slots"`
}

// keySlot holds the master key, wrapped. Slots of unknown type are skipped.
type keySlot struct {
	Type    string `json:"type"`
	KeyID   string `json:"key_id"` // tells which key fits, and nothing about it
	Salt    []byte `json:"salt"`
	Wrapped []byte `json:"wrapped"`
}

// id tells key files apart without giving anything of them away.
func (k KeyFile) id() string {
	b := derive(k.secret[:], "baktainer/1 key id", nil)
	return hex.EncodeToString(b[:8])
}

func (k KeyFile) wrappingKey(salt []byte) [keySize]byte {
	return derive(k.secret[:], "baktainer/1 key slot", salt)
}

// slotAAD binds a slot to its repository.
func slotAAD(slotType, repository string) []byte {
	return []byte("baktainer/1 " + slotType + " " + repository)
}

// newFormat makes a repository's identity, master key and only slot.
func newFormat(key KeyFile, now time.Time, random io.Reader) (formatFile, MasterKey, error) {
	var fresh struct {
		id     [16]byte
		master MasterKey
		salt   [32]byte
	}
	if random == nil {
		random = rand.Reader
	}
	for _, b := range [][]byte{fresh.id[:], fresh.master[:], fresh.salt[:]} {
		if _, err := io.ReadFull(random, b); err != nil {
			return formatFile{}, MasterKey{}, fmt.Errorf("make repository key: %w", err)
		}
	}
	id := hex.EncodeToString(fresh.id[:])
	seal, err := newSeal(CipherAESGCM, key.wrappingKey(fresh.salt[:]))
	if err != nil {
		return formatFile{}, MasterKey{}, err
	}
	return formatFile{
		Format: formatKind, Version: formatVersion, ID: id, Created: now.UTC().Truncate(time.Second),
		Slots: []keySlot{{
			Type: slotKeyFile, KeyID: key.id(), Salt: fresh.salt[:],
			Wrapped: seal.append(nil, 0, fresh.master[:], slotAAD(slotKeyFile, id)),
		}},
	}, fresh.master, nil
}

func (f formatFile) encode() ([]byte, error) {
	b, err := json.MarshalIndent(f, "", "  ")
	return append(b, '\n'), err
}

// parseFormat reads format.json. Its problems are Corrupt and, for a version to
// come, InvalidInput.
func parseFormat(b []byte) (formatFile, error) {
	var f formatFile
	if len(b) > maxFormatFile {
		return f, damagedFormat(errors.New("it is too large"))
	}
	if err := json.Unmarshal(b, &f); err != nil {
		return f, damagedFormat(err)
	}
	switch {
	case f.Format != formatKind:
		return f, damagedFormat(fmt.Errorf("its format is %.40q", f.Format))
	case f.Version > formatVersion:
		return f, problem.New(problem.InvalidInput, "open repository: its format is version %d, and this program knows up to %d", f.Version, formatVersion).
			WithReason(ReasonNewerFormat).WithHint("Use a newer version of Baktainer.")
	case f.Version < 1 || !isPackID(f.ID):
		return f, damagedFormat(fmt.Errorf("version %d, id %.40q", f.Version, f.ID))
	}
	return f, nil
}

func damagedFormat(err error) error {
	return problem.Wrap(problem.Corrupt, err, "open repository: read %s", FormatName).WithReason(ReasonCorrupt).
		WithHint("Put back %s from a copy of the store: it holds the repository's key, sealed with your key file.", FormatName)
}

// unlock gives the master key to the holder of a key that fits a slot.
func (f formatFile) unlock(key KeyFile) (MasterKey, error) {
	var master MasterKey
	damaged, ids := false, []string{}
	for _, s := range f.Slots {
		if s.Type != slotKeyFile {
			continue
		}
		seal, err := newSeal(CipherAESGCM, key.wrappingKey(s.Salt))
		if err != nil {
			return master, err
		}
		b, err := seal.open(nil, 0, s.Wrapped, slotAAD(s.Type, f.ID))
		if err == nil && len(b) == keySize {
			copy(master[:], b)
			return master, nil
		}
		damaged = damaged || s.KeyID == key.id()
		ids = append(ids, fmt.Sprintf("%.16q", s.KeyID))
	}
	if damaged {
		return master, damagedFormat(errors.New("the key file is the right one, and the repository's key does not open"))
	}
	p := problem.New(problem.Denied, "open repository %s: the key file does not fit", f.ID).WithReason(ReasonWrongKey).
		WithHint("Give the key file that was made with this store.")
	if len(ids) == 0 {
		return master, p.WithDetails("the repository has no slot for a key file")
	}
	return master, p.WithDetails(fmt.Sprintf("the repository wants key %s, the key file given is %q", strings.Join(ids, " or "), key.id()))
}

package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
)

const (
	ledgerMagic      = "BAKTLEDG"
	ledgerVersion    = 1
	ledgerSalt       = 16
	ledgerHeaderSize = 8 + 8 + 8 + ledgerSalt
	// MaxLedgerCopy bounds the object that keeps a copy of a ledger entry, in bytes.
	MaxLedgerCopy = 16 << 20
)

// SealLedger gives the object that keeps a copy of the ledger entry with an
// index, plaintext being its JSON, under the newest generation. It belongs under
// LedgerName(index).
func (r *Repository) SealLedger(index uint64, plaintext []byte) ([]byte, error) {
	master, err := r.keys.master(r.Generation)
	if err != nil {
		return nil, fmt.Errorf("seal ledger entry %d: %w", index, err)
	}
	return sealLedger(master, r.Generation, index, plaintext, rand.Reader)
}

func sealLedger(master MasterKey, generation uint32, index uint64, plaintext []byte, random io.Reader) ([]byte, error) {
	if len(plaintext) > MaxLedgerCopy-ledgerHeaderSize-sealOverhead {
		return nil, fmt.Errorf("seal ledger entry %d: %d bytes are too many", index, len(plaintext))
	}
	b := append([]byte(ledgerMagic), ledgerVersion, 0, 0, 0)
	b = le.AppendUint32(b, generation)
	b = le.AppendUint64(b, index)
	salt := make([]byte, ledgerSalt)
	if _, err := io.ReadFull(random, salt); err != nil {
		return nil, fmt.Errorf("seal ledger entry %d: %w", index, err)
	}
	seal, err := newSeal(CipherAESGCM, master.ledgerKey(salt))
	if err != nil {
		return nil, err
	}
	b = append(b, salt...)
	return seal.append(b, 0, plaintext, b), nil
}

// ReadLedger reads the copy of the ledger entry with an index, for OpenLedger, which
// refuses one that is larger than it may be. When there is none the error wraps
// store.ErrNotExist.
func ReadLedger(ctx context.Context, objects ObjectReader, index uint64) ([]byte, error) {
	name := LedgerName(index)
	rc, err := objects.Get(ctx, name, 0, -1)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	defer rc.Close()
	object, err := io.ReadAll(io.LimitReader(rc, MaxLedgerCopy+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", name, err)
	}
	return object, nil
}

// OpenLedger is the inverse of SealLedger. An object that is not the intact copy
// with that index is a problem Corrupt.
func (r *Repository) OpenLedger(index uint64, object []byte) ([]byte, error) {
	plain, err := openLedger(r.keys.master, index, object)
	if err != nil {
		return nil, corrupt("", LedgerName(index), err)
	}
	return plain, nil
}

func openLedger(masterOf func(generation uint32) (MasterKey, error), index uint64, object []byte) ([]byte, error) {
	d := decoder{b: object}
	magic, version := d.take(len(ledgerMagic)), d.take(1)
	d.zero(3)
	generation := d.uint32()
	at, salt := d.uint64(), d.take(ledgerSalt)
	switch {
	case d.err != nil:
		return nil, d.err
	case !bytes.Equal(magic, []byte(ledgerMagic)):
		return nil, malformed("not a copy of a ledger entry")
	case version[0] != ledgerVersion:
		return nil, malformed("version %d", version[0])
	case at != index:
		return nil, malformed("it is the copy of entry %d", at)
	}
	master, err := masterOf(generation)
	if err != nil {
		return nil, err
	}
	seal, err := newSeal(CipherAESGCM, master.ledgerKey(salt))
	if err != nil {
		return nil, err
	}
	plain, err := seal.open(nil, 0, d.b, object[:ledgerHeaderSize])
	if err != nil {
		return nil, fmt.Errorf("open ledger copy: %w", err)
	}
	return plain, nil
}

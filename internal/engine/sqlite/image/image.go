// Package image knows the outside of a SQLite database file: the header that
// says how long the file must be. It is what a dump of the sqlite engine is
// framed by: the stream is a plain database file, and it is whole when it has
// as many bytes as its header promises.
package image

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// HeaderSize is the length of the header at the beginning of page 1, in bytes.
const HeaderSize = 100

// MaxPageSize is the largest page that the format allows, in bytes.
const MaxPageSize = 64 << 10

const magic = "SQLite format 3\x00"

// Offsets in the header.
const (
	offPageSize      = 16
	offWriteVersion  = 18
	offReadVersion   = 19
	offPayload       = 21
	offChangeCounter = 24
	offPageCount     = 28
	offValidFor      = 92
)

// ErrNotDatabase says that the bytes are not the header of a SQLite database.
var ErrNotDatabase = errors.New("this is not a SQLite 3 database")

// Header is what the header says of the file.
type Header struct {
	// PageSize is in bytes, a power of two from 512 to MaxPageSize.
	PageSize int64
	// Pages is the number of pages. 0 when the header does not say it reliably:
	// very old versions of SQLite left it out.
	Pages int64
	// WAL says that the database is in write-ahead-log mode.
	WAL bool
}

// Size is the length of the whole file in bytes.
func (h Header) Size() int64 { return h.PageSize * h.Pages }

// Parse reads the header from the first HeaderSize bytes of a file. Its errors
// wrap ErrNotDatabase.
func Parse(b []byte) (Header, error) {
	if len(b) < HeaderSize {
		return Header{}, fmt.Errorf("%w: it is shorter than a header", ErrNotDatabase)
	}
	if string(b[:len(magic)]) != magic {
		return Header{}, fmt.Errorf("%w: it begins with other bytes (encrypted databases are not supported)", ErrNotDatabase)
	}
	size := int64(binary.BigEndian.Uint16(b[offPageSize:]))
	if size == 1 {
		size = MaxPageSize
	}
	if size < 512 || size&(size-1) != 0 {
		return Header{}, fmt.Errorf("%w: its page size is %d", ErrNotDatabase, size)
	}
	if b[offPayload] != 64 || b[offPayload+1] != 32 || b[offPayload+2] != 32 {
		return Header{}, fmt.Errorf("%w: its payload fractions are wrong", ErrNotDatabase)
	}
	h := Header{PageSize: size, WAL: b[offReadVersion] == 2}
	if binary.BigEndian.Uint32(b[offChangeCounter:]) == binary.BigEndian.Uint32(b[offValidFor:]) {
		h.Pages = int64(binary.BigEndian.Uint32(b[offPageCount:]))
	}
	return h, nil
}

// SetPages writes the number of pages into page 1 and marks it as valid. The
// page is left alone when it says so already.
func SetPages(page1 []byte, pages int64) error {
	h, err := Parse(page1)
	if err != nil {
		return err
	}
	if pages < 1 || pages > 0xfffffffe {
		return fmt.Errorf("a database cannot have %d pages", pages)
	}
	if h.Pages != pages {
		binary.BigEndian.PutUint32(page1[offPageCount:], uint32(pages))
		copy(page1[offValidFor:offValidFor+4], page1[offChangeCounter:offChangeCounter+4])
	}
	return nil
}

// ClearWAL marks page 1 as that of a database in rollback-journal mode, so that
// it can be read without a write-ahead log beside it.
func ClearWAL(page1 []byte) {
	page1[offWriteVersion], page1[offReadVersion] = 1, 1
}

// Package archive reads the archive format of mongodump while it flows by:
// enough of it to know which collections it announces, how many documents of
// each there are, and whether each came to its end. Documents are not looked
// into. Memory does not depend on the stream, except for one framing document,
// which MaxDocument bounds.
//
// An archive is a magic number, a block that announces the collections, and
// blocks of documents of one collection each. A block is a header document, any
// number of documents, and a terminator. A header that says EOF ends a collection
// and has a checksum over its documents.
package archive

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc64"
	"hash/maphash"
)

// MaxDocument is the longest document of an archive, in bytes: that of a server
// and some more, as the tools allow.
const MaxDocument = 16<<20 + 16<<10

// MaxOpen is how many collections may be begun and not yet ended.
const MaxOpen = 1024

const (
	magic      = 0x8199e26d
	terminator = 0xffffffff
)

// Errors of Finish.
var (
	ErrEmpty     = errors.New("the archive is empty")
	ErrTruncated = errors.New("the archive ends before its end")
	ErrMalformed = errors.New("this is not what mongodump writes")
	ErrChecksum  = errors.New("the checksum of a collection is wrong")
)

// Collection is a collection that came to its end.
type Collection struct {
	Database, Name string
	Documents      int64
}

// Parser is given an archive piece by piece.
type Parser struct {
	// Announced is called for every collection of the prelude, if it is set.
	Announced func(database, collection string)
	// Ended is called at every collection's end, if it is set.
	Ended func(Collection)
	// Piece is called with the bytes, from one offset up to another, that belong to a
	// collection, or without names to the whole of the archive; if it is set. The
	// pieces of the whole and of some collections, in order, are an archive of these.
	Piece func(database, name string, from, to int64)

	// Begins is called when it is known which collection a block is of, if it is set.
	Begins func(database, name string)

	// Server and Tool are versions, known after the prelude.
	Server, Tool string

	state     state
	size      int64
	at        int64     // bytes that were parsed
	begin     int64     // of the framing document, or of the block
	of        [2]string // the collection of the block
	token     []byte    // the length of a document, while it is incomplete
	doc       []byte    // a framing document
	left      int       // bytes of the current document that are to come
	last      byte      // the latest byte of the current document
	framing   bool      // the current document is gathered in doc
	open      map[string]*progress
	current   *progress
	announced tally
	ended     tally
	err       error
}

type state byte

const (
	atMagic   state = iota
	atHeader        // the prelude's header
	inPrelude       // collections, or the terminator
	atBlock         // a block's header, or the end
	inBlock         // documents, or the terminator
	afterLast       // the terminator behind the header that ends a collection
)

// progress is what was seen of one collection.
type progress struct {
	documents int64
	crc       uint64
}

// tally stands for a set of names: two sets are the same when number and sum are.
type tally struct {
	n, sum uint64
}

var (
	seed = maphash.MakeSeed()
	ecma = crc64.MakeTable(crc64.ECMA)
)

func (t *tally) add(key string) {
	t.n++
	t.sum += maphash.String(seed, key)
}

// New returns a parser.
func New() *Parser { return &Parser{open: map[string]*progress{}} }

// PreludeRead says that all collections were announced.
func (p *Parser) PreludeRead() bool { return p.state >= atBlock || p.err != nil }

// Write takes the next bytes. It never fails: see Finish.
func (p *Parser) Write(b []byte) (int, error) {
	p.size += int64(len(b))
	for rest := b; len(rest) > 0 && p.err == nil; {
		n := 0
		if p.left > 0 {
			n = p.document(rest)
		} else {
			n = p.length(rest)
		}
		rest = rest[n:]
	}
	return len(b), nil
}

// Finish is called after the last byte.
func (p *Parser) Finish() error {
	switch {
	case p.size == 0:
		return ErrEmpty
	case p.err != nil:
		return p.err
	case p.state != atBlock || len(p.token) > 0 || p.left > 0:
		return ErrTruncated
	case p.ended.n < p.announced.n || len(p.open) > 0:
		return fmt.Errorf("%w: %d of %d collections are complete", ErrTruncated, p.ended.n, p.announced.n)
	case p.ended != p.announced:
		return fmt.Errorf("%w: the collections are not those that were announced", ErrMalformed)
	}
	return nil
}

func (p *Parser) malformed(format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...))
	}
}

// length gathers four bytes and acts on them.
func (p *Parser) length(b []byte) int {
	n := min(4-len(p.token), len(b))
	p.token = append(p.token, b[:n]...)
	p.at += int64(n)
	if len(p.token) < 4 {
		return n
	}
	value := binary.LittleEndian.Uint32(p.token)
	switch {
	case p.state == atMagic:
		if value != magic {
			p.malformed("it begins with % x", p.token)
		}
		p.state = atHeader
	case value == terminator:
		p.terminated()
	case p.state == afterLast:
		p.malformed("documents follow the end of a collection")
	case value < 5 || value > MaxDocument:
		p.malformed("a document of %d bytes", int32(value))
	default:
		p.start(int(value))
	}
	p.token = p.token[:0]
	return n
}

func (p *Parser) start(size int) {
	p.left = size - 4
	p.framing = p.state != inBlock
	if p.framing {
		p.begin = p.at - 4
		p.doc = append(p.doc[:0], p.token...)
		return
	}
	p.current.crc = crc64.Update(p.current.crc, ecma, p.token)
}

func (p *Parser) terminated() {
	switch p.state {
	case inPrelude:
		p.piece("", "", p.at-4)
	case inBlock, afterLast:
		p.piece(p.of[0], p.of[1], p.begin)
	}
	switch p.state {
	case inPrelude, inBlock, afterLast:
		p.state, p.current = atBlock, nil
	default:
		p.malformed("a terminator where a header belongs")
	}
}

// piece tells of the bytes up to here.
func (p *Parser) piece(database, name string, from int64) {
	if p.Piece != nil {
		p.Piece(database, name, from, p.at)
	}
}

// document takes bytes of the current document.
func (p *Parser) document(b []byte) int {
	n := min(p.left, len(b))
	p.left -= n
	p.at += int64(n)
	p.last = b[n-1]
	if p.framing {
		p.doc = append(p.doc, b[:n]...)
	} else {
		p.current.crc = crc64.Update(p.current.crc, ecma, b[:n])
	}
	if p.left == 0 {
		p.complete()
	}
	return n
}

func (p *Parser) complete() {
	if p.last != 0 {
		p.malformed("a document without its end")
		return
	}
	if !p.framing {
		p.current.documents++
		return
	}
	f, err := parseFields(p.doc)
	if err != nil {
		p.malformed("%v", err)
		return
	}
	switch p.state {
	case atHeader:
		p.Server, p.Tool = f.strings["server_version"], f.strings["tool_version"]
		p.piece("", "", 0)
		p.state = inPrelude
	case inPrelude:
		p.announce(f)
	case atBlock:
		p.block(f)
	}
	const large = 1 << 20
	if cap(p.doc) > large {
		p.doc = nil
	}
}

func (p *Parser) announce(f fields) {
	database, name := f.strings["db"], f.strings["collection"]
	if p.Announced != nil {
		p.Announced(database, name)
	}
	if f.strings["type"] == "timeseries" { // its documents are in another collection
		name = "system.buckets." + name
	}
	p.announced.add(key(database, name))
	p.piece(database, name, p.begin)
}

func key(database, name string) string { return database + "\x00" + name }

// block begins a block of a collection, or ends the collection.
func (p *Parser) block(f fields) {
	database, name := f.strings["db"], f.strings["collection"]
	p.of = [2]string{database, name}
	if p.Begins != nil {
		p.Begins(database, name)
	}
	id := key(database, name)
	seen := p.open[id]
	if seen == nil {
		if len(p.open) >= MaxOpen {
			p.malformed("more than %d collections at once", MaxOpen)
			return
		}
		seen = &progress{}
		p.open[id] = seen
	}
	if !f.eof {
		p.state, p.current = inBlock, seen
		return
	}
	delete(p.open, id)
	if int64(seen.crc) != f.crc {
		p.err = fmt.Errorf("%w: %s.%s", ErrChecksum, database, name)
		return
	}
	p.ended.add(id)
	p.state = afterLast
	if p.Ended != nil {
		p.Ended(Collection{database, name, seen.documents})
	}
}

// Package rdb reads Redis' dump format while it flows by: enough of it to know
// where each key begins and ends, to count the keys, to check the stream to its
// end mark and checksum, and to hand over keys with their raw values, which is
// what Redis' RESTORE command takes. Values are not interpreted.
//
// Memory does not depend on the stream, except for the one key and value that is
// being handed over, which MaxValue bounds.
package rdb

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strconv"
)

// MaxValue is the longest key or value that is handed over, in bytes: that of
// Redis' own protocol.
const MaxValue = 512 << 20

// Errors of Parser.Err and Parser.Finish.
var (
	ErrEmpty     = errors.New("the dump is empty")
	ErrTruncated = errors.New("the dump ends before its end mark")
	ErrMalformed = errors.New("this is not what Redis writes")
	ErrChecksum  = errors.New("the checksum of the dump is wrong")
	ErrUnknown   = errors.New("the dump holds a kind of value that this version does not know")
	ErrTooLong   = fmt.Errorf("the dump holds a key or value of more than %d MiB", MaxValue>>20)
)

// Entry is one key with its value.
type Entry struct {
	Database uint64
	Key      []byte
	// Expires is the time when the key ends, in milliseconds since 1970; 0 for never.
	Expires int64
	// Type and Value are as in the dump.
	Type  byte
	Value []byte
}

// Handler is called for what the dump holds, in order. An error of it ends the
// parser. What it gets is only valid during the call.
type Handler struct {
	Entry func(Entry) error
	// Library is the source code of a library of functions.
	Library func(code []byte) error
}

// Summary is what a dump holds.
type Summary struct {
	// Version is that of the format, Server what the server says of itself.
	Version int
	Server  string
	// Keys counts the keys by the number of their database, at most MaxDatabases of them.
	Keys map[uint64]int64
	// Expiring counts those of Keys that end at a time of their own.
	Expiring map[uint64]int64
	// Libraries counts the libraries of functions.
	Libraries int64
	// Unknown is the kind of value, or 0, from which on nothing was counted.
	Unknown byte
}

// MaxDatabases bounds Summary.Keys.
const MaxDatabases = 10_000

// Parser is given a dump piece by piece.
type Parser struct {
	handler *Handler
	steps   []step // what comes next, last first
	token   []byte // the beginning of a token that is not complete
	summary Summary

	size     int64
	crc      uint64
	last     [8]byte // the latest bytes, which crc does not cover yet
	ended    bool    // the end mark was seen
	err      error   // sticky
	blind    bool    // only the checksum is looked at any more
	database uint64
	expires  int64
	kind     byte

	keep  bool   // kept gathers what is consumed
	limit int    // of kept, in bytes
	kept  []byte // raw bytes of the string or value being read
	key   []byte
	state stringState
}

// stringState remembers the encoding of the string being kept.
type stringState struct {
	lzf          bool
	integer      bool
	start        int // of the content in kept
	uncompressed uint64
}

// New returns a parser. Without a handler it only counts and checks.
func New(h *Handler) *Parser {
	p := &Parser{handler: h}
	p.summary.Keys, p.summary.Expiring = map[uint64]int64{}, map[uint64]int64{}
	p.push(step{do: header})
	return p
}

// Err is what is wrong with the dump so far, nil if nothing is.
func (p *Parser) Err() error { return p.err }

// Ended says that the dump is complete, so that no more bytes may come.
func (p *Parser) Ended() bool { return p.ended && len(p.steps) == 0 }

// Write takes the next bytes. It never fails: see Err and Finish.
func (p *Parser) Write(b []byte) (int, error) {
	p.sum(b)
	rest := b
	for p.err == nil && !p.blind && len(rest) > 0 {
		if len(p.steps) == 0 {
			p.fail(fmt.Errorf("%w: bytes follow the end mark", ErrMalformed))
			break
		}
		if rest = p.strings(rest); len(rest) > 0 {
			rest = p.advance(rest)
		}
	}
	return len(b), nil
}

// Finish is called after the last byte.
func (p *Parser) Finish() (Summary, error) {
	switch {
	case p.size == 0:
		return p.summary, ErrEmpty
	case p.blind:
		return p.summary, p.finishBlind()
	case p.err != nil:
		return p.summary, p.err
	case !p.Ended():
		return p.summary, ErrTruncated
	}
	return p.summary, p.checkSum()
}

// finishBlind judges a dump with values of an unknown kind by its checksum.
func (p *Parser) finishBlind() error {
	stored := binary.LittleEndian.Uint64(p.last[:])
	switch {
	case stored == 0:
		return fmt.Errorf("%w (%d), and it has no checksum", ErrUnknown, p.summary.Unknown)
	case stored != p.crc:
		return fmt.Errorf("%w, or its checksum is wrong", ErrTruncated)
	}
	return nil
}

func (p *Parser) checkSum() error {
	const firstWithSum = 5
	if p.summary.Version < firstWithSum {
		return nil
	}
	stored := binary.LittleEndian.Uint64(p.last[:])
	if stored != 0 && stored != p.crc { // 0: the server was told to write none
		return ErrChecksum
	}
	return nil
}

// sum keeps the checksum of everything but the last eight bytes.
func (p *Parser) sum(b []byte) {
	have := int(min(p.size, int64(len(p.last))))
	p.size += int64(len(b))
	if len(b) >= len(p.last) {
		p.crc = checksum(p.crc, p.last[:have])
		p.crc = checksum(p.crc, b[:len(b)-len(p.last)])
		copy(p.last[:], b[len(b)-len(p.last):])
		return
	}
	if over := have + len(b) - len(p.last); over > 0 {
		p.crc = checksum(p.crc, p.last[:over])
		copy(p.last[:], p.last[over:have])
		have -= over
	}
	copy(p.last[have:], b)
}

func (p *Parser) fail(err error) {
	if p.err == nil {
		p.err = err
	}
}

func (p *Parser) malformed(format string, args ...any) {
	p.fail(fmt.Errorf("%w: %s", ErrMalformed, fmt.Sprintf(format, args...)))
}

// unknown gives up on the structure. Without a handler the checksum at the end
// can still tell whether the dump is whole.
func (p *Parser) unknown(kind byte) {
	p.summary.Unknown = kind
	if p.handler != nil {
		p.fail(fmt.Errorf("%w (%d)", ErrUnknown, kind))
		return
	}
	p.blind = true
}

// begin starts to keep what is consumed, up to limit bytes.
func (p *Parser) begin(limit int) {
	p.keep, p.limit, p.kept, p.state = true, limit, p.kept[:0], stringState{}
}

// consumed keeps what was read, if it is wanted.
func (p *Parser) consumed(b []byte) {
	if !p.keep {
		return
	}
	if len(p.kept)+len(b) > p.limit {
		if p.keep = false; p.limit == MaxValue {
			p.fail(ErrTooLong)
		}
		return
	}
	p.kept = append(p.kept, b...)
}

// text decodes the string that was kept.
func (p *Parser) text() ([]byte, error) {
	content := p.kept[min(p.state.start, len(p.kept)):]
	switch {
	case p.state.lzf:
		if p.state.uncompressed > MaxValue {
			return nil, ErrTooLong
		}
		text, err := unlzf(content, p.state.uncompressed)
		if err != nil {
			return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
		}
		return text, nil
	case p.state.integer:
		return strconv.AppendInt(nil, littleEndian(content), 10), nil
	}
	return content, nil
}

// littleEndian reads a signed number of one, two or four bytes.
func littleEndian(b []byte) int64 {
	switch len(b) {
	case 1:
		return int64(int8(b[0]))
	case 2:
		return int64(int16(binary.LittleEndian.Uint16(b)))
	case 4:
		return int64(int32(binary.LittleEndian.Uint32(b)))
	}
	return 0
}

// FooterSize is the length of what DUMP adds to a value, in bytes.
const FooterSize = 10

// Footer gives what makes an entry's type and value the payload of a RESTORE
// command: the version of the format and a checksum over everything before it.
func (p *Parser) Footer(e Entry) [FooterSize]byte {
	var f [FooterSize]byte
	binary.LittleEndian.PutUint16(f[:], uint16(p.summary.Version))
	crc := checksum(0, []byte{e.Type})
	crc = checksum(crc, e.Value)
	crc = checksum(crc, f[:2])
	binary.LittleEndian.PutUint64(f[2:], crc)
	return f
}

// Package ldif reads what slapcat writes: the entries of a directory as LDIF,
// with an end mark of our own behind the last one, since LDIF has none. The mark
// is a comment to every other reader. The parser is strict: it takes what slapcat
// writes and nothing else that LDIF knows, such as values in files, or changes.
package ldif

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"
)

// Bounds. slapcat folds lines at 76 bytes, save for the names of attributes.
const (
	maxLine = 64 << 10
	maxDN   = 64 << 10
)

// What is wrong with a dump.
var (
	ErrEmpty     = errors.New("nothing was written")
	ErrTruncated = errors.New("the dump is cut short, its end mark is missing")
)

const markBegin, markEnd = "# baktainer: end of dump, ", " entries"

// Mark is the line that ends a dump of so many entries.
func Mark(entries int64) string { return markBegin + strconv.FormatInt(entries, 10) + markEnd + "\n" }

// Handler is told what is in a dump; what it is given is valid during the call.
// All of its functions may be nil.
type Handler struct {
	// Entry begins an entry: its DN, unfolded and decoded.
	Entry func(dn []byte)
	// Line is a line of the entry after its DN, without line end. name is the length
	// of the attribute's name with which it begins; 0: it continues the one before.
	Line func(line []byte, name int)
	// End ends the entry.
	End func()
}

type place int

const (
	between place = iota // entries, where a comment may stand
	inDN
	inEntry
)

// Parser is an io.Writer that reads a dump however it is cut into writes, in
// memory that does not depend on its size.
type Parser struct {
	handler Handler
	at      place
	partial []byte // the beginning of a line
	dn      []byte // as it is in the dump, unfolded
	decoded []byte
	size    int64
	entries int64
	lines   int64
	ended   bool
	err     error
}

// New returns a parser.
func New(h Handler) *Parser { return &Parser{handler: h} }

// Write never fails: what is wrong is kept for Finish.
func (p *Parser) Write(b []byte) (int, error) {
	p.size += int64(len(b))
	for rest := b; len(rest) > 0 && p.err == nil; {
		if p.at == inEntry && p.handler.Line == nil && len(p.partial) == 0 {
			rest = rest[p.skim(rest):]
		}
		end := bytes.IndexByte(rest, '\n')
		if end < 0 || len(p.partial) > 0 {
			upTo := end
			if end < 0 {
				upTo = len(rest)
			}
			if len(p.partial)+upTo > maxLine {
				p.fail("is longer than %d bytes", maxLine)
				break
			}
			p.partial = append(p.partial, rest[:upTo]...)
			if end < 0 {
				break
			}
			p.line(p.partial)
			p.partial = p.partial[:0]
		} else {
			p.line(rest[:end])
		}
		rest = rest[end+1:]
	}
	return len(b), nil
}

// skim goes through the lines of an entry to which nobody listens, and says how
// many bytes it went: up to a line that needs a closer look, or is not complete.
// It looks whether a line continues another, or begins with a name and a colon.
func (p *Parser) skim(b []byte) int {
	const (
		word   = 8 // bytes
		ones   = 0x0101010101010101
		colons = ':' * ones
	)
	for at := 0; ; p.lines++ {
		end := bytes.IndexByte(b[at:], '\n')
		if end < word || end > maxLine {
			return at
		}
		line := b[at : at+end]
		if line[0] != ' ' {
			n := 0
			for ; n+word <= len(line); n += word {
				// The highest bit of the lowest byte that is a colon, and perhaps of some above.
				x := binary.LittleEndian.Uint64(line[n:]) ^ colons
				if found := (x - ones) & ^x & (ones << 7); found != 0 {
					n += bits.TrailingZeros64(found) / 8
					break
				}
			}
			// changetype and control are the names that must not be.
			suspect := line[0]|0x20 == 'c' && (line[1]|0x20 == 'h' || line[1]|0x20 == 'o')
			if suspect || !letter(line[0]) || n+1 >= len(line) || line[n] != ':' || line[n+1] == '<' {
				return at
			}
		}
		at += end + 1
	}
}

// Err is what was found wrong so far.
func (p *Parser) Err() error { return p.err }

// Finish says how many entries there were, and whether the dump is whole.
func (p *Parser) Finish() (entries int64, err error) {
	switch {
	case p.size == 0:
		return 0, ErrEmpty
	case p.err != nil:
		return 0, p.err
	case !p.ended || len(p.partial) > 0:
		return 0, ErrTruncated
	}
	return p.entries, nil
}

func (p *Parser) fail(format string, args ...any) {
	p.err = fmt.Errorf("line %d "+format, append([]any{p.lines + 1}, args...)...)
}

func (p *Parser) line(l []byte) {
	switch {
	case p.ended:
		p.fail("follows the end mark")
	case len(l) > maxLine:
		p.fail("is longer than %d bytes", maxLine)
	case len(l) == 0:
		p.endEntry()
	case p.at == between:
		p.begin(l)
	case l[0] == ' ' && p.at == inDN:
		if p.dn = append(p.dn, l[1:]...); len(p.dn) > maxDN {
			p.fail("makes a DN longer than %d bytes", maxDN)
		}
	case l[0] == ' ':
		if p.handler.Line != nil {
			p.handler.Line(l, 0)
		}
	default:
		if p.at == inDN {
			p.endDN()
		}
		p.attribute(l)
	}
	p.lines++
}

// begin takes the first line of an entry, or one between entries.
func (p *Parser) begin(l []byte) {
	if rest, ok := bytes.CutPrefix(l, []byte("dn:")); ok {
		p.at, p.dn = inDN, append(p.dn[:0], rest...)
		return
	}
	if said, ok := bytes.CutPrefix(l, []byte(markBegin)); ok {
		if string(said) != strconv.FormatInt(p.entries, 10)+markEnd {
			p.fail("is an end mark for %q, after %d entries", said[:min(len(said), 40)], p.entries)
		}
		p.ended = true
		return
	}
	if l[0] != '#' && (string(l) != "version: 1" || p.lines > 0) {
		p.fail("begins with %q: no entry begins so", l[:min(len(l), 40)])
	}
}

// letter says whether an attribute's name can begin so. What follows up to the
// colon is for the server to judge.
func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' || c >= '0' && c <= '9' }

func (p *Parser) attribute(l []byte) {
	n := bytes.IndexByte(l, ':')
	switch {
	case p.err != nil:
	case n < 0 || !letter(l[0]) || n+1 < len(l) && l[n+1] == '<':
		p.fail("begins with %q: no attribute begins so", l[:min(len(l), 40)])
	case n == len("control") && strings.EqualFold(string(l[:n]), "control"), n == len("changetype") && strings.EqualFold(string(l[:n]), "changetype"):
		p.fail("describes a change, and not an entry") // and would be carried out as such
	case p.handler.Line != nil:
		p.handler.Line(l, n)
	}
}

func (p *Parser) endDN() {
	p.at = inEntry
	dn := bytes.TrimLeft(p.dn, " ")
	if coded, ok := bytes.CutPrefix(p.dn, []byte(":")); ok {
		coded = bytes.TrimLeft(coded, " ")
		p.decoded = append(p.decoded[:0], make([]byte, base64.StdEncoding.DecodedLen(len(coded)))...)
		n, err := base64.StdEncoding.Decode(p.decoded, coded)
		if err != nil {
			p.fail("is preceded by a DN that is not base64")
			return
		}
		dn = p.decoded[:n]
	}
	if p.handler.Entry != nil {
		p.handler.Entry(dn)
	}
}

func (p *Parser) endEntry() {
	switch p.at {
	case inDN:
		p.fail("ends an entry that has a DN only")
	case inEntry:
		p.entries++
		if p.handler.End != nil {
			p.handler.End()
		}
	}
	p.at = between
}

// Counter counts the entries of what is written to it, without looking closer.
// Its zero value is ready.
type Counter struct {
	// Entries so far.
	Entries int64
	last    []byte // the last bytes, at most one less than a line's beginning has
}

// Write never fails.
func (c *Counter) Write(b []byte) (int, error) {
	begin := []byte("\ndn:")
	if c.last == nil {
		c.last = []byte("\n")
	}
	seam := append(c.last, b[:min(len(b), len(begin)-1)]...)
	c.Entries += int64(bytes.Count(seam, begin) + bytes.Count(b, begin))
	if len(b) >= len(begin) {
		seam = b
	}
	c.last = append(make([]byte, 0, 2*len(begin)), seam[max(0, len(seam)-len(begin)+1):]...)
	return len(b), nil
}

// Between says that what was written ends behind a whole entry.
func (c *Counter) Between() bool { return bytes.HasSuffix(c.last, []byte("\n\n")) }

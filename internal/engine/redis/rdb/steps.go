package rdb

import "encoding/binary"

// action is what a step reads.
type action byte

const (
	header action = iota // the format's name and version
	opcode               // what comes next
	length               // a number; then gets it
	text                 // a string in any encoding
	double               // a number as text
	skip                 // n bytes
	repeat               // items, n times; reads nothing itself
	call                 // then; reads nothing itself
)

// step is one thing to read, or to do once what is before it was read.
type step struct {
	do    action
	n     uint64
	items []step
	then  func(*Parser, uint64)
}

// push makes steps the next ones, in their order.
func (p *Parser) push(steps ...step) {
	for i := len(steps) - 1; i >= 0; i-- {
		p.steps = append(p.steps, steps[i])
	}
}

// drop removes the step that was done.
func (p *Parser) drop() { p.steps = p.steps[:len(p.steps)-1] }

// advance does the next step as far as b goes and returns the rest of b. Every
// step reads at least one byte, or is followed by one that does.
func (p *Parser) advance(b []byte) []byte {
	s := &p.steps[len(p.steps)-1]
	switch s.do {
	case repeat:
		if s.n == 0 {
			p.drop()
			return b
		}
		s.n--
		p.push(s.items...)
	case call:
		then := s.then
		p.drop()
		then(p, 0)
	case skip:
		n := min(s.n, uint64(len(b)))
		p.consumed(b[:n])
		if s.n -= n; s.n == 0 {
			p.drop()
		}
		return b[n:]
	default:
		return p.read(b, *s)
	}
	return b
}

// read gathers the token of a step, which may be split over several writes.
func (p *Parser) read(b []byte, s step) []byte {
	need := 1
	if s.do == header {
		need = headerSize
	}
	b, ok := p.gather(b, need)
	if ok && (s.do == length || s.do == text) {
		b, ok = p.gather(b, lengthSize(p.token[0]))
	}
	if !ok {
		return b
	}
	var token [16]byte
	n := copy(token[:], p.token)
	p.token = p.token[:0]
	p.drop()
	p.consumed(token[:n])
	p.take(s, token[:n])
	return b
}

// gather moves bytes of b into token until it has n.
func (p *Parser) gather(b []byte, n int) ([]byte, bool) {
	if missing := n - len(p.token); missing > 0 {
		moved := min(missing, len(b))
		p.token = append(p.token, b[:moved]...)
		b = b[moved:]
	}
	return b, len(p.token) >= n
}

func (p *Parser) take(s step, token []byte) {
	switch s.do {
	case header:
		p.takeHeader(token)
	case opcode:
		p.takeOpcode(token[0])
	case double:
		if n := token[0]; n < 253 && n > 0 { // from 253 on: not a number, infinities
			p.push(step{do: skip, n: uint64(n)})
		}
	case length:
		n, special := decodeLength(token)
		if special {
			p.malformed("an encoded string in place of a number")
			return
		}
		if s.then != nil {
			s.then(p, n)
		}
	case text:
		p.takeText(token)
	}
}

func (p *Parser) takeText(token []byte) {
	n, special := decodeLength(token)
	p.state.start = len(p.kept)
	switch {
	case !special:
		p.skip(n)
	case n <= 2: // an integer of 1, 2 or 4 bytes
		p.state.integer = true
		p.skip(1 << n)
	case n == 3:
		p.state.lzf = true
		p.push(step{do: length, then: func(p *Parser, compressed uint64) {
			p.push(step{do: length, then: func(p *Parser, full uint64) {
				p.state.uncompressed, p.state.start = full, len(p.kept)
				p.skip(compressed)
			}})
		}})
	default:
		p.malformed("a string in the unknown encoding %d", n)
	}
}

func (p *Parser) skip(n uint64) {
	if n > 0 {
		p.push(step{do: skip, n: n})
	}
}

// lengthSize is how many bytes the length has that begins with b.
func lengthSize(b byte) int {
	switch {
	case b>>6 == 1:
		return 2
	case b == 0x80:
		return 5
	case b == 0x81:
		return 9
	}
	return 1
}

// decodeLength reads a whole length. special: it is the number of an encoding.
func decodeLength(b []byte) (n uint64, special bool) {
	switch {
	case b[0]>>6 == 0:
		return uint64(b[0]), false
	case b[0]>>6 == 1:
		return uint64(b[0]&0x3f)<<8 | uint64(b[1]), false
	case b[0] == 0x80:
		return uint64(binary.BigEndian.Uint32(b[1:])), false
	case b[0] == 0x81:
		return binary.BigEndian.Uint64(b[1:]), false
	case b[0]>>6 == 3:
		return uint64(b[0] & 0x3f), true
	}
	return invalidEncoding, true
}

// invalidEncoding is none that exists.
const invalidEncoding = 1 << 8

package rdb

import (
	"bytes"
	"strconv"
)

// headerSize is the length of "REDIS0010" and "VALKEY080".
const headerSize = 9

// Opcodes, the highest numbers of a type's byte.
const (
	opSlotInfo  = 0xf4
	opFunction  = 0xf5
	opModuleAux = 0xf7
	opIdle      = 0xf8
	opFrequency = 0xf9
	opAux       = 0xfa
	opResize    = 0xfb
	opExpireMS  = 0xfc
	opExpire    = 0xfd
	opSelect    = 0xfe
	opEnd       = 0xff
)

const auxLimit = 1 << 10

func (p *Parser) takeHeader(token []byte) {
	digits, ok := bytes.CutPrefix(token, []byte("REDIS"))
	if !ok {
		digits, ok = bytes.CutPrefix(token, []byte("VALKEY"))
	}
	version, err := strconv.ParseUint(string(digits), 10, 16)
	if !ok || err != nil || version == 0 {
		p.malformed("it begins with %q", token)
		return
	}
	p.summary.Version = int(version)
	p.push(step{do: opcode})
}

func (p *Parser) takeOpcode(op byte) {
	next := step{do: opcode}
	switch op {
	case opEnd:
		p.ended = true
		if p.summary.Version >= 5 {
			p.skip(8) // the checksum
		}
	case opSelect:
		p.push(step{do: length, then: func(p *Parser, n uint64) { p.database = n }}, next)
	case opExpire, opExpireMS:
		p.takeExpiry(op)
	case opResize:
		p.push(number, number, next)
	case opSlotInfo:
		p.push(number, number, number, next)
	case opFrequency:
		p.push(step{do: skip, n: 1}, next)
	case opIdle:
		p.push(number, next)
	case opAux:
		p.begin(auxLimit)
		p.push(step{do: text}, step{do: call, then: (*Parser).auxName}, step{do: text}, step{do: call, then: (*Parser).auxValue}, next)
	case opFunction:
		if p.handler != nil {
			p.begin(MaxValue)
		}
		p.push(step{do: text}, step{do: call, then: (*Parser).library}, next)
	case opModuleAux:
		p.push(number, number, number, moduleItem, next)
	default:
		p.entry(op)
	}
}

// takeExpiry reads the eight or four bytes of the time when the next key ends.
func (p *Parser) takeExpiry(op byte) {
	size := uint64(8)
	if op == opExpire {
		size = 4
	}
	p.begin(auxLimit)
	p.push(step{do: skip, n: size}, step{do: call, then: func(p *Parser, _ uint64) {
		p.keep = false
		var t int64
		for i := len(p.kept) - 1; i >= 0; i-- {
			t = t<<8 | int64(p.kept[i])
		}
		if op == opExpire {
			t *= 1000
		}
		p.expires = t
	}}, step{do: opcode})
}

func (p *Parser) auxName(uint64) {
	p.key = p.key[:0]
	if name, err := p.text(); err == nil && p.keep {
		p.key = append(p.key, name...)
	}
	p.begin(auxLimit)
}

func (p *Parser) auxValue(uint64) {
	value, err := p.text()
	if name := string(p.key); err == nil && p.keep && (name == "redis-ver" || name == "valkey-ver") {
		p.summary.Server = string(value)
	}
	p.keep = false
}

func (p *Parser) library(uint64) {
	p.summary.Libraries++
	p.keep = false
	if p.handler == nil || p.handler.Library == nil {
		return
	}
	code, err := p.text()
	if err == nil {
		err = p.handler.Library(code)
	}
	p.fail(err)
}

// entry reads a key and its value.
func (p *Parser) entry(kind byte) {
	value, ok := layout(kind)
	if !ok {
		p.unknown(kind)
		return
	}
	p.kind = kind
	if p.handler != nil {
		p.begin(MaxValue)
	}
	p.push(step{do: call, then: (*Parser).valueRead}, step{do: opcode})
	p.push(value...)
	p.push(step{do: text}, step{do: call, then: (*Parser).keyRead})
}

func (p *Parser) keyRead(uint64) {
	if p.handler == nil {
		return
	}
	key, err := p.text()
	if err != nil {
		p.fail(err)
		return
	}
	p.key = append(p.key[:0], key...)
	p.begin(MaxValue)
}

// valuesRead counts keys, of which the first may be one that ends by itself.
func (p *Parser) valuesRead(keys int64) {
	if _, known := p.summary.Keys[p.database]; known || len(p.summary.Keys) < MaxDatabases {
		p.summary.Keys[p.database] += keys
		if p.expires != 0 {
			p.summary.Expiring[p.database]++
		}
	}
	p.expires, p.keep = 0, false
}

func (p *Parser) valueRead(uint64) {
	expires := p.expires
	p.valuesRead(1)
	if p.handler == nil {
		return
	}
	p.fail(p.handler.Entry(Entry{Database: p.database, Key: p.key, Expires: expires, Type: p.kind, Value: p.kept}))
	const large = 1 << 20
	if cap(p.kept) > large {
		p.kept = nil
	}
}

// count is a number and then as many of items.
func count(items ...step) step {
	return step{do: length, then: func(p *Parser, n uint64) { p.push(step{do: repeat, n: n, items: items}) }}
}

func fixed(n uint64) step { return step{do: skip, n: n} }

var (
	str    = step{do: text}
	number = step{do: length}

	layouts = map[byte][]step{
		0:  {str},                               // string
		1:  {count(str)},                        // list
		2:  {count(str)},                        // set
		3:  {count(str, step{do: double})},      // sorted set
		4:  {count(str, str)},                   // hash
		5:  {count(str, fixed(8))},              // sorted set, binary scores
		7:  {number, moduleItem},                // module
		9:  {str},                               // hash, zipmap
		10: {str},                               // list, ziplist
		11: {str},                               // set, intset
		12: {str},                               // sorted set, ziplist
		13: {str},                               // hash, ziplist
		14: {count(str)},                        // list, quicklist of ziplists
		15: stream(1),                           // stream
		16: {str},                               // hash, listpack
		17: {str},                               // sorted set, listpack
		18: {count(number, str)},                // list, quicklist of listpacks
		19: stream(2),                           // stream with more counters
		20: {str},                               // set, listpack
		21: stream(3),                           // stream with active times
		24: {fixed(8), count(number, str, str)}, // hash whose fields may end
		25: {fixed(8), str},                     // the same, listpack
	}
)

// layout says how the value of a type is built. Not known are: modules of the
// first format (6), which only the module can read, and numbers that different
// servers use differently (22, 23).
func layout(kind byte) ([]step, bool) {
	steps, ok := layouts[kind]
	return steps, ok
}

func stream(version int) []step {
	id := fixed(16)
	consumer := []step{str, fixed(8)}
	group := []step{str, number, number}
	steps := []step{count(str, str), number, number, number}
	if version >= 2 {
		steps = append(steps, number, number, number, number, number)
		group = append(group, number)
	}
	if version >= 3 {
		consumer = append(consumer, fixed(8))
	}
	consumer = append(consumer, count(id))
	group = append(group, count(id, fixed(8), number), count(consumer...))
	return append(steps, count(group...))
}

// moduleItem is one value of a module; others follow until one is the end.
var moduleItem = step{do: length, then: takeModuleItem}

func takeModuleItem(p *Parser, kind uint64) {
	again := step{do: length, then: func(p *Parser, kind uint64) { takeModuleItem(p, kind) }}
	switch kind {
	case 0:
	case 1, 2:
		p.push(number, again)
	case 3:
		p.push(fixed(4), again)
	case 4:
		p.push(fixed(8), again)
	case 5:
		p.push(str, again)
	default:
		p.malformed("a module's value of the unknown kind %d", kind)
	}
}

package rdb

// typeString is the type of a value that is one string.
const typeString = 0

// strings passes over keys with such values, which most are: what the steps do for
// each, in one go, as long as keys and values are whole in b and nobody wants them.
// It returns the rest of b.
func (p *Parser) strings(b []byte) []byte {
	if p.handler != nil || len(p.token) > 0 || p.steps[len(p.steps)-1].do != opcode {
		return b
	}
	var keys int64
	for len(b) > 0 && b[0] == typeString {
		key := textSize(b[1:])
		if key == 0 {
			break
		}
		value := textSize(b[1+key:])
		if value == 0 || len(b) == 1+key+value { // the steps count a key when they see what follows
			break
		}
		keys++
		b = b[1+key+value:]
	}
	if keys > 0 {
		p.kind = typeString
		p.valuesRead(keys)
	}
	return b
}

// textSize is how many bytes the string takes that b begins with, 0 when it is not
// whole in b, or has to be looked at more closely.
func textSize(b []byte) int {
	n, size := numberAt(b)
	if size == 0 {
		return 0
	}
	if b[0]>>6 == 3 {
		switch {
		case n <= 2: // an integer of 1, 2 or 4 bytes
			n = 1 << n
		case n == 3: // compressed: its two sizes come first
			compressed, first := plainAt(b[size:])
			_, second := plainAt(b[size+first:])
			if first == 0 || second == 0 {
				return 0
			}
			n, size = compressed, size+first+second
		default:
			return 0
		}
	}
	if n > uint64(len(b)-size) {
		return 0
	}
	return size + int(n)
}

// numberAt reads the length, or the number of an encoding, that b begins with;
// size is 0 when there is none, or not all of it.
func numberAt(b []byte) (n uint64, size int) {
	if len(b) == 0 || len(b) < lengthSize(b[0]) {
		return 0, 0
	}
	if n, _ = decodeLength(b); n == invalidEncoding && b[0]>>6 == 2 && b[0] > 0x81 {
		return 0, 0
	}
	return n, lengthSize(b[0])
}

// plainAt is numberAt where no encoding may be.
func plainAt(b []byte) (n uint64, size int) {
	if len(b) > 0 && b[0]>>6 == 3 {
		return 0, 0
	}
	return numberAt(b)
}

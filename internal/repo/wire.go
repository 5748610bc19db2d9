package repo

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Integers of fixed size are little-endian; uvarints are LEB128 in their shortest form.
var le = binary.LittleEndian

var errMalformed = errors.New("malformed")

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: "+format, append([]any{errMalformed}, args...)...)
}

// decoder takes values off the front of b and keeps the first failure, after
// which all values are zero. Lengths are held against what is there before
// anything is made from them.
type decoder struct {
	b   []byte
	err error
}

func (d *decoder) fail(format string, args ...any) {
	if d.err == nil {
		d.err = malformed(format, args...)
		d.b = nil
	}
}

func (d *decoder) take(n int) []byte {
	if n < 0 || n > len(d.b) {
		d.fail("%d bytes are missing", n-len(d.b))
		return nil
	}
	p := d.b[:n:n]
	d.b = d.b[n:]
	return p
}

func (d *decoder) uint32() uint32 {
	if p := d.take(4); p != nil {
		return le.Uint32(p)
	}
	return 0
}

func (d *decoder) uint64() uint64 {
	if p := d.take(8); p != nil {
		return le.Uint64(p)
	}
	return 0
}

// uvarint takes a number of at most limit.
func (d *decoder) uvarint(limit uint64) uint64 {
	v, n := binary.Uvarint(d.b)
	switch {
	case n <= 0:
		d.fail("a number is cut short or too large")
		return 0
	case n > 1 && d.b[n-1] == 0:
		d.fail("a number is not in its shortest form")
		return 0
	case v > limit:
		d.fail("the number %d is over its limit %d", v, limit)
		return 0
	}
	d.b = d.b[n:]
	return v
}

// count takes the number of elements that follow, each of at least size bytes.
func (d *decoder) count(size int) int {
	return int(d.uvarint(uint64(len(d.b) / size)))
}

func (d *decoder) string(limit int) string {
	return string(d.take(int(d.uvarint(uint64(limit)))))
}

// zero takes n reserved bytes.
func (d *decoder) zero(n int) {
	for _, c := range d.take(n) {
		if c != 0 {
			d.fail("a reserved byte is not zero")
			return
		}
	}
}

// end fails when anything is left.
func (d *decoder) end() error {
	if d.err == nil && len(d.b) > 0 {
		d.fail("%d bytes too many", len(d.b))
	}
	return d.err
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// readN reads exactly n bytes of r. Memory follows what has really been read, so
// that a false length costs nothing. A short r is io.ErrUnexpectedEOF.
func readN(r io.Reader, n int64) ([]byte, error) {
	buf := make([]byte, 0, min(n, 1<<20))
	for int64(len(buf)) < n {
		if len(buf) == cap(buf) {
			grown := make([]byte, len(buf), min(n, 2*int64(cap(buf))))
			copy(grown, buf)
			buf = grown
		}
		k, err := io.ReadFull(r, buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+k]
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return nil, err
		}
	}
	return buf, nil
}

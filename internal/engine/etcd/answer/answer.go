// Package answer reads what `etcdctl txn` prints with the output format
// "protobuf" for a transaction of one get: a TxnResponse of etcd's API. It does
// so as the bytes come, one key at a time, whatever the size of the whole.
package answer

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
)

// What may be wrong with an answer.
var (
	ErrEmpty     = errors.New("it is empty")
	ErrTruncated = errors.New("it ends in its middle")
	ErrMalformed = errors.New("it is no answer of etcd")
	ErrTooLong   = errors.New("a key and its value are too long")
)

// A Pair is a key and what belongs to it. Its bytes hold until the next one is read.
type Pair struct {
	Key, Value []byte
	Lease      int64 // 0: none
}

// MaxPair bounds the length of a key and its value together.
const MaxPair = 2 << 20

// Fields of the messages of etcd's API, in which only those that are of use
// here are looked at, and the kinds of fields that there are.
const (
	txnHeader, txnResponses   = 1, 3
	opRange                   = 1
	rangePairs                = 2
	rangeMore, rangeCount     = 3, 4
	headerRevision            = 3
	pairKey, pairValue, lease = 1, 5, 6

	kindNumber, kindBytes = 0, 2
	maxHeader             = 1 << 10
	pairRest              = 256 // for what a pair has beside key and value
)

// The messages lie one in the other.
const (
	inTxn = iota
	inOp
	inRange
	levels
)

// Reader reads one answer.
type Reader struct {
	Revision int64 // of the store; known from the first pair on
	Count    int64 // of all keys, also of those that were not asked for; known at the end
	More     bool  // there are further keys; known at the end

	from   *bufio.Reader
	at     int64         // how much was read
	level  int           // the message that is being read
	ends   [levels]int64 // where the messages do
	ranges int
	buffer []byte
}

// NewReader returns a Reader of the answer that comes from r.
func NewReader(r io.Reader) *Reader { return &Reader{from: bufio.NewReaderSize(r, 64<<10)} }

// Next returns the next pair, and io.EOF when all of the answer was read and is whole.
func (r *Reader) Next() (Pair, error) {
	for {
		if r.level > inTxn && r.at >= r.ends[r.level] {
			if r.at > r.ends[r.level] {
				return Pair{}, ErrMalformed
			}
			r.level--
			continue
		}
		number, kind, n, err := r.field()
		if err != nil {
			return Pair{}, err
		}
		switch {
		case kind == kindNumber:
			if r.level == inRange && number == rangeMore {
				r.More = n != 0
			}
			if r.level == inRange && number == rangeCount {
				r.Count = int64(n)
			}
		case n > 1<<40 || r.level > inTxn && r.at+int64(n) > r.ends[r.level]:
			return Pair{}, ErrMalformed
		case r.level == inTxn && number == txnResponses, r.level == inOp && number == opRange:
			r.level++
			r.ends[r.level] = r.at + int64(n)
			if r.level == inRange {
				r.ranges++
			}
		case r.level == inTxn && number == txnHeader:
			if err := r.header(n); err != nil {
				return Pair{}, err
			}
		case r.level == inRange && number == rangePairs:
			return r.pair(n)
		default:
			if err := r.skip(n); err != nil {
				return Pair{}, err
			}
		}
	}
}

// field reads the beginning of a field: its number and kind, and a number or the
// length of what follows. Where the answer may end, the end is no error but io.EOF.
func (r *Reader) field() (number, kind, n uint64, err error) {
	if _, err := r.from.Peek(1); errors.Is(err, io.EOF) && r.level == inTxn {
		switch {
		case r.at == 0:
			return 0, 0, 0, ErrEmpty
		case r.ranges != 1 || r.Revision == 0:
			return 0, 0, 0, ErrTruncated
		}
		return 0, 0, 0, io.EOF
	}
	tag, err := r.number()
	if err != nil {
		return 0, 0, 0, err
	}
	number, kind = tag>>3, tag&7
	if number == 0 || kind != kindNumber && kind != kindBytes {
		return 0, 0, 0, ErrMalformed
	}
	n, err = r.number()
	return number, kind, n, err
}

// number reads one, seven bits in each byte.
func (r *Reader) number() (n uint64, err error) {
	for shift := 0; shift < 64; shift += 7 {
		b, err := r.from.ReadByte()
		if err != nil {
			return 0, wrong(err)
		}
		r.at++
		n |= uint64(b&0x7f) << shift
		if b < 0x80 {
			return n, nil
		}
	}
	return 0, ErrMalformed
}

func wrong(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return ErrTruncated
	}
	return err
}

func (r *Reader) skip(n uint64) error {
	done, err := io.CopyN(io.Discard, r.from, int64(n))
	r.at += done
	return wrong(err)
}

// message reads a whole one of n bytes.
func (r *Reader) message(n uint64) error {
	if uint64(cap(r.buffer)) < n {
		r.buffer = make([]byte, n)
	}
	r.buffer = r.buffer[:n]
	done, err := io.ReadFull(r.from, r.buffer)
	r.at += int64(done)
	return wrong(err)
}

func (r *Reader) header(n uint64) error {
	if n > maxHeader {
		return ErrMalformed
	}
	if err := r.message(n); err != nil {
		return err
	}
	return fields(r.buffer, func(number uint64, value uint64, _ []byte) {
		if number == headerRevision {
			r.Revision = int64(value)
		}
	})
}

func (r *Reader) pair(n uint64) (Pair, error) {
	if n > MaxPair+pairRest {
		return Pair{}, ErrTooLong
	}
	if err := r.message(n); err != nil {
		return Pair{}, err
	}
	var p Pair
	err := fields(r.buffer, func(number uint64, value uint64, content []byte) {
		switch number {
		case pairKey:
			p.Key = content
		case pairValue:
			p.Value = content
		case lease:
			p.Lease = int64(value)
		}
	})
	switch {
	case err != nil:
		return Pair{}, err
	case len(p.Key) == 0:
		return Pair{}, ErrMalformed
	case len(p.Key)+len(p.Value) > MaxPair:
		return Pair{}, ErrTooLong
	}
	return p, nil
}

// fields calls see for each field of a message: with a number, or with bytes.
func fields(message []byte, see func(number, value uint64, content []byte)) error {
	for len(message) > 0 {
		tag, size := binary.Uvarint(message)
		if size <= 0 {
			return ErrMalformed
		}
		message = message[size:]
		value, size := binary.Uvarint(message)
		if size <= 0 {
			return ErrMalformed
		}
		message = message[size:]
		switch tag & 7 {
		case kindNumber:
			see(tag>>3, value, nil)
		case kindBytes:
			if value > uint64(len(message)) {
				return ErrMalformed
			}
			see(tag>>3, 0, message[:value])
			message = message[value:]
		default:
			return ErrMalformed
		}
	}
	return nil
}

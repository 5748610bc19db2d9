package state

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/hashicorp/go-memdb"
	"google.golang.org/protobuf/proto"
)

// A raft snapshot is: magic, version (4 bytes), Raft index (8 bytes), records,
// each with its length before it (uvarint), a length of 0, and a CRC-32C of all
// that (4 bytes). Numbers are big-endian. Records come in a fixed order, so the
// same state always has the same bytes.
const (
	magic         = "BKTSTATE"
	formatVersion = 1
	maxRecord     = 2 * MaxCommandSize
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// WriteTo writes a raft snapshot of the present view.
func (t *Tables) WriteTo(w io.Writer) (int64, error) { return t.View().WriteTo(w) }

// WriteTo writes the view as a raft snapshot.
func (v *View) WriteTo(w io.Writer) (int64, error) {
	out := &checkedWriter{w: bufio.NewWriterSize(w, 1<<16), sum: crc32.New(castagnoli)}
	out.write([]byte(magic))
	out.write(binary.BigEndian.AppendUint32(nil, formatVersion))
	out.write(binary.BigEndian.AppendUint64(nil, v.index))
	for record := range v.records() {
		b, err := proto.MarshalOptions{Deterministic: true}.Marshal(record)
		if err != nil {
			return out.n, fmt.Errorf("encode record: %w", err)
		}
		out.write(binary.AppendUvarint(nil, uint64(len(b))))
		out.write(b)
	}
	out.write([]byte{0})
	out.write(out.sum.Sum(nil))
	if out.err == nil {
		out.err = out.w.Flush()
	}
	if out.err != nil {
		return out.n, fmt.Errorf("write raft snapshot: %w", out.err)
	}
	return out.n, nil
}

// ReadFrom replaces all tables by those of a raft snapshot. When it fails they
// are as before.
func (t *Tables) ReadFrom(r io.Reader) (int64, error) {
	in := &checkedReader{r: bufio.NewReaderSize(r, 1<<16), sum: crc32.New(castagnoli)}
	db, index, err := read(in)
	if err != nil {
		return in.n, fmt.Errorf("read raft snapshot: %w", err)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.db = db
	next := newView(db, index)
	next.sources, next.definitions = index, index
	t.publish(next)
	return in.n, nil
}

func read(in *checkedReader) (*memdb.MemDB, uint64, error) {
	head := make([]byte, len(magic)+4+8)
	if _, err := io.ReadFull(in, head); err != nil {
		return nil, 0, fmt.Errorf("header: %w", err)
	}
	if !bytes.HasPrefix(head, []byte(magic)) {
		return nil, 0, errors.New("it does not begin as a raft snapshot of Baktainer does")
	}
	if v := binary.BigEndian.Uint32(head[len(magic):]); v != formatVersion {
		return nil, 0, fmt.Errorf("it is of version %d; version %d is understood here", v, formatVersion)
	}
	db, err := memdb.NewMemDB(schema())
	if err != nil {
		return nil, 0, fmt.Errorf("make tables: %w", err)
	}
	w := &writer{table: table{db.Txn(true)}}
	if err := w.readRecords(in); err != nil {
		return nil, 0, err
	}
	sum := in.sum.Sum(nil)
	stored := make([]byte, len(sum))
	if _, err := io.ReadFull(in, stored); err != nil {
		return nil, 0, fmt.Errorf("checksum: %w", err)
	}
	if !bytes.Equal(sum, stored) {
		return nil, 0, errors.New("its checksum does not match")
	}
	w.txn.Commit()
	return db, binary.BigEndian.Uint64(head[len(magic)+4:]), nil
}

// checkedWriter sums up and counts what is written, and keeps the first error.
type checkedWriter struct {
	w   *bufio.Writer
	sum hash.Hash32
	n   int64
	err error
}

func (c *checkedWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	c.sum.Write(p)
	var n int
	n, c.err = c.w.Write(p)
	c.n += int64(n)
}

// checkedReader sums up and counts what is read.
type checkedReader struct {
	r   *bufio.Reader
	sum hash.Hash32
	n   int64
}

func (c *checkedReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.sum.Write(p[:n])
	c.n += int64(n)
	return n, err
}

func (c *checkedReader) ReadByte() (byte, error) {
	b, err := c.r.ReadByte()
	if err == nil {
		c.sum.Write([]byte{b})
		c.n++
	}
	return b, err
}

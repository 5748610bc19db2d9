package redis

import (
	"errors"
	"io"

	"github.com/baktainer/baktainer/internal/engine"
)

// markSize is the length of the random mark by which a server without a disk
// tells its replicas that the dump is complete.
const markSize = 40

// dump takes the mark off that redis-cli leaves at the end of what it writes to
// stdout (it would cut it off a file). It consists of hexadecimal digits, which
// no dump ends in: its last nine bytes are 0xff and a checksum.
type dump struct {
	engine.Process
	buffer []byte
	ready  int   // so many bytes of buffer may be read
	err    error // of the process, sticky
}

func (d *dump) Read(p []byte) (int, error) {
	for d.ready == 0 && d.err == nil {
		d.fill()
	}
	if d.ready == 0 {
		return 0, d.err
	}
	n := copy(p, d.buffer[:d.ready])
	d.buffer = d.buffer[:copy(d.buffer, d.buffer[n:])]
	d.ready -= n
	return n, nil
}

// fill reads more and holds back what may be the mark.
func (d *dump) fill() {
	const size = 64 << 10
	if d.buffer == nil {
		d.buffer = make([]byte, 0, size+markSize)
	}
	n, err := d.Process.Read(d.buffer[len(d.buffer):cap(d.buffer)])
	d.buffer = d.buffer[:len(d.buffer)+n]
	d.ready = max(0, len(d.buffer)-markSize)
	if err == nil {
		return
	}
	d.err = err
	if errors.Is(err, io.EOF) && !isMark(d.buffer[d.ready:]) {
		d.ready = len(d.buffer)
	}
}

func isMark(b []byte) bool {
	for _, c := range b {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(b) == markSize
}

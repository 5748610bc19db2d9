package engine

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// Heads cuts a dump into lines, however it is written, for inspectors that need to
// see but the beginning of a line and its last byte. The zero value has seen nothing.
type Heads struct {
	head []byte // of a line whose end has not come yet
	size int64  // of that line
	last byte   // of that line
	any  bool
}

// Cut takes the next bytes, and calls line at the end of each line with at most so
// many bytes of it, for as long as it wants more.
func (h *Heads) Cut(p []byte, most int, line func(head []byte, last byte) (more bool)) {
	h.any = h.any || len(p) > 0
	for more := true; more && len(p) > 0; {
		n := bytes.IndexByte(p, '\n')
		if n < 0 {
			h.keep(p, most)
			return
		}
		if h.size == 0 && n > 0 {
			more = line(p[:min(n, most)], p[n-1])
		} else {
			h.keep(p[:n], most)
			more = line(h.head, h.last)
		}
		h.head, h.size, h.last = h.head[:0], 0, 0
		p = p[n+1:]
	}
}

func (h *Heads) keep(part []byte, most int) {
	if len(part) == 0 {
		return
	}
	h.head = append(h.head, part[:min(len(part), most-len(h.head))]...)
	h.size += int64(len(part))
	h.last = part[len(part)-1]
}

// Any says whether there were bytes.
func (h *Heads) Any() bool { return h.any }

// Rest is the beginning of the last line, if that has not ended.
func (h *Heads) Rest() []byte { return h.head }

// ErrLongLine says that a line is longer than it may be.
var ErrLongLine = errors.New("the line is too long")

// ReadLine reads a line of at most so many bytes into buffer, and gives it without
// its end. One that has no end is io.ErrUnexpectedEOF, one that is too long
// ErrLongLine.
func ReadLine(from *bufio.Reader, buffer []byte, most int) ([]byte, error) {
	line := buffer[:0]
	for {
		part, err := from.ReadSlice('\n')
		line = append(line, part...)
		switch {
		case len(line) > most:
			return line, ErrLongLine
		case err == nil:
			return line[:len(line)-1], nil
		case errors.Is(err, io.EOF) && len(line) > 0:
			return line, io.ErrUnexpectedEOF
		case errors.Is(err, io.EOF):
			return line, io.EOF
		case !errors.Is(err, bufio.ErrBufferFull):
			return line, fmt.Errorf("read a line: %w", err)
		}
	}
}

package docker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// headSize is how much of the beginning of stdout is kept.
const headSize = 512

// The streams that a frame may belong to.
const (
	frameStdin  = 0
	frameStdout = 1
	frameStderr = 2
	frameError  = 3
)

var errCut = errors.New("the stream was cut in the middle of a frame")

// demux reads the frames in which Docker carries stdout and stderr over one
// connection: a byte for the stream, three zeros, four bytes of length, content.
// It holds no frame in memory, and is as fast as its reader: who does not read
// stdout holds the program back. (Docker's own stdcopy takes a stream that ends
// within a frame for one that ended well.)
type demux struct {
	in     *bufio.Reader
	stderr io.Writer
	stream byte
	left   uint32 // of the current frame
	head   []byte // the beginning of stdout
	err    error
}

func newDemux(in io.Reader, stderr io.Writer) *demux {
	return &demux{in: bufio.NewReaderSize(in, 2*gatherEnough), stderr: stderr}
}

// Read reads stdout. io.EOF means that the stream ended between two frames.
func (d *demux) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for d.err == nil {
		if d.left == 0 {
			d.err = d.next()
			continue
		}
		n, err := d.some(p)
		if d.err = err; n > 0 {
			return n, nil
		}
	}
	return 0, d.err
}

// next reads the header of a frame.
func (d *demux) next() error {
	var header [8]byte
	switch n, err := io.ReadFull(d.in, header[:]); {
	case errors.Is(err, io.EOF) && n == 0:
		return io.EOF
	case errors.Is(err, io.ErrUnexpectedEOF) && n > 0:
		return errCut
	case err != nil:
		return err
	}
	if header[0] > frameError || header[1]|header[2]|header[3] != 0 {
		return fmt.Errorf("this is no frame of Docker's: % x", header)
	}
	d.stream, d.left = header[0], binary.BigEndian.Uint32(header[4:])
	return nil
}

// some reads from the current frame; only stdout counts as read.
func (d *demux) some(p []byte) (int, error) {
	var other [4 << 10]byte
	buf := p
	if d.stream != frameStdout && d.stream != frameStdin {
		buf = other[:]
	}
	n, err := d.in.Read(buf[:min(len(buf), int(d.left))])
	d.left -= uint32(n)
	if errors.Is(err, io.EOF) {
		err = errCut
	}
	switch d.stream {
	case frameStderr:
		_, _ = d.stderr.Write(buf[:n]) // a Tail never fails
		return 0, err
	case frameError:
		return 0, fmt.Errorf("the Docker Engine broke the stream off: %s", buf[:n])
	}
	if room := headSize - len(d.head); room > 0 {
		d.head = append(d.head, buf[:min(n, room)]...)
	}
	return n, err
}

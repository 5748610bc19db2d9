package repo

import (
	"crypto/sha256"
	"errors"
	"hash"

	"github.com/baktainer/baktainer/internal/ledger"
)

// streamBuffer is how many bytes of a stream wait to be cut, several times the
// longest chunk of any tier.
const streamBuffer = 1 << 20

var errStreamClosed = errors.New("the stream is closed")

// StreamWriter takes the bytes of one stream.
type StreamWriter struct {
	w          *Writer
	info       StreamInfo
	written    writtenStream
	sum        hash.Hash
	start, end int   // what of w.buf waits to be cut
	offset     int64 // of start in the stream
	closed     bool
}

func newStreamWriter(w *Writer, meta StreamMeta) *StreamWriter {
	s := &StreamWriter{w: w, info: StreamInfo{StreamMeta: meta}, sum: sha256.New()}
	if o := w.base.orders[meta.Name]; o != nil && w.pipe.jobs != w.pipe.filled {
		s.written.follow = &follower{order: o}
	}
	return s
}

// Write takes the next bytes of the stream. It blocks while packs wait to be put.
func (s *StreamWriter) Write(p []byte) (int, error) {
	if s.closed {
		return 0, errStreamClosed
	}
	if err := s.w.failed(); err != nil {
		return 0, err
	}
	done := 0
	for done < len(p) {
		n := copy(s.w.buf[s.end:], p[done:])
		s.end += n
		done += n
		s.w.raw.Add(int64(n))
		if s.end == len(s.w.buf) {
			if err := s.cut(false); err != nil {
				return done, s.w.pipe.fail(err)
			}
		}
	}
	return done, nil
}

// cut takes chunks off the buffer while the next cut is certain, or to the end,
// and moves the rest to the front.
func (s *StreamWriter) cut(last bool) error {
	buf := s.w.buf
	for s.start < s.end {
		t := s.w.chunker.at(s.offset)
		if !last && s.end-s.start < t.max {
			break
		}
		n := s.w.chunker.cut(t, buf[s.start:s.end])
		chunk := buf[s.start : s.start+n]
		s.sum.Write(chunk)
		if err := s.w.add(&s.written, chunk); err != nil {
			return err
		}
		s.start += n
		s.offset += int64(n)
	}
	s.end = copy(buf, buf[s.start:s.end])
	s.start = 0
	return nil
}

// Close ends the stream and says what it was. Contents beyond the limits of the
// format are cut, not refused.
func (s *StreamWriter) Close(contents Contents) (ledger.Stream, error) {
	if s.closed {
		return ledger.Stream{}, errStreamClosed
	}
	if err := s.w.failed(); err != nil {
		return ledger.Stream{}, err
	}
	err := s.cut(true)
	if f := s.written.follow; f != nil && err == nil {
		err = s.w.settle(f, f.order.length)
	}
	if err != nil {
		return ledger.Stream{}, s.w.pipe.fail(err)
	}
	s.closed, s.w.open = true, nil
	s.info.Size, s.info.Contents = s.offset, clip(contents, s.offset)
	s.sum.Sum(s.info.SHA256[:0])
	s.written.StreamInfo = s.info
	s.w.streams = append(s.w.streams, s.written)
	return ledger.Stream{
		Name: s.info.Name, Kind: s.info.Kind, Database: s.info.Database, Format: s.info.Format,
		Size: s.info.Size, SHA256: s.info.SHA256,
	}, nil
}

package repo

import (
	"context"
	"io"
	"sort"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// OpenSections reads parts of a stream, one behind the other: sections, which are
// in order and apart from each other. It fetches the frames that they lie in, and
// no more. Every chunk is checked before it is handed over; the hash of the
// stream, which would need all of it, is not. Otherwise it is like Open.
func (s *Snapshot) OpenSections(ctx context.Context, stream string, sections []engine.Section) (io.ReadCloser, error) {
	b, err := s.stream(stream)
	if err != nil {
		return nil, err
	}
	if len(b.groups) == 0 && b.Size > 0 {
		return nil, problem.New(problem.InvalidInput, "stream %q of snapshot %s can only be read as a whole: it was not noted where in it anything is", stream, s.header.Snapshot).
			WithSource(s.header.Source).WithHint("Snapshots that this version makes can be read in parts.")
	}
	c := newCutter(b)
	for _, section := range sections {
		if !c.cut(section) {
			return nil, problem.New(problem.InvalidInput, "stream %q of %d bytes has no section of %d bytes at %d that comes after the others", stream, b.Size, section.Length, section.Offset).
				WithSource(s.header.Source)
		}
	}
	part := &bodyStream{StreamInfo: b.StreamInfo, runs: c.runs}
	part.Size = c.size
	r := s.read(ctx, nil, part)
	r.part = true
	return &sectionReader{r, c.keep}, nil
}

// cutter finds the groups of chunks that sections of a stream lie in.
type cutter struct {
	stream *bodyStream
	ends   []int64 // of the groups, in the stream
	chunks []int64 // how many there are up to the end of each run
	at     int64   // the end of the section before
	next   int     // the group after the last one that is read
	held   int64   // the end of that, in the stream

	runs []packRun
	size int64 // of the chunks of the runs
	keep []stretch
}

// stretch is bytes that are left out, and bytes after them that are handed over.
type stretch struct{ skip, take int64 }

func newCutter(b *bodyStream) *cutter {
	c := &cutter{stream: b}
	sum := int64(0)
	for _, n := range b.groups {
		sum += int64(n)
		c.ends = append(c.ends, sum)
	}
	sum = 0
	for _, r := range b.runs {
		sum += int64(r.count)
		c.chunks = append(c.chunks, sum)
	}
	return c
}

// cut adds a section. It is false for what is no section of the stream, or begins
// before the end of the one before.
func (c *cutter) cut(s engine.Section) bool {
	if s.Offset < c.at || s.Length < 1 || s.Length > c.stream.Size-s.Offset {
		return false
	}
	end := s.Offset + s.Length
	first := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] > s.Offset })
	last := sort.Search(len(c.ends), func(i int) bool { return c.ends[i] >= end })
	skip := s.Offset - c.at
	if first >= c.next {
		begin := c.begin(first)
		skip = c.held - c.at + s.Offset - begin
	}
	c.keep = append(c.keep, stretch{skip, s.Length})
	if from := max(first, c.next); from <= last {
		c.take(int64(from)*groupChunks, min(int64(last+1)*groupChunks, c.stream.chunks))
		c.size += c.ends[last] - c.begin(from)
		c.next, c.held = last+1, c.ends[last]
	}
	c.at = end
	return true
}

// begin is where a group begins in the stream.
func (c *cutter) begin(group int) int64 {
	if group == 0 {
		return 0
	}
	return c.ends[group-1]
}

// take adds the chunks of the stream from one number up to another.
func (c *cutter) take(from, to int64) {
	for i := sort.Search(len(c.chunks), func(i int) bool { return c.chunks[i] > from }); from < to; i++ {
		r := c.stream.runs[i]
		skipped := from - (c.chunks[i] - int64(r.count))
		n := min(to, c.chunks[i]) - from
		c.runs = append(c.runs, packRun{r.pack, r.first + uint32(skipped), uint32(n)})
		from += n
	}
}

// sectionReader hands over sections of what it reads.
type sectionReader struct {
	chunks *streamReader
	keep   []stretch
}

// Read implements io.Reader.
func (r *sectionReader) Read(p []byte) (int, error) {
	for len(r.keep) > 0 {
		k := &r.keep[0]
		if k.skip > 0 {
			n, err := io.CopyN(io.Discard, r.chunks, k.skip)
			if k.skip -= n; err != nil {
				return 0, early(err)
			}
		}
		if k.take > 0 {
			n, err := r.chunks.Read(p[:min(int64(len(p)), k.take)])
			k.take -= int64(n)
			return n, early(err)
		}
		r.keep = r.keep[1:]
	}
	return 0, io.EOF
}

// Close implements io.Closer.
func (r *sectionReader) Close() error { return r.chunks.Close() }

// early is an error of a reader that has not come to its end yet.
func early(err error) error {
	if err == io.EOF { //nolint:errorlint // an error that wraps io.EOF is not the end
		return io.ErrUnexpectedEOF
	}
	return err
}

package repo

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
)

// manifestBody is the sealed part of a manifest.
type manifestBody struct {
	root    ledger.Hash
	chunks  int64
	streams []bodyStream
}

type bodyStream struct {
	StreamInfo
	chunks int64
	runs   []packRun
	// groups are the lengths of each groupChunks chunks, in order, so that a place in
	// the stream can be found; nil where the manifest does not tell.
	groups []uint32
}

// groupChunks is how many chunks one number stands for when a place in a stream is
// looked for. So many are about a quarter of a frame.
const groupChunks = 64

// packRun stands for count chunks of a pack, from first on, in pack order.
type packRun struct{ pack, first, count uint32 }

const (
	maxName = 255  // bytes of a stream's name
	maxText = 4096 // bytes of any other text: a database may be the path of a file
)

func hashOf(b []byte) ledger.Hash { return sha256.Sum256(b) }

// CheckStreamName says whether a stream may have that name: it has to do as the
// name of a file.
func CheckStreamName(name string) error {
	bad := func(r rune) bool { return r == '/' || r == '\\' || unicode.IsControl(r) }
	if name == "" || name == "." || name == ".." || len(name) > maxName || !utf8.ValidString(name) || strings.ContainsFunc(name, bad) {
		return malformed("%.80q cannot name a stream", name)
	}
	return nil
}

func (m *manifestBody) append(b []byte, version byte) []byte {
	b = append(b, m.root[:]...)
	b = binary.AppendUvarint(b, uint64(m.chunks))
	b = binary.AppendUvarint(b, uint64(len(m.streams)))
	for _, s := range m.streams {
		for _, t := range []string{s.Name, s.Kind, s.Database, s.Format} {
			b = appendString(b, t)
		}
		b = binary.AppendUvarint(b, uint64(s.Size))
		b = append(b, s.SHA256[:]...)
		b = binary.AppendUvarint(b, uint64(s.chunks))
		b = binary.AppendUvarint(b, uint64(len(s.runs)))
		for _, r := range s.runs {
			b = binary.AppendUvarint(b, uint64(r.pack))
			b = binary.AppendUvarint(b, uint64(r.first))
			b = binary.AppendUvarint(b, uint64(r.count))
		}
		if version > PlainManifest {
			for _, n := range s.groups {
				b = binary.AppendUvarint(b, uint64(n))
			}
			b = appendSections(b, s.Contents.Common)
		}
		b = appendContents(b, s.Contents, version)
	}
	return b
}

func appendContents(b []byte, c Contents, version byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(c.Objects)))
	for _, o := range c.Objects {
		b = appendString(appendString(b, o.Kind), o.Name)
		b = binary.AppendUvarint(b, uint64(o.Rows+1))
		if version > PlainManifest {
			b = appendSections(b, o.Sections)
		}
	}
	b = binary.AppendUvarint(b, uint64(len(c.Notes)))
	for _, n := range c.Notes {
		b = appendString(b, n)
	}
	return b
}

// appendSections encodes sections, which are in order and apart from each other.
func appendSections(b []byte, list []engine.Section) []byte {
	b = binary.AppendUvarint(b, uint64(len(list)))
	at := int64(0)
	for _, s := range list {
		b = binary.AppendUvarint(b, uint64(s.Offset-at))
		b = binary.AppendUvarint(b, uint64(s.Length))
		at = s.Offset + s.Length
	}
	return b
}

// clip brings contents within the limits of the format: a dump with names
// beyond them is still a good dump. Sections that are not what they are to be in a
// stream of that size are left out, all of them.
func clip(c Contents, size int64) Contents {
	text := func(s string) string {
		if len(s) > maxText {
			s = strings.ToValidUTF8(s[:maxText], "")
		}
		return s
	}
	var out Contents
	for _, o := range c.Objects[:min(len(c.Objects), engine.MaxObjects)] {
		out.Objects = append(out.Objects, engine.Object{Kind: text(o.Kind), Name: text(o.Name), Rows: max(-1, min(o.Rows, math.MaxInt64-1)), Sections: o.Sections})
	}
	out.Common = c.Common
	if !sectionsFit(out, size) {
		out.Common = nil
		for i := range out.Objects {
			out.Objects[i].Sections = nil
		}
	}
	for _, n := range c.Notes[:min(len(c.Notes), engine.MaxObjects)] {
		out.Notes = append(out.Notes, text(n))
	}
	return out
}

// sectionsFit says whether the sections of contents may be written down.
func sectionsFit(c Contents, size int64) bool {
	n := 0
	fit := func(list []engine.Section) bool {
		at := int64(0)
		for _, s := range list {
			if s.Offset < at || s.Length < 1 || s.Length > size-s.Offset {
				return false
			}
			at = s.Offset + s.Length
		}
		n += len(list)
		return n <= engine.MaxSections
	}
	for _, o := range c.Objects {
		if !fit(o.Sections) {
			return false
		}
	}
	return fit(c.Common)
}

// parseManifestBody reads the body of a manifest of that version which refers to
// so many packs.
func parseManifestBody(b []byte, version byte, packs int) (*manifestBody, error) {
	d := decoder{b: b}
	m := &manifestBody{}
	copy(m.root[:], d.take(len(m.root)))
	m.chunks = int64(d.uvarint(math.MaxInt64))
	sum, names := int64(0), map[string]bool{}
	for range d.count(40) {
		s := d.stream(version, packs)
		if d.err != nil {
			break
		}
		if err := CheckStreamName(s.Name); err != nil || names[s.Name] {
			return nil, malformed("stream name %.80q", s.Name)
		}
		names[s.Name] = true
		sum += s.chunks
		m.streams = append(m.streams, s)
	}
	if err := d.end(); err != nil {
		return nil, err
	}
	if sum != m.chunks {
		return nil, malformed("the streams have %d chunks, not %d", sum, m.chunks)
	}
	return m, nil
}

func (d *decoder) stream(version byte, packs int) (s bodyStream) {
	s.Name, s.Kind, s.Database, s.Format = d.string(maxName), d.string(maxText), d.string(maxText), d.string(maxText)
	s.Size = int64(d.uvarint(math.MaxInt64))
	copy(s.SHA256[:], d.take(len(s.SHA256)))
	s.chunks = int64(d.uvarint(1 << 48))
	sum := int64(0)
	n := d.count(3)
	if n > 0 {
		s.runs = make([]packRun, 0, n)
	}
	for range n {
		r := packRun{uint32(d.uvarint(math.MaxUint32)), uint32(d.uvarint(math.MaxUint32)), uint32(d.uvarint(math.MaxUint32))}
		if d.err == nil && (int64(r.pack) >= int64(packs) || r.count == 0 || uint64(r.first)+uint64(r.count) > math.MaxUint32) {
			d.fail("a run of %d chunks in pack %d of %d", r.count, r.pack, packs)
		}
		if d.err != nil {
			return s
		}
		sum += int64(r.count)
		s.runs = append(s.runs, r)
	}
	if d.err == nil && (sum != s.chunks || sum > s.Size) {
		d.fail("stream %.80q: %d chunks in its runs, not %d", s.Name, sum, s.chunks)
	}
	if version > PlainManifest {
		s.groups = d.groups(s.chunks, s.Size)
		s.Contents = d.contents(s.Size)
	} else {
		s.Contents = d.contents(-1)
	}
	return s
}

// groups reads the lengths of groups of chunks.
func (d *decoder) groups(chunks, size int64) []uint32 {
	n := (chunks + groupChunks - 1) / groupChunks
	if n > int64(len(d.b)) {
		d.fail("%d groups of chunks in %d bytes", n, len(d.b))
		return nil
	}
	list, sum := make([]uint32, 0, n), int64(0)
	for range n {
		length := d.uvarint(groupChunks * maxChunk)
		list, sum = append(list, uint32(length)), sum+int64(length)
	}
	if sum != size {
		d.fail("groups of chunks of %d bytes, in a stream of %d", sum, size)
	}
	return list
}

// sections reads those of one object, or the common ones, in a stream of that size.
func (d *decoder) sections(size int64) (list []engine.Section) {
	at := int64(0)
	for range d.count(2) {
		s := engine.Section{Offset: at + int64(d.uvarint(uint64(size-at)))}
		s.Length = int64(d.uvarint(uint64(size - s.Offset)))
		if d.err == nil && s.Length == 0 {
			d.fail("a section without bytes")
		}
		list, at = append(list, s), s.Offset+s.Length
	}
	return list
}

// contents reads what was seen in a stream of that size; -1: it is not told where.
func (d *decoder) contents(size int64) (c Contents) {
	total := 0
	sections := func() []engine.Section {
		if size < 0 {
			return nil
		}
		list := d.sections(size)
		if total += len(list); total > engine.MaxSections {
			d.fail("%d sections", total)
		}
		return list
	}
	c.Common = sections()
	n := d.count(3)
	if n > engine.MaxObjects {
		d.fail("%d objects", n)
		return c
	}
	for range n {
		o := engine.Object{Kind: d.string(maxText), Name: d.string(maxText)}
		o.Rows = int64(d.uvarint(math.MaxInt64)) - 1
		o.Sections = sections()
		c.Objects = append(c.Objects, o)
	}
	if n = d.count(1); n > engine.MaxObjects {
		d.fail("%d notes", n)
		return c
	}
	for range n {
		c.Notes = append(c.Notes, d.string(maxText))
	}
	return c
}

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
}

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

func (m *manifestBody) append(b []byte) []byte {
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
		b = appendContents(b, s.Contents)
	}
	return b
}

func appendContents(b []byte, c Contents) []byte {
	b = binary.AppendUvarint(b, uint64(len(c.Objects)))
	for _, o := range c.Objects {
		b = appendString(appendString(b, o.Kind), o.Name)
		b = binary.AppendUvarint(b, uint64(o.Rows+1))
	}
	b = binary.AppendUvarint(b, uint64(len(c.Notes)))
	for _, n := range c.Notes {
		b = appendString(b, n)
	}
	return b
}

// clip brings contents within the limits of the format: a dump with names
// beyond them is still a good dump.
func clip(c Contents) Contents {
	text := func(s string) string {
		if len(s) > maxText {
			s = strings.ToValidUTF8(s[:maxText], "")
		}
		return s
	}
	var out Contents
	for _, o := range c.Objects[:min(len(c.Objects), engine.MaxObjects)] {
		out.Objects = append(out.Objects, engine.Object{Kind: text(o.Kind), Name: text(o.Name), Rows: max(-1, min(o.Rows, math.MaxInt64-1))})
	}
	for _, n := range c.Notes[:min(len(c.Notes), engine.MaxObjects)] {
		out.Notes = append(out.Notes, text(n))
	}
	return out
}

// parseManifestBody reads a body that refers to so many packs.
func parseManifestBody(b []byte, packs int) (*manifestBody, error) {
	d := decoder{b: b}
	m := &manifestBody{}
	copy(m.root[:], d.take(len(m.root)))
	m.chunks = int64(d.uvarint(math.MaxInt64))
	sum, names := int64(0), map[string]bool{}
	for range d.count(40) {
		s := d.stream(packs)
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

func (d *decoder) stream(packs int) (s bodyStream) {
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
	s.Contents = d.contents()
	return s
}

func (d *decoder) contents() (c Contents) {
	n := d.count(3)
	if n > engine.MaxObjects {
		d.fail("%d objects", n)
		return c
	}
	for range n {
		o := engine.Object{Kind: d.string(maxText), Name: d.string(maxText)}
		o.Rows = int64(d.uvarint(math.MaxInt64)) - 1
		c.Objects = append(c.Objects, o)
	}
	for range d.count(1) {
		c.Notes = append(c.Notes, d.string(maxText))
	}
	return c
}

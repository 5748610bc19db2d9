package openldap

import (
	"bytes"
	"encoding/base64"
	"errors"
	"hash/maphash"
	"io"
	"strings"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

// translation reads a dump and gives what one of the server's clients is to do
// with it. When the dump is not whole, or reading it fails, so does reading the
// translation: the end is only told after a good end mark.
type translation struct {
	from   io.Reader
	parser *ldif.Parser
	out    bytes.Buffer
	chunk  []byte
	last   func() error // what else is wrong at the end; may be nil
	err    error        // sticky, io.EOF at the end
	whole  atomic.Bool  // the end was told
}

// taken says whether the translation was read to its end.
func (t *translation) taken() error {
	if t.whole.Load() {
		return nil
	}
	return problem.New(problem.Failed, "the server's client reported success before it had read everything").WithReason(engine.ReasonToolFailed)
}

// Read implements io.Reader.
func (t *translation) Read(b []byte) (int, error) {
	for t.out.Len() == 0 && t.err == nil {
		t.advance()
	}
	if t.out.Len() > 0 {
		return t.out.Read(b)
	}
	t.whole.Store(errors.Is(t.err, io.EOF))
	return 0, t.err
}

func (t *translation) advance() {
	if t.chunk == nil {
		t.chunk = make([]byte, 64<<10)
	}
	n, err := t.from.Read(t.chunk)
	_, _ = t.parser.Write(t.chunk[:n]) // never fails
	switch {
	case t.err != nil: // it says why it cannot be translated
	case t.parser.Err() != nil:
		t.err = explainDump(t.parser.Err())
	case errors.Is(err, io.EOF):
		t.err = io.EOF
		if _, bad := t.parser.Finish(); bad != nil {
			t.err = explainDump(bad)
		} else if t.last != nil {
			if bad := t.last(); bad != nil {
				t.err = bad
			}
		}
	case err != nil:
		t.err = err
	}
}

// writeDN begins an entry of LDIF.
func writeDN(b *bytes.Buffer, dn []byte) {
	b.WriteString("dn:: ")
	b.Write(base64.StdEncoding.AppendEncode(b.AvailableBuffer(), dn))
	b.WriteByte('\n')
}

// memberOf is what an overlay makes of the groups that an entry is in.
const memberOf = "memberOf"

// dropped are attributes that no client may set, administrators included: the
// server makes them anew, memberOf by what members tells it.
var dropped = []string{"structuralObjectClass", "entryCSN", "contextCSN", memberOf, "pwdLastSuccess"}

// maxHeld bounds the entries that wait for the one above them, in bytes.
const maxHeld = 16 << 20

// adder gives the entries of a dump to ldapadd. slapcat writes them in the order
// in which they were made; what was moved below an entry that is younger waits
// for that one.
type adder struct {
	translation
	suffix int // its depth
	seen   filter
	tally  *tally
	sent   atomic.Int64 // entries

	dn      []byte // of the current entry, in lower case
	waits   bool   // it is held
	skips   bool   // the current attribute is left out
	text    bytes.Buffer
	held    map[string][]heldEntry // by the DN above them
	holding int                    // bytes of them
}

type heldEntry struct {
	dn   string
	text []byte
}

func newAdder(r io.Reader, suffix string, t *tally) *adder {
	a := &adder{suffix: ldif.Depth([]byte(suffix)), seen: newFilter(), tally: t, held: map[string][]heldEntry{}}
	a.from = r
	a.parser = ldif.New(ldif.Handler{Entry: a.entry, Line: a.line, End: a.end})
	a.last = func() error {
		for above := range a.held {
			return problem.New(problem.Failed, "the dump lacks the entry %s, and has some below it", above).WithReason(engine.ReasonMalformed)
		}
		return nil
	}
	return a
}

func (a *adder) entry(dn []byte) {
	a.dn = append(a.dn[:0], bytes.ToLower(dn)...)
	a.tally.entry(a.dn)
	a.waits = ldif.Depth(dn) > a.suffix && !a.seen.has(ldif.Parent(a.dn))
	a.text.Reset()
	writeDN(a.into(), dn)
}

// into is where the current entry goes.
func (a *adder) into() *bytes.Buffer {
	if a.waits {
		return &a.text
	}
	return &a.out
}

func (a *adder) line(l []byte, name int) {
	a.tally.line(l, name)
	if name > 0 {
		a.skips = false
		for _, d := range dropped {
			a.skips = a.skips || len(d) == name && strings.EqualFold(string(l[:name]), d)
		}
	}
	if a.skips {
		return
	}
	if a.waits && a.holding+a.text.Len()+len(l) > maxHeld {
		a.err = problem.New(problem.Failed, "more than %d MiB of entries were moved below younger ones", maxHeld>>20).WithReason(engine.ReasonUnsupported).
			WithHint("Write the snapshot to a file with `baktainer dump` and load it with slapadd while slapd is stopped.")
		return
	}
	b := a.into()
	b.Write(l)
	b.WriteByte('\n')
}

func (a *adder) end() {
	a.tally.end()
	a.into().WriteByte('\n')
	if a.waits {
		above := string(ldif.Parent(a.dn))
		a.held[above] = append(a.held[above], heldEntry{string(a.dn), bytes.Clone(a.text.Bytes())})
		a.holding += a.text.Len()
		return
	}
	a.passed(string(a.dn))
}

// passed lets those go on that have waited for this one.
func (a *adder) passed(dn string) {
	a.sent.Add(1)
	a.seen.add([]byte(dn))
	waited := a.held[dn]
	delete(a.held, dn)
	for _, h := range waited {
		a.holding -= len(h.text)
		a.out.Write(h.text)
		a.passed(h.dn)
	}
}

// filter knows which DNs were passed on, as a Bloom filter: in two MiB, however
// many there are. When it is wrong, which is rare, it takes one for passed that
// was not, and the server refuses what lies below.
type filter struct {
	seed maphash.Seed
	bits []uint64
}

const filterBits = 1 << 24

func newFilter() filter { return filter{maphash.MakeSeed(), make([]uint64, filterBits/64)} }

func (f filter) places(dn []byte) (all [4]uint32) {
	h := maphash.Bytes(f.seed, dn)
	for i := range all {
		all[i] = (uint32(h) + uint32(i)*uint32(h>>32|1)) % filterBits
	}
	return all
}

func (f filter) add(dn []byte) {
	for _, n := range f.places(dn) {
		f.bits[n/64] |= 1 << (n % 64)
	}
}

func (f filter) has(dn []byte) bool {
	for _, n := range f.places(dn) {
		if f.bits[n/64]&(1<<(n%64)) == 0 {
			return false
		}
	}
	return true
}

// members gives ldapmodify every value of an attribute of groups once more: the
// overlay that keeps memberOf turns round only what names an entry that is there
// already, and most groups are older than their youngest member.
type members struct {
	translation
	attribute string
	current   string // the attribute that is being replaced
}

func newMembers(r io.Reader, attribute string) *members {
	m := &members{attribute: attribute}
	m.from = r
	m.parser = ldif.New(ldif.Handler{
		Entry: func(dn []byte) {
			writeDN(&m.out, dn)
			m.out.WriteString("changetype: modify\n")
		},
		Line: m.line,
		End: func() {
			m.close()
			m.out.WriteByte('\n')
		},
	})
	return m
}

func (m *members) line(l []byte, n int) {
	if n > 0 {
		name := string(l[:n])
		if name != m.current {
			m.close()
			// The time of the last change stays what it was.
			if !strings.EqualFold(name, m.attribute) && name != "modifyTimestamp" && name != "modifiersName" {
				return
			}
			m.current = name
			m.out.WriteString("replace: " + name + "\n")
		}
	}
	if m.current != "" {
		m.out.Write(l)
		m.out.WriteByte('\n')
	}
}

func (m *members) close() {
	if m.current != "" {
		m.out.WriteString("-\n")
	}
	m.current = ""
}

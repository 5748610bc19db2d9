package openldap

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
)

// volatile are attributes that differ after a restore, or as soon as somebody
// logs in.
var volatile = []string{"entryCSN", "contextCSN", "modifyTimestamp", "modifiersName", "pwdLastSuccess", "authTimestamp", "pwdFailureTime"}

// tally sums up every value of a directory, for each attribute apart and in no
// order, so that two can be compared in little memory.
type tally struct {
	hash maphash.Hash
	dn   []byte
	now  *sum // of the current attribute; nil: it does not count
	of   map[string]*sum
}

type sum struct {
	values int64
	hashes uint64
}

// maxTallied bounds the attributes that are told apart.
const maxTallied = 2000

// newTally returns one that can be compared with others of the same seed.
func newTally(seed maphash.Seed) *tally {
	t := &tally{of: map[string]*sum{}}
	t.hash.SetSeed(seed)
	return t
}

// entry begins an entry. The DN is in lower case: the suffix may be written
// differently elsewhere.
func (t *tally) entry(dn []byte) { t.dn = append(t.dn[:0], dn...) }

func (t *tally) line(l []byte, name int) {
	if name == 0 {
		if t.now != nil {
			_, _ = t.hash.Write(l[1:])
		}
		return
	}
	t.end()
	of, ok := t.of[string(l[:name])]
	if !ok {
		key := string(l[:name])
		switch {
		case slices.ContainsFunc(volatile, func(v string) bool { return strings.EqualFold(v, key) }):
		case len(t.of) >= maxTallied:
			if of = t.of[""]; of == nil {
				of = &sum{}
				t.of[""] = of
			}
		default:
			of = &sum{}
			t.of[key] = of
		}
	}
	if t.now = of; of != nil {
		t.hash.Reset()
		_, _ = t.hash.Write(t.dn)
		_, _ = t.hash.Write(l)
	}
}

// end ends the current value.
func (t *tally) end() {
	if t.now != nil {
		t.now.values++
		t.now.hashes += t.hash.Sum64()
	}
	t.now = nil
}

// missing says what is not as in want.
func (t *tally) missing(want *tally) []string {
	var all []string
	for name, w := range want.of {
		have := t.of[name]
		switch {
		case have == nil:
			all = append(all, fmt.Sprintf("%s: %d values are missing", name, w.values))
		case strings.EqualFold(name, memberOf) && have.values >= w.values:
			// Made anew, it has also what the overlay had missed in the source.
		case have.values != w.values:
			all = append(all, fmt.Sprintf("%s: there are %d values, and %d were restored", name, have.values, w.values))
		case have.hashes != w.hashes:
			all = append(all, fmt.Sprintf("%s: not all values are those that were restored", name))
		}
	}
	for name, have := range t.of {
		if want.of[name] == nil && !strings.EqualFold(name, memberOf) {
			all = append(all, fmt.Sprintf("%s: there are %d values, and none was restored", name, have.values))
		}
	}
	slices.Sort(all)
	return all
}

// handler tallies a whole dump.
func (t *tally) handler() ldif.Handler {
	return ldif.Handler{Entry: func(dn []byte) { t.entry(bytes.ToLower(dn)) }, Line: t.line, End: t.end}
}

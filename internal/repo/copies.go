package repo

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/baktainer/baktainer/internal/store"
)

// Flaw is something wrong with an object of which there is to be a copy, or that
// can be derived in another way.
type Flaw struct {
	Object, Problem string
	// Whole is what belongs there, nil when it is not to be had.
	Whole []byte
}

// CheckCopies looks at what a repository has besides sources and ledger: the
// format file, its description, the key slots, the earlier keys, and the copies of
// all these. It tells how many objects it has looked at. An error means that the
// store did not answer.
func (r *Repository) CheckCopies(ctx context.Context, st store.Store) (flaws []Flaw, objects int, err error) {
	c := copyCheck{ctx: ctx, st: st}
	c.pair(FormatName, FormatCopyName, nil, func(b []byte) error {
		f, err := parseFormat(b)
		if err == nil && f.ID != r.ID {
			err = fmt.Errorf("it is of repository %s", f.ID)
		}
		return err
	})
	c.description()
	for _, id := range c.slots() {
		c.pair(KeySlotName(id), CopyName(KeySlotName(id)), nil, func(b []byte) error {
			s, err := parseSlot(id, b)
			if err != nil {
				return err
			}
			if master, err := r.keys.master(s.Generation); err == nil && !s.genuine(master) {
				return errors.New("it is not as it was made")
			}
			return nil
		})
	}
	for g := uint32(2); g <= r.Generation; g++ {
		c.earlier(r, g)
	}
	return c.flaws, c.objects, c.err
}

// copyCheck gathers flaws until the store fails.
type copyCheck struct {
	ctx     context.Context
	st      store.Store
	flaws   []Flaw
	objects int
	err     error
}

func (c *copyCheck) flaw(object string, whole []byte, format string, args ...any) {
	c.flaws = append(c.flaws, Flaw{object, fmt.Sprintf(format, args...), whole})
}

// read gives an object, and says what is wrong with it, if only that it is missing.
func (c *copyCheck) read(name string, check func([]byte) error) (b []byte, wrong error) {
	if c.err != nil {
		return nil, c.err
	}
	c.objects++
	b, err := readObject(c.ctx, c.st, "", name, 0, -1, maxFormatFile)
	switch {
	case errors.Is(err, store.ErrNotExist):
		return nil, errors.New("it is missing")
	case err != nil && !Damaging(err):
		c.err = fmt.Errorf("check %s: %w", name, err)
		return nil, c.err
	case err != nil:
		return nil, err
	}
	if err := check(b); err != nil {
		return nil, fmt.Errorf("it is damaged: %w", err)
	}
	return b, nil
}

// pair checks an object and its copy. Where both are lost, derived is what belongs there.
func (c *copyCheck) pair(name, copied string, derived []byte, check func([]byte) error) {
	a, wrongA := c.read(name, check)
	b, wrongB := c.read(copied, check)
	switch {
	case c.err != nil:
	case wrongA == nil && wrongB == nil:
		if !bytes.Equal(a, b) {
			c.flaw(copied, a, "it differs from %s", name)
		}
	case wrongA == nil:
		c.flaw(copied, a, "%v", wrongB)
	case wrongB == nil:
		c.flaw(name, b, "%v", wrongA)
	default:
		c.flaw(name, derived, "%v", wrongA)
		c.flaw(copied, derived, "%v", wrongB)
	}
}

// description checks the text for people, of this version or of another: what
// was written by an earlier one is not damaged for that.
func (c *copyCheck) description() {
	_, wrong := c.read(DescriptionName, func(b []byte) error {
		if end := bytes.LastIndex(b, []byte(sumMark)); end < 0 || !bytes.Equal(b, describing(b[:end])) {
			return errors.New("its text is not what its last line says")
		}
		return nil
	})
	if wrong != nil && c.err == nil {
		c.flaw(DescriptionName, description, "%v", wrong)
	}
}

// sumMark begins the last line of a description.
const sumMark = "<!-- SHA-256 of all above: "

// describing is a text with a last line by which any version can see that it is whole.
func describing(text []byte) []byte {
	return fmt.Appendf(bytes.Clone(text), "%s%x -->\n", sumMark, sha256.Sum256(text))
}

// slots lists the ids of all key slots, also of those that only a copy is left of.
func (c *copyCheck) slots() []string {
	ids := map[string]bool{}
	if c.err == nil {
		c.err = c.st.List(c.ctx, KeysPrefix, func(i store.Info) error {
			if o, err := ParseName(i.Name); err == nil && o.Kind == KindKeySlot {
				ids[o.ID] = true
			}
			return nil
		})
	}
	return slices.Sorted(maps.Keys(ids))
}

// earlier checks the earlier key of a generation, which whoever has both keys can
// make anew.
func (c *copyCheck) earlier(r *Repository, g uint32) {
	master, err := r.keys.master(g)
	before, errBefore := r.keys.master(g - 1)
	if err != nil || errBefore != nil {
		name := EarlierKeyName(g)
		check := func([]byte) error { return errors.New("no key at hand opens it") }
		c.pair(name, CopyName(name), nil, check)
		return
	}
	derived, err := sealEarlier(r.ID, g, master, before, rand.Reader)
	if err != nil {
		c.err = err
		return
	}
	c.pair(EarlierKeyName(g), CopyName(EarlierKeyName(g)), derived, func(b []byte) error {
		opened, err := openEarlier(r.ID, g, master, b)
		if err == nil && opened != before {
			err = errors.New("it opens to another key")
		}
		return err
	})
}

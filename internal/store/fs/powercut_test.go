package fs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"slices"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
)

// All in one directory, or deeper and deeper in new ones.
var cutNames = []string{"a", "b", "d/a", "d/b", "d/e/f", "x/y/z/o"}

const absent = "(absent)" // no content is that

// history is a random sequence of calls on a simulated disk, and what may be
// true of each name after those so far: one content, or absent, or, where a call
// was cut short, one of several.
type history struct {
	disk   *disk
	store  *Store
	random *rand.Rand
	may    map[string][]string
	calls  int
	cuts   int
	log    []string
}

// fate says what a history goes through besides its calls. Zeros: nothing.
type fate struct {
	kill    int // the operation at which the process is killed; it starts again
	breakAt int // the operation that fails
	cut     int // the operation at which the power goes; else it goes at the end
	ignores ignored
	links   bool
}

// live runs the history with that seed, cuts the power, and checks what is left.
func live(seed uint64, f fate) (*history, error) {
	h := &history{disk: newDisk(), random: rand.New(rand.NewPCG(seed, 1)), may: map[string][]string{}}
	h.disk.ignores, h.disk.links, h.disk.breakAt = f.ignores, f.links, f.breakAt
	for _, name := range cutNames {
		h.may[name] = []string{absent}
	}
	err := h.run(f)
	if err == nil {
		h.disk.cut(seed<<32 | uint64(f.cut))
		err = h.after()
	}
	if err != nil {
		err = fmt.Errorf("seed %d, %+v: %w; calls: %q", seed, f, err, h.log)
	}
	return h, err
}

func (h *history) run(f fate) error {
	h.disk.stopAt = f.cut
	if f.kill > 0 {
		h.disk.stopAt = f.kill
	}
	calls := 3 + h.random.IntN(6)
	for ; calls > 0; calls-- {
		again := h.random.IntN(2) == 0
		call := h.call()
		for {
			err := h.open()
			if err == nil {
				err = call()
			}
			switch {
			case err == nil:
			case !h.disk.stopped && errors.Is(err, errBroken):
				h.log = append(h.log, "failed")
			case h.disk.stopped && f.kill > 0:
				h.log = append(h.log, "killed")
				f.kill, h.store = 0, nil
				h.disk.revive()
				h.disk.stopAt = f.cut
				if again {
					continue
				}
			case h.disk.stopped:
				return nil
			default:
				return err
			}
			break
		}
	}
	h.calls = len(h.log)
	return nil
}

func (h *history) open() (err error) {
	if h.store == nil {
		h.store, err = open("/srv/store", h.disk, h.disk.now)
		if err != nil {
			h.store = nil
		}
	}
	return err
}

// call draws the next call.
func (h *history) call() func() error {
	name := cutNames[h.random.IntN(len(cutNames))]
	switch n := h.random.IntN(10); {
	case n == 0:
		return func() error { h.store = nil; return h.open() }
	case n < 4:
		return func() error { return h.delete(name) }
	}
	content := make([]byte, h.random.IntN(5*pageSize))
	for i := range content {
		content[i] = byte(h.random.Uint32())
	}
	return func() error { return h.put(name, content) }
}

// mayAdd adds what name may be besides.
func (h *history) mayAdd(name, content string) {
	if !slices.Contains(h.may[name], content) {
		h.may[name] = append(h.may[name], content)
	}
}

func (h *history) put(name string, content []byte) error {
	h.log = append(h.log, fmt.Sprintf("put %s %.6x", name, content))
	before, err := h.look(name)
	if err != nil {
		return err
	}
	stat, err := h.store.Put(context.Background(), name, bytes.NewReader(content))
	switch now, lookErr := h.look(name); {
	case err == nil && before != absent:
		return fmt.Errorf("put %s replaced what was there", name)
	case err == nil:
		h.may[name] = []string{string(content)}
		if stat.Name != name || stat.Size != int64(len(content)) || lookErr == nil && now != string(content) {
			return fmt.Errorf("put %s: %+v, then there is %.6x", name, stat, now)
		}
	case errors.Is(err, store.ErrExists):
		if before == absent {
			return fmt.Errorf("put %s: there was nothing, and yet: %w", name, err)
		}
		h.may[name] = []string{before} // and durable
		return nil
	default:
		if slices.Contains(h.may[name], absent) {
			h.mayAdd(name, string(content))
		}
		if lookErr == nil && now != before {
			return fmt.Errorf("put %s failed, and now there is %.6x: %w", name, now, errors.New(err.Error()))
		}
	}
	return err
}

func (h *history) delete(name string) error {
	h.log = append(h.log, "delete "+name)
	err := h.store.Delete(context.Background(), name)
	if err != nil {
		h.mayAdd(name, absent)
		return err
	}
	h.may[name] = []string{absent}
	return nil
}

// look reads an object.
func (h *history) look(name string) (string, error) {
	rc, err := h.store.Get(context.Background(), name, 0, -1)
	if errors.Is(err, store.ErrNotExist) {
		return absent, nil
	}
	if err != nil {
		return "", err
	}
	b, err := io.ReadAll(rc)
	return string(b), errors.Join(err, rc.Close())
}

// after checks what the power cut has left, and that everything works again.
func (h *history) after() error {
	h.cuts++
	h.store = nil
	if err := h.open(); err != nil {
		return fmt.Errorf("open after the cut: %w", err)
	}
	listed := map[string]int64{}
	if err := h.store.List(context.Background(), "", func(i store.Info) error { listed[i.Name] = i.Size; return nil }); err != nil {
		return fmt.Errorf("list after the cut: %w", err)
	}
	for _, name := range cutNames {
		got, err := h.look(name)
		if err != nil {
			return fmt.Errorf("read after the cut: %w", err)
		}
		if !slices.Contains(h.may[name], got) {
			return fmt.Errorf("after the cut %s is %.6x, want one of %.6x", name, got, h.may[name])
		}
		if size, ok := listed[name]; ok != (got != absent) || ok && size != int64(len(got)) {
			return fmt.Errorf("list says %s is there: %v, of %d bytes; it is %.6x", name, ok, size, got)
		}
		h.may[name] = []string{got}
	}
	if h.cuts > 1 {
		return nil
	}
	for _, name := range cutNames {
		if err := h.put(name, []byte("again "+name)); err != nil {
			return fmt.Errorf("put after the cut: %w", err)
		}
	}
	h.disk.cut(uint64(h.disk.ops))
	return h.after()
}

// TestPowerCuts cuts the power before each operation on the disk of many
// histories. What was acknowledged is there, whole; what is visible is whole;
// what was deleted stays deleted; what is left does not stand in the way.
func TestPowerCuts(t *testing.T) {
	t.Parallel()
	seeds := uint64(100)
	if os.Getenv("BAKTAINER_E2E_LONG") != "" {
		seeds = 10_000
	}
	cuts, calls := 0, 0
	for seed := range seeds {
		all := fate{links: seed%4 == 3}
		whole, err := live(seed, all)
		if err != nil {
			t.Fatal(err)
		}
		calls += whole.calls
		for cut := 1; cut <= whole.disk.ops; cut++ {
			f := all
			if f.cut = cut; cut%3 == 0 { // a process that dies before the power does
				f.kill = 1 + int(seed+uint64(cut))%cut
			}
			if _, err := live(seed, f); err != nil {
				t.Fatal(err)
			}
			cuts++
		}
	}
	t.Logf("%d histories of %d calls, %d power cuts", seeds, calls, cuts)
}

// TestOperationsThatFail lets each operation of histories fail once. A call that
// fails has changed nothing that is visible; the power cut at the end may undo
// nothing that was acknowledged.
func TestOperationsThatFail(t *testing.T) {
	t.Parallel()
	failures := 0
	for seed := range uint64(60) {
		whole, err := live(seed, fate{})
		if err != nil {
			t.Fatal(err)
		}
		for at := 1; at <= whole.disk.ops; at++ {
			if _, err := live(seed, fate{breakAt: at, links: seed%4 == 3}); err != nil {
				t.Fatal(err)
			}
			failures++
		}
	}
	t.Logf("%d failures", failures)
}

// A disk that does not do what it is asked for is found out: so the test above
// would find a store that does not ask.
func TestPowerCutsAreFelt(t *testing.T) {
	for name, ignores := range map[string]ignored{
		"bytes are not synced":              {files: true},
		"new names of files are not synced": {names: true},
		"new names of directories are not":  {directories: true},
		"removals are not synced":           {removals: true},
		"nothing is synced":                 {files: true, names: true, directories: true, removals: true},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(200) {
				whole, _ := live(seed, fate{ignores: ignores})
				for cut := 0; cut <= whole.disk.ops; cut++ {
					if _, err := live(seed, fate{cut: cut, ignores: ignores}); err != nil {
						t.Logf("found: %.300v", err)
						return
					}
				}
			}
			t.Error("nobody notices")
		})
	}
}

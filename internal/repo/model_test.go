package repo

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// The model plays a source's life at random: backups that finish, crash, or lose
// their lease and go on; snapshots forgotten and taken back; prunes that are
// planned, begun, interrupted and resumed; marks of damage; new keys. It keeps
// beside the store what should be in it, and holds the two against each other
// after every step.
type model struct {
	rnd  *rand.Rand
	st   *mem.Store
	key  SourceKey
	bug  bug
	tick int // counts steps

	rows    [][]byte // of the database, as it is now
	made    []*modelSnapshot
	run     *modelRun   // has the lease
	late    []*modelRun // had it, and do not know
	planned *modelPrune // previewed, not begun
	active  *modelPrune
	put     map[string]int // when each object was put, by whichever run
	deleted bool           // in this step

	steps, freed map[string]int64
}

// bug is a mistake that the model must find.
type bug string

const (
	bugDictionaries bug = "packs that have nothing but dictionaries are deleted"
	bugBeside       bug = "a prune goes on beside a backup"
	bugStale        bug = "a plan is carried out although snapshots were taken back since"
	bugOrder        bug = "packs are deleted before the manifests that list them"
	bugMarks        bug = "marks of damage are not heeded"
)

type modelSnapshot struct {
	ref               Ref
	key               SourceKey
	sum               [sha256.Size]byte
	forgotten, pruned bool
}

type modelRun struct {
	snapshot string
	key      SourceKey
	w        *Writer
	open     *StreamWriter
	data     []byte
	half     int      // halves of it that were written
	stored   *Summary // its objects are all there
	avoid    []string
}

type modelPrune struct {
	plan *Plan
	made int // when
	next int // object to delete
	gone int64
	// newest is the newest snapshot when it was made: the basis.
	newest *modelSnapshot
}

func newModel(seed uint64, b bug) *model {
	rnd := rand.New(rand.NewPCG(seed, 5))
	m := &model{rnd: rnd, st: mem.New(), key: testKey, bug: b, put: map[string]int{}, steps: map[string]int64{}, freed: map[string]int64{}}
	m.rows = table(rnd, 40<<10)
	return m
}

// Put is the sink of all runs.
func (m *model) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	m.put[name] = m.tick
	return storeSink{m.st}.Put(ctx, name, data, sum)
}

func (m *model) counted() (list []*modelSnapshot) {
	for _, s := range m.made {
		if !s.forgotten {
			list = append(list, s)
		}
	}
	return list
}

func (m *model) newest() *modelSnapshot {
	if len(m.made) == 0 {
		return nil
	}
	return m.made[len(m.made)-1]
}

// step does one thing that may happen next.
func (m *model) step() error {
	m.tick++
	m.deleted = false
	things := map[string]func() error{"change": m.change, "forget": m.forget, "take back": m.unforget, "mark": m.mark, "new key": m.rekey}
	often := []string{"change", "forget"}
	switch m.rnd.IntN(60) {
	case 0, 1:
		often = []string{"mark"}
	case 2, 3:
		often = []string{"new key"}
	}
	if m.run == nil && (m.active == nil || m.bug == bugBeside) {
		things["begin backup"] = m.begin
		often = append(often, "begin backup", "begin backup")
	}
	if m.planned != nil { // what was planned is taken back now and then
		often = append(often, "take back")
	}
	if m.run != nil {
		things["go on with backup"], things["backup crashes"], things["lease is lost"] = func() error { return m.advance(m.run) }, m.crash, m.lose
		often = append(often, "go on with backup", "go on with backup", "go on with backup")
		if m.rnd.IntN(8) == 0 {
			often = append(often, "backup crashes", "lease is lost")
		}
	}
	if len(m.late) > 0 {
		things["late run goes on"] = m.goOnLate
		often = append(often, "late run goes on")
	}
	if m.active == nil {
		things["plan"] = m.plan
		often = append(often, "plan")
	}
	if m.planned != nil && m.active == nil {
		things["begin prune"] = m.beginPrune
		if m.run == nil || m.bug != "" || m.rnd.IntN(4) == 0 { // else it is refused
			often = append(often, "begin prune", "begin prune", "begin prune")
		}
	}
	if m.active != nil {
		things["prune"], things["prune crashes"] = m.prune, func() error { m.active.next = 0; return nil }
		often = append(often, "prune", "prune", "prune", "prune crashes")
	}
	what := often[m.rnd.IntN(len(often))]
	m.steps[what]++
	if err := things[what](); err != nil {
		return fmt.Errorf("step %d, %s: %w", m.tick, what, err)
	}
	if err := m.hold(); err != nil {
		return fmt.Errorf("step %d, after %s: %w", m.tick, what, err)
	}
	return nil
}

func (m *model) change() error {
	names := slices.Sorted(maps.Keys(edits))
	m.rows = edits[names[m.rnd.IntN(len(names))]](m.rnd, m.rows)
	if len(m.rows) > 1500 {
		m.rows = m.rows[:300]
	}
	return nil
}

func (m *model) begin() error {
	var refs []Ref
	counted := m.counted()
	for _, s := range slices.Backward(counted[max(0, len(counted)-2):]) {
		refs = append(refs, s.ref)
	}
	v, err := InventorySource(context.Background(), m.st, testSource)
	if err != nil {
		return err
	}
	r := &modelRun{snapshot: fmt.Sprintf("01J%023d", m.tick), key: m.key, data: slices.Concat(m.rows...), avoid: v.Marks}
	if m.rnd.IntN(60) == 0 {
		r.data = append(r.data, text(uint64(m.tick), 5<<19)...) // several frames: some packs are there before its end
	}
	avoid := v.Marks
	if m.bug == bugMarks {
		avoid = nil
	}
	base, err := LoadBase(context.Background(), m.st, m.key, refs, avoid...)
	if err != nil {
		return err
	}
	o := WriterOptions{Source: testSource, Snapshot: r.snapshot, Key: m.key, Base: base, Near: m.st, Workers: 1, PackSize: 1 << 20}
	if r.w, err = NewWriter(context.Background(), o, m); err != nil {
		return err
	}
	m.run = r
	r.open, err = r.w.Stream(StreamMeta{Name: "shop.sql"})
	return err
}

// advance takes a run one step on: half of its stream, all of its objects, its commit.
func (m *model) advance(r *modelRun) error {
	switch {
	case r.open != nil:
		half := r.data[len(r.data)/2*r.half : len(r.data)/2+(len(r.data)-len(r.data)/2)*r.half]
		if _, err := r.open.Write(half); err != nil {
			return err
		}
		if r.half++; r.half < 2 {
			return nil
		}
		_, err := r.open.Close(Contents{})
		r.open = nil
		return err
	case r.stored == nil:
		sum, err := r.w.Finish(context.Background())
		r.stored = &sum
		return err
	case r != m.run: // refused by its epoch
		m.late = slices.DeleteFunc(m.late, func(other *modelRun) bool { return other == r })
		return nil
	}
	s := &modelSnapshot{ref: ref(r.snapshot, *r.stored), key: r.key, sum: sha256.Sum256(r.data)}
	m.made, m.run = append(m.made, s), nil
	opened, err := m.read(s)
	if err != nil {
		return err
	}
	for _, p := range opened.header.Packs {
		if slices.Contains(r.avoid, p.ID) {
			return fmt.Errorf("snapshot %s builds on pack %s, which was marked as damaged before", r.snapshot, p.ID)
		}
	}
	return nil
}

func (m *model) goOnLate() error { return m.advance(m.late[m.rnd.IntN(len(m.late))]) }

func (m *model) crash() error {
	m.run.w.Abort()
	m.run = nil
	return nil
}

func (m *model) lose() error {
	m.late, m.run = append(m.late, m.run), nil
	return nil
}

func (m *model) forget() error {
	counted := m.counted()
	for range min(len(counted)-1, 1+m.rnd.IntN(3)) {
		counted[m.rnd.IntN(len(counted)-1)].forgotten = true // never the newest
	}
	return nil
}

func (m *model) unforget() error {
	for _, s := range m.made {
		if s.forgotten && !s.pruned && m.rnd.IntN(3) == 0 {
			s.forgotten = false
		}
	}
	return nil
}

// mark marks a pack that the newest snapshot needs.
func (m *model) mark() error {
	if m.newest() == nil {
		return nil
	}
	s, err := OpenSnapshot(context.Background(), m.st, m.newest().key, m.newest().ref)
	if err != nil {
		return err
	}
	packs := s.header.Packs
	if len(packs) == 0 {
		return nil
	}
	name := DamagedName(testSource, packs[m.rnd.IntN(len(packs))].ID)
	if _, err := m.st.Put(context.Background(), name, strings.NewReader("")); err != nil && !errors.Is(err, store.ErrExists) {
		return err
	}
	m.put[name] = m.tick
	return nil
}

func (m *model) rekey() error {
	m.key.generation++
	m.key.secret[5]++
	return nil
}

func (m *model) end() {
	for _, r := range append(m.late, m.run) {
		if r != nil {
			r.w.Abort()
		}
	}
}

func TestModelOfBackupsAndPrunes(t *testing.T) {
	t.Parallel()
	lives, steps := uint64(7), 300
	if os.Getenv("BAKTAINER_E2E_LONG") == "1" {
		lives, steps = 100, 2000
	}
	total, freed := map[string]int64{}, map[string]int64{}
	for seed := range lives {
		m := newModel(seed, "")
		for range steps {
			if err := m.step(); err != nil {
				t.Fatalf("life %d: %v", seed, err)
			}
		}
		m.end()
		for what, n := range m.steps {
			total[what] += n
		}
		for what, n := range m.freed {
			freed[what] += n
		}
	}
	t.Logf("%d steps: %v; freed: %v", lives*uint64(steps), total, freed)
	for _, what := range []string{"go on with backup", "backup crashes", "lease is lost", "late run goes on", "forget", "take back", "begin prune: refused", "prune crashes", "prune: done", "mark", "new key"} {
		if total[what] < 5 {
			t.Errorf("only %d times: %s", total[what], what)
		}
	}
}

func TestTheModelFindsMistakes(t *testing.T) {
	t.Parallel()
	for _, b := range []bug{bugDictionaries, bugBeside, bugStale, bugOrder, bugMarks} {
		t.Run(string(b), func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(20) {
				m := newModel(seed, b)
				for range 300 {
					if err := m.step(); err != nil {
						m.end()
						t.Logf("life %d: %v", seed, err)
						return
					}
				}
				m.end()
			}
			t.Error("the model did not find it")
		})
	}
}

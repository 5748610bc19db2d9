package repo_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

const faultSource = "shop/db"

var errLease = errors.New("the lease is lost")

// world is a store that fails, and the snapshots that were made in it all the same.
type world struct {
	t      *testing.T
	name   string
	inner  *mem.Store
	st     *faulty.Store
	key    repo.SourceKey
	random *rand.Rand
	data   []byte // of the next dump
	number int
	alive  []finished
	cancel context.CancelCauseFunc // of the backup under way

	backups, failed, reads, deltas int
}

type finished struct {
	ref repo.Ref
	sum [sha256.Size]byte
}

// putInto is the sink of a writer.
type putInto struct{ store.Store }

func (s putInto) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

func (w *world) fatal(format string, args ...any) {
	w.t.Helper()
	w.t.Fatalf("%s, snapshot %d: %s", w.name, w.number, fmt.Sprintf(format, args...))
}

// change makes the next dump: a little of it is new, sometimes much.
func (w *world) change() {
	fill := func(b []byte) {
		var seed [32]byte
		binary.LittleEndian.PutUint64(seed[:], w.random.Uint64())
		_, _ = rand.NewChaCha8(seed).Read(b)
	}
	switch {
	case len(w.data) == 0:
		w.data = make([]byte, 24<<10)
		fill(w.data)
	case w.random.IntN(100) == 0: // several frames, and packs
		big := make([]byte, 5<<19)
		fill(big)
		w.data = append(w.data[:24<<10], big...)
	default:
		w.data = w.data[:24<<10]
		at := w.random.IntN(len(w.data) - 8<<10)
		fill(w.data[at : at+w.random.IntN(8<<10)])
	}
}

// backUp makes a snapshot on top of the newest ones. What was finished is held
// against the truth.
func (w *world) backUp() {
	w.t.Helper()
	ctx, cancel := context.WithCancelCause(w.t.Context())
	defer cancel(nil)
	w.cancel = cancel
	w.number++
	w.backups++
	w.change()
	ref := repo.Ref{Source: faultSource, Snapshot: fmt.Sprintf("01J%023d", w.number)}
	sum, err := w.write(ctx, ref.Snapshot)
	if err != nil {
		w.failed++
		if !errors.Is(err, faulty.ErrFault) && !errors.Is(err, errLease) {
			w.fatal("it fails by itself: %v", err)
		}
		return
	}
	ref.Manifest, ref.Size = sum.Manifest, sum.ManifestSize
	w.alive = append(w.alive, finished{ref, sha256.Sum256(w.data)})
	w.hold(w.alive[len(w.alive)-1])
}

func (w *world) write(ctx context.Context, snapshot string) (repo.Summary, error) {
	var refs []repo.Ref
	for _, f := range slices.Backward(w.alive[max(0, len(w.alive)-2):]) {
		refs = append(refs, f.ref)
	}
	base, err := repo.LoadBase(ctx, w.st, w.key, refs)
	if err != nil {
		base = nil
		if !errors.Is(err, faulty.ErrFault) {
			w.fatal("load base: %v", err)
		}
	}
	o := repo.WriterOptions{Source: faultSource, Snapshot: snapshot, Key: w.key, Base: base, Compress: "fast", PackSize: 1 << 20}
	if base != nil && w.random.IntN(3) > 0 { // with dictionaries, that are read through the faults
		o.Near, o.Compress = w.st, "default"
	}
	wr, err := repo.NewWriter(ctx, o, putInto{w.st})
	if err != nil {
		return repo.Summary{}, err
	}
	defer wr.Abort()
	sw, err := wr.Stream(repo.StreamMeta{Name: "shop.sql"})
	if err != nil {
		return repo.Summary{}, err
	}
	if _, err := sw.Write(w.data); err != nil {
		return repo.Summary{}, err
	}
	if _, err := sw.Close(repo.Contents{}); err != nil {
		return repo.Summary{}, err
	}
	return wr.Finish(ctx)
}

// hold checks a finished snapshot against what the store really has: it is whole
// unless the store lied about an object that it needs, and then that is named.
func (w *world) hold(f finished) {
	w.t.Helper()
	lied := w.st.Lied()
	needed := []string{repo.ManifestName(faultSource, f.ref.Snapshot)}
	s, err := repo.OpenSnapshot(w.t.Context(), w.inner, w.key, f.ref)
	if err == nil {
		for _, p := range s.Header().Packs {
			needed = append(needed, repo.PackName(faultSource, p.ID))
		}
		_, err = s.Verify(w.t.Context(), nil)
	}
	bad := slices.DeleteFunc(needed, func(name string) bool { return !slices.Contains(lied, name) })
	switch {
	case len(bad) == 0 && err != nil:
		w.fatal("snapshot %s is finished, and not whole: %v", f.ref.Snapshot, err)
	case len(bad) == 0 && s.Streams()[0].SHA256 != f.sum:
		w.fatal("snapshot %s is of other bytes", f.ref.Snapshot)
	case len(bad) > 0 && (problem.CodeOf(err) != problem.Corrupt || !names(err, bad)):
		w.fatal("the store lied about %v; verify says: %v", bad, err)
	}
}

func names(err error, objects []string) bool {
	return slices.ContainsFunc(objects, func(o string) bool { return strings.Contains(err.Error(), o) })
}

// read reads a snapshot through the store that fails: the right bytes, or an error.
func (w *world) read() {
	w.t.Helper()
	if len(w.alive) == 0 {
		return
	}
	w.reads++
	f := w.alive[w.random.IntN(len(w.alive))]
	got, err := w.readAll(f.ref)
	if err == nil && sha256.Sum256(got) != f.sum {
		w.fatal("snapshot %s is read as something else", f.ref.Snapshot)
	}
	if err != nil && !errors.Is(err, faulty.ErrFault) && problem.CodeOf(err) != problem.Corrupt {
		w.fatal("read snapshot %s: %v", f.ref.Snapshot, err)
	}
}

func (w *world) readAll(ref repo.Ref) ([]byte, error) {
	s, err := repo.OpenSnapshot(w.t.Context(), w.st, w.key, ref)
	if err != nil {
		return nil, err
	}
	if w.random.IntN(2) == 0 {
		if _, err := s.Verify(w.t.Context(), nil); err != nil {
			return nil, err
		}
	}
	rc, err := s.Open(w.t.Context(), "shop.sql")
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// forget drops the oldest snapshots and deletes what no other needs, as far as
// the store lists it and does as it is told. The others are whole as before.
func (w *world) forget() {
	w.t.Helper()
	if len(w.alive) > 3 {
		w.alive = w.alive[len(w.alive)-3:]
	}
	keep := map[string]bool{}
	for _, f := range w.alive {
		keep[repo.ManifestName(faultSource, f.ref.Snapshot)] = true
		s, err := repo.OpenSnapshot(w.t.Context(), w.inner, w.key, f.ref)
		if err != nil {
			continue // the store lied about it, as hold has found
		}
		for _, p := range s.Header().Packs {
			keep[repo.PackName(faultSource, p.ID)] = true
		}
	}
	var drop []string
	err := w.st.List(w.t.Context(), repo.SourcesPrefix, func(i store.Info) error {
		if !keep[i.Name] {
			drop = append(drop, i.Name)
		}
		return nil
	})
	if err != nil && !errors.Is(err, faulty.ErrFault) {
		w.fatal("list: %v", err)
	}
	for _, name := range drop {
		if err := w.st.Delete(w.t.Context(), name); err != nil && !errors.Is(err, faulty.ErrFault) {
			w.fatal("delete: %v", err)
		}
	}
	if len(w.alive) > 0 {
		w.hold(w.alive[w.random.IntN(len(w.alive))])
	}
}

// countDeltas counts the packs there are whose first frame has a dictionary: FORMAT.md, 5.
func (w *world) countDeltas() (n int) {
	w.t.Helper()
	err := w.inner.List(w.t.Context(), repo.SourcesPrefix, func(i store.Info) error {
		o, err := repo.ParseName(i.Name)
		if err != nil || o.Kind != repo.KindPack || i.Size < 36 {
			return err
		}
		rc, err := w.inner.Get(w.t.Context(), i.Name, 35, 1)
		if err != nil {
			return err
		}
		defer rc.Close()
		codec, err := io.ReadAll(rc)
		if err == nil && codec[0] == 3 {
			n++
		}
		return err
	})
	if err != nil {
		w.fatal("list packs: %v", err)
	}
	return n
}

// gate is where slow calls go through; one that hangs costs the run its lease.
func (w *world) gate(context.Context, faulty.Op, string) error {
	if strings.HasPrefix(w.name, "it hangs") {
		w.cancel(errLease)
	}
	runtime.Gosched()
	return nil
}

// The kinds that a writer, its readers and whoever cleans up after them can meet.
var faultPlans = map[string]faulty.Plan{
	"puts fail":             {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.Fail, Chance: 0.2}}},
	"no space":              {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.NoSpace, Chance: 0.2}}},
	"full":                  {Capacity: 90 << 10},
	"puts are torn":         {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.Torn, Chance: 0.2}}},
	"puts are garbled":      {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.Garbled, Chance: 0.2}}},
	"answers get lost":      {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.LostAnswer, Chance: 0.2}, {Op: faulty.Delete, Kind: faulty.LostAnswer, Chance: 0.3}}},
	"it hangs":              {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.Hang, Chance: 0.2}}},
	"lies: torn":            {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.TornSilently, Chance: 0.2}}},
	"lies: garbled":         {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.GarbledSilently, Chance: 0.2}}},
	"lies: nothing there":   {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.Lost, Chance: 0.2}}},
	"lies: nothing deleted": {Faults: []faulty.Fault{{Op: faulty.Delete, Kind: faulty.Lost, Chance: 0.5}}},
	"gets fail":             {Faults: []faulty.Fault{{Op: faulty.Get, Kind: faulty.Fail, Chance: 0.1}, {Op: faulty.List, Kind: faulty.Fail, Chance: 0.3}}},
	"gets are short":        {Faults: []faulty.Fault{{Op: faulty.Get, Kind: faulty.Short, Chance: 0.1}}},
	"gets break off":        {Faults: []faulty.Fault{{Op: faulty.Get, Kind: faulty.Broken, Chance: 0.1}, {Op: faulty.List, Kind: faulty.Broken, Chance: 0.3}}},
	"bits rot":              {Faults: []faulty.Fault{{Op: faulty.Get, Kind: faulty.Flip, Chance: 0.1}}},
	"lists are stale":       {Lag: 30},
	"slow":                  {Faults: []faulty.Fault{{Op: faulty.Put, Kind: faulty.Slow, Chance: 0.3}}},
	"everything honest": {Lag: 20, Faults: []faulty.Fault{
		{Op: faulty.Put, Kind: faulty.Fail, Chance: 0.05},
		{Op: faulty.Put, Kind: faulty.Torn, Chance: 0.05},
		{Op: faulty.Put, Kind: faulty.LostAnswer, Chance: 0.05},
		{Op: faulty.Get, Kind: faulty.Short, Chance: 0.05},
		{Op: faulty.Get, Kind: faulty.Flip, Chance: 0.05},
		{Op: faulty.Delete, Kind: faulty.Fail, Chance: 0.1},
	}},
	"everything": {Lag: 20, Faults: []faulty.Fault{
		{Op: faulty.Put, Kind: faulty.GarbledSilently, Chance: 0.05},
		{Op: faulty.Put, Kind: faulty.Lost, Chance: 0.05},
		{Op: faulty.Put, Kind: faulty.Garbled, Chance: 0.05},
		{Op: faulty.Get, Kind: faulty.Broken, Chance: 0.05},
		{Op: faulty.Get, Kind: faulty.Flip, Chance: 0.05},
		{Op: faulty.Delete, Kind: faulty.LostAnswer, Chance: 0.1},
	}},
}

// TestFaults makes thousands of snapshots in stores that fail in every way there
// is. What was finished is whole; what a store lied about is found and named;
// what is read is right or an error; nothing panics, hangs or stays behind.
func TestFaults(t *testing.T) {
	const perWorld, atLeast = 8, 30
	worlds := 14
	if os.Getenv("BAKTAINER_E2E_LONG") != "" {
		worlds = 1000
	}
	key, err := repo.NewSourceKey(bytes.Repeat([]byte{7}, 32), 1)
	if err != nil {
		t.Fatal(err)
	}
	goroutines := runtime.NumGoroutine()
	injected := map[faulty.Kind]int{}
	var sum world
	worldNumber := uint64(0)
	for _, name := range slices.Sorted(maps.Keys(faultPlans)) {
		for range worlds {
			worldNumber++
			plan := faultPlans[name]
			plan.Seed = worldNumber
			w := world{
				t: t, name: fmt.Sprintf("%s, seed %d", name, plan.Seed), inner: mem.New(),
				key: key, random: rand.New(rand.NewPCG(plan.Seed, 1)),
			}
			plan.Faults = slices.Clone(plan.Faults)
			for i := range plan.Faults {
				plan.Faults[i].Gate = w.gate
			}
			w.st = faulty.New(w.inner, plan)
			for n := range perWorld {
				w.backUp()
				w.read()
				if n%4 == 3 {
					w.forget()
				}
			}
			sum.backups += w.backups
			sum.failed += w.failed
			sum.reads += w.reads
			sum.deltas += w.countDeltas()
			for k, n := range w.st.Injected() {
				injected[k] += n
			}
		}
	}
	t.Logf("%d backups, of which %d failed; %d snapshots read through the faults; %d packs begin with a delta frame; injected: %v",
		sum.backups, sum.failed, sum.reads, sum.deltas, injected)
	if sum.deltas < atLeast {
		t.Errorf("%d packs begin with a delta frame, want %d", sum.deltas, atLeast)
	}
	for k := faulty.Fail; k <= faulty.StaleList; k++ {
		if injected[k] < atLeast {
			t.Errorf("%v happened %d times, want %d", k, injected[k], atLeast)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	for runtime.NumGoroutine() > goroutines+1 && ctx.Err() == nil { // the one more may be of ctx
		runtime.Gosched()
	}
	if n := runtime.NumGoroutine(); n > goroutines+1 {
		t.Errorf("%d goroutines are left, there were %d", n, goroutines)
	}
}

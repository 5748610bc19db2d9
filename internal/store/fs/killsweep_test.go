package fs_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
)

const (
	sweepFolder = "BAKTAINER_TEST_KILL_SWEEP" // tells the child where
	sweepRound  = "BAKTAINER_TEST_KILL_ROUND"
	sweepSource = "shop/db"
	sweepStream = "shop.sql"
	perRound    = 1000 // more snapshots than a child comes to
)

// recorded is a line of the journal, which stands for the ledger: it is synced
// after the snapshot is finished.
type recorded struct {
	Number int
	Ref    repo.Ref
}

func sweepKey(t *testing.T) repo.SourceKey {
	t.Helper()
	key, err := repo.NewSourceKey(bytes.Repeat([]byte{7}, 32), 1)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sweepData is the dump of a number: much is as in all others, some as in its
// neighbours, some new.
func sweepData(number int) []byte {
	random := func(n int, seed uint64) []byte {
		b := make([]byte, n)
		var key [32]byte
		key[0], key[1], key[2], key[3] = byte(seed), byte(seed>>8), byte(seed>>16), byte(seed>>24)
		_, _ = rand.NewChaCha8(key).Read(b)
		return b
	}
	data := random(2<<20, 0)
	for _, seed := range []uint64{uint64(number/8) + 1<<30, uint64(number) + 1<<31} {
		r := rand.New(rand.NewPCG(seed, 0))
		for range 30 {
			copy(data[r.IntN(len(data)):], random(4096, r.Uint64()))
		}
		data = append(data, random(r.IntN(3<<19), seed)...)
	}
	return data
}

func readJournal(t *testing.T, dir string) (all []recorded) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, "journal"))
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	for line := range bytes.Lines(b) {
		var r recorded
		if err := json.Unmarshal(line, &r); err != nil {
			t.Fatalf("journal: %v in %q", err, line)
		}
		all = append(all, r)
	}
	return all
}

// ticking tells of each step of a put.
type ticking struct {
	store.Store
	tick func()
}

func (s ticking) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	s.tick()
	_, err := s.Store.Put(ctx, name, tickingReader{bytes.NewReader(data), s.tick})
	s.tick()
	return err
}

type tickingReader struct {
	r    io.Reader
	tick func()
}

func (r tickingReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	r.tick() // also at the end, when what follows is sync and rename
	return n, err
}

// backUp writes one snapshot on top of the newest of the journal, and records it.
func backUp(t *testing.T, dir string, number int, tick func()) {
	t.Helper()
	st, err := fs.Open(filepath.Join(dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	var refs []repo.Ref
	journal := readJournal(t, dir)
	for i := len(journal) - 1; i >= 0 && len(refs) < 2; i-- {
		refs = append(refs, journal[i].Ref)
	}
	base, err := repo.LoadBase(t.Context(), st, sweepKey(t), refs)
	if err != nil || len(base.Damaged()) > 0 {
		t.Fatalf("load base: %v, left out %v", err, base.Damaged())
	}
	ref := repo.Ref{Source: sweepSource, Snapshot: fmt.Sprintf("01J%023d", number)}
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{
		Source: ref.Source, Snapshot: ref.Snapshot, Key: sweepKey(t), Base: base, Near: st, PackSize: 1 << 20,
	}, ticking{st, tick})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	sw, err := w.Stream(repo.StreamMeta{Name: sweepStream})
	if err != nil {
		t.Fatal(err)
	}
	for data := sweepData(number); len(data) > 0; tick() {
		n, err := sw.Write(data[:min(len(data), 64<<10)])
		if err != nil {
			t.Fatal(err)
		}
		data = data[n:]
	}
	if _, err := sw.Close(repo.Contents{}); err != nil {
		t.Fatal(err)
	}
	sum, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	tick()
	ref.Manifest, ref.Size = sum.Manifest, sum.ManifestSize
	line, err := json.Marshal(recorded{number, ref})
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(filepath.Join(dir, "journal"), os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Fatal(err)
	}
	if err := f.Sync(); err != nil {
		t.Fatal(err)
	}
	tick()
}

// sweepChild makes snapshots until it is killed: what TestKillSweep does when it
// runs itself as a process of its own.
func sweepChild(t *testing.T, dir string) {
	var round int
	if _, err := fmt.Sscan(os.Getenv(sweepRound), &round); err != nil {
		t.Fatal(err)
	}
	ticks := os.NewFile(3, "ticks")
	for n := range perRound {
		backUp(t, dir, round*perRound+n, func() {
			if _, err := ticks.Write([]byte{'.'}); err != nil {
				os.Exit(1) // the parent is gone
			}
		})
	}
}

// TestKillSweep kills a process that makes snapshots, again and again, each time
// at another moment, and looks at what is left: each snapshot that was recorded
// is whole, each manifest that is there is of a whole snapshot, and the next
// process goes on from there.
func TestKillSweep(t *testing.T) {
	if dir := os.Getenv(sweepFolder); dir != "" {
		sweepChild(t, dir)
		return
	}
	rounds := 15
	if os.Getenv("BAKTAINER_E2E_LONG") != "" {
		rounds = 300
	}
	dir := t.TempDir()
	random := rand.New(rand.NewPCG(1, 2))
	c := checker{t: t, dir: dir, whole: map[string]bool{}}
	for round := range rounds {
		after := 1 + random.IntN([]int{60, 400, 1200}[round%3])
		killed, output := runAndKill(t, dir, round, after)
		if !killed {
			t.Fatalf("round %d: the child ended by itself before tick %d:\n%s", round, after, output)
		}
		c.check()
	}
	backUp(t, dir, rounds*perRound, func() {})
	clear(c.whole)
	c.check()
	t.Logf("%d kills; %d snapshots recorded; %d finished and not recorded; checked whole: %d snapshots, %d packs; %d temporary files left",
		rounds, c.recorded, c.unrecorded, c.checks, c.packs, c.temporary)
	if c.recorded < 3 {
		t.Error("the kills do not come at moments that tell anything")
	}
}

// runAndKill runs a child and kills it once it has made that many ticks.
func runAndKill(t *testing.T, dir string, round, after int) (killed bool, output string) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKillSweep$")
	cmd.Env = append(os.Environ(), sweepFolder+"="+dir, fmt.Sprintf("%s=%d", sweepRound, round))
	cmd.ExtraFiles = []*os.File{w}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	_, err = io.CopyN(io.Discard, r, int64(after))
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	return err == nil, out.String()
}

// checker looks at what a killed child has left.
type checker struct {
	t     *testing.T
	dir   string
	whole map[string]bool // snapshots and packs that have been checked

	recorded, unrecorded, checks, packs, temporary int
}

func (c *checker) check() {
	c.t.Helper()
	st, err := fs.Open(filepath.Join(c.dir, "store"))
	if err != nil {
		c.t.Fatal(err)
	}
	journal := readJournal(c.t, c.dir)
	inJournal := map[string]bool{}
	for _, r := range journal {
		inJournal[r.Ref.Snapshot] = true
		c.snapshot(st, r)
	}
	c.recorded, c.unrecorded = len(journal), 0
	err = st.List(c.t.Context(), repo.ManifestsPrefix(sweepSource), func(i store.Info) error {
		id := filepath.Base(i.Name)
		if inJournal[id] {
			delete(inJournal, id)
			return nil
		}
		c.unrecorded++
		var number int
		if _, err := fmt.Sscanf(id, "01J%023d", &number); err != nil {
			return err
		}
		c.snapshot(st, recorded{number, repo.Ref{Source: sweepSource, Snapshot: id}})
		return nil
	})
	if err != nil || len(inJournal) > 0 {
		c.t.Fatalf("not listed: %v, %v", inJournal, err)
	}
	if err := st.List(c.t.Context(), repo.SourcesPrefix, c.pack); err != nil {
		c.t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(c.dir, "store", ".tmp-*"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.temporary = len(files)
}

// pack checks that a pack is whole, whether a snapshot needs it or not: FORMAT.md, 5, trailer.
func (c *checker) pack(i store.Info) error {
	if o, err := repo.ParseName(i.Name); err != nil || o.Kind != repo.KindPack || c.whole[i.Name] {
		return err
	}
	b, err := os.ReadFile(filepath.Join(c.dir, "store", i.Name))
	if err != nil {
		return err
	}
	at := len(b) - 40
	if at < 0 || string(b[at+32:]) != "BAKTPEND" || sha256.Sum256(b[:at]) != [32]byte(b[at:at+32]) {
		return fmt.Errorf("%s is visible and not whole", i.Name)
	}
	c.whole[i.Name] = true
	c.packs++
	return nil
}

// snapshot checks that a snapshot has the right bytes, once.
func (c *checker) snapshot(st store.Store, r recorded) {
	c.t.Helper()
	if c.whole[r.Ref.Snapshot] {
		return
	}
	s, err := repo.OpenSnapshot(c.t.Context(), st, sweepKey(c.t), r.Ref)
	if err != nil {
		c.t.Fatalf("snapshot %d: %v", r.Number, err)
	}
	data := sweepData(r.Number)
	report, err := s.Verify(c.t.Context(), nil)
	if err != nil || report.RawBytes != int64(len(data)) || s.Streams()[0].SHA256 != sha256.Sum256(data) {
		c.t.Fatalf("snapshot %d: %+v, %v", r.Number, report, err)
	}
	c.whole[r.Ref.Snapshot] = true
	c.checks++
}

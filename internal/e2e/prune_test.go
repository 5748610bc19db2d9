package e2e

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

type pruned struct {
	Source       string   `json:"source"`
	State        string   `json:"state"`
	Snapshots    []string `json:"snapshots"`
	Objects      int      `json:"objects"`
	Bytes        int64    `json:"bytes"`
	DeletedBytes int64    `json:"deleted_bytes"`
	Delete       []struct {
		Name   string `json:"name"`
		Reason string `json:"reason"`
	} `json:"delete"`
	Failure *failure `json:"failure"`
}

type checked struct {
	Fine     bool `json:"fine"`
	Findings []struct {
		Object     string `json:"object"`
		Repairable bool   `json:"repairable"`
		Damage     []struct {
			Snapshot string   `json:"snapshot"`
			Streams  []string `json:"streams"`
		} `json:"damage"`
	} `json:"findings"`
}

// day puts new values in place of those of the day before. On day 2 there is one
// that fills packs by itself, so that something goes with that day whatever
// chunks the other days have in common.
func day(t testing.TB, c *container, n int) {
	t.Helper()
	switch n {
	case 2:
		big := make([]byte, 40<<20)
		_, _ = rand.Read(big) // never fails
		must(t, redisCLI(t, c, big, "-x", "SET", "day:big"), "redis-cli SET")
	case 3:
		must(t, redisCLI(t, c, nil, "DEL", "day:big"), "redis-cli DEL")
	}
	for i := range 4 {
		must(t, redisCLI(t, c, nil, "SET", fmt.Sprintf("day:%d", i), bulkText(n*10+i, 90_000)), "redis-cli SET")
	}
}

// size is what the files below a folder of the store have, and their number.
func (u *up) size(t testing.TB, below string) (files int, bytes int64) {
	t.Helper()
	err := filepath.WalkDir(filepath.Join(u.store(), below), func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			files, bytes = files+1, bytes+info.Size()
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files, bytes
}

func (u *up) plan(t testing.TB, c *container) pruned {
	t.Helper()
	return decode[[]pruned](t, u.ok(t, "prune", c.source(), "--dry-run", "-o", "json"))[0]
}

// TestPrune goes the way of somebody who lets snapshots go, is interrupted, and
// has a disk that spoils a pack.
func TestPrune(t *testing.T) {
	needContainers(t)
	t.Parallel()
	c := redis.start(t, "baktainer.compress=fast") // without deltas a day's packs need no others
	redis.seed(t, c, 0)
	u := startUp(t, upOptions{})
	var made []snapshot // oldest first
	for n := range 5 {
		day(t, c, n)
		made = append(made, u.backup(t, c))
	}
	u.verify(t, made[2])
	content := redis.fingerprint(t, c)

	// The newest one stays, and the last that was verified; a refusal forgets nothing.
	r := u.cli(t, "snapshot", "forget", made[0].ID, made[2].ID, made[4].ID)
	if r.status != failedStatus || !strings.Contains(r.stderr, made[2].ID) || !strings.Contains(r.stderr, made[4].ID) {
		t.Errorf("forget what must stay:\n%s", r.text())
	}
	if p := u.plan(t, c); p.Objects != 0 {
		t.Errorf("nothing is forgotten, and this would be pruned: %s", sprintJSON(p))
	}
	u.verify(t, made[4])
	u.ok(t, "snapshot", "forget", made[0].ID)
	if p := u.plan(t, c); p.Objects != 0 {
		t.Errorf("what can be taken back would be pruned: %s", sprintJSON(p))
	}
	u.ok(t, "snapshot", "undelete", made[0].ID)
	u.ok(t, "snapshot", "hold", made[0].ID, "--until", "1d", "--reason", "a test")
	if r := u.cli(t, "snapshot", "forget", made[0].ID); r.status != failedStatus || !strings.Contains(r.stderr, "on hold until") {
		t.Errorf("forget what is on hold:\n%s", r.text())
	}
	u.ok(t, "snapshot", "unhold", made[0].ID)
	u.ok(t, "snapshot", "forget", "--undo", "0", made[0].ID, made[1].ID, made[2].ID)
	u.ok(t, "snapshot", "unforget", made[1].ID)
	if got := u.snapshots(t, c.source()); len(got) != 3 || got[0].ID != made[4].ID {
		t.Errorf("listed: %s", sprintJSON(got))
	}
	if r := u.cli(t, "dump", made[0].ID, "dump.rdb"); !strings.Contains(r.stderr, "is forgotten") {
		t.Errorf("a forgotten snapshot is read without a word:\n%s", tail(r.stderr))
	}

	// What is shown is what goes.
	plan := u.plan(t, c)
	if plan.Objects < 3 || !slices.Equal(plan.Snapshots, []string{made[0].ID, made[2].ID}) {
		t.Fatalf("the plan: %s", sprintJSON(plan))
	}
	if r := u.cli(t, "prune", c.source()); r.status != badInput {
		t.Errorf("pruned without being asked:\n%s", r.text())
	}
	_, before := u.size(t, "sources")
	done := decode[[]pruned](t, u.ok(t, "prune", c.source(), "--yes", "-o", "json"))[0]
	_, after := u.size(t, "sources")
	if done.State != "pruned" || done.DeletedBytes != plan.Bytes || before-after != plan.Bytes {
		t.Errorf("%d bytes were freed, %d previewed: %s", before-after, plan.Bytes, sprintJSON(done))
	}
	t.Logf("pruned %d objects, %d of %d bytes", plan.Objects, plan.Bytes, before)
	if r := u.cli(t, "snapshot", "show", made[0].ID); r.status != failedStatus || !strings.Contains(r.stderr, "pruned") {
		t.Errorf("what is pruned:\n%s", r.text())
	}
	for _, s := range []snapshot{made[1], made[3], made[4]} {
		u.verify(t, s)
		u.dumpsWhatTheLedgerSays(t, s)
	}
	if got := decode[checked](t, u.ok(t, "store", "check", "--read-data", "-o", "json")); !got.Fine {
		t.Errorf("after the prune: %s", sprintJSON(got))
	}
	redis.wreck(t, c)
	u.ok(t, "restore", c.source(), "--overwrite")
	if got := redis.fingerprint(t, c); got != content {
		t.Errorf("restored\n%s\nwant\n%s", got, content)
	}

	interruptedPrune(t, u, c)
	spoiledPack(t, u, c)
}

// interruptedPrune kills the program in the middle of a prune.
func interruptedPrune(t *testing.T, u *up, c *container) {
	t.Helper()
	day(t, c, 9)
	newest := u.backup(t, c)
	u.verify(t, newest)
	const leftOvers = 3000
	for range leftOvers {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		name := hex.EncodeToString(id)
		folder := filepath.Join(u.store(), "sources", c.source(), "packs", name[:2])
		if err := os.MkdirAll(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(folder, name), "left over from a run that failed")
	}
	all, _ := u.size(t, filepath.Join("sources", c.source()))
	plan := u.plan(t, c)
	if plan.Objects != leftOvers {
		t.Fatalf("%d objects are planned, %d were put there", plan.Objects, leftOvers)
	}
	// What goes first lies there; a pack that stays may, too.
	first := filepath.Join(u.store(), "sources", c.source(), "packs", "00")
	there := func() int {
		entries, err := os.ReadDir(first)
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		return len(entries)
	}
	begin := there()
	ended := background(t, func() result { return u.cli(t, "prune", c.source(), "--yes") })
	every(t, time.Millisecond, "the prune has deleted something", func() (bool, string) {
		now := there()
		return now < begin, fmt.Sprint(now, " of ", begin)
	})
	u.kill9()
	r := <-ended
	left, _ := u.size(t, filepath.Join("sources", c.source()))
	t.Logf("killed when %d of %d left-overs were deleted", all-left, leftOvers)
	if left == all || left <= all-leftOvers || r.status == fine {
		t.Errorf("it was not killed in the middle: %d files, then %d\n%s", all, left, r.text())
	}
	u.start(t)
	u.ready(t)
	eventually(t, "the prune that was killed has ended", func() (bool, string) {
		r := u.cli(t, "prune", c.source(), "--dry-run")
		return r.status == fine && strings.Contains(r.stderr, "nothing to prune"), r.text()
	})
	if now, _ := u.size(t, filepath.Join("sources", c.source())); now != all-leftOvers {
		t.Errorf("%d files of the source, want %d", now, all-leftOvers)
	}
	eventually(t, "its plan is removed", func() (bool, string) {
		files, err := os.ReadDir(filepath.Join(u.store(), "plans"))
		return len(files) == 0, fmt.Sprint(files, err)
	})
	for _, s := range u.snapshots(t, c.source()) {
		u.verify(t, s)
	}
}

// spoiledPack damages the oldest pack, in which lies what never changed: it is
// named, marked, and stored anew.
func spoiledPack(t *testing.T, u *up, c *container) {
	t.Helper()
	newest := u.snapshots(t, c.source())[0]
	var pack string
	var oldest time.Time
	err := filepath.WalkDir(filepath.Join(u.store(), "sources", c.source(), "packs"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		if info, err := e.Info(); err == nil && (pack == "" || info.ModTime().Before(oldest)) {
			pack, oldest = path, info.ModTime()
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(pack)
	if err != nil {
		t.Fatal(err)
	}
	content[len(content)/3] ^= 0x10
	if err := os.Remove(pack); err != nil { // an object is read-only
		t.Fatal(err)
	}
	write(t, pack, string(content))

	r := u.cli(t, "store", "check", "--read-data", "-o", "json")
	got := decode[checked](t, r.stdout)
	if r.status != partlyFailed || len(got.Findings) != 1 || !strings.HasSuffix(got.Findings[0].Object, filepath.Base(pack)) || got.Findings[0].Repairable {
		t.Fatalf("a pack is damaged:\n%s", r.text())
	}
	if !slices.ContainsFunc(got.Findings[0].Damage, func(d struct {
		Snapshot string   `json:"snapshot"`
		Streams  []string `json:"streams"`
	}) bool {
		return d.Snapshot == newest.ID && len(d.Streams) == 1
	}) {
		t.Errorf("the newest snapshot is hit:\n%s", r.text())
	}
	if r := u.cli(t, "store", "repair", "--read-data"); r.status != partlyFailed || !strings.Contains(r.stdout, "marked") {
		t.Errorf("repair:\n%s", r.text())
	}
	if s := u.ok(t, "snapshot", "ls", c.source()); !strings.Contains(s, "damaged") {
		t.Errorf("no snapshot says that it is damaged:\n%s", s)
	}
	next := u.backup(t, c)
	u.verify(t, next)
	u.dumpsWhatTheLedgerSays(t, next)
	if r := u.cli(t, "snapshot", "verify", newest.ID); r.status != failedStatus {
		t.Errorf("the older one stays damaged:\n%s", r.text())
	}
}

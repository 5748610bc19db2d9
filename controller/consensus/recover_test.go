package consensus

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestPeersAreReadAndAllMistakesNamed(t *testing.T) {
	t.Parallel()
	peers, err := ParsePeers([]byte(`[{"id":"c1","address":"c1:7070","voter":true},{"id":"c2","address":"10.0.0.2:7070"},{"id":"c3","address":"c3:7070","voter":false}]`))
	want := []Peer{{"c1", "c1:7070", true}, {"c2", "10.0.0.2:7070", true}, {"c3", "c3:7070", false}}
	if err != nil || len(peers) != 3 || peers[0] != want[0] || peers[1] != want[1] || peers[2] != want[2] {
		t.Errorf("%+v, %v", peers, err)
	}
	for text, mistakes := range map[string][]string{
		``:                            {"read the list"},
		`{}`:                          {"read the list"},
		`[] []`:                       {"after the list"},
		`[{"id":"c1","host":"c1:1"}]`: {`unknown field "host"`},
		`[]`:                          {"nobody has a vote"},
		`[{"id":"c1","address":"c1:1","voter":false}]`: {"nobody has a vote"},
		`[{"id":"c 1","address":"c1"},{"id":"c2","address":"c2:1"},{"id":"c2","address":"c2:1"}]`: {
			"entry 1: the controller's name", "entry 1: read the address", "entry 3: there is another c2", "entry 3: there is another at c2:1",
		},
	} {
		_, err := ParsePeers([]byte(text))
		if problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for _, m := range mistakes {
			if !strings.Contains(problem.Text(err), m) {
				t.Errorf("%s: %q is not in\n%s", text, m, problem.Text(err))
			}
		}
	}
}

func TestOneOfThreeIsEnoughToRecover(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		for i := range 60 { // with raft snapshots on the way
			c.must(c.follower().Propose(t.Context(), store("s"+strings.Repeat("x", i))))
		}
		c.agree()
		cluster, index := c.leader().View().Cluster(), c.leader().View().Index()
		one := c.leader().id
		dir := c.dirs[one]
		peers := []Peer{{one, "new:7070", true}}
		now := time.Now()
		if _, err := Recover(dir, peers, now); problem.ReasonOf(err) != ReasonDataInUse {
			t.Errorf("while it runs: %v", err)
		}
		for id := range c.running() {
			c.kill(id)
		}
		n := c.open(one) // alone it can decide nothing
		c.must(clock.Sleep(t.Context(), time.Minute))
		if n.LeaderID() != "" {
			t.Fatal("one of three leads")
		}
		c.kill(one)
		if _, err := Recover(dir, []Peer{{"c9", "c9:1", true}}, now); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("without itself: %v", err)
		}
		done, err := Recover(dir, peers, now)
		c.must(err)
		if done.Node != one || done.Cluster != cluster || done.Index < index || done.Copy != dir+".before-recover-"+now.UTC().Format("20060102T150405Z") {
			t.Errorf("%+v", done)
		}
		n = c.open(one, func(o *Options) { o.Advertise, o.Network = "new:7070", c.lan.plug(one, "new:7070") })
		c.await("it leads", n.IsLeader)
		if n.View().Cluster() != cluster || !has(n, "agreed") || n.voters() != 1 {
			t.Errorf("%d voters, stores %v", n.voters(), n.View().Stores())
		}
		c.must(n.Propose(t.Context(), store("after")))
		for id := range c.dirs { // the others come back empty
			if id != one {
				c.dirs[id] = ""
				c.join(id)
			}
		}
		c.await("three voters", func() bool { return len(c.voters()) == 3 })
		c.agree()
		// The copy is what was there before, for nobody else to read.
		if info, err := os.Stat(done.Copy); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%v, %v", info, err)
		}
		if kept, err := ReadKept(done.Copy); err != nil || kept != (Kept{one, cluster, true}) {
			t.Errorf("%+v, %v", kept, err)
		}
	})
}

func TestRecoverNeedsAStateAndAPlaceForTheCopy(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	now := time.Unix(1_800_000_000, 0)
	peers := []Peer{{"c1", "c1:7070", true}}
	if _, err := Recover(dir, peers, now); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("no folder: %v", err)
	}
	if _, err := Recover(dir, nil, now); problem.CodeOf(err) != problem.InvalidInput {
		t.Errorf("no peers: %v", err)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("it made the folder: %v", err)
	}
	if err := os.MkdirAll(filepath.Join(dir, "snapshots"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeFile(dir, nodeFile, "c1"); err != nil {
		t.Fatal(err)
	}
	store, err := openLog(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	done, err := Recover(dir, peers, now)
	if problem.CodeOf(err) != problem.Failed || !strings.Contains(problem.Text(err), done.Copy) {
		t.Errorf("an empty log: %v", err)
	}
	if _, err := Recover(dir, peers, now); problem.CodeOf(err) != problem.Failed || !strings.Contains(err.Error(), "nothing was changed") {
		t.Errorf("there is a copy already: %v", err)
	}
}

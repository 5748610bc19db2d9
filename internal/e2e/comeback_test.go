package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestEveryEngineComesBack goes with each kind of database the way of a user:
// one label, back up, lose data, restore; then the other ways out of a
// snapshot, and at last, with the controller gone, rescue.
func TestEveryEngineComesBack(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	returned := map[string]*comeback{}
	for name, d := range everyDatabase() {
		returned[name] = &comeback{up: u, database: d}
	}
	t.Run("with a controller", func(t *testing.T) {
		for name, c := range returned {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				c.goThere(t)
			})
		}
	})
	for _, c := range returned {
		if c.container != nil {
			t.Cleanup(func() {
				if err := c.container.remove(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	u.stop(t)
	t.Run("rescue", func(t *testing.T) {
		for name, c := range returned {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				if c.dumps == nil {
					t.Fatal("there is nothing to rescue: the test with a controller failed")
				}
				c.rescue(t)
			})
		}
	})
}

// comeback is the way of one database.
type comeback struct {
	up *up
	database
	container *container
	snapshot  snapshot
	before    string            // fingerprint
	dumps     map[string]string // by stream
}

func (b *comeback) goThere(t *testing.T) {
	c := b.fresh()
	c.name = uniqueName(b.engine)
	for key, value := range labelled() {
		c.labels[key] = value
	}
	c.run(t) // it outlives this subtest
	b.container = c
	b.wait(t, c)
	b.seed(t, c, 0)
	b.before = b.fingerprint(t, c)

	s := b.up.backup(t, c)
	if s.Engine != b.engine {
		t.Errorf("the snapshot is of engine %q, want %q", s.Engine, b.engine)
	}
	t.Logf("\n%s", b.up.ok(t, "snapshot", "show", s.ID))
	b.snapshot = s
	b.up.verify(t, s)
	b.up.dumpsWhatTheLedgerSays(t, s)

	b.again(t)
	b.wreckAndRestore(t)
	b.toFiles(t)
	b.intoAnother(t)
}

// again backs up unchanged data: nearly nothing is new.
func (b *comeback) again(t *testing.T) {
	second := b.up.backup(t, b.container)
	t.Logf("a second backup of the same data: %d of %d bytes are new", second.NewBytes, second.RawBytes)
	if second.NewBytes*10 > second.RawBytes {
		t.Errorf("a second backup of the same data added %d of %d bytes to the store", second.NewBytes, second.RawBytes)
	}
	b.up.verify(t, second)
}

func (b *comeback) wreckAndRestore(t *testing.T) {
	b.wreck(t, b.container)
	wrecked := b.fingerprint(t, b.container)
	if wrecked == b.before {
		t.Fatalf("the fingerprint does not see the wreck:\n%s", wrecked)
	}

	dry := b.up.cli(t, "restore", b.snapshot.ID, "--dry-run", "--overwrite")
	t.Logf("restore --dry-run --overwrite:\n%s", dry.text())
	if dry.status != fine || len(dry.stdout) == 0 {
		t.Errorf("a dry run ends with %d and says %q", dry.status, dry.stdout)
	}
	refused := b.up.cli(t, "restore", b.snapshot.ID)
	t.Logf("restore over data:\n%s", refused.text())
	if refused.status != failedStatus || !strings.Contains(refused.text(), "--overwrite") {
		t.Errorf("a restore over data ends with %d, want %d and a word of --overwrite", refused.status, failedStatus)
	}
	if now := b.fingerprint(t, b.container); now != wrecked {
		t.Errorf("a dry run or a refused restore changed the data:\n%s\nit was\n%s", now, wrecked)
	}
	r := b.up.cli(t, "restore", b.snapshot.ID, "--overwrite")
	t.Logf("restore --overwrite:\n%s", r.text())
	if r.status != fine {
		t.Fatal("the restore failed")
	}
	b.compare(t, b.container)
}

// compare holds what a container has against what was backed up.
func (b *comeback) compare(t *testing.T, c *container) {
	t.Helper()
	if after := b.fingerprint(t, c); after != b.before {
		t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, b.before)
	}
}

// toFiles restores into a folder, and keeps the dumps for later comparison.
func (b *comeback) toFiles(t *testing.T) {
	dir := tempDir(t)
	b.up.ok(t, "restore", b.snapshot.ID, "--to", "file:"+dir)
	dumps := map[string]string{}
	for _, st := range b.snapshot.Streams {
		text, err := os.ReadFile(filepath.Join(dir, st.Name))
		if err != nil {
			t.Error(err)
			continue
		}
		if got := sha256Of(string(text)); got != st.SHA256 {
			t.Errorf("the file of %s has SHA-256 %s; the ledger says %s", st.Name, got, st.SHA256)
		}
		dumps[st.Name] = string(text)
	}
	b.dumps = dumps
}

// intoAnother restores into a new, empty container that no label names.
func (b *comeback) intoAnother(t *testing.T) {
	other := b.fresh()
	// It asks for no backup: its labels, if any, only say what labels alone can
	// say, the command of a custom source and the path of a SQLite file.
	other.name = uniqueName(b.engine)
	other.start(t)
	b.wait(t, other)
	argv := []string{"restore", b.snapshot.ID, "--to", "container:" + other.name}
	if b.engine == "sqlite" || b.engine == "custom" {
		// The one has made a table already; of the other nobody can tell what it has.
		argv = append(argv, "--overwrite")
	}
	r := b.up.cli(t, argv...)
	t.Logf("restore into another container:\n%s", r.text())
	if r.status != fine {
		t.Error("the restore failed")
		return
	}
	b.compare(t, other)
}

// rescue does without a controller what was done with one.
func (b *comeback) rescue(t *testing.T) {
	u := b.up
	bare := func(argv ...string) result {
		return command(t, nil, plainEnvironment(), append([]string{u.binary, "rescue"}, append(argv, "--store", u.store(), "--key-file", u.key())...)...)
	}
	if list := must(t, bare("ls"), "rescue ls"); !strings.Contains(list, b.snapshot.ID) {
		t.Errorf("rescue ls does not list %s:\n%s", b.snapshot.ID, list)
	}
	for name, want := range b.dumps {
		if got := must(t, bare("dump", b.snapshot.ID, name), "rescue dump"); got != want {
			t.Errorf("rescue dumps %d bytes of %s that differ from the %d that the controller dumped", len(got), name, len(want))
		}
	}
	b.wreck(t, b.container)
	r := bare("restore", b.snapshot.ID, "--to", "container:"+b.container.name, "--overwrite")
	t.Logf("rescue restore:\n%s", r.text())
	if r.status != fine {
		t.Error("the restore failed")
		return
	}
	b.compare(t, b.container)
}

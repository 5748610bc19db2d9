package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The same folder, by the sample of an engine that is a program of its own.
var pluginFiles = func() database {
	d := custom
	d.engine = "files"
	d.fresh = func() *container {
		c := custom.fresh()
		c.labels = map[string]string{"baktainer.db.engine": "files", "baktainer.db.name": "/srv"}
		return c
	}
	return d
}()

// plugins makes a folder with the sample, and with more of them: names and scripts.
func plugins(t testing.TB, more map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(moduleRoot, "deploy/plugins/baktainer-engine-files"))
	if err != nil {
		t.Fatal(err)
	}
	dir := tempDir(t)
	put := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, "baktainer-engine-"+name), []byte(text), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	put("files", string(text))
	for name, text := range more {
		put(name, text)
	}
	return dir
}

// TestPlugin has a source of an engine that is a plugin come back in all the ways
// that others do; what is asked of the store alone needs no plugin.
func TestPlugin(t *testing.T) {
	needContainers(t)
	t.Parallel()
	dir := plugins(t, map[string]string{
		"broken": "#!/bin/sh\necho 'no such library' >&2; exit 1\n",
		// It is files in all but the verdict, of which it says one thing and does another.
		"liar": "#!/bin/sh\nif [ $1 = inspect ]; then cat >/dev/null; echo '{\"complete\": true}'; exit 1; fi\nexec \"${0%-*}-files\" \"$@\"\n",
	})
	u := startUp(t, upOptions{env: []string{"BAKTAINER_ENGINE_PLUGINS=" + dir}})
	b := &comeback{database: pluginFiles, up: u}
	t.Cleanup(func() {
		if b.container != nil {
			_ = b.container.remove()
		}
	})
	b.goThere(t)
	if b.container == nil || t.Failed() {
		return
	}
	if show := u.ok(t, "snapshot", "show", b.snapshot.ID); !strings.Contains(show, "folder  .") {
		t.Errorf("what is in the snapshot:\n%s", show)
	}
	if r := u.cli(t, "drill", "run", b.snapshot.ID); r.status != fine || u.marks(t, b.snapshot.ID).DrilledAt == "" {
		t.Errorf("the drill did not pass:\n%s", r.text())
	}

	t.Run("broken", func(t *testing.T) {
		fresh := pluginFiles.fresh()
		fresh.labels["baktainer.db.engine"] = "broken"
		c := pluginFiles.startWith(t, fresh)
		u.sees(t, c, "invalid")
		if text := u.ok(t, "source", "show", c.source()); !strings.Contains(text, "no such library") {
			t.Errorf("nobody is told why:\n%s", text)
		}
	})
	t.Run("false green", func(t *testing.T) {
		s := spoil{up: u, database: pluginFiles}
		c := s.start(t)
		s.seed(t, c, 0)
		s.fake(t, c, `"$real" "$@" >/tmp/whole && head -c "$(($(wc -c </tmp/whole) / 2))" /tmp/whole`)
		s.fails(t, c, "dump-truncated")
		s.unfake(t, c)
		fresh := pluginFiles.fresh()
		fresh.labels["baktainer.db.engine"] = "liar"
		c = s.startWith(t, fresh)
		s.seed(t, c, 0)
		s.fails(t, c, "plugin-failed")
	})
	t.Run("rescue", func(t *testing.T) {
		u.kill9()
		rescue := func(env []string, argv ...string) result {
			return command(t, nil, append(plainEnvironment(), env...), append([]string{u.binary, "rescue"}, append(argv, "--store", u.store(), "--key-file", u.key())...)...)
		}
		for name, want := range b.dumps {
			if got := must(t, rescue(nil, "dump", b.snapshot.ID, name), "rescue dump"); got != want {
				t.Errorf("rescue dumps %d bytes of %s that differ from the %d that the controller dumped", len(got), name, len(want))
			}
		}
		files := tempDir(t)
		must(t, rescue(nil, "restore", b.snapshot.ID, "--to", "file:"+files), "rescue restore")
		if got, err := os.ReadFile(filepath.Join(files, "files.tar")); err != nil || string(got) != b.dumps["files.tar"] {
			t.Errorf("the file has %d bytes, %v", len(got), err)
		}
		b.wreck(t, b.container)
		into := []string{"restore", b.snapshot.ID, "--to", "container:" + b.container.name, "--overwrite"}
		r := rescue(nil, into...)
		t.Logf("without the plugin:\n%s", r.text())
		if r.status == fine || !strings.Contains(r.text(), "there is no such engine") {
			t.Error("a rescue without the plugin does not say what it lacks")
		}
		r = rescue([]string{"BAKTAINER_ENGINE_PLUGINS=" + dir}, into...)
		t.Logf("with the plugin:\n%s", r.text())
		if r.status != fine {
			t.Error("the rescue failed")
		}
		b.compare(t, b.container)
	})
	t.Run("a controller without the plugin", func(t *testing.T) {
		u.env = plainEnvironment()
		u.start(t)
		u.ready(t)
		u.sees(t, b.container, "invalid")
		u.dumpsWhatTheLedgerSays(t, b.snapshot)
		u.verify(t, b.snapshot)
	})
}

// A folder that others can write to ends the start: whoever puts a file there
// would be the agent.
func TestPluginsOfOthers(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	u := newUp(t, upOptions{flags: []string{"--engine-plugins", dir}})
	u.start(t)
	<-u.ended
	if text := u.log.String(); u.cmd.ProcessState.ExitCode() != badInput || !strings.Contains(text, "others may write to "+dir) {
		t.Errorf("it ended with status %d:\n%s", u.cmd.ProcessState.ExitCode(), text)
	}
}

package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestBadInput gives the program what it cannot take, and reads what it says.
func TestBadInput(t *testing.T) {
	t.Parallel()
	t.Run("settings", badSettings)
	t.Run("keys and folders", badKeys)
	t.Run("commands", badCommands)
}

// refuses runs the program, which has to end with the status and say every word.
func refuses(t *testing.T, env []string, status int, words []string, argv ...string) string {
	t.Helper()
	r := command(t, nil, append(plainEnvironment(), env...), append([]string{program(t)}, argv...)...)
	t.Logf("baktainer %s\n%s", strings.Join(argv, " "), r.text())
	if r.status != status {
		t.Errorf("exit status %d, want %d", r.status, status)
	}
	for _, w := range words {
		if !strings.Contains(strings.ToLower(r.text()), strings.ToLower(w)) {
			t.Errorf("it does not say %q", w)
		}
	}
	if strings.Contains(r.stdout, "error: ") {
		t.Errorf("an error is written to stdout: %s", r.stdout)
	}
	return r.text()
}

func badSettings(t *testing.T) {
	dir := filepath.Join(tempDir(t), "data")
	refuses(t, []string{"BT_THREADS=many", "BAKTAINER_LOG_LEVEL=loud", "BAKTAINER_SCHEDUL=x"}, badInput,
		[]string{"BT_THREADS", "1 to 50", "BAKTAINER_LOG_LEVEL", "loud", "BAKTAINER_SCHEDUL", "BAKTAINER_SCHEDULE", "--schedule", "61"},
		"up", "--data-dir", dir, "--schedule", "61 * * * *")
	if exists(dir) {
		t.Error("the data folder was made")
	}
	refuses(t, nil, badInput, []string{"--shedule"}, "up", "--shedule", "x")
	refuses(t, nil, badInput, []string{"snapshto", "snapshot"}, "snapshto", "ls")
	refuses(t, nil, badInput, []string{"argument"}, "restore")

	file := filepath.Join(tempDir(t), "b.yaml")
	write(t, file, "concurency: 3\nschedule: [1]\n")
	refuses(t, nil, badInput, []string{"concurency", "concurrency", "schedule"}, "up", "--config", file, "--data-dir", dir)
	if exists(dir) {
		t.Error("the data folder was made")
	}
	refuses(t, nil, failedStatus, []string{"baktainer up"}, "--socket", filepath.Join(tempDir(t), "none.sock"), "source", "ls")
}

func badKeys(t *testing.T) {
	home := tempDir(t)
	absent := "unix://" + filepath.Join(home, "no-docker.sock") // Docker away is no reason not to start
	flags := func(dir string) []string {
		return []string{"up", "--data-dir", dir, "--http-listen", "off", "--schedule", "off", "--docker-host", absent}
	}
	u := newUp(t, upOptions{flags: []string{"--docker-host", absent}})
	u.start(t)
	u.ready(t)
	if !strings.Contains(u.log.String(), u.key()) {
		t.Error("nothing is said of the new key at the first start")
	}
	if info, err := os.Stat(u.key()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key file: %v %v, want mode 0600", info, err)
	}

	refuses(t, nil, failedStatus, []string{"in use", u.dir}, flags(u.dir)...) // a second one on the same folder
	u.ok(t, "source", "ls")                                                   // and the first is none the worse
	u.stop(t)

	key, err := os.ReadFile(u.key())
	if err != nil {
		t.Fatal(err)
	}
	other := newUp(t, upOptions{flags: []string{"--docker-host", absent}})
	other.start(t)
	other.ready(t)
	other.stop(t)
	otherKey, err := os.ReadFile(other.key())
	if err != nil {
		t.Fatal(err)
	}

	before := listing(t, u.dir)
	write(t, u.key(), string(otherKey))
	refuses(t, nil, failedStatus, []string{"the key file does not fit"}, flags(u.dir)...)
	if after := listing(t, u.store()); !strings.Contains(before, after) {
		t.Errorf("a wrong key changed the store:\n%s\nit was\n%s", after, before)
	}
	write(t, u.key(), "not a key\n")
	refuses(t, nil, badInput, []string{u.key()}, flags(u.dir)...)
	if err := os.Remove(u.key()); err != nil {
		t.Fatal(err)
	}
	refuses(t, nil, failedStatus, []string{"key", u.key()}, flags(u.dir)...)
	if exists(u.key()) {
		t.Error("a new key was made for a store that has one")
	}
	write(t, u.key(), string(key))
	u.start(t)
	u.ready(t)
	u.stop(t)

	file := filepath.Join(home, "file")
	write(t, file, "")
	refuses(t, nil, failedStatus, []string{file}, append(flags(filepath.Join(home, "d")), "--store", filepath.Join(file, "store"))...)
	if os.Geteuid() == 0 {
		unwritable(t, flags(filepath.Join(home, "e")))
	}
}

// unwritable names a store that even root cannot write to.
func unwritable(t *testing.T, argv []string) {
	t.Helper()
	refuses(t, nil, failedStatus, []string{"/proc/store"}, append(argv, "--store", "/proc/store")...)
}

// listing is every file below a folder, with size and time.
func listing(t *testing.T, dir string) string {
	t.Helper()
	var b strings.Builder
	err := filepath.Walk(dir, func(path string, info os.FileInfo, err error) error {
		if err == nil && !info.IsDir() {
			b.WriteString(path + " " + info.ModTime().String() + "\n")
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func badCommands(t *testing.T) {
	needContainers(t)
	u := startUp(t, upOptions{})
	r, pg := redis.start(t), postgres.start(t)
	redis.seed(t, r, 0)
	s := u.backup(t, r)
	u.sees(t, pg, "ready")
	at := func(argv ...string) []string { return append([]string{"--socket", u.socket()}, argv...) }

	misspelt := pg.source()[:len(pg.source())-1] + "z"
	refuses(t, nil, failedStatus, []string{misspelt, pg.source()}, at("backup", misspelt)...)
	refuses(t, nil, failedStatus, []string{misspelt, pg.source()}, at("source", "show", misspelt)...)
	refuses(t, nil, failedStatus, []string{misspelt}, at("backup", pg.source(), misspelt)...)
	if runs := u.runs(t, pg.source()); len(runs) > 0 {
		t.Error("of two sources, one of them unknown, the other was backed up")
	}
	refuses(t, nil, failedStatus, []string{"01ZZZZZZZZ"}, at("snapshot", "show", "01ZZZZZZZZ")...)
	refuses(t, nil, failedStatus, []string{"01ZZZZZZZZ"}, at("restore", "01ZZZZZZZZ")...)
	refuses(t, nil, failedStatus, []string{pg.source()}, at("restore", pg.source()+"@latest")...)
	refuses(t, nil, failedStatus, []string{"redis", "postgres"}, at("restore", s.ID, "--to", pg.source())...)
	refuses(t, nil, failedStatus, []string{"no-such-container"}, at("restore", s.ID, "--to", "container:no-such-container")...)
	refuses(t, nil, failedStatus, []string{"no-such-stream"}, at("dump", s.ID, "no-such-stream")...)
	refuses(t, nil, badInput, []string{"yamll"}, at("source", "ls", "-o", "yamll")...)
	refuses(t, nil, failedStatus, []string{"no-such-run"}, at("run", "show", "no-such-run")...)

	// Some of several fail: 3. One that cannot even begin: nothing is begun.
	locked := redis.start(t, "baktainer.db.password=wrong")
	u.sees(t, locked, "ready")
	refuses(t, nil, partlyFailed, []string{"1 of 2 backups failed", "wrong-password"}, at("backup", r.source(), locked.source())...)
	docker(t, "kill", pg.id)
	u.sees(t, pg, "stopped")
	refuses(t, nil, failedStatus, []string{"does not run"}, at("backup", r.source(), pg.source())...)

	// The socket is its owner's alone.
	if info, err := os.Stat(u.socket()); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("the socket's mode: %v %v", info, err)
	}
	u.signal(syscall.SIGTERM)
	if exists(u.socket()) {
		t.Error("the socket is left behind")
	}
}

package e2e

import (
	"cmp"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
)

// testLabel marks containers of these tests with the name of theirs, so that each
// looks at its own alone. It is no label of the product:
// "one label is enough" is to be shown with one label.
const testLabel = "io.github.baktainer.test"

// container is a container of a test.
type container struct {
	name   string // also the name of its source unless a label says otherwise
	id     string
	image  string
	env    map[string]string
	labels map[string]string
	args   []string
	volume string // name of its first one, once asked for
	user   string // whom exec runs as, empty for the image's own
	pid    int    // of its program, once asked for
}

// scope is the test's name without those of its parts.
func scope(t testing.TB) string {
	name, _, _ := strings.Cut(t.Name(), "/")
	return name
}

var serial atomic.Int64

// uniqueName makes a name that nothing else on this host has.
func uniqueName(kind string) string {
	return fmt.Sprintf("bt-e2e-%d-%d-%s", os.Getpid(), serial.Add(1), kind)
}

// labelled are the labels of a source in its simplest form.
func labelled(more ...string) map[string]string {
	labels := map[string]string{"baktainer.backup": "true"}
	for _, m := range more {
		key, value, _ := strings.Cut(m, "=")
		labels[key] = value
	}
	return labels
}

// start runs the container; it is removed when the test ends. Values of
// variables and labels never show in the command line: they may be secrets.
func (c *container) start(t testing.TB) *container {
	t.Helper()
	c.run(t)
	t.Cleanup(func() {
		if err := c.remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

func (c *container) run(t testing.TB) {
	t.Helper()
	c.name = cmp.Or(c.name, uniqueName(strings.TrimPrefix(c.image, samplePrefix)))
	labels := maps.Clone(c.labels)
	if labels == nil {
		labels = map[string]string{}
	}
	labels[testLabel] = scope(t)
	argv := []string{"docker", "run", "-d", "--name", c.name,
		"--env-file", lines(t, c.env), "--label-file", lines(t, labels), c.image}
	c.id = strings.TrimSpace(must(t, command(t, nil, nil, append(argv, c.args...)...), "docker run "+c.image))
}

// lines writes NAME=VALUE lines into a file.
func lines(t testing.TB, values map[string]string) string {
	t.Helper()
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(values)) {
		b.WriteString(name + "=" + values[name] + "\n")
	}
	path := filepath.Join(tempDir(t), "lines")
	write(t, path, b.String())
	return path
}

func write(t testing.TB, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// source is the name of the container's source.
func (c *container) source() string { return cmp.Or(c.labels["baktainer.name"], c.name) }

func (c *container) remove() error {
	if c.id == "" {
		return nil
	}
	return dockerQuietly("rm", "-f", "-v", c.id)
}

// execute runs argv in the container and returns how it ended. env is NAME=VALUE.
func (c *container) execute(t testing.TB, stdin []byte, env []string, argv ...string) result {
	t.Helper()
	docker := []string{"docker", "exec", "-i"}
	if c.user != "" {
		docker = append(docker, "-u", c.user)
	}
	for _, v := range env {
		name, _, _ := strings.Cut(v, "=")
		docker = append(docker, "-e", name) // the value comes from our own environment
	}
	if stdin == nil {
		stdin = []byte{}
	}
	return command(t, stdin, append(os.Environ(), env...), append(append(docker, c.id), argv...)...)
}

// do is execute that has to succeed.
func (c *container) do(t testing.TB, stdin []byte, env []string, argv ...string) string {
	t.Helper()
	return must(t, c.execute(t, stdin, env, argv...), c.image+": "+strings.Join(argv, " "))
}

// script runs a shell script as root.
func (c *container) script(t testing.TB, text string) string {
	t.Helper()
	root := *c
	root.user = "0"
	return root.do(t, []byte(text), nil, "sh", "-e")
}

// must returns stdout of a command that has to have succeeded.
func must(t testing.TB, r result, what string) string {
	t.Helper()
	if r.status != 0 {
		t.Fatalf("%s: exit status %d\n%s%s", what, r.status, tail(r.stdout), tail(r.stderr))
	}
	return r.stdout
}

func tail(s string) string {
	if len(s) > 4000 {
		return "…" + s[len(s)-4000:]
	}
	return s
}

func docker(t testing.TB, argv ...string) string {
	t.Helper()
	return must(t, command(t, nil, nil, append([]string{"docker"}, argv...)...), "docker "+strings.Join(argv, " "))
}

// process is a program that runs in a container, as the host sees it.
type process struct {
	pid  int
	name string
}

// processes lists what runs in the container under one of the names. It reads
// /proc, because `docker top` is too slow to catch a dump.
func (c *container) processes(names ...string) []process {
	return processes("cgroup", c.id, names...)
}

// helpers lists the processes of helper containers that share the container's
// volume, or its network.
func (c *container) helpers(t testing.TB) []process {
	t.Helper()
	if c.volume == "" {
		c.volume = strings.TrimSpace(docker(t, "inspect", "-f", "{{(index .Mounts 0).Name}}", c.id))
	}
	found := processes("mountinfo", c.volume, "baktainer")
	if network := c.networkOf(t); network != "" {
		for _, p := range processes("cmdline", "victoriametrics-", "baktainer") {
			if name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", p.pid)); err == nil && name == network {
				found = append(found, p)
			}
		}
	}
	return found
}

// processes lists those of one of the names whose file below /proc/PID has the word.
func processes(file, word string, names ...string) []process {
	var found []process
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		comm, err := os.ReadFile(filepath.Join("/proc", e.Name(), "comm"))
		name := strings.TrimSpace(string(comm))
		if err != nil || !slices.Contains(names, name) {
			continue
		}
		if text, err := os.ReadFile(filepath.Join("/proc", e.Name(), file)); err == nil && strings.Contains(string(text), word) {
			found = append(found, process{pid, name})
		}
	}
	return found
}

// moved is how many bytes the process has written so far; when it is the kind
// that writes all of its answer at once, how many it has read.
func (p process) moved(atOnce bool) int64 {
	counter := "wchar: "
	if atOnce {
		counter = "rchar: "
	}
	io, err := os.ReadFile(fmt.Sprintf("/proc/%d/io", p.pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(io)) {
		if text, ok := strings.CutPrefix(line, counter); ok {
			n, _ := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
			return n
		}
	}
	return 0
}

// dockerQuietly is for clean-up, when the test is over already.
func dockerQuietly(argv ...string) error {
	out, err := exec.Command("docker", argv...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("docker %s: %w: %s", strings.Join(argv, " "), err, out)
	}
	return nil
}

package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// previous is the commit of the previous build. The newest release takes its
// place once there is one.
const previous = "970da4dfbff4164fbe29eedb827e315eb95c1406"

// previousBinary builds the previous build, once for this process.
var previousBinary = sync.OnceValues(func() (string, error) {
	tree, out := filepath.Join(scratch, "previous"), filepath.Join(scratch, "baktainer-previous")
	if err := os.Mkdir(tree, 0o700); err != nil {
		return "", err
	}
	for _, argv := range [][]string{
		{"git", "-C", moduleRoot, "archive", "--output", tree + ".tar", previous},
		{"tar", "-xf", tree + ".tar", "-C", tree},
		{"go", "build", "-C", tree, "-o", out, "-ldflags", "-X github.com/baktainer/baktainer/internal/version.Version=previous", "."},
	} {
		cmd := exec.Command(argv[0], argv[1:]...)
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if text, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%s: %w\n%s", strings.Join(argv[:2], " "), err, text)
		}
	}
	return out, nil
})

// previousProgram is the previous build. A clone without history cannot make it.
func previousProgram(t *testing.T) string {
	t.Helper()
	if err := exec.Command("git", "-C", moduleRoot, "cat-file", "-e", previous).Run(); err != nil {
		t.Skip("the history of this clone lacks the previous build; git fetch --unshallow gets it")
	}
	path, err := previousBinary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// stepTo ends a process in order and goes on with another build of the program.
func (h *half) stepTo(t *testing.T, binary string) {
	t.Helper()
	h.stop(t)
	h.binary = binary
	h.start(t)
}

// TestOldAndNewWorkTogether has the previous build and this one make one cluster,
// with every mixture on the way: agents and controllers of either, a cluster
// that is brought up to date one member after the other, with second thoughts.
func TestOldAndNewWorkTogether(t *testing.T) {
	needContainers(t)
	t.Parallel()
	before, now := previousProgram(t), program(t)
	members := startClusterOf(t, 3, before)
	members[0].settled(t, 3)
	agent := joinAgentOf(t, members[0], "db1", before)
	c := redis.start(t)
	redis.seed(t, c, 5)
	content := redis.fingerprint(t, c)
	members[0].sees(t, c, "ready")
	made := []snapshot{members[0].backup(t, c)}

	works := func(what string) {
		t.Helper()
		for i, m := range members {
			m.settled(t, 3)
			eventually(t, what+": the agent is connected", func() (bool, string) {
				r := m.cli(t, "agent", "ls")
				return strings.Contains(r.stdout, "connected"), r.text()
			})
			if i == 0 {
				m.sees(t, c, "ready")
				made = append(made, m.backup(t, c))
			}
			if got := len(m.snapshots(t, c.source())); got != len(made) {
				t.Errorf("%s: %s lists %d snapshots of %d", what, m.id, got, len(made))
			}
		}
		last := made[len(made)-1]
		members[1].verify(t, made[0])
		members[2].verify(t, last)
		redis.wreck(t, c)
		members[1].ok(t, "restore", last.ID, "--overwrite", "--yes")
		if got := redis.fingerprint(t, c); got != content {
			t.Errorf("%s: restored:\n%s\nwas:\n%s", what, tail(got), tail(content))
		}
		members[2].ok(t, "agent", "drain", "db1")
		members[0].ok(t, "agent", "undrain", "db1")
		members[1].ok(t, "agent", "logs", "db1")
	}

	agent.stepTo(t, now)
	works("a new agent and old controllers")
	agent.stepTo(t, before)
	for i, m := range members {
		m.stepTo(t, now)
		works("an old agent, and " + m.id + " is new")
		if i < 2 { // while one is old there is a way back
			m.stepTo(t, before)
			works("an old agent, and " + m.id + " is old again")
			m.stepTo(t, now)
			m.settled(t, 3)
		}
	}
	agent.stepTo(t, now)
	works("all are new")
	members[0].ok(t, "snapshot", "verify", "--all")
	agent.stop(t)
}

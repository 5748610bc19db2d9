package e2e

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// patience bounds how long anything is waited for. It is generous: a test that
// waits this long has found a defect, not a slow machine.
const patience = 3 * time.Minute

var scratch string // of this process, removed at its end

func TestMain(m *testing.M) { os.Exit(runTests(m)) }

func runTests(m *testing.M) int {
	dir, err := os.MkdirTemp("", "bte")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	scratch = dir
	status := m.Run()
	if err := removeHelperImage(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	if err := os.RemoveAll(dir); err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	return status
}

// removeHelperImage removes the image that the program made of itself: its
// binary was this process's own.
func removeHelperImage() error {
	content, err := os.ReadFile(filepath.Join(scratch, "baktainer"))
	if err != nil {
		return nil // nothing was built
	}
	label := fmt.Sprintf("label=baktainer.helper.content=%x", sha256.Sum256(content))
	ids, err := exec.Command("docker", "image", "ls", "-q", "--filter", label).Output()
	if err != nil || len(ids) == 0 {
		return nil // no Docker, no image
	}
	return dockerQuietly("image", "rm", "-f", strings.TrimSpace(string(ids)))
}

func needContainers(t *testing.T) {
	t.Helper()
	if os.Getenv("BAKTAINER_E2E") != "1" {
		t.Skip("needs containers; run make test")
	}
}

func long() bool { return os.Getenv("BAKTAINER_E2E_LONG") == "1" }

// binary builds the program, once for this process.
var binary = sync.OnceValues(func() (string, error) {
	out := filepath.Join(scratch, "baktainer")
	cmd := exec.Command("go", "build", "-o", out, ".")
	cmd.Dir = moduleRoot
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the program: %w\n%s", err, text)
	}
	return out, nil
})

const moduleRoot = "../.."

func program(t testing.TB) string {
	t.Helper()
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// tempDir is like t.TempDir, with a path short enough for a unix socket in it.
func tempDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp(scratch, "d")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// result is how a command of the user ended.
type result struct {
	status         int
	stdout, stderr string
}

// text is what a user sees.
func (r result) text() string {
	return strings.TrimRight(r.stdout+r.stderr, "\n") + fmt.Sprintf("\n(exit status %d)", r.status)
}

// command runs a program to its end, with stdin if that is not nil.
func command(t testing.TB, stdin []byte, env []string, argv ...string) result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	if stdin != nil {
		cmd.Stdin = bytes.NewReader(stdin)
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr, cmd.Env = &stdout, &stderr, env
	err := cmd.Run()
	if _, ended := errors.AsType[*exec.ExitError](err); err != nil && (!ended || ctx.Err() != nil) {
		t.Fatalf("run %s: %v\n%s%s", strings.Join(argv, " "), err, stdout.String(), stderr.String())
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// background runs a command while the test goes on, which does not end before it.
func background(t testing.TB, run func() result) <-chan result {
	ended, over := make(chan result, 1), make(chan struct{})
	go func() {
		defer close(over)
		ended <- run()
	}()
	t.Cleanup(func() { <-over })
	return ended
}

// eventually polls until ok says true; what it says besides is shown when it never does.
func eventually(t testing.TB, what string, ok func() (bool, string)) {
	t.Helper()
	every(t, 100*time.Millisecond, what, ok)
}

func every(t testing.TB, period time.Duration, what string, ok func() (bool, string)) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(period)
	defer tick.Stop()
	for {
		done, state := ok()
		if done {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %v in vain: %s\nlast seen: %s", patience, what, state)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("interrupted while waiting: %s", what)
		}
	}
}

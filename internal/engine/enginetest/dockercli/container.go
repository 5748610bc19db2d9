package dockercli

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
)

// Label marks every container of the tests.
const Label = "baktainer.test=1"

// Need skips the test unless tests with containers are asked for.
func Need(t testing.TB) {
	t.Helper()
	if os.Getenv("BAKTAINER_E2E") != "1" {
		t.Skip("needs Docker and the sample images: set BAKTAINER_E2E=1")
	}
}

// Start runs a container of a sample image ("postgres") until the test ends.
// Its name holds name and the process id. args are the container's own.
func Start(t testing.TB, name, image string, env []string, args ...string) *Instance {
	t.Helper()
	name = fmt.Sprintf("bt-test-%s-%d", name, os.Getpid())
	run := []string{"run", "-d", "--name=" + name, "--label=" + Label}
	for _, v := range env {
		run = append(run, "-e", v)
	}
	docker(t, append(append(run, "baktainer-sample/"+image+":latest"), args...)...)
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "-f", "-v", name).Run() })
	inst, err := Open(context.Background(), name)
	if err != nil {
		t.Fatal(err)
	}
	return inst
}

// Ready waits until a command in the container ends with status 0.
func (i *Instance) Ready(t testing.TB, env []string, argv ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	poll := time.NewTicker(200 * time.Millisecond)
	defer poll.Stop()
	for {
		_, exit, err := engine.Output(ctx, i, engine.Command{Argv: argv, Env: env}, 1<<20)
		if err == nil && exit.Status == 0 {
			return
		}
		select {
		case <-ctx.Done():
			logs, _ := exec.Command("docker", "logs", "--tail=20", i.id).CombinedOutput()
			t.Fatalf("%v never became ready: %v, %s\n%s", argv, err, exit.Stderr, logs)
		case <-poll.C:
		}
	}
}

// Run runs a command in the container, fails the test unless it ends with
// status 0, and returns its stdout.
func (i *Instance) Run(t testing.TB, input string, env []string, argv ...string) string {
	t.Helper()
	out, exit, err := engine.Output(context.Background(), i, engine.Command{Argv: argv, Env: env, Stdin: io.Reader(strings.NewReader(input))}, 64<<20)
	if err != nil || exit.Status != 0 {
		t.Fatalf("%v: %v, status %d: %s", argv, err, exit.Status, exit.Stderr)
	}
	return string(out)
}

func docker(t testing.TB, args ...string) {
	t.Helper()
	if out, err := exec.Command("docker", args...).CombinedOutput(); err != nil {
		t.Fatalf("docker %v: %v: %s", args[:1], err, out)
	}
}

package mark

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// start runs a shell script that carries the mark and waits for its first line.
func start(t *testing.T, mark, script string) *exec.Cmd {
	t.Helper()
	cmd := exec.Command("/bin/sh", "-c", script)
	cmd.Env = append(cmd.Environ(), Variable+"="+mark)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	return cmd
}

func TestKill(t *testing.T) {
	tests := map[string]struct {
		script string
		signal syscall.Signal
	}{
		"ends when asked":     {"echo; exec sleep 600", syscall.SIGTERM}, // one process: a shell that outlives its child by a moment ends with 143
		"has to be forced":    {"trap '' TERM; echo; while :; do sleep 600; done", syscall.SIGKILL},
		"child lost the mark": {"env -i sleep 600 & echo; wait", syscall.SIGTERM},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mark := New()
			bystander := start(t, New(), "echo; sleep 600")
			cmd := start(t, mark, tt.script)
			ended := make(chan error, 1)
			go func() { ended <- cmd.Wait() }()
			found, err := Kill(context.Background(), "/proc", mark)
			if !found || err != nil {
				t.Errorf("Kill = %t, %v", found, err)
			}
			// Wait returns only when the children have closed the pipe too.
			var exit *exec.ExitError
			if err := <-ended; !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != tt.signal {
				t.Errorf("ended with %v, want %v", err, tt.signal)
			}
			if err := bystander.Process.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("a process with another mark is gone: %v", err)
			}
			if found, err := Kill(context.Background(), "/proc", mark); found || err != nil {
				t.Errorf("the second Kill = %t, %v", found, err)
			}
		})
	}
}

func TestMain_arguments(t *testing.T) {
	for _, args := range [][]string{nil, {""}, {"x", "y"}} {
		var stderr bytes.Buffer
		if status := Main(context.Background(), args, &stderr); status != 2 || !strings.Contains(stderr.String(), "want") {
			t.Errorf("Main(%q) = %d, %q", args, status, stderr.String())
		}
	}
	if status := Main(context.Background(), []string{New()}, io.Discard); status != 0 {
		t.Errorf("Main without such processes = %d", status)
	}
}

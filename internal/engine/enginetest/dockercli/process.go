package dockercli

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// process is a program that docker exec runs. A variable of its own marks it
// among the processes of this machine.
type process struct {
	ctx    context.Context
	cmd    *exec.Cmd
	stdout io.ReadCloser
	tail   *engine.Tail
	mark   string
	stop   func() bool

	mu      sync.Mutex
	readErr error // what the reader of its stdin failed with
}

func newMark() string { return "BAKTAINER_TEST_EXEC=" + rand.Text() }

// Read implements engine.Process.
func (p *process) Read(b []byte) (int, error) { return p.stdout.Read(b) }

// feed copies r to the program. A failing r kills it; a program that stops
// reading is no failure of r.
func (p *process) feed(stdin io.WriteCloser, r io.Reader) {
	defer stdin.Close()
	buffer := make([]byte, 64<<10)
	for {
		n, err := r.Read(buffer)
		if n > 0 {
			if _, err := stdin.Write(buffer[:n]); err != nil {
				return
			}
		}
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			p.mu.Lock()
			p.readErr = err
			p.mu.Unlock()
			p.Kill() // before its stdin ends, so that it cannot take that for a normal end
			return
		}
	}
}

// Wait implements engine.Process.
func (p *process) Wait() (engine.Exit, error) {
	_, _ = io.Copy(io.Discard, p.stdout)
	err := p.cmd.Wait()
	p.stop()
	if p.ctx.Err() != nil {
		return engine.Exit{}, p.ctx.Err()
	}
	p.mu.Lock()
	readErr := p.readErr
	p.mu.Unlock()
	if readErr != nil {
		return engine.Exit{}, fmt.Errorf("read the program's input: %w", readErr)
	}
	exit := engine.Exit{Stderr: p.tail.String()}
	if status, ok := errors.AsType[*exec.ExitError](err); ok {
		exit.Status = status.ExitCode()
	} else if err != nil {
		return engine.Exit{}, problem.Wrap(problem.Unavailable, err, "wait for docker exec").WithReason(engine.ReasonStreamLost)
	}
	switch {
	case exit.Status == 0:
	case strings.Contains(exit.Stderr, "executable file not found") || exit.Status == 127:
		return engine.Exit{}, problem.New(problem.Failed, "no such program").WithReason(engine.ReasonToolMissing)
	case strings.Contains(exit.Stderr, "Error response from daemon"), strings.Contains(exit.Stderr, "Error: No such container"):
		return engine.Exit{}, problem.New(problem.Unavailable, "the container is not running").WithReason(engine.ReasonNotRunning)
	}
	return exit, nil
}

// Kill implements engine.Process: it kills every process of this machine that
// has the mark in its environment, save the docker command itself.
func (p *process) Kill() {
	dirs, _ := filepath.Glob("/proc/[0-9]*")
	for _, dir := range dirs {
		pid, err := strconv.Atoi(filepath.Base(dir))
		if err != nil || p.cmd.Process == nil || pid == p.cmd.Process.Pid {
			continue
		}
		environ, err := os.ReadFile(filepath.Join(dir, "environ"))
		if err == nil && bytes.Contains(environ, []byte(p.mark)) {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

package procs

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// shell is a process that runs a script.
func shell(t *testing.T, j *Journal, kept bool, script string) *Process {
	t.Helper()
	p := New(Spec{Name: "sh", Argv: []string{"/bin/sh", "-c", script}, Env: os.Environ(), Log: filepath.Join(t.TempDir(), "log"), Kept: kept}, j)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	return p
}

func next(t *testing.T, j *Journal, from int, message string) Entry {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	e, err := j.Next(ctx, from, says(message))
	if err != nil {
		t.Fatalf("%s: %v", message, err)
	}
	return e
}

func TestKill(t *testing.T) {
	t.Parallel()
	j := NewJournal(clock.System{})
	p := shell(t, j, true, "echo begun >&2; exec sleep 1000")
	next(t, j, 0, "begun")
	if err := p.Start(); err == nil {
		t.Error("a process that runs is started")
	}
	pid := p.Pid()
	p.Kill()
	if p.Running() || p.Pid() != 0 || pid == 0 {
		t.Errorf("killed, it runs: %v", p.Running())
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the killed process is there")
	}
	if u := p.Unasked(); len(u) != 0 {
		t.Errorf("a kill counts as an end of its own: %v", u)
	}
	mark := j.Mark()
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	next(t, j, mark, "begun")
	log, err := os.ReadFile(p.spec.Log)
	if err != nil || strings.Count(string(log), "begun\n") < 1 {
		t.Errorf("the log file holds %q, %v", log, err)
	}
}

func TestKeptIsStartedAgain(t *testing.T) {
	t.Parallel()
	j := NewJournal(clock.System{})
	p := shell(t, j, true, "echo begun; read line < /dev/null; exit 3")
	first := next(t, j, 0, "begun")
	next(t, j, first.Seq+1, "begun")
	if u := p.Unasked(); len(u) == 0 || u[0] != "exit status 3" {
		t.Errorf("it ended by itself: %v", u)
	}
}

func TestTerminate(t *testing.T) {
	t.Parallel()
	j := NewJournal(clock.System{})
	mark := func(p *Process) { next(t, j, 0, fmt.Sprint("ready ", p.Pid())) }
	good := shell(t, j, true, `trap 'exit 0' TERM; echo "ready $$"; while :; do sleep 0.05; done`)
	mark(good)
	if err := good.Terminate(t.Context()); err != nil || good.Running() {
		t.Errorf("a process that ends well: %v", err)
	}
	bad := shell(t, j, true, `trap 'exit 4' TERM; echo "ready $$"; while :; do sleep 0.05; done`)
	mark(bad)
	if err := bad.Terminate(t.Context()); err == nil || !strings.Contains(err.Error(), "exit status 4") {
		t.Errorf("a process that ends badly: %v", err)
	}
	deaf := shell(t, j, true, `trap '' TERM; echo "ready $$"; while :; do sleep 0.05; done`)
	mark(deaf)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := deaf.Terminate(ctx); err == nil || deaf.Running() {
		t.Errorf("a process that goes on: %v", err)
	}
	if err := deaf.Terminate(t.Context()); err != nil {
		t.Errorf("a process that is gone: %v", err)
	}
}

func TestStopAndContinue(t *testing.T) {
	t.Parallel()
	j := NewJournal(clock.System{})
	p := shell(t, j, false, "while :; do echo tick; sleep 0.02; done")
	next(t, j, 0, "tick")
	if err := p.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	if !p.Running() {
		t.Error("a stopped process does not count as running")
	}
	if err := p.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	next(t, j, j.Mark(), "tick")
	p.Kill()
	if err := p.Signal(syscall.SIGSTOP); err == nil {
		t.Error("a signal to a process that is gone")
	}
}

func TestStartFails(t *testing.T) {
	t.Parallel()
	p := New(Spec{Name: "none", Argv: []string{"/does/not/exist"}}, NewJournal(clock.System{}))
	if err := p.Start(); err == nil || p.Running() {
		t.Errorf("a program that is not there: %v", err)
	}
}

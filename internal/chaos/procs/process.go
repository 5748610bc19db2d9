package procs

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

// restartPause is how long a process that ended by itself stays away, as under
// an init system.
const restartPause = time.Second

// Spec says what to run.
type Spec struct {
	// Name is how the journal knows it.
	Name string
	Argv []string
	// Env is the whole environment.
	Env []string
	// Log is a file that its output is appended to, beside the journal; empty: none.
	Log string
	// Kept says that it is started again when it ends without having been told to.
	Kept bool
}

// Process is one that the rig runs, kills and runs again. Its methods are safe
// for concurrent use.
type Process struct {
	journal *Journal

	mu      sync.Mutex
	spec    Spec
	wanted  bool // it is meant to run
	cmd     *exec.Cmd
	ended   chan struct{}
	unasked []string // how it ended when nobody had asked for it
}

// New returns a process that does not run yet.
func New(spec Spec, j *Journal) *Process { return &Process{spec: spec, journal: j} }

// Name is the process's name.
func (p *Process) Name() string { return p.spec.Name }

// Change replaces arguments and environment from the next start on.
func (p *Process) Change(argv, env []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.spec.Argv, p.spec.Env = argv, env
}

// Start starts it. It does not outlive this process, whatever becomes of it.
func (p *Process) Start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.runs() {
		return fmt.Errorf("start %s: it runs already", p.spec.Name)
	}
	p.wanted = true
	return p.start()
}

// start starts it. p.mu is held.
func (p *Process) start() error {
	out, in, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	cmd := exec.Command(p.spec.Argv[0], p.spec.Argv[1:]...)
	cmd.Env, cmd.Stdout, cmd.Stderr = p.spec.Env, in, in
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	ended, started := make(chan struct{}), make(chan error)
	go func() {
		// The thread that starts a child with Pdeathsig has to live as long as it.
		runtime.LockOSThread()
		err := cmd.Start()
		_ = in.Close() // the child's now
		started <- err
		if err != nil {
			_ = out.Close()
			return
		}
		p.follow(out)
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
		p.gone(cmd)
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("start %s: %w", p.spec.Name, err)
	}
	p.cmd, p.ended = cmd, ended
	return nil
}

// follow reads the log until its end.
func (p *Process) follow(out io.ReadCloser) {
	defer out.Close()
	var file io.WriteCloser
	if p.spec.Log != "" {
		if f, err := os.OpenFile(p.spec.Log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600); err == nil {
			file = f
			defer f.Close()
		}
	}
	lines := bufio.NewReaderSize(out, 64<<10)
	for {
		line, err := lines.ReadString('\n')
		if line != "" {
			p.journal.Add(p.spec.Name, strings.TrimRight(line, "\n"))
			if file != nil {
				_, _ = io.WriteString(file, line) // the journal has it
			}
		}
		if err != nil {
			return
		}
	}
}

// gone notes the end of cmd, and starts it again where that is wanted.
func (p *Process) gone(cmd *exec.Cmd) {
	p.mu.Lock()
	again := p.wanted && p.cmd == cmd && p.spec.Kept
	if p.wanted && p.cmd == cmd {
		p.unasked = append(p.unasked, cmd.ProcessState.String())
	}
	p.mu.Unlock()
	if !again {
		return
	}
	_ = clock.Sleep(context.Background(), restartPause) // it cannot end early
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wanted && p.cmd == cmd {
		if err := p.start(); err != nil {
			p.unasked = append(p.unasked, err.Error())
		}
	}
}

// runs says whether it runs. p.mu is held.
func (p *Process) runs() bool {
	if p.cmd == nil {
		return false
	}
	select {
	case <-p.ended:
		return false
	default:
		return true
	}
}

// Running says whether it runs, stopped or not.
func (p *Process) Running() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.runs()
}

// Pid is the process's id, 0 when it does not run.
func (p *Process) Pid() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return 0
	}
	return p.cmd.Process.Pid
}

// Unasked tells how it ended each time that nobody had asked for it.
func (p *Process) Unasked() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.unasked...)
}

// Signal sends a signal, if it runs.
func (p *Process) Signal(s syscall.Signal) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.runs() {
		return fmt.Errorf("signal %s: it does not run", p.spec.Name)
	}
	if err := p.cmd.Process.Signal(s); err != nil {
		return fmt.Errorf("signal %s: %w", p.spec.Name, err)
	}
	return nil
}

// Kill kills it with SIGKILL and waits for its end; it is not started again.
func (p *Process) Kill() {
	ended := p.unwant(syscall.SIGKILL)
	if ended != nil {
		<-ended
	}
}

// Terminate asks it to end, by SIGTERM, and waits until it has. One that goes on
// after ctx is killed, which is an error, as is an exit status other than 0.
func (p *Process) Terminate(ctx context.Context) error {
	ended := p.unwant(syscall.SIGTERM)
	if ended == nil {
		return nil
	}
	select {
	case <-ended:
	case <-ctx.Done():
		p.Kill()
		return fmt.Errorf("stop %s: it went on and was killed: %w", p.spec.Name, context.Cause(ctx))
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if state := p.cmd.ProcessState; !state.Success() {
		return fmt.Errorf("stop %s: it ended with %s", p.spec.Name, state)
	}
	return nil
}

// unwant says that it is not meant to run, and sends the signal. The result is
// closed when it has ended; nil when it did not run.
func (p *Process) unwant(s syscall.Signal) <-chan struct{} {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wanted = false
	if !p.runs() {
		return nil
	}
	if err := p.cmd.Process.Signal(s); err != nil && !errors.Is(err, os.ErrProcessDone) {
		_ = p.cmd.Process.Kill()
	}
	return p.ended
}

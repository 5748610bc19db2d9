package plugin

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	// protocol is the version that is spoken here.
	protocol = 1
	// maxAnswer bounds an answer, in bytes.
	maxAnswer = 2 << 20
	// maxVariable bounds one thing that a plugin is told, in bytes: an operating
	// system takes variables of 128 KiB.
	maxVariable = 64 << 10
	// lingering is how long a process that a plugin has left behind may hold its
	// pipes open.
	lingering = 2 * time.Second
	// usualPath is where programs are when the agent's environment does not say.
	usualPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
)

// Why a plugin is killed.
var (
	errSlow  = errors.New("it did not answer in time")
	errLarge = fmt.Errorf("it said more than %d bytes", maxAnswer)
	errStall = errors.New("it left the dump unread for too long")
)

// program is the executable of a plugin.
type program struct {
	path   string
	limits limits
}

func (p program) name() string { return filepath.Base(p.path) }

// question is one thing that a plugin is asked.
type question struct {
	verb string
	// vars are the variables that tell about what, NAME=value.
	vars []string
	// input is what it may read.
	input []byte
	// secrets do not show in what is kept of its stderr.
	secrets []string
}

// running is a plugin at work.
type running struct {
	program program
	verb    string
	cmd     *exec.Cmd
	out     *bounded
	stderr  *engine.Tail
	ended   chan error      // how, once it has
	gone    func()          // is called then; may be nil
	ctx     context.Context //nolint:containedctx // of the process: its cause says why it was killed
	cancel  context.CancelCauseFunc
}

// prepare makes a process that ends with ctx, and with it all that it has started.
func (p program) prepare(ctx context.Context, q question) (*running, error) {
	if err := checkFile(p.path); err != nil {
		return nil, problem.Wrap(problem.Failed, err, "run the plugin %s", p.name()).WithReason(engine.ReasonPluginFailed)
	}
	for _, v := range q.vars {
		name, value, _ := strings.Cut(v, "=")
		if len(value) > maxVariable || strings.ContainsRune(value, 0) {
			return nil, problem.New(problem.Failed, "the plugin %s cannot be told what goes into %s: it is longer than %d bytes, or holds a zero byte", p.name(), name, maxVariable).
				WithReason(engine.ReasonUnsupported)
		}
	}
	r := &running{program: p, verb: q.verb, stderr: engine.NewTail(engine.StderrLimit, q.secrets), ended: make(chan error, 1)}
	r.ctx, r.cancel = context.WithCancelCause(ctx)
	r.out = &bounded{over: func() { r.cancel(errLarge) }}
	r.cmd = exec.CommandContext(r.ctx, p.path, q.verb)
	r.cmd.Env = append(environment(), q.vars...)
	r.cmd.Dir = "/"
	r.cmd.Stdout, r.cmd.Stderr = r.out, r.stderr
	r.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	r.cmd.Cancel = func() error { return syscall.Kill(-r.cmd.Process.Pid, syscall.SIGKILL) }
	r.cmd.WaitDelay = lingering
	return r, nil
}

// environment is the little that a plugin gets of ours: no setting, no secret.
func environment() []string {
	return []string{
		"PATH=" + cmp.Or(os.Getenv("PATH"), usualPath),
		"HOME=" + cmp.Or(os.Getenv("HOME"), "/"),
		"LANG=" + cmp.Or(os.Getenv("LANG"), "C.UTF-8"),
		fmt.Sprintf("BAKTAINER_PROTOCOL=%d", protocol),
	}
}

// ask runs the plugin once and returns what it says.
func (p program) ask(ctx context.Context, q question) ([]byte, error) {
	r, err := p.prepare(ctx, q)
	if err != nil {
		return nil, err
	}
	r.cmd.Stdin = bytes.NewReader(q.input)
	if err := r.start(); err != nil {
		return nil, err
	}
	return r.answer(ctx, p.limits.answer)
}

// start starts the process, and waits for its end whoever else does.
func (r *running) start() error {
	if err := r.cmd.Start(); err != nil {
		r.cancel(nil)
		return problem.Wrap(problem.Failed, err, "start the plugin %s", r.program.name()).WithReason(engine.ReasonPluginFailed).
			WithHint("Can the host run it, and what its first line names? The image of Baktainer has no shell: see docs/plugins.md.")
	}
	go func() {
		err := r.cmd.Wait()
		if r.gone != nil {
			r.gone()
		}
		r.ended <- err
	}()
	return nil
}

// answer waits for the end of the plugin and returns what it has said, if all went
// well. outer is the context that its own is made of.
func (r *running) answer(outer context.Context, within time.Duration) ([]byte, error) {
	slow := time.AfterFunc(within, func() { r.cancel(errSlow) })
	err := <-r.ended
	slow.Stop()
	why := context.Cause(r.ctx)
	r.cancel(nil)
	failed := func(format string, args ...any) *problem.Problem {
		return problem.New(problem.Failed, "the plugin %s %s", r.program.name(), fmt.Sprintf(format, args...)).
			WithReason(engine.ReasonPluginFailed).WithDetails(r.said()...)
	}
	exit, ended := errors.AsType[*exec.ExitError](err)
	switch {
	case outer.Err() != nil:
		return nil, context.Cause(outer)
	case why != nil:
		return nil, failed("was killed when it was asked to %s: %v", r.verb, why)
	case ended && exit.ExitCode() < 0:
		return nil, failed("was killed by somebody when it was asked to %s: %v", r.verb, exit)
	case ended:
		return nil, failed("ended with status %d when it was asked to %s", exit.ExitCode(), r.verb)
	case errors.Is(err, exec.ErrWaitDelay):
		_ = r.cmd.Cancel() // the processes that hold its pipes
		return nil, failed("was asked to %s, ended, and left a process behind that holds its pipes", r.verb)
	case err != nil:
		return nil, failed("could not be waited for: %v", err)
	}
	return r.out.kept, nil
}

// said are the last lines of its stderr.
func (r *running) said() []string {
	return engine.ToolFailure(r.verb, engine.Exit{Stderr: r.stderr.String()}).Details
}

// wrong is the failure of a plugin that says what it may not say.
func (p program) wrong(verb string, err error) error {
	w := problem.New(problem.Failed, "the plugin %s answered %q wrongly", p.name(), verb).WithReason(engine.ReasonPluginFailed).
		WithHint("docs/plugins.md says what an answer may hold.")
	if list, ok := errors.AsType[complaints](err); ok {
		return w.WithDetails(list...)
	}
	w.Err = err
	return w
}

// bounded keeps what is written, up to maxAnswer bytes.
type bounded struct {
	kept []byte
	over func()
}

func (b *bounded) Write(p []byte) (int, error) {
	if len(b.kept)+len(p) > maxAnswer {
		b.over()
		return 0, io.ErrShortBuffer
	}
	b.kept = append(b.kept, p...)
	return len(p), nil
}

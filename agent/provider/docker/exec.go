package docker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/agent/provider/docker/mark"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Exec implements engine.Instance.
func (i *instance) Exec(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	if err := checkCommand(cmd); err != nil {
		return nil, err
	}
	what := "run " + cmd.Argv[0]
	c, err := i.p.client.ContainerInspect(ctx, i.id)
	if err != nil {
		return nil, startFailure(err, "%s", what)
	}
	if !c.State.Running {
		return nil, notRunning(nil, what)
	}
	e := &execution{p: i.p, container: c.ID, started: c.State.StartedAt, program: cmd.Argv[0], mark: mark.New()}
	created, err := i.p.client.ContainerExecCreate(ctx, c.ID, container.ExecOptions{
		Cmd: cmd.Argv, User: cmd.User, Env: append(append([]string(nil), cmd.Env...), mark.Variable+"="+e.mark),
		AttachStdin: cmd.Stdin != nil, AttachStdout: true, AttachStderr: true,
	})
	if err != nil {
		return nil, startFailure(err, "%s", what)
	}
	e.id = created.ID
	conn, err := attach(ctx, func(ctx context.Context) (types.HijackedResponse, error) {
		return i.p.client.ContainerExecAttach(ctx, e.id, container.ExecAttachOptions{})
	})
	if err != nil {
		return nil, e.refused(ctx, err)
	}
	proc := newProcess(ctx, e, conn, cmd, i.p.log)
	go e.guard(proc)
	return proc, nil
}

// execution is a program started with exec.
type execution struct {
	p         *Provider
	id        string
	container string
	started   string // when the container was: another time means another life
	program   string
	mark      string
	killed    atomic.Bool
}

func (e *execution) what() string { return "run " + e.program }

// execState is what the Engine says of an exec. Docker's own type turns an exit
// code that the Engine does not know into 0, which would be success.
type execState struct {
	Running  bool
	ExitCode *int
	Pid      int
}

func (e *execution) state(ctx context.Context) (s execState, err error) {
	u := e.p.base.JoinPath("v"+e.p.client.ClientVersion(), "exec", e.id, "json")
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return s, err
	}
	resp, err := e.p.client.HTTPClient().Do(req)
	if err != nil {
		if uerr, ok := errors.AsType[*url.Error](err); ok {
			err = uerr.Err
		}
		return s, errors.Join(errdefs.ErrUnavailable, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return s, fmt.Errorf("the Engine knows nothing of the program: %w", errdefs.ErrNotFound)
	case resp.StatusCode != http.StatusOK:
		return s, errors.Join(errdefs.ErrUnavailable, fmt.Errorf("the Engine answers %s", resp.Status))
	case err != nil:
		return s, errors.Join(errdefs.ErrUnavailable, err)
	}
	return s, json.Unmarshal(body, &s)
}

// stopped says whether the container has ended, or begun another life, since
// the program was started.
func (e *execution) stopped(ctx context.Context) bool {
	c, err := e.p.client.ContainerInspect(ctx, e.container)
	if err != nil {
		return errdefs.IsNotFound(err)
	}
	return !c.State.Running || c.State.StartedAt != e.started
}

// guard closes the stream of a program whose container has stopped. The Engine
// does so itself, but now and then leaves one open for ever.
func (e *execution) guard(proc *process) {
	for seen := 0; seen < 2; {
		select {
		case <-proc.done:
			return
		case <-time.After(e.p.patience.guard):
		}
		ctx, cancel := context.WithTimeout(context.Background(), callPatience)
		if e.stopped(ctx) {
			seen++
		} else {
			seen = 0
		}
		cancel()
	}
	proc.conn.Close()
}

// refused explains why a stream to the program could not be opened. Some
// versions of the Engine say so instead of opening it when the program is missing.
func (e *execution) refused(ctx context.Context, cause error) error {
	if s, err := e.state(ctx); err == nil && !s.Running && s.ExitCode != nil && s.Pid == 0 && cannotRun(*s.ExitCode) {
		return e.missing(cause.Error())
	}
	if e.stopped(ctx) {
		return notRunning(cause, e.what())
	}
	return startFailure(cause, "%s", e.what())
}

// lives says whether the program is still there. It says no when nobody can tell:
// behind a filter that does not let that through, or on a host without ps.
func (e *execution) lives(ctx context.Context) bool {
	s, err := e.state(ctx)
	if err != nil || !s.Running || s.Pid == 0 {
		return false
	}
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	top, err := e.p.client.ContainerTop(ctx, e.container, []string{"-eo", "pid,stat"})
	if err != nil {
		return false
	}
	pid, stat := slices.Index(top.Titles, "PID"), slices.Index(top.Titles, "STAT")
	return pid >= 0 && stat >= 0 && slices.ContainsFunc(top.Processes, func(p []string) bool {
		return len(p) > max(pid, stat) && p[pid] == strconv.Itoa(s.Pid) && !strings.HasPrefix(p[stat], "Z")
	})
}

// cut says whether the program outlives its output. An Engine ends both together;
// a connection that was lost half-way, to a proxy for example, looks like the end
// of the output, while the program writes the rest into nothing and then succeeds.
func (e *execution) cut(ctx context.Context) bool {
	if e.killed.Load() || !e.lives(ctx) {
		return false
	}
	const moment = 50 * time.Millisecond // for one that is ending
	return clock.Sleep(ctx, moment) == nil && e.lives(ctx)
}

// ended implements program.
func (e *execution) ended(ctx context.Context, head []byte) (int, error) {
	if e.cut(ctx) {
		return 0, e.lost(ctx, errors.New("its output ended before the program did"))
	}
	var s execState
	var err error
	look := func() bool {
		s, err = e.state(ctx)
		return err == nil && !s.Running && s.ExitCode != nil || errdefs.IsNotFound(err)
	}
	known := eventually(ctx, e.p.patience.settle, look)
	if !known && err != nil {
		known = eventually(ctx, e.p.patience.recovery, look) // the Engine went away, and may be back soon
	}
	switch {
	case err != nil, !known:
		if err == nil {
			err = errors.New("its output ended before the program did")
		}
		return 0, e.lost(ctx, err)
	case *s.ExitCode == 0:
		return 0, nil
	}
	status := *s.ExitCode
	if s.Pid == 0 && cannotRun(status) && neverStarted.Match(head) {
		return status, e.missing(string(head))
	}
	// When a container is stopped, its programs are killed before the Engine
	// counts it as stopped. Nobody wants to wait for that when the kill was ours.
	const killed = 128 + 9
	waits := status == killed && !e.killed.Load()
	if e.stopped(ctx) || waits && eventually(ctx, e.p.patience.stopping, func() bool { return e.stopped(ctx) }) {
		return status, notRunning(fmt.Errorf("the container stopped while the program ran (status %d)", status), e.what())
	}
	return status, nil
}

// lost implements program.
func (e *execution) lost(ctx context.Context, cause error) error {
	if e.stopped(ctx) {
		return notRunning(cause, e.what())
	}
	return streamLost(cause, e.what())
}

// neverStarted is how the container runtime begins when it cannot start a
// program. The Engine writes that to the program's stdout.
var neverStarted = regexp.MustCompile(`OCI runtime exec failed|executable file not found|no such file or directory|permission denied`)

// cannotRun says whether a status is what runtimes, and shells, give for a
// program that is not there or may not be run.
func cannotRun(status int) bool { return status == 126 || status == 127 }

func (e *execution) missing(said string) error {
	return problem.New(problem.Failed, "%s: the container has no such program, or it cannot be run", e.what()).
		WithReason(engine.ReasonToolMissing).
		WithDetails(strings.TrimSpace(strings.ToValidUTF8(said, "?")))
}

// kill implements program. The number of the process is of use only on the
// Engine's own host, so the process is looked for by its mark: first from here,
// then from within the container's PID namespace.
func (e *execution) kill(ctx context.Context) error {
	e.killed.Store(true)
	var s execState
	var err error
	gone := false
	known := eventually(ctx, e.p.patience.settle, func() bool {
		found, killErr := mark.Kill(ctx, e.p.proc, e.mark) // what cannot be ended from here may be from inside
		if gone = found && killErr == nil; gone {
			return true
		}
		s, err = e.state(ctx)
		begun := s.Running && s.Pid != 0
		ended := !s.Running && s.ExitCode != nil
		return err != nil || begun || ended
	})
	switch {
	case gone, errdefs.IsNotFound(err):
		return nil
	case err != nil:
		return failure(err, "end %s", e.program)
	case !known || !s.Running:
		return nil // it never began, or has ended
	}
	err = e.killInside(ctx)
	ended := eventually(ctx, e.p.patience.settle, func() bool {
		s, stateErr := e.state(ctx)
		return stateErr == nil && !s.Running || errdefs.IsNotFound(stateErr)
	})
	switch {
	case ended:
		return nil
	case err == nil:
		return fmt.Errorf("end %s: it could not be found, and goes on", e.program)
	}
	return err
}

// killInside ends the program from a helper container in its PID namespace.
func (e *execution) killInside(ctx context.Context) error {
	h, err := e.p.createHelper(ctx, helperFor{
		argv: []string{"helper", mark.Command, e.mark}, pidOf: e.container,
	})
	if err != nil {
		return err
	}
	defer h.discard(ctx)
	if err := e.p.client.ContainerStart(ctx, h.id, container.StartOptions{}); err != nil {
		return failure(err, "end %s", e.program)
	}
	status, err := h.wait(ctx)
	if err == nil && status != 0 {
		err = fmt.Errorf("end %s: the helper ended with status %d", e.program, status)
	}
	return err
}

// close implements program: the Engine forgets an exec by itself.
func (e *execution) close(context.Context) {}

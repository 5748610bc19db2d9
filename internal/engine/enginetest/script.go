package enginetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"
	"sync"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Script is an instance without a container: it answers each tool from a list.
// A tool that is not on the list is missing.
type Script struct {
	facts engine.Facts

	mu    sync.Mutex
	tools map[string]func(Call) Answer
	files map[string]string
	calls []Call
}

// Call is one program that was started.
type Call struct {
	engine.Command
	// Input is all that was read from the command's Stdin.
	Input string
	// Helper says that it was started by Instance.Helper.
	Helper bool
	// Sidecar is the image of the side-car that it was started in.
	Sidecar string
}

// Args is argv as one string, for looking for words in it.
func (c Call) Args() string { return strings.Join(c.Argv, " ") }

// Answer is what a program does.
type Answer struct {
	Stdout string
	Stderr string
	Status int
	// Err is what Exec fails with, WaitErr what Wait fails with.
	Err, WaitErr error
}

// NewScript returns an instance with these facts and no tools.
func NewScript(facts engine.Facts) *Script {
	return &Script{facts: facts, tools: map[string]func(Call) Answer{}, files: map[string]string{}}
}

// On says how a tool, named by argv[0], answers. It returns s.
func (s *Script) On(tool string, answer func(Call) Answer) *Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tools[tool] = answer
	return s
}

// File puts a file into the instance and returns s.
func (s *Script) File(path, content string) *Script {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.files[path] = content
	return s
}

// Calls are the programs that were started so far.
func (s *Script) Calls() []Call {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Call(nil), s.calls...)
}

// Facts implements engine.Instance.
func (s *Script) Facts() engine.Facts { return s.facts }

// Exec implements engine.Instance.
func (s *Script) Exec(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	return s.start(ctx, Call{Command: cmd})
}

// Helper implements engine.Instance.
func (s *Script) Helper(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	return s.start(ctx, Call{Command: cmd, Helper: true})
}

// Sidecar implements engine.Instance: the tools of every image are those on the list.
func (s *Script) Sidecar(_ context.Context, image string, _ int64) (engine.Sidecar, error) {
	return sidecar{s, image}, nil
}

type sidecar struct {
	of    *Script
	image string
}

func (s sidecar) Exec(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	return s.of.start(ctx, Call{Command: cmd, Sidecar: s.image})
}

func (sidecar) Close() {}

// ReadFile implements engine.Instance.
func (s *Script) ReadFile(_ context.Context, path string, limit int64) ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	content, ok := s.files[path]
	switch {
	case !ok:
		return nil, fmt.Errorf("read %s: %w", path, fs.ErrNotExist)
	case int64(len(content)) > limit:
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return []byte(content), nil
}

func (s *Script) start(ctx context.Context, call Call) (engine.Process, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.mu.Lock()
	answer := s.tools[call.Argv[0]]
	s.mu.Unlock()
	if answer == nil {
		return nil, missing(call.Command)
	}
	var inputErr error
	if call.Stdin != nil {
		var input []byte
		input, inputErr = io.ReadAll(call.Stdin)
		call.Input = string(input)
	}
	s.mu.Lock()
	s.calls = append(s.calls, call)
	s.mu.Unlock()
	a := answer(call)
	if a.Err != nil {
		return nil, a.Err
	}
	tail := engine.NewTail(engine.StderrLimit, call.Secrets)
	_, _ = tail.Write([]byte(a.Stderr))
	p := &scripted{Reader: strings.NewReader(a.Stdout), exit: engine.Exit{Status: a.Status, Stderr: tail.String()}, err: a.WaitErr}
	if inputErr != nil {
		p.exit, p.err = engine.Exit{}, inputErr
	}
	return p, nil
}

func missing(cmd engine.Command) error {
	return problem.New(problem.Failed, "start %s: there is no such program", cmd.Argv[0]).WithReason(engine.ReasonToolMissing)
}

// scripted is a process whose end is known beforehand.
type scripted struct {
	io.Reader
	exit   engine.Exit
	err    error
	waited bool
	killed bool
}

func (p *scripted) Wait() (engine.Exit, error) {
	if p.waited {
		return engine.Exit{}, errors.New("Wait was called twice")
	}
	p.waited = true
	if p.killed && p.err == nil {
		return engine.Exit{Status: 137}, nil
	}
	return p.exit, p.err
}

func (p *scripted) Kill() { p.killed = true }

package enginetest

import (
	"context"
	"fmt"
	"strings"
	"sync"

	"github.com/baktainer/baktainer/internal/engine"
)

// Recorder passes everything on to an instance and notes where a secret shows:
// in an argv, or in what is kept of stderr.
type Recorder struct {
	engine.Instance
	secrets []string

	mu    sync.Mutex
	argvs [][]string
	leaks []string
}

// Record wraps an instance. Empty secrets are ignored.
func Record(inst engine.Instance, secrets ...string) *Recorder {
	r := &Recorder{Instance: inst}
	for _, s := range secrets {
		if s != "" {
			r.secrets = append(r.secrets, s)
		}
	}
	return r
}

// Exec implements engine.Instance.
func (r *Recorder) Exec(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	r.note(cmd)
	p, err := r.Instance.Exec(ctx, cmd)
	return r.watch(cmd, p), err
}

// Helper implements engine.Instance.
func (r *Recorder) Helper(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	r.note(cmd)
	p, err := r.Instance.Helper(ctx, cmd)
	return r.watch(cmd, p), err
}

// Argvs are the commands so far.
func (r *Recorder) Argvs() [][]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([][]string(nil), r.argvs...)
}

// Leaks says where a secret showed.
func (r *Recorder) Leaks() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]string(nil), r.leaks...)
}

func (r *Recorder) note(cmd engine.Command) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.argvs = append(r.argvs, cmd.Argv)
	for _, secret := range r.secrets {
		for _, arg := range cmd.Argv {
			if strings.Contains(arg, secret) {
				r.leaks = append(r.leaks, fmt.Sprintf("an argument of %s holds a secret", cmd.Argv[0]))
			}
		}
		inEnv := strings.Contains(strings.Join(cmd.Env, "\x00"), secret)
		if inEnv && !strings.Contains(strings.Join(cmd.Secrets, "\x00"), secret) {
			r.leaks = append(r.leaks, fmt.Sprintf("%s is given a secret that Command.Secrets does not list", cmd.Argv[0]))
		}
	}
}

func (r *Recorder) watch(cmd engine.Command, p engine.Process) engine.Process {
	if p == nil {
		return nil
	}
	return &watched{Process: p, tool: cmd.Argv[0], recorder: r}
}

type watched struct {
	engine.Process
	tool     string
	recorder *Recorder
}

// Wait implements engine.Process.
func (w *watched) Wait() (engine.Exit, error) {
	exit, err := w.Process.Wait()
	r := w.recorder
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, secret := range r.secrets {
		if strings.Contains(exit.Stderr, secret) {
			r.leaks = append(r.leaks, fmt.Sprintf("the kept stderr of %s holds a secret", w.tool))
		}
	}
	return exit, err
}

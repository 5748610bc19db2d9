package openldap

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/openldap/ldif"
	"github.com/baktainer/baktainer/internal/problem"
)

// dump is slapcat at work. Its output ends as it is, or with a mark behind the
// last entry: only if slapcat has ended with status 0, by itself, and behind a
// whole entry.
type dump struct {
	engine.Process
	confirm func() error // says that nothing has befallen the server meanwhile
	count   ldif.Counter
	mark    string // what of it is still to be read
	over    bool   // slapcat has been waited for
	exit    engine.Exit
	err     error

	killed, waited atomic.Bool // Kill may come from another goroutine
}

func (s *session) dump(ctx context.Context, args ...string) (engine.Process, error) {
	p, err := s.inst.Exec(ctx, s.slapcat(args...))
	if err != nil {
		return nil, fmt.Errorf("start slapcat: %w", err)
	}
	d := &dump{Process: p, confirm: func() error { return nil }}
	if !s.blocks {
		// What asked slapcat to end has most likely asked slapd as well.
		d.confirm = func() error { return s.greet(ctx) }
	}
	return d, nil
}

// Read implements engine.Process.
func (d *dump) Read(p []byte) (int, error) {
	if !d.over {
		n, err := d.Process.Read(p)
		_, _ = d.count.Write(p[:n]) // never fails
		if !errors.Is(err, io.EOF) {
			return n, err
		}
		d.end()
		if n > 0 {
			return n, nil
		}
	}
	if d.mark == "" {
		return 0, io.EOF
	}
	n := copy(p, d.mark)
	d.mark = d.mark[n:]
	return n, nil
}

// end waits for slapcat, and judges.
func (d *dump) end() {
	d.over = true
	d.exit, d.err = d.Process.Wait()
	d.waited.Store(true)
	if d.err != nil || d.exit.Status != 0 {
		return
	}
	if d.killed.Load() {
		d.err = problem.New(problem.Failed, "slapcat was ended before its time").WithReason(engine.ReasonToolFailed)
		return
	}
	if err := d.confirm(); err != nil {
		d.err = fmt.Errorf("the server went away while it was dumped: %w", err)
		return
	}
	if d.count.Between() {
		d.mark = ldif.Mark(d.count.Entries)
	}
}

// Wait implements engine.Process.
func (d *dump) Wait() (engine.Exit, error) {
	_, _ = io.Copy(io.Discard, struct{ io.Reader }{d})
	if !d.over { // its output broke
		d.exit, d.err = d.Process.Wait()
		d.waited.Store(true)
	}
	return d.exit, d.err
}

// Kill implements engine.Process.
func (d *dump) Kill() {
	d.killed.Store(true)
	if !d.waited.Load() {
		d.Process.Kill()
	}
}

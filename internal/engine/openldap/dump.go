package openldap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
	confirm func(entries int64) error // says that there were no more; may be nil
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
	d := &dump{Process: p}
	if !s.blocks {
		d.confirm = func(entries int64) error { return s.recount(ctx, entries, args) }
	}
	return d, nil
}

// recount has slapcat count entries, and fails when there are more than were
// dumped: it may have been asked to end, see blocking, and then says nothing of it.
func (s *session) recount(ctx context.Context, entries int64, args []string) error {
	p, err := s.inst.Exec(ctx, s.slapcat(append(slices.Clone(args), "-v", "-l", "/dev/null")...)) // a line for each entry
	if err != nil {
		return err
	}
	var lines lineCounter
	if err := s.drain(p, &lines, "count the entries"); err != nil {
		return err
	}
	if int64(lines) > entries {
		return problem.New(problem.Failed, "slapcat wrote %d entries, and there are %d", entries, lines).WithReason(engine.ReasonTruncated).
			WithHint("Either entries were added meanwhile, or slapcat was told to end: try again.")
	}
	return nil
}

// drain reads the output of slapcat into w to its end, and fails unless slapcat
// exited well and all that it wrote was read; doing is a verb phrase for that.
func (s *session) drain(p engine.Process, w io.Writer, doing string) error {
	_, copyErr := io.Copy(w, p)
	exit, err := p.Wait()
	switch {
	case err != nil:
		return err
	case exit.Status != 0:
		return s.Explain(exit)
	case copyErr != nil:
		return problem.Wrap(problem.Unavailable, copyErr, "%s", doing).WithReason(engine.ReasonStreamLost)
	}
	return nil
}

type lineCounter int64

func (c *lineCounter) Write(p []byte) (int, error) {
	*c += lineCounter(bytes.Count(p, []byte("\n")))
	return len(p), nil
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
	if d.confirm != nil {
		if d.err = d.confirm(d.count.Entries); d.err != nil {
			return
		}
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

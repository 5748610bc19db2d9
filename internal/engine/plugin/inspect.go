package plugin

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

var errUnread = errors.New("it ended before it had read the whole dump")

// feedPiece is how much of a dump is handed over at once. The time limit holds for
// each piece.
const feedPiece = 64 << 10

// inspector shows a dump to the plugin, on its stdin, and asks it for its verdict
// at the end. It holds nothing of the dump: when the plugin is slow, the dump tool
// waits. Only a plugin that read all of it, ended with status 0 and said so makes a
// dump whole.
type inspector struct {
	session *session
	stream  engine.Stream
	size    int64
	// broken is why nothing more is fed.
	broken error
	// The next three are nil until the first byte, and after a start that failed.
	*running
	feed  *feed
	watch *time.Timer
}

// Write implements engine.Inspector.
func (i *inspector) Write(p []byte) (int, error) {
	first := i.size == 0
	i.size += int64(len(p))
	if len(p) == 0 || !i.session.engine.says.answers("inspect") {
		return len(p), nil
	}
	if first {
		i.broken = i.begin()
	}
	for rest := p; len(rest) > 0 && i.broken == nil; {
		n := min(len(rest), feedPiece)
		i.watch.Reset(i.program.limits.stall)
		if _, err := i.feed.to.Write(rest[:n]); err != nil {
			i.broken = errUnread
		}
		i.watch.Stop()
		rest = rest[n:]
	}
	return len(p), nil
}

// begin starts the plugin.
func (i *inspector) begin() error {
	s := i.session
	r, err := s.engine.program.prepare(s.ctx, question{verb: "inspect", vars: append(s.about(), aboutStream(i.stream)...), secrets: s.secrets()})
	if err != nil {
		return err
	}
	f, err := newFeed()
	if err == nil {
		r.cmd.Stdin, r.gone = f.from, f.gone
		if err = r.start(); err != nil {
			f.close()
		}
	}
	if err != nil {
		r.cancel(nil)
		return fmt.Errorf("have the dump inspected: %w", err)
	}
	i.running, i.feed = r, f
	i.watch = time.AfterFunc(i.program.limits.stall, func() { r.cancel(errStall) })
	return nil
}

// Finish implements engine.Inspector.
func (i *inspector) Finish() (engine.Contents, error) {
	e := i.session.engine
	switch {
	case i.size == 0:
		return engine.Contents{}, problem.New(problem.Failed, "the command of %s wrote nothing to its stdout", i.stream.Name).WithReason(engine.ReasonEmpty)
	case !e.says.answers("inspect"):
		return engine.Contents{
			Objects: []engine.Object{{Kind: "bytes", Name: i.stream.Name, Rows: -1}},
			Notes:   []string{fmt.Sprintf("not checked to an end mark: the plugin %s does not look into dumps", e.name)},
		}, nil
	case i.running == nil:
		return engine.Contents{}, i.broken
	}
	i.feed.end()
	data, err := i.answer(i.session.ctx, i.program.limits.verdict)
	left := i.feed.left()
	switch {
	case err != nil:
		return engine.Contents{}, err
	case left || i.broken != nil:
		return engine.Contents{}, problem.Wrap(problem.Failed, errUnread, "the plugin %s", i.program.name()).WithReason(engine.ReasonPluginFailed).
			WithDetails(i.said()...).WithHint("An inspector reads its stdin to the end, whatever it knows by then.")
	}
	a, err := parseAnswer("inspect", data)
	switch {
	case err != nil:
		return engine.Contents{}, i.program.wrong("inspect", err)
	case !a.Complete:
		return engine.Contents{}, a.failure(engine.ReasonTruncated).WithDetails(i.said()...)
	}
	return a.contents(), nil
}

// feed is the pipe to a plugin. Our end to read from stays open too, to see what
// the plugin leaves in it.
type feed struct {
	from, to *os.File

	mu    sync.Mutex
	whole bool // all is written
	early bool // the plugin ended before that
}

func newFeed() (*feed, error) {
	from, to, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("make a pipe: %w", err)
	}
	return &feed{from: from, to: to}, nil
}

// gone is told that the plugin has ended: whoever still writes need not wait.
func (f *feed) gone() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.whole {
		f.early = true
		f.close()
	}
}

// end shows the plugin the end of the dump.
func (f *feed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.early {
		f.whole = true
		_ = f.to.Close()
	}
}

// left says whether the plugin, which has ended, has read less than all.
func (f *feed) left() bool {
	if f.early {
		return true
	}
	defer f.close()
	n, _ := f.from.Read(make([]byte, 1)) // nobody writes any more: it does not wait
	return n > 0
}

func (f *feed) close() {
	_ = f.from.Close()
	_ = f.to.Close() // it may be closed already
}

package plugin

import (
	"errors"
	"fmt"
	"io"
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
	*running
	stdin io.WriteCloser
	watch *time.Timer
	// broken is why nothing more is fed.
	broken error
}

// Write implements engine.Inspector.
func (i *inspector) Write(p []byte) (int, error) {
	first := i.size == 0
	i.size += int64(len(p))
	if len(p) == 0 || !i.session.engine.says.answers("inspect") {
		return len(p), nil
	}
	if first {
		i.broken = i.start()
	}
	for rest := p; len(rest) > 0 && i.broken == nil; {
		n := min(len(rest), feedPiece)
		i.watch.Reset(i.program.limits.stall)
		if _, err := i.stdin.Write(rest[:n]); err != nil {
			i.broken = errUnread
		}
		i.watch.Stop()
		rest = rest[n:]
	}
	return len(p), nil
}

func (i *inspector) start() (err error) {
	s := i.session
	i.running, err = s.engine.program.prepare(s.ctx, question{verb: "inspect", vars: append(s.about(), aboutStream(i.stream)...), secrets: s.secrets()})
	if err != nil {
		return err
	}
	if i.stdin, err = i.cmd.StdinPipe(); err == nil {
		err = i.running.start()
	}
	if err != nil {
		i.cancel(nil)
		i.running = nil
		return fmt.Errorf("have the dump inspected: %w", err)
	}
	kill := i.cancel
	i.watch = time.AfterFunc(i.program.limits.stall, func() { kill(errStall) })
	return nil
}

// Finish implements engine.Inspector.
func (i *inspector) Finish() (engine.Contents, error) {
	says := i.session.engine.says
	switch {
	case i.size == 0:
		return engine.Contents{}, problem.New(problem.Failed, "the command of %s wrote nothing to its stdout", i.stream.Name).WithReason(engine.ReasonEmpty)
	case !says.answers("inspect"):
		return engine.Contents{
			Objects: []engine.Object{{Kind: "bytes", Name: i.stream.Name, Rows: -1}},
			Notes:   []string{fmt.Sprintf("not checked to an end mark: the plugin %s does not look into dumps", i.session.engine.name)},
		}, nil
	case i.running == nil:
		return engine.Contents{}, i.broken
	}
	_ = i.stdin.Close() // a plugin that is gone says so by its end
	data, err := i.answer(i.session.ctx, i.program.limits.verdict)
	switch {
	case err != nil:
		return engine.Contents{}, err
	case i.broken != nil:
		return engine.Contents{}, problem.Wrap(problem.Failed, i.broken, "the plugin %s", i.program.name()).WithReason(engine.ReasonPluginFailed).
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

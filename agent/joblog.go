package agent

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/baktainer/baktainer/agent/uplink"
)

// The log of a run that the controller keeps is bounded: the last lines, each cut.
const (
	keptLines   = 100
	keptLineLen = 500
)

// jobLog is a slog.Handler that keeps the last lines of one run besides
// passing them on to the agent's own log.
type jobLog struct {
	next   slog.Handler
	attrs  []slog.Attr
	shared *jobLines
}

type jobLines struct {
	mu    sync.Mutex
	all   []uplink.LogLine
	fresh []uplink.LogLine
}

func newJobLog(next slog.Handler) *jobLog { return &jobLog{next: next, shared: &jobLines{}} }

// Enabled implements slog.Handler: the run's own log has everything from info up.
func (l *jobLog) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || l.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (l *jobLog) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelInfo {
		l.shared.add(uplink.LogLine{Time: r.Time, Level: strings.ToLower(r.Level.String()), Message: l.line(r)})
	}
	if !l.next.Enabled(ctx, r.Level) {
		return nil
	}
	return l.next.Handle(ctx, r)
}

func (l *jobLog) line(r slog.Record) string {
	var b strings.Builder
	b.WriteString(r.Message)
	for _, a := range l.attrs {
		b.WriteString(" " + a.String())
	}
	r.Attrs(func(a slog.Attr) bool {
		b.WriteString(" " + a.String())
		return b.Len() < keptLineLen
	})
	s := b.String()
	if len(s) > keptLineLen {
		s = strings.ToValidUTF8(s[:keptLineLen], "") + " …"
	}
	return s
}

// WithAttrs implements slog.Handler.
func (l *jobLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &jobLog{next: l.next.WithAttrs(attrs), attrs: append(l.attrs[:len(l.attrs):len(l.attrs)], attrs...), shared: l.shared}
}

// WithGroup implements slog.Handler; runs log flat.
func (l *jobLog) WithGroup(name string) slog.Handler {
	return &jobLog{next: l.next.WithGroup(name), attrs: l.attrs, shared: l.shared}
}

func (s *jobLines) add(line uplink.LogLine) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = bounded(append(s.all, line))
	s.fresh = bounded(append(s.fresh, line))
}

// news gives the lines since the last call.
func (l *jobLog) news() []uplink.LogLine {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	fresh := l.shared.fresh
	l.shared.fresh = nil
	return fresh
}

// lines gives the last lines of the whole run.
func (l *jobLog) lines() []uplink.LogLine {
	l.shared.mu.Lock()
	defer l.shared.mu.Unlock()
	return append([]uplink.LogLine(nil), l.shared.all...)
}

func bounded(lines []uplink.LogLine) []uplink.LogLine {
	if len(lines) > keptLines {
		lines = append([]uplink.LogLine(nil), lines[len(lines)-keptLines:]...)
	}
	return lines
}

package telemetry

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"
)

// What a Ring keeps at most. A line counts with what it takes besides its text.
const (
	ringLines   = 2000
	ringBytes   = 1 << 20
	ringLine    = 4 << 10 // longer ones are cut
	lineExpense = 64
)

// Line is one line of a log: Text is the message and its attributes.
type Line struct {
	Time  time.Time
	Level string
	Text  string
}

// Ring is a slog.Handler that keeps the last lines besides passing them on: all
// from info up, and finer ones if they are logged. Attributes become text as they
// do in the log, so that what hides itself there is hidden here too.
type Ring struct {
	next       slog.Handler
	attributes slog.Handler // writes them to kept.buf
	kept       *ringBuffer
}

// NewRing returns a ring that passes everything on to next.
func NewRing(next slog.Handler) *Ring {
	kept := &ringBuffer{}
	return &Ring{next, slog.NewTextHandler(&kept.buf, nil), kept}
}

// Enabled implements slog.Handler.
func (r *Ring) Enabled(ctx context.Context, level slog.Level) bool {
	return level >= slog.LevelInfo || r.next.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (r *Ring) Handle(ctx context.Context, rec slog.Record) error {
	r.kept.add(rec, r.attributes)
	if !r.next.Enabled(ctx, rec.Level) {
		return nil
	}
	return r.next.Handle(ctx, rec)
}

// WithAttrs implements slog.Handler.
func (r *Ring) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &Ring{r.next.WithAttrs(attrs), r.attributes.WithAttrs(attrs), r.kept}
}

// WithGroup implements slog.Handler.
func (r *Ring) WithGroup(name string) slog.Handler {
	return &Ring{r.next.WithGroup(name), r.attributes.WithGroup(name), r.kept}
}

// Lines gives the last n lines, oldest first.
func (r *Ring) Lines(n int) []Line { return r.kept.last(n) }

// ringBuffer is the lines of a Ring and all that were derived from it.
type ringBuffer struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	lines []Line // a circle once it has ringLines
	first int
	count int
	bytes int
}

// empty is what a text handler makes of a record without anything.
const empty = `level=INFO msg=""`

func (b *ringBuffer) add(rec slog.Record, attributes slog.Handler) {
	bare := slog.NewRecord(time.Time{}, slog.LevelInfo, "", 0)
	rec.Attrs(func(a slog.Attr) bool {
		bare.AddAttrs(a)
		return true
	})
	b.mu.Lock()
	defer b.mu.Unlock()
	b.buf.Reset()
	_ = attributes.Handle(context.Background(), bare) // to memory: it cannot fail
	text := rec.Message + strings.TrimPrefix(strings.TrimSuffix(b.buf.String(), "\n"), empty)
	if b.buf.Cap() > 16*ringLine {
		b.buf = bytes.Buffer{}
	}
	if len(text) > ringLine {
		text = text[:ringLine] + " …"
	}
	// A copy of its own: a cut line must not keep the whole.
	text = strings.Clone(strings.ToValidUTF8(text, "\uFFFD"))
	b.push(Line{rec.Time, strings.ToLower(rec.Level.String()), text})
}

// push adds a line and drops the oldest until all is within bounds.
func (b *ringBuffer) push(l Line) {
	if b.count == ringLines {
		b.drop()
	}
	if at := (b.first + b.count) % ringLines; at < len(b.lines) {
		b.lines[at] = l
	} else {
		b.lines = append(b.lines, l)
	}
	b.count++
	for b.bytes += len(l.Text) + lineExpense; b.bytes > ringBytes; {
		b.drop()
	}
}

func (b *ringBuffer) drop() {
	l := &b.lines[b.first]
	b.bytes -= len(l.Text) + lineExpense
	*l = Line{}
	b.first, b.count = (b.first+1)%ringLines, b.count-1
}

func (b *ringBuffer) last(n int) []Line {
	b.mu.Lock()
	defer b.mu.Unlock()
	n = max(0, min(n, b.count))
	out := make([]Line, 0, n)
	for i := b.count - n; i < b.count; i++ {
		out = append(out, b.lines[(b.first+i)%ringLines])
	}
	return out
}

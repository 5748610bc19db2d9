package telemetry

import (
	"context"
	"io"
	"log/slog"
	"os"
	"sync"

	"github.com/go-logr/logr"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"golang.org/x/term"
)

// Formats of logs.
const (
	FormatAuto = "auto" // text on a terminal, JSON elsewhere
	FormatText = "text"
	FormatJSON = "json"
)

// LogHandler returns a handler that writes to w in one of the formats. Lines
// logged within a span carry its trace_id and span_id. A *slog.LevelVar as level
// can be changed while the program runs.
func LogHandler(w io.Writer, format string, level slog.Leveler) slog.Handler {
	o := &slog.HandlerOptions{Level: level}
	if format == FormatText || (format != FormatJSON && isTerminal(w)) {
		return traced{slog.NewTextHandler(w, o)}
	}
	return traced{slog.NewJSONHandler(w, o)}
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// traced adds the ids of the span that a line belongs to.
type traced struct{ slog.Handler }

func (h traced) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

func (h traced) WithAttrs(attrs []slog.Attr) slog.Handler { return traced{h.Handler.WithAttrs(attrs)} }
func (h traced) WithGroup(name string) slog.Handler       { return traced{h.Handler.WithGroup(name)} }

// listen sends what the SDK has to say to our log.
func listen(log *slog.Logger) {
	otel.SetErrorHandler(&failures{log: log})
	otel.SetLogger(logr.FromSlogHandler(sdkLog{log.Handler()}))
}

// failures logs the errors of the SDK, and of equal ones in a row the first: a
// collector that is away would otherwise fill the log.
type failures struct {
	log  *slog.Logger
	mu   sync.Mutex
	last string
}

func (f *failures) Handle(err error) {
	f.mu.Lock()
	again := f.last == err.Error()
	f.last = err.Error()
	f.mu.Unlock()
	if !again {
		f.log.Warn("telemetry: "+err.Error(), "hint", "backups are not affected; the variables OTEL_… say where traces go")
	}
}

// sdkLog makes warnings of the SDK's errors and warnings (verbosity 0 and 1),
// and drops its chatter.
type sdkLog struct{ slog.Handler }

func (h sdkLog) Enabled(_ context.Context, l slog.Level) bool { return l >= -1 }

func (h sdkLog) Handle(ctx context.Context, r slog.Record) error {
	r.Level = slog.LevelWarn
	r.Message = "telemetry: " + r.Message
	if !h.Handler.Enabled(ctx, r.Level) {
		return nil
	}
	return h.Handler.Handle(ctx, r)
}

func (h sdkLog) WithAttrs(attrs []slog.Attr) slog.Handler { return sdkLog{h.Handler.WithAttrs(attrs)} }
func (h sdkLog) WithGroup(name string) slog.Handler       { return sdkLog{h.Handler.WithGroup(name)} }

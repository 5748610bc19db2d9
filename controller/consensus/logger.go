package consensus

import (
	"context"
	"io"
	"log/slog"

	"github.com/hashicorp/go-hclog"
)

// raftLogger bridges Raft's logger into ours.
func raftLogger(to *slog.Logger) hclog.Logger {
	l := hclog.NewInterceptLogger(&hclog.LoggerOptions{Name: "raft", Level: hclog.Debug, Output: io.Discard})
	l.RegisterSink(sink{to})
	return l
}

// quiet is a logger for what says all it has to say by its errors.
func quiet() hclog.Logger { return hclog.NewNullLogger() }

type sink struct{ to *slog.Logger }

// levels lowers the levels of Raft: what is news to it is detail to a user, and it
// warns of every election, the one at the start too.
var levels = map[hclog.Level]slog.Level{
	hclog.Warn: slog.LevelDebug, hclog.Error: slog.LevelWarn,
}

// Accept implements hclog.SinkAdapter.
func (s sink) Accept(name string, level hclog.Level, msg string, args ...any) {
	if as, ok := levels[level]; ok {
		s.to.Log(context.Background(), as, name+": "+msg, args...)
	}
}

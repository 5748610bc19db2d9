package telemetry_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/telemetry"
)

// point is a value that slog knows nothing of.
type point struct{ X, Y int }

func TestARingKeepsLinesAsTheLogHasThem(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	ring := telemetry.NewRing(slog.NewTextHandler(&out, nil))
	log := slog.New(ring)
	for name, tc := range map[string]struct {
		say  func()
		want string
	}{
		"no attributes":  {func() { log.Info("it starts") }, "it starts"},
		"attributes":     {func() { log.Info("m", "n", 1, "s", "two words", "e", errors.New("no \"disk\"")) }, `m n=1 s="two words" e="no \"disk\""`},
		"of the logger":  {func() { log.With("run", "r1").With("part", 2).Info("m", "n", 3) }, "m run=r1 part=2 n=3"},
		"groups":         {func() { log.WithGroup("g").With("a", 1).Info("m", "b", slog.GroupValue(slog.Int("c", 2))) }, "m g.a=1 g.b.c=2"},
		"builtin's keys": {func() { log.With("level", "high", "msg", "x").Info("m", "time", "noon") }, "m level=high msg=x time=noon"},
		"any value":      {func() { log.Info("m", "p", point{1, 2}) }, `m p="{X:1 Y:2}"`},
		"secrets": {func() {
			log.With("a", source.Secret("hunter2")).Info("m", "b", source.Secret("hunter2"), "c", []any{source.Secret("hunter2")})
		}, `m a=[hidden] b=[hidden] c=[[hidden]]`},
		"many lines": {func() { log.Info("m", "x", "a\nb") }, `m x="a\nb"`},
	} {
		tc.say()
		got := ring.Lines(1)
		if len(got) != 1 || got[0].Text != tc.want || got[0].Level != "info" || got[0].Time.IsZero() {
			t.Errorf("%s: %+v, want %q", name, got, tc.want)
		}
	}
	if strings.Count(out.String(), "\n") != 8 || strings.Contains(out.String(), "hunter2") {
		t.Errorf("passed on:\n%s", out.String())
	}
}

func TestARingKeepsFromInfoUpAndFinerOnesIfTheyAreLogged(t *testing.T) {
	t.Parallel()
	for level, want := range map[slog.Level]string{
		slog.LevelDebug: "debug info warn error", slog.LevelInfo: "info warn error", slog.LevelError: "info warn error",
	} {
		var out bytes.Buffer
		ring := telemetry.NewRing(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: level}))
		for _, l := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelWarn, slog.LevelError} {
			slog.New(ring).Log(t.Context(), l, "m")
		}
		var got []string
		for _, l := range ring.Lines(100) {
			got = append(got, l.Level)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("log level %v: kept %v, want %s", level, got, want)
		}
		if passed := strings.Count(out.String(), "\n"); passed != map[slog.Level]int{slog.LevelDebug: 4, slog.LevelInfo: 3, slog.LevelError: 1}[level] {
			t.Errorf("log level %v: %d lines passed on", level, passed)
		}
	}
}

func TestARingIsBounded(t *testing.T) {
	t.Parallel()
	ring := telemetry.NewRing(slog.DiscardHandler)
	log := slog.New(ring)
	for i := range 5000 {
		log.Info("line", "n", i)
	}
	got := ring.Lines(10_000)
	if len(got) != 2000 || got[0].Text != "line n=3000" || got[1999].Text != "line n=4999" {
		t.Fatalf("%d lines, from %q to %q", len(got), got[0].Text, got[len(got)-1].Text)
	}
	if two := ring.Lines(2); len(two) != 2 || two[0].Text != "line n=4998" || two[1].Text != "line n=4999" {
		t.Errorf("the last two: %+v", two)
	}
	for _, n := range []int{0, -1} {
		if none := ring.Lines(n); len(none) != 0 {
			t.Errorf("%d lines asked for, %d given", n, len(none))
		}
	}
	long := strings.Repeat("ü", 3000)
	for i := range 3000 {
		log.Info(long, "n", i)
	}
	total := 0
	got = ring.Lines(10_000)
	for _, l := range got {
		total += len(l.Text)
		if len(l.Text) > 4<<10+10 || !utf8.ValidString(l.Text) || !strings.HasPrefix(l.Text, "üü") || !strings.HasSuffix(l.Text, "…") {
			t.Fatalf("a line of %d bytes: %.20q…", len(l.Text), l.Text)
		}
	}
	if total > 1<<20 || len(got) < 200 {
		t.Errorf("%d lines of %d bytes in all", len(got), total)
	}
	for i := range 2500 { // short ones again, all around the circle
		log.Info("line", "n", i)
	}
	if got = ring.Lines(10_000); len(got) != 2000 || got[0].Text != "line n=500" || got[1999].Text != "line n=2499" {
		t.Errorf("%d lines, from %q", len(got), got[0].Text)
	}
}

func TestARingIsForManyAtATime(t *testing.T) {
	t.Parallel()
	ring := telemetry.NewRing(slog.DiscardHandler)
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			log := slog.New(ring).With("w", w)
			for i := range 300 {
				log.Info("line", "n", i)
				ring.Lines(5)
			}
		})
	}
	wg.Wait()
	next := map[string]int{}
	for _, l := range ring.Lines(2000) {
		var w, n int
		if _, err := fmt.Sscanf(l.Text, "line w=%d n=%d", &w, &n); err != nil || n != next[fmt.Sprint(w)] {
			t.Fatalf("line %q after %d: %v", l.Text, next[fmt.Sprint(w)], err)
		}
		next[fmt.Sprint(w)]++
	}
	if len(next) != 4 {
		t.Errorf("lines of %d loggers", len(next))
	}
}

func TestARingPassesOnWhatTheLogFailsWith(t *testing.T) {
	t.Parallel()
	full := errors.New("the disk is full")
	ring := telemetry.NewRing(failing{full})
	rec := slog.NewRecord(time.Unix(1, 0), slog.LevelInfo, "m", 0)
	if err := ring.Handle(context.Background(), rec); !errors.Is(err, full) {
		t.Errorf("error %v", err)
	}
	if got := ring.Lines(1); len(got) != 1 || !got[0].Time.Equal(time.Unix(1, 0)) {
		t.Errorf("kept %+v", got)
	}
}

type failing struct{ err error }

func (f failing) Enabled(context.Context, slog.Level) bool  { return true }
func (f failing) Handle(context.Context, slog.Record) error { return f.err }
func (f failing) WithAttrs([]slog.Attr) slog.Handler        { return f }
func (f failing) WithGroup(string) slog.Handler             { return f }

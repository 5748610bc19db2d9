package procs

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
)

func TestParse(t *testing.T) {
	t.Parallel()
	e := parse(`{"time":"2026-01-02T03:04:05Z","level":"DEBUG","msg":"object begins","object":"sources/a/packs/x","bytes":16777216,"epoch":2,"last":true}`)
	if e.Message != "object begins" || e.Level != "debug" {
		t.Errorf("read %+v", e)
	}
	for name, want := range map[string]string{"object": "sources/a/packs/x", "bytes": "16777216", "epoch": "2", "last": "true"} {
		if e.Attrs[name] != want {
			t.Errorf("%s is %q, want %q", name, e.Attrs[name], want)
		}
	}
	if _, ok := e.Attrs["time"]; ok {
		t.Error("the process's own time is kept as a field")
	}
	for _, line := range []string{"panic: oh", `{"half":`, `{"no":"message"}`, `[1]`, ""} {
		if e := parse(line); e.Message != line || len(e.Attrs) > 0 {
			t.Errorf("%q is read as %+v", line, e)
		}
	}
}

func says(message string) func(Entry) bool {
	return func(e Entry) bool { return e.Message == message }
}

func TestJournal(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	j := NewJournal(clock.NewManual(now))
	var observed []int
	j.Observe(func(e Entry) { observed = append(observed, e.Seq) })
	j.Add("c1", "one")
	mark := j.Mark()
	j.Add("c2", "two")
	j.Add("c1", "one")

	e, err := j.Next(t.Context(), 0, says("one"))
	if err != nil || e.Seq != 0 || e.Process != "c1" || !e.At.Equal(now) {
		t.Errorf("from the beginning: %v, %v", e, err)
	}
	e, err = j.Next(t.Context(), mark, says("one"))
	if err != nil || e.Seq != 2 {
		t.Errorf("from the mark: %v, %v", e, err)
	}
	if found := j.Since(mark, says("one")); len(found) != 1 || found[0].Seq != 2 {
		t.Errorf("since the mark: %v", found)
	}
	if fmt.Sprint(observed) != "[0 1 2]" {
		t.Errorf("observed %v", observed)
	}
}

func TestJournalWaits(t *testing.T) {
	t.Parallel()
	j := NewJournal(clock.System{})
	got := make(chan Entry, 1)
	go func() {
		e, _ := j.Next(t.Context(), 0, says("late"))
		got <- e
	}()
	j.Add("c1", "early")
	j.Add("c1", "late")
	if e := <-got; e.Seq != 1 {
		t.Errorf("got %v", e)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	if _, err := j.Next(ctx, 0, says("never")); !errors.Is(err, why) {
		t.Errorf("got %v, want the cause", err)
	}
}

func TestJournalForgets(t *testing.T) {
	t.Parallel()
	j := NewJournal(clock.System{})
	j.kept = 10
	for n := range 100 {
		j.Add("c1", fmt.Sprint(n))
	}
	all := j.Since(0, func(Entry) bool { return true })
	if len(all) < 10 || len(all) > 20 || all[len(all)-1].Seq != 99 || all[0].Message != fmt.Sprint(all[0].Seq) {
		t.Errorf("kept %d lines, from %v to %v", len(all), all[0], all[len(all)-1])
	}
	if len(j.Since(99, says("99"))) != 1 || len(j.Since(100, says("99"))) != 0 {
		t.Error("a line is not found by its number")
	}
}

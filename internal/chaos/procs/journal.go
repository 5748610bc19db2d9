package procs

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/baktainer/baktainer/internal/clock"
)

// keptEntries is how many lines a journal holds. A rig looks back over one fault.
const keptEntries = 50_000

// Journal gathers the lines of all processes. It is safe for concurrent use.
type Journal struct {
	clock clock.Clock
	kept  int

	mu        sync.Mutex
	entries   []Entry // the newest, in order
	next      int     // Seq of the line after them
	news      chan struct{}
	observers []func(Entry)
}

// NewJournal returns an empty journal.
func NewJournal(c clock.Clock) *Journal {
	return &Journal{clock: c, kept: keptEntries, news: make(chan struct{})}
}

// Observe has f called with every line from now on, one at a time and in order.
// It must not block.
func (j *Journal) Observe(f func(Entry)) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.observers = append(j.observers, f)
}

// Add takes in a line of a process.
func (j *Journal) Add(process, line string) {
	e := parse(line)
	j.mu.Lock()
	defer j.mu.Unlock()
	e.At, e.Process, e.Seq = j.clock.Now(), process, j.next
	j.next++
	if len(j.entries) >= 2*j.kept {
		j.entries = append([]Entry(nil), j.entries[len(j.entries)-j.kept:]...)
	}
	j.entries = append(j.entries, e)
	for _, f := range j.observers {
		f(e)
	}
	close(j.news)
	j.news = make(chan struct{})
}

// Mark is the number that the next line will have.
func (j *Journal) Mark() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.next
}

// Since lists the lines from the number on that match, as far as they are kept.
func (j *Journal) Since(from int, match func(Entry) bool) []Entry {
	j.mu.Lock()
	defer j.mu.Unlock()
	var found []Entry
	for _, e := range j.from(from) {
		if match(e) {
			found = append(found, e)
		}
	}
	return found
}

// Next returns the first line from the number on that matches, and waits for it
// until ctx ends.
func (j *Journal) Next(ctx context.Context, from int, match func(Entry) bool) (Entry, error) {
	for {
		j.mu.Lock()
		fresh, news := j.from(from), j.news
		for _, e := range fresh {
			if match(e) {
				j.mu.Unlock()
				return e, nil
			}
		}
		from = j.next
		j.mu.Unlock()
		select {
		case <-news:
		case <-ctx.Done():
			return Entry{}, fmt.Errorf("wait for a line of a log: %w", context.Cause(ctx))
		}
	}
}

// from gives the kept lines from the number on. j.mu is held; the result is only
// good until it is let go.
func (j *Journal) from(seq int) []Entry {
	first := j.next - len(j.entries)
	return j.entries[min(max(0, seq-first), len(j.entries)):]
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }

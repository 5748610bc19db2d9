package consensus

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// stallGuard ends the process when a write hangs. A leader whose disk hangs goes
// on sending heartbeats, so nobody else would ever stand for election (raft issue
// 503); giving up on the write and going on is not safe either.
type stallGuard struct {
	limit time.Duration
	fatal func(error)
}

func (s stallGuard) watch(write func() error) error {
	timer := time.AfterFunc(s.limit, func() {
		s.fatal(fmt.Errorf("a write to the log takes more than %s: the disk of the data folder hangs", s.limit))
	})
	defer timer.Stop()
	return write()
}

// guardedLog is the log under a stallGuard.
type guardedLog struct {
	raft.LogStore
	guard stallGuard
}

// StoreLog implements raft.LogStore.
func (g guardedLog) StoreLog(entry *raft.Log) error { return g.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (g guardedLog) StoreLogs(entries []*raft.Log) error {
	return g.guard.watch(func() error { return g.LogStore.StoreLogs(entries) })
}

// DeleteRange implements raft.LogStore.
func (g guardedLog) DeleteRange(from, to uint64) error {
	return g.guard.watch(func() error { return g.LogStore.DeleteRange(from, to) })
}

// termKey is under what Raft stores the term.
const termKey = "CurrentTerm"

// guardedVotes is the store of term and votes under a stallGuard.
type guardedVotes struct {
	raft.StableStore
	guard stallGuard
}

// Set implements raft.StableStore.
func (g guardedVotes) Set(key, value []byte) error {
	return g.guard.watch(func() error { return g.StableStore.Set(key, value) })
}

// SetUint64 implements raft.StableStore. Raft panics when it cannot store the term
// that it is in, so the process ends before that, and says why.
func (g guardedVotes) SetUint64(key []byte, value uint64) error {
	err := g.guard.watch(func() error { return g.StableStore.SetUint64(key, value) })
	if err != nil && string(key) == termKey {
		g.guard.fatal(fmt.Errorf("write the term to the log, see whether the disk of the data folder is full or broken: %w", err))
	}
	return err
}

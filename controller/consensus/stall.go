package consensus

import (
	"fmt"
	"time"

	"github.com/hashicorp/raft"
)

// stallGuard ends the process when an append hangs. A leader whose disk hangs
// goes on sending heartbeats, so nobody else would ever stand for election
// (raft issue 503); giving up on the append and going on is not safe either.
type stallGuard struct {
	raft.LogStore
	limit time.Duration
	fatal func(error)
}

// StoreLog implements raft.LogStore.
func (s *stallGuard) StoreLog(entry *raft.Log) error { return s.StoreLogs([]*raft.Log{entry}) }

// StoreLogs implements raft.LogStore.
func (s *stallGuard) StoreLogs(entries []*raft.Log) error {
	timer := time.AfterFunc(s.limit, func() {
		s.fatal(fmt.Errorf("an append to the log takes more than %s: the disk of the data folder hangs", s.limit))
	})
	defer timer.Stop()
	return s.LogStore.StoreLogs(entries)
}

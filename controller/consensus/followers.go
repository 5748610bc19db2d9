package consensus

import (
	"io"
	"sync"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/internal/clock"
)

// followers is what a leader learns of the others from their answers: when each
// last answered, and how far its log is known to agree with the leader's. Raft
// knows that too but tells nobody; learning it here spares asking them.
type followers struct {
	clock clock.Clock
	mu    sync.Mutex
	byID  map[raft.ServerID]follower
}

type follower struct {
	contact     time.Time
	index, term uint64 // of the newest entry that it is known to have
}

func (f *followers) get(id raft.ServerID) follower {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.byID[id]
}

// heard notes an answer; index is 0 when it says nothing about the log.
func (f *followers) heard(id raft.ServerID, index, term uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known := f.byID[id]
	known.contact = f.clock.Now()
	if term > known.term || term == known.term && index > known.index {
		known.index, known.term = index, term
	}
	if f.byID == nil {
		f.byID = map[raft.ServerID]follower{}
	}
	f.byID[id] = known
}

// reset forgets what an earlier leadership learned: logs may have been cut since.
func (f *followers) reset() {
	f.mu.Lock()
	defer f.mu.Unlock()
	clear(f.byID)
}

func (f *followers) forget(id raft.ServerID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.byID, id)
}

// listening is a transport that tells followers of every answer.
type listening struct {
	*raft.NetworkTransport
	followers *followers
}

// AppendEntries implements raft.Transport.
func (l listening) AppendEntries(id raft.ServerID, target raft.ServerAddress, req *raft.AppendEntriesRequest, resp *raft.AppendEntriesResponse) error {
	if err := l.NetworkTransport.AppendEntries(id, target, req, resp); err != nil {
		return err
	}
	if resp.Term > req.Term {
		return nil // somebody else leads
	}
	index, term := req.PrevLogEntry, req.PrevLogTerm // both 0 in a heartbeat
	if n := len(req.Entries); n > 0 {
		index, term = req.Entries[n-1].Index, req.Entries[n-1].Term
	}
	if !resp.Success {
		index, term = 0, 0
	}
	l.followers.heard(id, index, term)
	return nil
}

// InstallSnapshot implements raft.Transport.
func (l listening) InstallSnapshot(id raft.ServerID, target raft.ServerAddress, req *raft.InstallSnapshotRequest, resp *raft.InstallSnapshotResponse, data io.Reader) error {
	if err := l.NetworkTransport.InstallSnapshot(id, target, req, resp, data); err != nil {
		return err
	}
	if resp.Success {
		l.followers.heard(id, req.LastLogIndex, req.LastLogTerm)
	}
	return nil
}

package consensus

import (
	"errors"
	"fmt"
	"io"
	"sync/atomic"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// machine hands Raft's log to the tables.
type machine struct {
	tables  *state.Tables
	fatal   func(error)
	halted  atomic.Bool
	applied atomic.Uint64 // the newest command that the tables have
	news    news          // of applied
}

var errHalted = errors.New("stopped before a command that is not known here")

func (m *machine) stopped() bool { return m.halted.Load() }

// Apply implements raft.FSM. Its response is nil or the state's refusal.
func (m *machine) Apply(entry *raft.Log) any {
	if m.stopped() {
		return errHalted
	}
	cmd := &pb.Command{}
	err := proto.Unmarshal(entry.Data, cmd)
	if err == nil {
		err = m.tables.Apply(entry.Index, cmd)
		if err == nil || !errors.Is(err, state.ErrUnknownCommand) {
			m.reached(entry.Index)
			return err
		}
	}
	// Going on would make this node's state differ from the others': stop here,
	// before the command, and make no raft snapshot that claims to be past it.
	m.halted.Store(true)
	err = fmt.Errorf("log entry %d: %w", entry.Index, err)
	m.fatal(err)
	return err
}

// Snapshot implements raft.FSM. It is immediate: a view never changes.
func (m *machine) Snapshot() (raft.FSMSnapshot, error) {
	if m.stopped() {
		return nil, errHalted
	}
	return raftSnapshot{m.tables.View()}, nil
}

// Restore implements raft.FSM.
func (m *machine) Restore(r io.ReadCloser) error {
	defer r.Close()
	if _, err := m.tables.ReadFrom(r); err != nil {
		return err
	}
	m.reached(m.tables.View().Index())
	return nil
}

// reached notes that the tables have the command at index, and all before it.
// Only Raft's one goroutine that applies calls it.
func (m *machine) reached(index uint64) {
	if index > m.applied.Load() {
		m.applied.Store(index)
	}
	m.news.tell()
}

type raftSnapshot struct{ view *state.View }

// Persist implements raft.FSMSnapshot.
func (s raftSnapshot) Persist(sink raft.SnapshotSink) error {
	if _, err := s.view.WriteTo(sink); err != nil {
		return errors.Join(err, sink.Cancel())
	}
	if err := sink.Close(); err != nil {
		return fmt.Errorf("close raft snapshot: %w", err)
	}
	return nil
}

// Release implements raft.FSMSnapshot.
func (raftSnapshot) Release() {}

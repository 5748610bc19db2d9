package consensus

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"syscall"
	"testing"
	"time"

	"github.com/hashicorp/raft"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func entry(t *testing.T, index uint64, cmd *pb.Command) *raft.Log {
	t.Helper()
	cmd.ProposedAt = timestamppb.New(time.Unix(1_800_000_000, 0))
	b, err := proto.Marshal(cmd)
	if err != nil {
		t.Fatal(err)
	}
	return &raft.Log{Index: index, Data: b}
}

func TestAnUnknownCommandStopsTheMachineBeforeIt(t *testing.T) {
	var fatal error
	m := &machine{tables: state.New(), fatal: func(err error) { fatal = err }}
	known := func(index uint64, name string) any {
		return m.Apply(entry(t, index, &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: name}}}))
	}
	if got := known(1, "a"); got != nil {
		t.Fatal(got)
	}
	if got := m.Apply(entry(t, 2, &pb.Command{Skippable: true})); got != nil || m.stopped() {
		t.Fatalf("a skippable command: %v", got)
	}
	if m.Apply(entry(t, 3, &pb.Command{})) == nil || !errors.Is(fatal, state.ErrUnknownCommand) {
		t.Fatalf("an unknown command: fatal %v", fatal)
	}
	if got := known(4, "b"); got == nil || len(m.tables.View().Stores()) != 1 {
		t.Error("it went on")
	}
	if _, err := m.Snapshot(); err == nil {
		t.Error("it made a raft snapshot")
	}
}

// hung is a disk that hangs until it is let go.
type hung struct {
	raft.LogStore
	raft.StableStore
	release chan struct{}
}

func (h hung) wait() error { <-h.release; return io.ErrClosedPipe }

func (h hung) StoreLogs([]*raft.Log) error    { return h.wait() }
func (h hung) DeleteRange(_, _ uint64) error  { return h.wait() }
func (h hung) Set(_, _ []byte) error          { return h.wait() }
func (h hung) SetUint64([]byte, uint64) error { return h.wait() }

func TestAHangingDiskIsFatal(t *testing.T) {
	t.Parallel()
	for name, write := range map[string]func(guardedLog, guardedVotes) error{
		"an entry": func(l guardedLog, _ guardedVotes) error { return l.StoreLog(&raft.Log{}) },
		"entries":  func(l guardedLog, _ guardedVotes) error { return l.StoreLogs([]*raft.Log{{}, {}}) },
		"deletion": func(l guardedLog, _ guardedVotes) error { return l.DeleteRange(1, 2) },
		"a vote":   func(_ guardedLog, v guardedVotes) error { return v.Set([]byte("k"), []byte("v")) },
		"a term":   func(_ guardedLog, v guardedVotes) error { return v.SetUint64([]byte("k"), 1) },
	} {
		disk := hung{release: make(chan struct{})}
		guard := stallGuard{limit: time.Millisecond, fatal: func(error) { close(disk.release) }}
		if err := write(guardedLog{disk, guard}, guardedVotes{disk, guard}); !errors.Is(err, io.ErrClosedPipe) { // returns because fatal was called
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARaftSnapshotAndTheLogAfterItAreBothRead(t *testing.T) {
	o := Options{
		Dir: t.TempDir(), Tables: state.New(), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
		SnapshotEvery: 5, ElectionTimeout: 20 * time.Millisecond, Fatal: func(err error) { t.Error(err) },
	}
	open := func() *Node {
		t.Helper()
		o.Tables = state.New()
		n, err := Open(o)
		if err != nil {
			t.Fatal(err)
		}
		for !n.IsLeader() {
			<-n.Leadership()
		}
		return n
	}
	propose := func(n *Node, from, to int) {
		t.Helper()
		for i := from; i < to; i++ {
			cmd := &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: fmt.Sprintf("s%d", i)}}}
			if err := n.Propose(t.Context(), cmd); err != nil {
				t.Fatal(err)
			}
		}
	}
	n := open()
	propose(n, 0, 20)
	if err := n.raft.Snapshot().Error(); err != nil {
		t.Fatal(err)
	}
	if first, err := n.store.FirstIndex(); err != nil || first < 10 {
		t.Fatalf("the log still begins at %d: %v", first, err)
	}
	propose(n, 20, 25)
	if err := n.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	n = open()
	if got := len(n.View().Stores()); got != 25 {
		t.Errorf("%d stores, want 25", got)
	}
	if err := n.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// refusing is a disk that takes no writes.
type refusing struct{ *raft.InmemStore }

func (refusing) SetUint64([]byte, uint64) error { return syscall.EROFS }

func TestTheProcessEndsBeforeRaftPanicsForItsTerm(t *testing.T) {
	var told error
	votes := guardedVotes{refusing{raft.NewInmemStore()}, stallGuard{limit: time.Minute, fatal: func(err error) { told = err }}}
	if err := votes.SetUint64([]byte("LastVoteTerm"), 1); !errors.Is(err, syscall.EROFS) || told != nil {
		t.Errorf("a vote, which Raft then does not give: %v, and the process ends: %v", err, told)
	}
	if err := votes.SetUint64([]byte(termKey), 1); !errors.Is(err, syscall.EROFS) || !errors.Is(told, syscall.EROFS) {
		t.Errorf("the term: %v, and the process ends: %v", err, told)
	}
	// That is the name by which Raft stores it.
	store := raft.NewInmemStore()
	config := raft.DefaultConfig()
	config.LocalID = "c1"
	_, transport := raft.NewInmemTransport("c1")
	first := raft.Configuration{Servers: []raft.Server{{ID: "c1", Address: "c1"}}}
	if err := raft.BootstrapCluster(config, store, store, raft.NewInmemSnapshotStore(), transport, first); err != nil {
		t.Fatal(err)
	}
	if term, err := store.GetUint64([]byte(termKey)); err != nil || term == 0 {
		t.Errorf("Raft's term is %d, %v", term, err)
	}
}

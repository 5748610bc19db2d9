package scale

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"runtime"
	"time"

	"github.com/oklog/ulid/v2"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/bench/measure"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// perSource is how many snapshots a source has: a month of days.
const perSource = 30

// lists is how often each listing is asked for.
const lists = 50

// historian makes the commands of years of backups.
type historian struct {
	tables *state.Tables
	index  uint64
	at     time.Time
}

func (h *historian) apply(c *pb.Command) error {
	h.index++
	h.at = h.at.Add(time.Second)
	c.Version, c.ProposedAt, c.Actor = state.CommandVersion, timestamppb.New(h.at), "historian"
	return h.tables.Apply(h.index, c)
}

// backup is one backup that was made, of a source.
func (h *historian) backup(source string, n int) error {
	sum := sha256.Sum256(fmt.Appendf(nil, "%s %d", source, n))
	run := fmt.Sprintf("%x", sum[:10])
	id, err := ulid.New(ulid.Timestamp(h.at), bytes.NewReader(sum[:]))
	if err != nil {
		return fmt.Errorf("make an id: %w", err)
	}
	fire := timestamppb.New(h.at)
	snapshot := &pb.Snapshot{
		Id: id.String(), Source: source, Engine: "postgres", Server: "PostgreSQL 15.18", Image: "postgres:15", FireTime: fire, StartedAt: fire,
		RawBytes: 1 << 30, NewBytes: 1 << 20, ManifestSha256: sum[:], ManifestSize: 4096, Root: sum[:], KeyGeneration: 1, Stores: []string{"main"},
		Streams: []*pb.Stream{
			{Name: "globals.sql", Kind: "globals", Format: "pg_dumpall", Size: 4096, Sha256: sum[:]},
			{Name: "shop.sql", Kind: "database", Database: "shop", Format: "pg_dump-plain", Size: 1 << 30, Sha256: sum[:]},
		},
	}
	logs := []*pb.LogLine{{Time: fire, Level: "info", Message: "dumping server=PostgreSQL 15.18 streams=2"}, {Time: fire, Level: "info", Message: "snapshot committed"}}
	for _, c := range []*pb.Command{
		{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{Id: run, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, Trigger: "schedule", FireTime: fire}}}}},
		{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: run, Agent: "a", ExpiresAt: timestamppb.New(h.at.Add(time.Hour)), Snapshot: id.String()}}},
		{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: run, Epoch: 1, Snapshot: snapshot, Logs: logs}}},
	} {
		if err := h.apply(c); err != nil {
			return fmt.Errorf("backup %d of %s: %w", n, source, err)
		}
	}
	return nil
}

// fill has so many snapshots be made.
func (h *historian) fill(snapshots int) (sources int, err error) {
	sources = max(1, snapshots/perSource)
	for s := 0; s < sources; s += 100 {
		r := &pb.ReportSources{Agent: agentName(s)}
		for n := s; n < min(s+100, sources); n++ {
			r.Sources = append(r.Sources, &pb.Source{Name: ledgerSource(n), State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres", Agent: r.Agent})
		}
		if err := h.apply(&pb.Command{Command: &pb.Command_ReportSources{ReportSources: r}}); err != nil {
			return 0, fmt.Errorf("report sources: %w", err)
		}
	}
	for n := range snapshots {
		if err := h.backup(ledgerSource(n%sources), n); err != nil {
			return 0, err
		}
	}
	return sources, nil
}

func ledgerSource(n int) string { return fmt.Sprintf("host%04d/db%02d", n/10, n%10) }

// ledger measures a great ledger, first by itself and then in a real controller.
func (m *measurement) ledger(ctx context.Context) (err error) {
	l, err := startLeader(ctx, m.Binary, m.Memory)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.close()) }()
	// It grows out of the controller's own state, so that this is still its cluster.
	h := &historian{tables: state.New(), at: time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)}
	base, err := save(ctx, l)
	if err != nil {
		return err
	}
	if _, err := h.tables.ReadFrom(bytes.NewReader(base)); err != nil {
		return fmt.Errorf("read the controller's state: %w", err)
	}
	h.index = h.tables.View().Index()
	figures, raft, err := m.tables(h)
	m.figures.Ledger = figures
	if err != nil {
		return err
	}
	figures.Process, err = m.ledgerProcess(ctx, l, raft)
	return err
}

// tables fills the tables and measures them; it returns the raft snapshot.
func (m *measurement) tables(h *historian) (*Ledger, []byte, error) {
	before := heap()
	began := m.clock.Now()
	sources, err := h.fill(m.Snapshots)
	if err != nil {
		return nil, nil, err
	}
	l := &Ledger{Snapshots: m.Snapshots, Sources: sources, Build: m.since(began), Heap: heap() - before}
	var raft bytes.Buffer
	began = m.clock.Now()
	if l.Raft, err = h.tables.WriteTo(&raft); err != nil {
		return l, nil, err
	}
	l.Write = m.since(began)
	began = m.clock.Now()
	if _, err := state.New().ReadFrom(bytes.NewReader(raft.Bytes())); err != nil {
		return l, nil, err
	}
	l.Read = m.since(began)
	m.say("ledger of %d snapshots: built in %.1f s, heap %d MiB, raft snapshot %.1f MB, written in %.2f s, read in %.2f s",
		l.Snapshots, l.Build, l.Heap>>20, float64(l.Raft)/1e6, l.Write, l.Read)
	return l, raft.Bytes(), nil
}

func (m *measurement) since(began time.Time) float64 { return m.clock.Now().Sub(began).Seconds() }

// heap is what this process holds after a thorough look for what it does not need.
func heap() int64 {
	runtime.GC()
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapAlloc)
}

// ledgerProcess gives the raft snapshot to a real controller and asks it.
func (m *measurement) ledgerProcess(ctx context.Context, l *leader, raft []byte) (*LedgerProcess, error) {
	p := &LedgerProcess{}
	began := m.clock.Now()
	if err := restore(ctx, l, raft); err != nil {
		return nil, err
	}
	p.Restore = m.since(began)
	began = m.clock.Now()
	if _, err := save(ctx, l); err != nil {
		return nil, err
	}
	p.Save = m.since(began)
	if err := l.process.Stop(); err != nil {
		return nil, err
	}
	began = m.clock.Now()
	if err := l.start(ctx); err != nil {
		return nil, err
	}
	p.Restart = m.since(began)
	for _, ask := range []struct {
		what  string
		limit int32
		of    string
	}{{"newest 20 of all sources", 20, ""}, {"newest 1,000 of all sources", 1000, ""}, {"all of one source", 0, ledgerSource(0)}} {
		list := List{What: ask.what}
		var took []time.Duration
		for range lists {
			began := m.clock.Now()
			resp, err := l.admin.ListSnapshots(ctx, &pb.ListSnapshotsRequest{Source: ask.of, Limit: ask.limit})
			if err != nil {
				return nil, fmt.Errorf("list snapshots: %w", err)
			}
			took = append(took, m.clock.Now().Sub(began))
			list.Rows = len(resp.GetSnapshots())
		}
		list.Took = measure.SpreadOf(took)
		p.Lists = append(p.Lists, list)
	}
	var err error
	if _, p.RSS, err = l.process.Since(); err != nil {
		return nil, err
	}
	m.say("the same in a controller: restored in %.1f s, saved in %.1f s, started in %.1f s, RSS %d MiB, lists %+v", p.Restore, p.Save, p.Restart, p.RSS>>20, p.Lists)
	return p, nil
}

// save asks a controller for a raft snapshot.
func save(ctx context.Context, l *leader) ([]byte, error) {
	stream, err := l.cluster.SaveState(ctx, &pb.SaveStateRequest{})
	if err != nil {
		return nil, fmt.Errorf("save the state: %w", err)
	}
	var all []byte
	for {
		part, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return all, nil
		}
		if err != nil {
			return nil, fmt.Errorf("save the state: %w", err)
		}
		all = append(all, part.GetData()...)
	}
}

// restoreChunk is how many bytes of a raft snapshot are in one message.
const restoreChunk = 1 << 20

// restore gives a controller a raft snapshot.
func restore(ctx context.Context, l *leader, raft []byte) error {
	stream, err := l.cluster.RestoreState(ctx)
	if err != nil {
		return fmt.Errorf("restore the state: %w", err)
	}
	for len(raft) > 0 {
		n := min(restoreChunk, len(raft))
		if err := stream.Send(&pb.RestoreStateRequest{Data: raft[:n]}); errors.Is(err, io.EOF) {
			break // it has been refused, as the answer says
		} else if err != nil {
			return fmt.Errorf("restore the state: %w", err)
		}
		raft = raft[n:]
	}
	if _, err := stream.CloseAndRecv(); err != nil {
		return fmt.Errorf("restore the state: %w", err)
	}
	return l.answers(ctx)
}

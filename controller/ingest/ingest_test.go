package ingest_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/ingest"
	"github.com/baktainer/baktainer/controller/lease"
	"github.com/baktainer/baktainer/controller/serve"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	source   = "shop/db"
	snapshot = "01ARZ3NDEKTSV4RRFFQ69G5FAV"
	later    = "01ARZ3NDEKTSV4RRFFQ69G5FAW"
)

var start = time.Unix(1_800_000_000, 0)

// fixture is an ingest over a real state machine and a real gRPC connection.
type fixture struct {
	t      *testing.T
	tables *state.Tables
	index  uint64
	store  *mem.Store
	seen   *watched // the same, through which both work
	key    repo.KeyFile
	repo   *repo.Repository
	ingest *ingest.Ingest
	client pb.AgentServiceClient

	proposed func() // called when a command has been applied

	mu       sync.Mutex    // a writer sends several objects at once
	receipts []*pb.Receipt // of all uploads
}

type service struct {
	pb.UnimplementedAgentServiceServer
	ingest *ingest.Ingest
	serve  *serve.Serve
}

func (s *service) UploadObject(stream grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	return s.ingest.UploadObject(stream)
}

func (s *service) CommitSnapshot(ctx context.Context, req *pb.CommitSnapshotRequest) (*pb.CommitSnapshotResponse, error) {
	return s.ingest.CommitSnapshot(ctx, req)
}

func (s *service) ReadObject(req *pb.ReadObjectRequest, stream grpc.ServerStreamingServer[pb.ReadObjectResponse]) error {
	return s.serve.ReadObject(req, stream)
}

func (f *fixture) View() *state.View { return f.tables.View() }

func (f *fixture) Propose(_ context.Context, cmd *pb.Command) error {
	f.index++
	cmd = proto.CloneOf(cmd)
	cmd.Version, cmd.ProposedAt = 1, timestamppb.New(start.Add(time.Duration(f.index)*time.Second))
	if cmd.GetRequestId() == "" {
		cmd.RequestId = time.Duration(f.index).String()
	}
	if f.proposed != nil {
		defer f.proposed()
	}
	return f.tables.Apply(f.index, cmd)
}

func (f *fixture) must(cmd *pb.Command) {
	f.t.Helper()
	if err := f.Propose(f.t.Context(), cmd); err != nil {
		f.t.Fatal(err)
	}
}

func sourceKey(t *testing.T, r *repo.Repository, source string) repo.SourceKey {
	t.Helper()
	key, err := r.SourceKey(source, 0)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func newFixture(t *testing.T) *fixture {
	t.Helper()
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{t: t, tables: state.New(), store: mem.New(), key: key}
	if f.repo, err = repo.Create(t.Context(), f.store, key, start); err != nil {
		t.Fatal(err)
	}
	f.seen = &watched{Store: f.store}
	f.ingest = ingest.New(ingest.Options{
		Log: f, Repo: f.repo, Store: f.seen, StoreName: "default", Logger: slog.New(slog.DiscardHandler), ReceiptKey: [32]byte{1},
	})

	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAgentServiceServer(server, &service{ingest: f.ingest, serve: &serve.Serve{Check: lease.Check{View: f.View}, Store: f.seen}})
	listener := bufconn.Listen(1 << 20)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	options := append(transport.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return listener.DialContext(ctx) }))
	conn, err := grpc.NewClient("passthrough:bufconn", options...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	f.client = pb.NewAgentServiceClient(conn)
	f.lease("r1", snapshot)
	return f
}

// lease queues a backup and grants it, with epoch 1.
func (f *fixture) lease(run, snap string) *pb.Lease {
	f.t.Helper()
	f.must(&pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{
		Id: run, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, Trigger: "manual", FireTime: timestamppb.New(start.Add(time.Duration(len(run)+int(run[1])) * time.Minute)),
	}}}}})
	f.must(&pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{
		Run: run, Agent: "a1", Snapshot: snap, ExpiresAt: timestamppb.New(start.Add(time.Hour)),
	}}})
	return &pb.Lease{Run: run, Epoch: 1}
}

// upload sends an object, in parts of the given size.
func (f *fixture) upload(h *pb.ObjectHeader, data []byte, part int) error {
	f.t.Helper()
	stream, err := f.client.UploadObject(f.t.Context())
	if err != nil {
		return err
	}
	_ = stream.Send(&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Header{Header: h}})
	for len(data) > 0 {
		n := min(part, len(data))
		if stream.Send(&pb.UploadObjectRequest{Part: &pb.UploadObjectRequest_Data{Data: data[:n]}}) != nil {
			break
		}
		data = data[n:]
	}
	resp, err := stream.CloseAndRecv()
	if resp.GetReceipt() != nil {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.receipts = append(f.receipts, resp.GetReceipt())
	}
	return err
}

func header(l *pb.Lease, name string, data []byte) *pb.ObjectHeader {
	sum := sha256.Sum256(data)
	return &pb.ObjectHeader{Lease: l, Name: name, Size: int64(len(data)), Sha256: sum[:]}
}

// sink sends what a writer makes through the wire, and keeps it.
type sink struct {
	f     *fixture
	lease *pb.Lease
	sent  map[string][]byte
}

func (s *sink) Put(_ context.Context, name string, data []byte, _ ledger.Hash) error {
	s.f.mu.Lock()
	s.sent[name] = bytes.Clone(data)
	s.f.mu.Unlock()
	return s.f.upload(header(s.lease, name, data), data, 100_000)
}

// write makes a whole snapshot and returns the request to commit it.
func (f *fixture) write(l *pb.Lease, snap string, content []byte, base *repo.Base) (*pb.CommitSnapshotRequest, map[string][]byte) {
	f.t.Helper()
	s := &sink{f, l, map[string][]byte{}}
	w, err := repo.NewWriter(f.t.Context(), repo.WriterOptions{Source: source, Snapshot: snap, Key: sourceKey(f.t, f.repo, source), Base: base}, s)
	if err != nil {
		f.t.Fatal(err)
	}
	defer w.Abort()
	st, err := w.Stream(repo.StreamMeta{Name: "shop.sql", Kind: "database", Database: "shop", Format: "test"})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := st.Write(content); err != nil {
		f.t.Fatal(err)
	}
	if _, err := st.Close(repo.Contents{}); err != nil {
		f.t.Fatal(err)
	}
	sum, err := w.Finish(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	out := &pb.Snapshot{
		Id: snap, Source: source, Engine: "postgres", StartedAt: timestamppb.New(start), RawBytes: sum.RawBytes, NewBytes: sum.NewBytes,
		ManifestSha256: sum.Manifest[:], ManifestSize: sum.ManifestSize, Root: sum.Root[:],
	}
	for _, x := range sum.Streams {
		out.Streams = append(out.Streams, &pb.Stream{Name: x.Name, Kind: x.Kind, Database: x.Database, Format: x.Format, Size: x.Size, Sha256: x.SHA256[:]})
	}
	return &pb.CommitSnapshotRequest{Lease: l, Snapshot: out}, s.sent
}

func random(n int) []byte {
	r := rand.NewChaCha8([32]byte{1})
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

func TestASnapshotIsCommittedOnceAndCopiedForRescue(t *testing.T) {
	f := newFixture(t)
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(3<<20), nil)
	for range 2 { // the second time as after a lost answer
		resp, err := f.client.CommitSnapshot(t.Context(), req)
		if err != nil || resp.GetLedgerIndex() != 1 {
			t.Fatalf("commit = %v, %v", resp, err)
		}
	}
	if n := len(f.View().Snapshots(source, 0)); n != 1 {
		t.Fatalf("%d snapshots, want 1", n)
	}
	rc, err := f.store.Get(t.Context(), repo.LedgerName(1), 0, -1)
	if err != nil {
		t.Fatal(err)
	}
	var sealed bytes.Buffer
	if _, err := sealed.ReadFrom(rc); err != nil {
		t.Fatal(err)
	}
	text, err := f.repo.OpenLedger(1, sealed.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	var entry ledger.Entry
	if err := json.Unmarshal(text, &entry); err != nil {
		t.Fatal(err)
	}
	if err := entry.Follows(nil); err != nil || entry.Snapshot != snapshot {
		t.Errorf("ledger copy: %v, snapshot %s", err, entry.Snapshot)
	}

	// The next snapshot builds on the packs of the first, also when this process
	// has never seen them arrive.
	f.ingest.Forget(f.View())
	l := f.lease("r2", later)
	base, err := repo.LoadBase(t.Context(), f.store, sourceKey(f.t, f.repo, source), []repo.Ref{{Source: source, Snapshot: snapshot}})
	if err != nil {
		t.Fatal(err)
	}
	req, sent := f.write(l, later, random(3<<20), base)
	if len(sent) != 1 {
		t.Errorf("unchanged data sent %d objects, want the manifest alone", len(sent))
	}
	if _, err := f.client.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
}

// Who asked for a commit may be gone by the time that it is made: the snapshot
// exists, and a rescue has to find it all the same.
func TestACommitWhoseCallerIsGoneIsCopiedForRescue(t *testing.T) {
	f := newFixture(t)
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
	ctx, gone := context.WithCancel(t.Context())
	f.proposed = gone
	if _, err := f.ingest.CommitSnapshot(ctx, req); err != nil {
		t.Fatal(err)
	}
	if ctx.Err() == nil {
		t.Fatal("the caller is still there")
	}
	if _, err := f.store.Stat(t.Context(), repo.LedgerName(1)); err != nil {
		t.Errorf("its copy for rescue: %v", err)
	}
}

func TestWhatIsNotWhollyThereIsNotCommitted(t *testing.T) {
	for name, spoil := range map[string]func(*fixture, *pb.CommitSnapshotRequest, map[string][]byte){
		"pack missing": func(f *fixture, _ *pb.CommitSnapshotRequest, sent map[string][]byte) {
			f.drop(sent, "/packs/")
		},
		"manifest missing": func(f *fixture, _ *pb.CommitSnapshotRequest, sent map[string][]byte) {
			f.drop(sent, "/manifests/")
		},
		"pack cut": func(f *fixture, _ *pb.CommitSnapshotRequest, sent map[string][]byte) {
			f.change(sent, "/packs/", func(b []byte) []byte { return b[:len(b)-1] })
		},
		"pack damaged before a restart": func(f *fixture, _ *pb.CommitSnapshotRequest, sent map[string][]byte) {
			f.change(sent, "/packs/", func(b []byte) []byte { b[len(b)/2] ^= 1; return b })
			*f.ingest = *ingest.New(f.ingest.Options)
		},
		"manifest damaged": func(f *fixture, _ *pb.CommitSnapshotRequest, sent map[string][]byte) {
			f.change(sent, "/manifests/", func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		},
		"another manifest's hash": func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) {
			r.Snapshot.ManifestSha256[0] ^= 1
		},
		"another snapshot":               func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) { r.Snapshot.Id = later },
		"another source":                 func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) { r.Snapshot.Source = "other" },
		"under a key that was succeeded": func(f *fixture, _ *pb.CommitSnapshotRequest, _ map[string][]byte) { f.succeed() },
		"stale epoch":                    func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) { r.Lease.Epoch = 0 },
		"epoch of tomorrow":              func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) { r.Lease.Epoch = 2 },
		"unknown run":                    func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) { r.Lease.Run = "nobody" },
		"no snapshot":                    func(_ *fixture, r *pb.CommitSnapshotRequest, _ map[string][]byte) { r.Snapshot = nil },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			req, sent := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
			spoil(f, req, sent)
			_, err := f.client.CommitSnapshot(t.Context(), req)
			if err == nil {
				t.Error("it was committed")
			}
			t.Log(err)
			if n := len(f.View().Snapshots("", 0)); n != 0 {
				t.Errorf("%d snapshots are listed", n)
			}
		})
	}
}

// A snapshot tells the generation of its key, and builds on none of another.
func TestAfterANewGenerationAllIsStoredAnew(t *testing.T) {
	f := newFixture(t)
	req, _ := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(3<<20), nil)
	if _, err := f.client.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	f.succeed()
	base, err := repo.LoadBase(t.Context(), f.store, sourceKey(t, f.repo, source), []repo.Ref{{Source: source, Snapshot: snapshot}})
	if err != nil || base.Chunks() > 0 {
		t.Fatalf("a base of %d chunks, %v", base.Chunks(), err)
	}
	req, sent := f.write(f.lease("r2", later), later, random(3<<20), base)
	if len(sent) < 2 {
		t.Errorf("%d objects were sent", len(sent))
	}
	if _, err := f.client.CommitSnapshot(t.Context(), req); err != nil {
		t.Fatal(err)
	}
	for id, want := range map[string]uint32{snapshot: 1, later: 2} {
		if s, _ := f.View().Snapshot(id); s.GetKeyGeneration() != want {
			t.Errorf("snapshot %s is of generation %d, want %d", id, s.GetKeyGeneration(), want)
		}
		s, err := f.repo.OpenSnapshot(t.Context(), f.store, repo.Ref{Source: source, Snapshot: id})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.Verify(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
}

// succeed makes a new generation of keys, and starts anew with it.
func (f *fixture) succeed() {
	f.t.Helper()
	keys, err := repo.OpenKeys(f.t.Context(), f.store, f.key)
	if err == nil {
		_, err = keys.NewGeneration(f.t.Context(), false, start)
	}
	if err == nil {
		f.repo, err = repo.Open(f.t.Context(), f.store, f.key)
	}
	if err != nil {
		f.t.Fatal(err)
	}
	f.ingest.Repo = f.repo
}

func (f *fixture) drop(sent map[string][]byte, part string) {
	for name := range sent {
		if strings.Contains(name, part) {
			_ = f.store.Delete(f.t.Context(), name)
		}
	}
}

func (f *fixture) change(sent map[string][]byte, part string, how func([]byte) []byte) {
	for name := range sent {
		if strings.Contains(name, part) {
			f.store.Change(name, how)
		}
	}
}

func TestUploadsAreChecked(t *testing.T) {
	pack := repo.PackName(source, "00112233445566778899aabbccddeeff")
	data := []byte("some bytes of a pack")
	good := func() *pb.ObjectHeader { return header(&pb.Lease{Run: "r1", Epoch: 1}, pack, data) }
	for name, tc := range map[string]struct {
		spoil func(*pb.ObjectHeader)
		data  []byte
		code  problem.Code
	}{
		"good":               {func(*pb.ObjectHeader) {}, data, ""},
		"other bytes":        {func(*pb.ObjectHeader) {}, []byte("SOME bytes of a pack"), problem.Corrupt},
		"too few bytes":      {func(*pb.ObjectHeader) {}, data[:5], problem.Unavailable},
		"too many bytes":     {func(h *pb.ObjectHeader) { h.Size-- }, data, problem.InvalidInput},
		"another source":     {func(h *pb.ObjectHeader) { h.Name = strings.Replace(pack, "shop~db", "other", 1) }, data, problem.InvalidInput},
		"outside the store":  {func(h *pb.ObjectHeader) { h.Name = "../../etc/passwd" }, data, problem.InvalidInput},
		"the format":         {func(h *pb.ObjectHeader) { h.Name = repo.FormatName }, data, problem.InvalidInput},
		"a ledger copy":      {func(h *pb.ObjectHeader) { h.Name = repo.LedgerName(1) }, data, problem.InvalidInput},
		"a foreign manifest": {func(h *pb.ObjectHeader) { h.Name = repo.ManifestName(source, later) }, data, problem.InvalidInput},
		"huge":               {func(h *pb.ObjectHeader) { h.Size = 1 << 40 }, data, problem.InvalidInput},
		"negative":           {func(h *pb.ObjectHeader) { h.Size = -1 }, data, problem.InvalidInput},
		"no hash":            {func(h *pb.ObjectHeader) { h.Sha256 = nil }, data, problem.InvalidInput},
		"stale epoch":        {func(h *pb.ObjectHeader) { h.Lease.Epoch = 7 }, data, problem.Conflict},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			h := good()
			tc.spoil(h)
			err := f.upload(h, tc.data, 7)
			if tc.code == "" {
				if err != nil {
					t.Fatal(err)
				}
				if err := f.upload(h, tc.data, 3); err != nil {
					t.Errorf("sent again: %v", err)
				}
				other := []byte("a pack of other byte")
				if err := f.upload(header(h.GetLease(), pack, other), other, 100); problem.CodeOf(err) != problem.Conflict {
					t.Errorf("other bytes under the same name: %v", err)
				}
				return
			}
			if problem.CodeOf(err) != tc.code {
				t.Errorf("error = %v (%s), want %s", err, problem.CodeOf(err), tc.code)
			}
			if _, err := f.store.Stat(t.Context(), h.GetName()); err == nil && h.GetName() != repo.FormatName {
				t.Error("it is visible in the store")
			}
		})
	}
}

func TestAnAgentReadsOnlyWhatItsLeaseIsFor(t *testing.T) {
	f := newFixture(t)
	req, sent := f.write(&pb.Lease{Run: "r1", Epoch: 1}, snapshot, random(1<<20), nil)
	read := func(name string, l *pb.Lease) ([]byte, error) {
		stream, err := f.client.ReadObject(t.Context(), &pb.ReadObjectRequest{Lease: l, Name: name, Length: -1})
		if err != nil {
			return nil, err
		}
		var all []byte
		for {
			m, err := stream.Recv()
			if err != nil {
				if err.Error() == "EOF" {
					return all, nil
				}
				return all, err
			}
			all = append(all, m.GetData()...)
		}
	}
	for name, want := range sent {
		if got, err := read(name, req.GetLease()); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %d bytes, %v", name, len(got), err)
		}
	}
	for _, name := range []string{repo.FormatName, repo.LedgerName(1), repo.ManifestName("other", snapshot), "../x"} {
		if got, err := read(name, req.GetLease()); err == nil {
			t.Errorf("%s was read: %d bytes", name, len(got))
		}
	}
	if _, err := read(repo.ManifestName(source, snapshot), &pb.Lease{Run: "r1", Epoch: 2}); err == nil {
		t.Error("a lease that nobody has could read")
	}
}

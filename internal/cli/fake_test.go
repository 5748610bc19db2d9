package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// today is when all tests of this package take place.
var today = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *timestamppb.Timestamp { return timestamppb.New(today.Add(-d)) }

const (
	shopSQL    = "-- the shop\nSELECT 1;\n"
	globalsSQL = "CREATE ROLE shop;\n"
)

// fake is a controller with fixed answers. It keeps the last request of each kind.
type fake struct {
	pb.UnimplementedAdminServiceServer
	mu      sync.Mutex
	backup  *pb.StartBackupRequest
	restore *pb.StartRestoreRequest
	// How the run of a source ends; those not named succeed.
	ends map[string]*pb.Run
	// broken streams are cut short or changed on their way.
	broken map[string]string
	// What each snapshot's verification finds.
	findings map[string][]*pb.Failure
	problems []string
	// noContents is why nobody can tell what is in snapshots.
	noContents error
	coverage   *pb.GetCoverageResponse
	// old is a controller of before GetContents.
	old bool
	// drops is how many times WatchRun breaks off before it answers.
	drops int
	// gone is closed to leave runs unfinished for ever.
	hang bool
}

func stream(name, kind, database, text string) *pb.Stream {
	sum := sha256.Sum256([]byte(text))
	return &pb.Stream{Name: name, Kind: kind, Database: database, Format: "pg_dump-plain", Size: int64(len(text)), Sha256: sum[:]}
}

func snapshots() []*pb.Snapshot {
	return []*pb.Snapshot{
		{
			Id: "01JNG3ZZZZZZZZZZZZZZZZZZZ2", Source: "shop/db", Run: "r2", Epoch: 1, Engine: "postgres", Server: "PostgreSQL 15.18", Image: "postgres:15",
			FireTime: ago(2 * time.Hour), StartedAt: ago(2 * time.Hour), CommittedAt: ago(2*time.Hour - 3500*time.Millisecond),
			Streams:  []*pb.Stream{stream("globals.sql", "globals", "", globalsSQL), stream("shop.sql", "database", "shop", shopSQL)},
			RawBytes: 12 << 20, NewBytes: 300 << 10, ManifestSha256: []byte{1, 2}, ManifestSize: 4096, Root: []byte{3}, Stores: []string{"default"},
			LedgerIndex: 2, Hash: []byte{4}, VerifiedAt: ago(time.Hour), DrilledAt: ago(time.Hour), Recovery: durationpb.New(3400 * time.Millisecond),
		},
		{
			Id: "01JNG1ZZZZZZZZZZZZZZZZZZZ1", Source: "wiki", Run: "r1", Epoch: 2, Engine: "sqlite", FireTime: ago(26 * time.Hour),
			StartedAt: ago(26 * time.Hour), CommittedAt: ago(26*time.Hour - time.Minute), Streams: []*pb.Stream{stream("wiki.db", "file", "", shopSQL)},
			RawBytes: 900, NewBytes: 900, Stores: []string{"default"}, LedgerIndex: 1,
		},
	}
}

func runs() []*pb.Run {
	return []*pb.Run{
		{
			Id: "r3", Kind: pb.RunKind_RUN_KIND_BACKUP, State: pb.RunState_RUN_STATE_FAILED, Source: "wiki", Trigger: "schedule", Agent: "a1", Epoch: 1,
			FireTime: ago(time.Hour), QueuedAt: ago(time.Hour), StartedAt: ago(time.Hour), EndedAt: ago(time.Hour - 90*time.Second),
			Failure: wrongPassword("wiki"),
			Logs: []*pb.LogLine{
				{Time: ago(time.Hour), Level: "info", Message: "dumping wiki.db"},
				{Time: ago(time.Hour - time.Second), Level: "error", Message: "tool says \x1b[31mno"},
			},
		},
		{
			Id: "r2", Kind: pb.RunKind_RUN_KIND_BACKUP, State: pb.RunState_RUN_STATE_SUCCEEDED, Source: "shop/db", Trigger: "manual", Agent: "a1", Epoch: 1,
			QueuedAt: ago(2 * time.Hour), StartedAt: ago(2 * time.Hour), EndedAt: ago(2*time.Hour - 3500*time.Millisecond), Snapshot: "01JNG3ZZZZZZZZZZZZZZZZZZZ2",
		},
	}
}

func passed() *pb.DrillResult {
	return &pb.DrillResult{
		Passed: true, Ready: durationpb.New(2400 * time.Millisecond), Restored: durationpb.New(time.Second), Objects: 3, Rows: 87, Assertions: 1, Image: "postgres@sha256:1",
	}
}

func drills() []*pb.Run {
	return []*pb.Run{
		{
			Id: "d2", Kind: pb.RunKind_RUN_KIND_DRILL, State: pb.RunState_RUN_STATE_FAILED, Source: "wiki", Trigger: "schedule", Agent: "a1", Epoch: 1,
			QueuedAt: ago(time.Hour), StartedAt: ago(time.Hour), EndedAt: ago(time.Hour - time.Minute), Snapshot: "01JNG1ZZZZZZZZZZZZZZZZZZZ1",
			Failure: &pb.Failure{Code: "failed", Reason: "drill-mismatch", Message: "the restored data is not what was dumped"}, DrillResult: &pb.DrillResult{},
		},
		{
			Id: "d1", Kind: pb.RunKind_RUN_KIND_DRILL, State: pb.RunState_RUN_STATE_SUCCEEDED, Source: "shop/db", Trigger: "manual", Agent: "a1", Epoch: 1,
			QueuedAt: ago(3 * time.Hour), StartedAt: ago(3 * time.Hour), EndedAt: ago(3*time.Hour - time.Minute), Snapshot: "01JNG3ZZZZZZZZZZZZZZZZZZZ2", DrillResult: passed(),
		},
	}
}

func wrongPassword(source string) *pb.Failure {
	return &pb.Failure{
		Code: string(problem.Denied), Reason: "wrong-password", Message: "dump database wiki: the server refused the password", Source: source,
		Hint: "Check the label baktainer.db.password.", Details: []string{"FATAL: \x1b[1mpassword authentication failed"},
	}
}

func (f *fake) ListSources(context.Context, *pb.ListSourcesRequest) (*pb.ListSourcesResponse, error) {
	return &pb.ListSourcesResponse{Sources: []*pb.SourceStatus{
		{
			Source: &pb.Source{
				Name: "shop/db", State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres", AllDatabases: true, Agent: "a1", ReportedAt: ago(time.Minute),
				Container: &pb.Container{Id: "c0ffee", Name: "shop_db_1", Image: "postgres:15", ImageDigest: "sha256:1"},
			},
			LastSnapshot: snapshots()[0], LastRun: runs()[1], Snapshots: 1, NextFireAt: timestamppb.New(today.Add(12 * time.Hour)),
		},
		{
			Source: &pb.Source{Name: "old", State: pb.SourceState_SOURCE_STATE_INVALID, Agent: "a1", Problems: []*pb.LabelProblem{
				{Label: "baktainer.db.engine", Value: "posgres", Reason: "there is no such engine", Suggestion: "Did you mean postgres?"},
				{Label: "baktainer.backup.priority", Value: "low", Reason: "has no effect", Warning: true},
			}},
		},
	}}, nil
}

func (f *fake) GetSource(ctx context.Context, req *pb.GetSourceRequest) (*pb.GetSourceResponse, error) {
	all, _ := f.ListSources(ctx, nil)
	for _, s := range all.GetSources() {
		if s.GetSource().GetName() == req.GetName() {
			return &pb.GetSourceResponse{Source: s}, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no source %q", req.GetName()).WithHint("`baktainer source ls` lists them.")
}

func (f *fake) StartBackup(_ context.Context, req *pb.StartBackupRequest) (*pb.StartBackupResponse, error) {
	f.mu.Lock()
	f.backup = req
	f.mu.Unlock()
	names := req.GetSources()
	if req.GetAll() {
		names = []string{"shop/db", "wiki"}
	}
	resp := &pb.StartBackupResponse{}
	for _, n := range names {
		if n == "none" {
			continue
		}
		r := &pb.Run{Kind: pb.RunKind_RUN_KIND_BACKUP, State: pb.RunState_RUN_STATE_QUEUED, Source: n, Trigger: "manual", Agent: "a1"}
		if !req.GetDryRun() {
			r.Id = "run-" + n
		}
		resp.Runs = append(resp.Runs, r)
	}
	return resp, nil
}

func (f *fake) StartRestore(_ context.Context, req *pb.StartRestoreRequest) (*pb.StartRestoreResponse, error) {
	f.mu.Lock()
	f.restore = req
	f.mu.Unlock()
	return &pb.StartRestoreResponse{Run: &pb.Run{Id: "run-shop/db", Kind: pb.RunKind_RUN_KIND_RESTORE, Source: "shop/db"}}, nil
}

func (f *fake) StartDrill(_ context.Context, req *pb.StartDrillRequest) (*pb.StartDrillResponse, error) {
	resp := &pb.StartDrillResponse{}
	for _, id := range req.GetSnapshots() {
		for _, s := range snapshots() {
			if s.GetId() == id {
				resp.Runs = append(resp.Runs, &pb.Run{Id: "run-" + s.GetSource(), Kind: pb.RunKind_RUN_KIND_DRILL, Source: s.GetSource(), Snapshot: id, Agent: req.GetAgent()})
			}
		}
	}
	return resp, nil
}

func (f *fake) WatchRun(req *pb.WatchRunRequest, s grpc.ServerStreamingServer[pb.WatchRunResponse]) error {
	name := strings.TrimPrefix(req.GetId(), "run-")
	run := &pb.Run{
		Id: req.GetId(), Source: name, State: pb.RunState_RUN_STATE_RUNNING, StartedAt: ago(10 * time.Second), Agent: "a1",
		Progress: &pb.Progress{Phase: "dumping " + name, BytesDone: 5 << 20, BytesTotal: 10 << 20},
		Logs:     []*pb.LogLine{{Time: ago(9 * time.Second), Level: "info", Message: "began"}},
	}
	if err := s.Send(&pb.WatchRunResponse{Run: run}); err != nil {
		return err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.hang {
		f.mu.Unlock()
		<-s.Context().Done()
		f.mu.Lock()
		return s.Context().Err()
	}
	if f.drops > 0 {
		f.drops--
		if f.drops%2 == 0 {
			return problem.New(problem.Unavailable, "there is no leader").WithReason("no-leader")
		}
		return problem.New(problem.Unavailable, "the controller stops").WithReason(transport.ReasonNoAnswer)
	}
	end := &pb.Run{
		Id: req.GetId(), Source: name, State: pb.RunState_RUN_STATE_SUCCEEDED, StartedAt: ago(10 * time.Second), EndedAt: ago(6 * time.Second),
		Snapshot: snapshots()[0].GetId(), Report: f.ends[name].GetReport(), Warnings: f.ends[name].GetWarnings(), Logs: run.GetLogs(), DrillResult: f.ends[name].GetDrillResult(),
	}
	if e := f.ends[name]; e != nil && e.GetState() != pb.RunState_RUN_STATE_UNSPECIFIED {
		end.State, end.Failure, end.Snapshot = e.GetState(), e.GetFailure(), ""
	}
	return s.Send(&pb.WatchRunResponse{Run: end})
}

func (f *fake) ListRuns(_ context.Context, req *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	if req.GetSource() == "none" {
		return &pb.ListRunsResponse{}, nil
	}
	if req.GetKind() == pb.RunKind_RUN_KIND_DRILL {
		return &pb.ListRunsResponse{Runs: drills()}, nil
	}
	return &pb.ListRunsResponse{Runs: runs()}, nil
}

func (f *fake) GetRun(_ context.Context, req *pb.GetRunRequest) (*pb.GetRunResponse, error) {
	for _, r := range runs() {
		if r.GetId() == req.GetId() {
			return &pb.GetRunResponse{Run: r}, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no run %q", req.GetId())
}

func (f *fake) CancelRun(_ context.Context, req *pb.CancelRunRequest) (*pb.CancelRunResponse, error) {
	return &pb.CancelRunResponse{Run: &pb.Run{Id: req.GetId(), State: pb.RunState_RUN_STATE_RUNNING, CancelRequested: true}}, nil
}

func (f *fake) ListSnapshots(_ context.Context, req *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error) {
	return &pb.ListSnapshotsResponse{Snapshots: snapshots()}, nil
}

func (f *fake) GetSnapshot(_ context.Context, req *pb.GetSnapshotRequest) (*pb.GetSnapshotResponse, error) {
	older := &pb.Snapshot{Id: "01JNG0ZZZZZZZZZZZZZZZZZZZ0", Source: "shop/db", CommittedAt: ago(26 * time.Hour), RawBytes: 13 << 20} // no listing has it
	for _, s := range append(snapshots(), older) {
		if strings.HasPrefix(s.GetId(), req.GetSnapshot()) || s.GetSource()+"@latest" == req.GetSnapshot() {
			return &pb.GetSnapshotResponse{Snapshot: s}, nil
		}
	}
	return nil, problem.New(problem.NotFound, "there is no snapshot %q", req.GetSnapshot())
}

func (f *fake) VerifySnapshot(req *pb.VerifySnapshotRequest, s grpc.ServerStreamingServer[pb.VerifySnapshotResponse]) error {
	if err := s.Send(&pb.VerifySnapshotResponse{BytesDone: 1, BytesTotal: 2}); err != nil {
		return err
	}
	return s.Send(&pb.VerifySnapshotResponse{BytesDone: 2, BytesTotal: 2, Report: &pb.VerifyReport{
		Packs: 3, StoredBytes: 2 << 20, Chunks: 700, RawBytes: 12 << 20, Problems: f.findings[req.GetSnapshot()],
	}})
}

func (f *fake) GetCoverage(context.Context, *pb.GetCoverageRequest) (*pb.GetCoverageResponse, error) {
	return f.coverage, nil
}

// GetContents tells of the newer snapshot in two parts, and has nothing to tell
// of any snapshot when its manifest is gone.
func (f *fake) GetContents(req *pb.GetContentsRequest, s grpc.ServerStreamingServer[pb.GetContentsResponse]) error {
	switch {
	case f.noContents != nil:
		return f.noContents
	case f.old:
		return f.UnimplementedAdminServiceServer.GetContents(req, s)
	}
	object := func(kind, name string, rows int64) *pb.ContentsObject {
		return &pb.ContentsObject{Kind: kind, Name: name, Rows: rows}
	}
	parts := []*pb.GetContentsResponse{{Stream: "wiki.db", Objects: []*pb.ContentsObject{object("file", "wiki.db", -1)}}}
	switch req.GetSnapshot() {
	case snapshots()[0].GetId():
		parts = []*pb.GetContentsResponse{
			{Stream: "globals.sql", Objects: []*pb.ContentsObject{object("role", "shop", -1)}},
			{Stream: "shop.sql", Objects: []*pb.ContentsObject{object("left out", "public.sessions", -1), object("rows left out", "public.log\x1b[31m", -1), object("table", "public.customers", 70)}, Notes: []string{"dumped by pg_dump version 15.18"}},
			{Stream: "shop.sql", Objects: []*pb.ContentsObject{object("table", "public.orders\x1b[31m", 12), object("table", "public.invoices", 5)}},
		}
	case "01JNG0ZZZZZZZZZZZZZZZZZZZ0":
		parts = []*pb.GetContentsResponse{
			{Stream: "globals.sql", Objects: []*pb.ContentsObject{object("role", "shop", -1)}},
			{Stream: "shop.sql", Objects: []*pb.ContentsObject{object("table", "public.customers", 700), object("table", "public.carts", 3), object("table", "public.invoices", 4)}},
		}
	}
	for _, p := range parts {
		if err := s.Send(p); err != nil {
			return err
		}
	}
	return nil
}

func (f *fake) DumpSnapshot(req *pb.DumpSnapshotRequest, s grpc.ServerStreamingServer[pb.DumpSnapshotResponse]) error {
	text := shopSQL
	if req.GetSelect() == "globals.sql" {
		text = globalsSQL
	}
	if b, ok := f.broken[req.GetSelect()]; ok {
		text = b
	}
	half := len(text) / 2
	if err := s.Send(&pb.DumpSnapshotResponse{Data: []byte(text[:half])}); err != nil {
		return err
	}
	if f.broken[req.GetSelect()] == "" && f.broken != nil {
		return problem.New(problem.Corrupt, "a pack is damaged")
	}
	return s.Send(&pb.DumpSnapshotResponse{Data: []byte(text[half:])})
}

func (f *fake) GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	return &pb.GetStatusResponse{
		Version: "v1.2.3", Cluster: "cl", Node: "c1", Leader: true, StartedAt: ago(48 * time.Hour), DefaultSchedule: "0 0 * * *",
		NextFireAt: timestamppb.New(today.Add(12 * time.Hour)), Sources: 2, Snapshots: 2, Problems: f.problems,
		Agents: []*pb.AgentInfo{{
			Id: "a1", Host: "box", Version: "v1.2.3", Connected: true, LastSeenAt: ago(5 * time.Second), Running: 1, Concurrency: 4,
			Providers: []*pb.ProviderHealth{{Name: "docker", Healthy: true, Detail: "connected, API 1.41", Since: durationpb.New(time.Hour)}},
		}},
		Stores: []*pb.StoreInfo{{Name: "default", Location: "fs:/var/lib/baktainer/store", Healthy: true, FreeBytes: 5 << 30, TotalBytes: 20 << 30}},
	}, nil
}

// serve starts the fake on a unix socket and returns its path.
func serve(t *testing.T, f pb.AdminServiceServer) string {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "b.sock")
	l, err := transport.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(transport.ServerOptions()...)
	pb.RegisterAdminServiceServer(server, f)
	if f, ok := f.(pb.ClusterServiceServer); ok {
		pb.RegisterClusterServiceServer(server, f)
	}
	if f, ok := f.(pb.NotifyServiceServer); ok {
		pb.RegisterNotifyServiceServer(server, f)
	}
	if f, ok := f.(pb.RetentionServiceServer); ok {
		pb.RegisterRetentionServiceServer(server, f)
	}
	if f, ok := f.(pb.ScheduleServiceServer); ok {
		pb.RegisterScheduleServiceServer(server, f)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(l); err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
	return socket
}

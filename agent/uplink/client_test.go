package uplink_test

import (
	"context"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/agent/inventory"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

type sessionStream = grpc.ServerStreamingServer[pb.SessionResponse]

// saying is a session that sends these messages and ends with err.
func saying(err error, messages ...*pb.SessionResponse) func(*pb.SessionRequest, sessionStream) error {
	return func(_ *pb.SessionRequest, stream sessionStream) error {
		for _, m := range messages {
			if serr := stream.Send(m); serr != nil {
				return serr
			}
		}
		return err
	}
}

func complete(results string, as ...*pb.Assignment) *pb.SessionResponse {
	return &pb.SessionResponse{Session: "s1", Type: pb.SessionResponse_TYPE_COMPLETE, ResultsIn: results, Assign: as}
}

func change(applies, results string, as ...*pb.Assignment) *pb.SessionResponse {
	return &pb.SessionResponse{Session: "s1", Type: pb.SessionResponse_TYPE_INCREMENTAL, AppliesTo: applies, ResultsIn: results, Assign: as}
}

func wireKey() []byte { return []byte(strings.Repeat("k", 32)) }

func backupOnWire(run string) *pb.Assignment {
	return &pb.Assignment{
		Lease: &pb.Lease{Run: run, Epoch: 2}, Source: "shop/db", LeaseDuration: durationpb.New(time.Minute),
		Traceparent: "00-1-2-01", SourceKey: wireKey(), Controllers: []string{"c2", "c1"},
		Work: &pb.Assignment_Backup{Backup: &pb.BackupWork{
			Snapshot: "new", FireTime: timestamppb.New(noon), AvoidPacks: []string{"spoilt"},
			Base: []*pb.SnapshotRef{
				{Snapshot: "old", ManifestSha256: []byte(strings.Repeat("h", 32)), ManifestSize: 9},
				{Snapshot: "odd", ManifestSha256: []byte("short")},
			},
		}},
	}
}

func restoreOnWire(run string) *pb.Assignment {
	return &pb.Assignment{
		Lease: &pb.Lease{Run: run, Epoch: 1}, SourceKey: wireKey(), LeaseDuration: durationpb.New(time.Second),
		Work: &pb.Assignment_Restore{Restore: &pb.RestoreWork{
			Snapshot: &pb.SnapshotRef{Snapshot: "old", ManifestSize: 9}, SnapshotSource: "shop/db", Engine: "postgres",
			Request: &pb.RestoreRequest{TargetContainer: "box", Select: []string{"shop"}, Overwrite: true, DryRun: true, NoOwner: true},
		}},
	}
}

// tablesOnWire is a restore of single tables: another kind of work, which those who
// do not know of it refuse.
func tablesOnWire(run string) *pb.Assignment {
	a := restoreOnWire(run)
	w := a.GetRestore()
	w.Request.Tables, w.Request.As = []string{"orders"}, "shop_before"
	a.Work = &pb.Assignment_RestoreOtherwise{RestoreOtherwise: w}
	return a
}

func hashed(c string) (h ledger.Hash) {
	copy(h[:], strings.Repeat(c, 32))
	return h
}

func TestASessionHandsOverWhatItIsTold(t *testing.T) {
	var hello *pb.SessionRequest
	client, _ := dial(t, &service{session: func(req *pb.SessionRequest, stream sessionStream) error {
		hello = req
		cancel := change("1", "2")
		cancel.Cancel = []*pb.Lease{{Run: "r1", Epoch: 2}}
		cancel.TrustVersion, cancel.Logs = 4, &pb.LogRequest{Id: "l1", Lines: 9}
		return saying(nil, complete("0", backupOnWire("r1")), change("0", "1", restoreOnWire("r2"), tablesOnWire("r3")), cancel, complete("9"), change("9", "10"))(req, stream)
	}})
	var got []uplink.Update
	err := client.Session(t.Context(), uplink.Hello{Host: "h", Version: "v", Concurrency: 3, Held: []uplink.Lease{lease}}, func(u uplink.Update) { got = append(got, u) })
	if err == nil || !strings.Contains(err.Error(), "ended the session") {
		t.Errorf("error %v", err)
	}
	wantHello := &pb.SessionRequest{Agent: "a1", Host: "h", Version: "v", Concurrency: 3, Held: []*pb.Lease{{Run: "r1", Epoch: 3}}}
	if !proto.Equal(hello, wantHello) {
		t.Errorf("hello %v, want %v", hello, wantHello)
	}
	key, err := repo.NewSourceKey(wireKey(), 0)
	if err != nil {
		t.Fatal(err)
	}
	want := []uplink.Update{
		{Session: "s1", Complete: true, Assign: []uplink.Assignment{{
			Lease: uplink.Lease{Run: "r1", Epoch: 2}, Source: "shop/db", Duration: time.Minute, Traceparent: "00-1-2-01", Key: key, Controllers: []string{"c2", "c1"},
			Backup: &uplink.BackupWork{Snapshot: "new", FireTime: noon, Avoid: []string{"spoilt"}, Manifest: repo.PlainManifest, Base: []repo.Ref{
				{Source: "shop/db", Snapshot: "old", Manifest: hashed("h"), Size: 9}, {Source: "shop/db", Snapshot: "odd"},
			}},
		}}},
		{Session: "s1", Assign: []uplink.Assignment{{
			Lease: uplink.Lease{Run: "r2", Epoch: 1}, Duration: time.Second, Key: key,
			Restore: &uplink.RestoreWork{
				Snapshot: repo.Ref{Source: "shop/db", Snapshot: "old", Size: 9}, Engine: "postgres", Container: "box",
				Select: []string{"shop"}, Overwrite: true, DryRun: true, NoOwner: true,
			},
		}, {
			Lease: uplink.Lease{Run: "r3", Epoch: 1}, Duration: time.Second, Key: key,
			Restore: &uplink.RestoreWork{
				Snapshot: repo.Ref{Source: "shop/db", Snapshot: "old", Size: 9}, Engine: "postgres", Container: "box",
				Select: []string{"shop"}, Tables: []string{"orders"}, As: "shop_before", Overwrite: true, DryRun: true, NoOwner: true,
			},
		}}},
		{Session: "s1", Cancel: []uplink.Lease{{Run: "r1", Epoch: 2}}, Trust: 4, Logs: &uplink.LogRequest{ID: "l1", Lines: 9}},
		{Session: "s1", Complete: true},
		{Session: "s1"},
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("updates\n%+v, want\n%+v", got, want)
	}
}

func TestWorkThatIsNotUnderstoodIsRefusedAlone(t *testing.T) {
	short, none, unknown := backupOnWire("short"), backupOnWire("none"), backupOnWire("unknown")
	short.SourceKey = short.GetSourceKey()[:31]
	none.SourceKey = nil
	unknown.Work = nil
	var refused []*pb.FinishRunRequest
	client, _ := dial(t, &service{
		session: saying(nil, complete("0", short, backupOnWire("good"), none), change("0", "1", unknown), change("1", "2", backupOnWire("later"))),
		finish: func(req *pb.FinishRunRequest) error {
			refused = append(refused, req)
			if req.GetLease().GetRun() == "none" {
				return problem.New(problem.Conflict, "that is nobody's business")
			}
			return nil
		},
	})
	var got []string
	err := client.Session(t.Context(), uplink.Hello{}, func(u uplink.Update) {
		for _, a := range u.Assign {
			got = append(got, a.Lease.Run)
		}
	})
	if err == nil || !strings.Contains(err.Error(), "ended the session") || !reflect.DeepEqual(got, []string{"good", "later"}) {
		t.Errorf("error %v, taken %q", err, got)
	}
	var runs []string
	for _, r := range refused {
		runs = append(runs, r.GetLease().GetRun())
		f := r.GetFailure()
		if f.GetMessage() == "" || r.GetLease().GetEpoch() != 2 || strings.Contains(f.GetMessage(), "kkk") {
			t.Errorf("refusal %v", r)
		}
		if run := r.GetLease().GetRun(); run == "unknown" && (f.GetReason() != string(transport.ReasonUnsupported) || f.GetHint() == "") {
			t.Errorf("unknown work: failure %v", f)
		}
	}
	if !reflect.DeepEqual(runs, []string{"short", "none", "unknown"}) {
		t.Errorf("refused %q", runs)
	}
}

func TestASessionEndsWhenItsMessagesDoNotChain(t *testing.T) {
	for name, messages := range map[string][]*pb.SessionResponse{
		"gap":          {complete("0"), change("1", "2", backupOnWire("r"))},
		"twice":        {complete("0"), change("0", "1"), change("0", "1", backupOnWire("r"))},
		"no beginning": {change("0", "1", backupOnWire("r"))},
		"no type":      {complete("0"), {AppliesTo: "7", Assign: []*pb.Assignment{backupOnWire("r")}}},
	} {
		client, hangUp := dial(t, &service{session: saying(nil, messages...)})
		taken := 0
		err := client.Session(t.Context(), uplink.Hello{}, func(u uplink.Update) { taken += len(u.Assign) })
		if err == nil || !strings.Contains(err.Error(), "start over") || taken > 0 {
			t.Errorf("%s: error %v, %d taken", name, err, taken)
		}
		hangUp()
	}
}

func TestASessionSaysWhyItEnded(t *testing.T) {
	why := problem.New(problem.Conflict, "another session has begun")
	client, _ := dial(t, &service{session: saying(why, complete("0"))})
	updates := 0
	if err := client.Session(t.Context(), uplink.Hello{}, func(uplink.Update) { updates++ }); problem.CodeOf(err) != problem.Conflict || updates != 1 {
		t.Errorf("error %v after %d updates", err, updates)
	}
	ctx, cancel := context.WithCancel(t.Context())
	client, _ = dial(t, &service{session: func(_ *pb.SessionRequest, stream sessionStream) error {
		_ = stream.Send(complete("0"))
		<-stream.Context().Done()
		return nil
	}})
	if err := client.Session(ctx, uplink.Hello{}, func(uplink.Update) { cancel() }); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want that it was cancelled", err)
	}
}

func TestHeartbeat(t *testing.T) {
	var got *pb.HeartbeatRequest
	var answer error
	client := inSession(t, &service{heartbeat: func(req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
		got = req
		return &pb.HeartbeatResponse{
			Period: durationpb.New(2 * time.Second), Renewed: []*pb.Lease{{Run: "r1", Epoch: 3}}, Lost: []*pb.Lease{{Run: "r2", Epoch: 1}},
		}, answer
	}})
	runs := []uplink.Progress{{
		Lease: lease, Phase: "dumping", BytesDone: 1, BytesTotal: 2, BytesSent: 3,
		Logs: []uplink.LogLine{{Time: noon, Level: "warn", Message: "oh"}},
	}}
	health := []uplink.NamedHealth{
		{Name: "docker", Health: provider.Health{Detail: "gone", Since: noon.Add(-time.Minute)}},
		{Name: "swarm", Health: provider.Health{Healthy: true}},
	}
	beat, err := client.Heartbeat(t.Context(), "s1", time.Minute, uplink.Pulse{Runs: runs, Providers: health, Trust: 7})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.HeartbeatRequest{
		Agent: "a1", Session: "s1", TrustVersion: 7,
		Runs: []*pb.RunProgress{{
			Lease:    &pb.Lease{Run: "r1", Epoch: 3},
			Progress: &pb.Progress{Phase: "dumping", BytesDone: 1, BytesTotal: 2, BytesSent: 3, ReportedAt: timestamppb.New(noon)},
			Logs:     []*pb.LogLine{{Time: timestamppb.New(noon), Level: "warn", Message: "oh"}},
		}},
		Providers: []*pb.ProviderHealth{{Name: "docker", Detail: "gone", Since: durationpb.New(time.Minute)}, {Name: "swarm", Healthy: true}},
	}
	if !proto.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	if wantBeat := (uplink.Beat{Period: 2 * time.Second, Renewed: []uplink.Lease{lease}, Lost: []uplink.Lease{{Run: "r2", Epoch: 1}}}); !reflect.DeepEqual(beat, wantBeat) {
		t.Errorf("beat %+v, want %+v", beat, wantBeat)
	}
	answer = problem.New(problem.NotFound, "no such session")
	if _, err := client.Heartbeat(t.Context(), "s1", time.Minute, uplink.Pulse{}); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("error %v", err)
	}
}

// named is an engine of which only the name is asked.
type named struct{ engine.Engine }

func (named) Name() string { return "postgres" }

func TestInventory(t *testing.T) {
	var got *pb.ReportInventoryRequest
	var answer error
	client := inSession(t, &service{inventory: func(req *pb.ReportInventoryRequest) error {
		got = req
		return answer
	}})
	container := provider.Container{ID: "c1", Name: "shop-db-1", Labels: map[string]string{"secret": "x"}, Facts: engine.Facts{
		Image: "postgres:16", ImageDigest: "sha256:1", Env: map[string]string{"POSTGRES_PASSWORD": "hunter2"},
	}}
	sources := []inventory.Source{
		{Name: "all", State: inventory.Ready, Container: container, Engine: named{}, Spec: source.Spec{
			AllDatabases: true, Password: "hunter2", Priority: "high", DependsOn: []string{"off"}, OnUpstreamFailure: "skip",
			Schedules: []schedule.Spec{{Name: "main", Cron: "@daily"}, {
				Name: "x", Cron: "@weekly", Timezone: "UTC", Splay: "1h", Blackout: "01:00-02:00", Deadline: "2h", CatchUp: "none", Concurrency: "queue", Priority: "low", Retention: "7d",
			}},
		}},
		{Name: "bad", State: inventory.Invalid, Spec: source.Spec{DependsOn: []string{"x"}}, Problems: []label.Problem{{Label: "l", Value: "v", Reason: "r", Suggestion: "s"}, {Label: "w", Warning: true}}},
		{Name: "off", State: inventory.Stopped, Engine: named{}, Spec: source.Spec{Database: "shop", Compress: source.CompressFast}},
		{Name: "odd", State: "of a newer version"},
	}
	unlabelled := []inventory.Unlabelled{{Container: container, Engine: "postgres"}}
	if err := client.ReportInventory(t.Context(), "s1", inventory.Inventory{Sources: sources, Unlabelled: unlabelled}); err != nil {
		t.Fatal(err)
	}
	now, none := timestamppb.New(noon), &pb.Container{}
	want := &pb.ReportInventoryRequest{Agent: "a1", Session: "s1", Sources: []*pb.Source{
		{
			Name: "all", State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres", AllDatabases: true, Agent: "a1", ReportedAt: now,
			Container: &pb.Container{Id: "c1", Name: "shop-db-1", Image: "postgres:16", ImageDigest: "sha256:1"},
			Priority:  pb.Priority_PRIORITY_HIGH, DependsOn: []string{"off"}, OnUpstreamFailure: "skip",
			Schedules: []*pb.ScheduleSpec{{Name: "main", Cron: "@daily"}, {
				Name: "x", Cron: "@weekly", Timezone: "UTC", Splay: "1h", Blackout: "01:00-02:00", StartingDeadline: "2h", CatchUp: "none", Concurrency: "queue", Priority: "low", Retention: "7d",
			}},
		},
		{
			Name: "bad", State: pb.SourceState_SOURCE_STATE_INVALID, Agent: "a1", ReportedAt: now, Container: none,
			Problems: []*pb.LabelProblem{{Label: "l", Value: "v", Reason: "r", Suggestion: "s"}, {Label: "w", Warning: true}},
		},
		{Name: "off", State: pb.SourceState_SOURCE_STATE_STOPPED, Engine: "postgres", Database: "shop", Compress: "fast", Agent: "a1", ReportedAt: now, Container: none},
		{Name: "odd", Agent: "a1", ReportedAt: now, Container: none},
	}, Unlabelled: []*pb.Unlabelled{{Container: &pb.Container{Id: "c1", Name: "shop-db-1", Image: "postgres:16", ImageDigest: "sha256:1"}, Engine: "postgres"}}}
	if !proto.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	answer = problem.New(problem.NotFound, "no such session")
	if err := client.ReportInventory(t.Context(), "s1", inventory.Inventory{}); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("error %v", err)
	}
}

func TestTheLogIsSent(t *testing.T) {
	var got *pb.SendLogsRequest
	var answer error
	client := inSession(t, &service{logs: func(req *pb.SendLogsRequest) error {
		got = req
		return answer
	}})
	if err := client.SendLogs(t.Context(), "l1", []uplink.LogLine{{Time: noon, Level: "info", Message: "m"}}); err != nil {
		t.Fatal(err)
	}
	want := &pb.SendLogsRequest{Agent: "a1", Id: "l1", Logs: []*pb.LogLine{{Time: timestamppb.New(noon), Level: "info", Message: "m"}}}
	if !proto.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
	answer = problem.New(problem.NotFound, "nobody asked")
	if err := client.SendLogs(t.Context(), "l2", nil); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("error %v", err)
	}
}

func TestCommit(t *testing.T) {
	var got *pb.CommitSnapshotRequest
	client, _ := dial(t, &service{commit: func(req *pb.CommitSnapshotRequest) error {
		got = req
		return nil
	}})
	manifest, root, sum := hashed("m"), hashed("r"), hashed("s")
	err := objects(client).Commit(t.Context(), uplink.Snapshot{
		ID: "new", Source: "shop/db", Engine: "postgres", Server: "PostgreSQL 16", Image: "postgres:16", FireTime: noon, StartedAt: noon.Add(time.Second),
		Summary: repo.Summary{Manifest: manifest, ManifestSize: 5, Root: root, RawBytes: 7, NewBytes: 6, Streams: []ledger.Stream{
			{Name: "shop.sql", Kind: "database", Database: "shop", Format: "plain", Size: 7, SHA256: sum},
		}},
	}, []uplink.LogLine{{Time: noon, Level: "info", Message: "stored"}})
	if err != nil {
		t.Fatal(err)
	}
	want := &pb.CommitSnapshotRequest{
		Lease: &pb.Lease{Run: "r1", Epoch: 3},
		Snapshot: &pb.Snapshot{
			Id: "new", Source: "shop/db", Engine: "postgres", Server: "PostgreSQL 16", Image: "postgres:16",
			FireTime: timestamppb.New(noon), StartedAt: timestamppb.New(noon.Add(time.Second)), RawBytes: 7, NewBytes: 6,
			ManifestSha256: manifest[:], ManifestSize: 5, Root: root[:],
			Streams: []*pb.Stream{{Name: "shop.sql", Kind: "database", Database: "shop", Format: "plain", Size: 7, Sha256: sum[:]}},
		},
		Logs: []*pb.LogLine{{Time: timestamppb.New(noon), Level: "info", Message: "stored"}},
	}
	if !proto.Equal(got, want) {
		t.Errorf("sent %v, want %v", got, want)
	}
}

func TestFinish(t *testing.T) {
	var got *pb.FinishRunRequest
	client, _ := dial(t, &service{finish: func(req *pb.FinishRunRequest) error {
		got = req
		return nil
	}})
	wire := &pb.Lease{Run: "r1", Epoch: 3}
	for name, tc := range map[string]struct {
		outcome uplink.Outcome
		want    *pb.FinishRunRequest
	}{
		"success": {
			uplink.Outcome{Report: []string{"Restored."}, Logs: []uplink.LogLine{{Time: noon, Level: "info", Message: "m"}}},
			&pb.FinishRunRequest{Lease: wire, Report: []string{"Restored."}, Logs: []*pb.LogLine{{Time: timestamppb.New(noon), Level: "info", Message: "m"}}},
		},
		"failure": {
			uplink.Outcome{Err: problem.New(problem.Denied, "dump").WithReason("wrong-password").WithHint("Check.").WithDetails("FATAL")},
			&pb.FinishRunRequest{Lease: wire, Failure: &pb.Failure{Code: "denied", Reason: "wrong-password", Message: "dump", Hint: "Check.", Details: []string{"FATAL"}}},
		},
		"cancelled": {
			uplink.Outcome{Cancelled: true, Err: problem.New(problem.Cancelled, "c")},
			&pb.FinishRunRequest{Lease: wire, Cancelled: true, Failure: &pb.Failure{Code: "cancelled", Message: "c"}},
		},
		"defect": {uplink.Outcome{Err: io.ErrUnexpectedEOF}, &pb.FinishRunRequest{Lease: wire, Failure: &pb.Failure{Code: "internal", Message: "unexpected EOF"}}},
	} {
		if err := client.Finish(t.Context(), uplink.Hold{Lease: lease}, tc.outcome); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, tc.want) {
			t.Errorf("%s: sent %v, want %v", name, got, tc.want)
		}
	}
}

// Names and words of databases and tools may be in any encoding, and the wire takes
// UTF-8 alone: a heartbeat or an end that cannot be sent would cost the run.
func TestWordsInOtherEncodingsAreSent(t *testing.T) {
	const raw, sent = "caf\xe9", "caf\uFFFD"
	var beat *pb.HeartbeatRequest
	var end *pb.FinishRunRequest
	var commit *pb.CommitSnapshotRequest
	client := inSession(t, &service{
		heartbeat: func(req *pb.HeartbeatRequest) (*pb.HeartbeatResponse, error) {
			beat = req
			return &pb.HeartbeatResponse{}, nil
		},
		finish: func(req *pb.FinishRunRequest) error { end = req; return nil },
		commit: func(req *pb.CommitSnapshotRequest) error { commit = req; return nil },
	})
	logs := []uplink.LogLine{{Time: noon, Level: "info", Message: raw}}
	if _, err := client.Heartbeat(t.Context(), "s1", time.Minute, uplink.Pulse{
		Runs:      []uplink.Progress{{Lease: lease, Phase: raw, Logs: logs}},
		Providers: []uplink.NamedHealth{{Name: "docker", Health: provider.Health{Detail: raw}}},
	}); err != nil {
		t.Fatal(err)
	}
	if r := beat.GetRuns()[0]; r.GetProgress().GetPhase() != sent || r.GetLogs()[0].GetMessage() != sent || beat.GetProviders()[0].GetDetail() != sent {
		t.Errorf("heartbeat: %v", beat)
	}
	if err := client.Finish(t.Context(), uplink.Hold{Lease: lease}, uplink.Outcome{Report: []string{raw}, Warnings: []string{raw}, Logs: logs}); err != nil {
		t.Fatal(err)
	}
	if end.GetReport()[0] != sent || end.GetWarnings()[0] != sent || end.GetLogs()[0].GetMessage() != sent {
		t.Errorf("end: %v", end)
	}
	if err := objects(client).Commit(t.Context(), uplink.Snapshot{
		Server: raw, Strange: []string{raw}, Summary: repo.Summary{Streams: []ledger.Stream{{Name: "s"}}},
	}, logs); err != nil {
		t.Fatal(err)
	}
	if s := commit.GetSnapshot(); s.GetServer() != sent || s.GetStrange()[0] != sent {
		t.Errorf("commit: %v", s)
	}
}

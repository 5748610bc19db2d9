package controller_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestRestore(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"), ready("copy"))
	c.backup("shop")
	snapshot := a.carryOut(a.assigned(), dump).GetSnapshot().GetId()
	for name, tc := range map[string]struct {
		req  *pb.RestoreRequest
		want problem.Code
		hint string
	}{
		"no such snapshot": {&pb.RestoreRequest{Snapshot: "zzzz"}, problem.NotFound, ""},
		"a misspelt one":   {&pb.RestoreRequest{Snapshot: "shob@latest"}, problem.NotFound, "shop"},
		"target misspelt":  {&pb.RestoreRequest{Snapshot: snapshot, TargetSource: "coppy"}, problem.NotFound, "copy"},
		"stream misspelt":  {&pb.RestoreRequest{Snapshot: snapshot, Select: []string{"shpo.sql"}}, problem.NotFound, "shop.sql"},
		"table misspelt":   {&pb.RestoreRequest{Snapshot: snapshot, Tables: []string{"t50"}}, problem.NotFound, "t5"},
		"table elsewhere":  {&pb.RestoreRequest{Snapshot: snapshot, Select: []string{"shpo.sql"}, Tables: []string{"t5"}}, problem.NotFound, "shop.sql"},
		"two targets":      {&pb.RestoreRequest{Snapshot: snapshot, TargetSource: "copy", TargetContainer: "x"}, problem.InvalidInput, ""},
		"agent without":    {&pb.RestoreRequest{Snapshot: snapshot, TargetAgent: "a1"}, problem.InvalidInput, ""},
		"unknown agent":    {&pb.RestoreRequest{Snapshot: snapshot, TargetContainer: "x", TargetAgent: "a9"}, problem.NotFound, "a1"},
		"new, bad name":    {&pb.RestoreRequest{Snapshot: snapshot, NewContainer: "-x"}, problem.InvalidInput, "name of a container"},
		"new, and there":   {&pb.RestoreRequest{Snapshot: snapshot, NewContainer: "xy", TargetSource: "copy"}, problem.InvalidInput, "either there or made"},
		"new, overwrite":   {&pb.RestoreRequest{Snapshot: snapshot, NewContainer: "xy", Overwrite: true}, problem.InvalidInput, "nothing to overwrite"},
		"new, odd image":   {&pb.RestoreRequest{Snapshot: snapshot, NewContainer: "xy", Image: strings.Repeat("x", 513)}, problem.InvalidInput, "longer"},
		"new, elsewhere":   {&pb.RestoreRequest{Snapshot: snapshot, NewContainer: "xy", TargetAgent: "a9"}, problem.NotFound, "a1"},
		"image without":    {&pb.RestoreRequest{Snapshot: snapshot, Image: "x"}, problem.InvalidInput, "new container"},
		"several things":   {&pb.RestoreRequest{Snapshot: snapshot, TargetSource: "coppy", Select: []string{"y", "z"}}, problem.NotFound, "Did you mean copy"},
	} {
		_, err := c.admin.StartRestore(t.Context(), &pb.StartRestoreRequest{Restore: tc.req})
		if err == nil || problem.CodeOf(err) != tc.want || !strings.Contains(problem.Text(err), tc.hint) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := len(c.node.View().ActiveRuns()); n != 0 {
		t.Fatalf("%d runs were queued by refused requests", n)
	}
	start := func(req *pb.RestoreRequest) (*pb.Run, *pb.Assignment) {
		t.Helper()
		resp, err := c.admin.StartRestore(t.Context(), &pb.StartRestoreRequest{Restore: req})
		if err != nil {
			t.Fatal(err)
		}
		return resp.GetRun(), a.assigned()
	}
	run, as := start(&pb.RestoreRequest{Snapshot: "shop@latest", TargetSource: "copy", Select: []string{"shop"}})
	w := as.GetRestore()
	key, err := c.repo.SourceKey("shop", 0)
	if err != nil {
		t.Fatal(err)
	}
	if as.GetSource() != "copy" || w.GetSnapshot().GetSnapshot() != snapshot || w.GetSnapshotSource() != "shop" || w.GetEngine() != "postgres" || string(as.GetSourceKey()) != string(key.Secret()) {
		t.Errorf("assignment: %v", as)
	}
	if _, err := c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: as.GetLease(), Report: []string{"restored shop.sql"}}); err != nil {
		t.Fatal(err)
	}
	if r := c.awaitRun(run.GetId(), pb.RunState_RUN_STATE_SUCCEEDED); len(r.GetReport()) != 1 {
		t.Errorf("run: %v", r)
	}
	run, as = start(&pb.RestoreRequest{Snapshot: snapshot, Tables: []string{"t5"}})
	if w := as.GetRestoreOtherwise(); as.GetRestore() != nil || w.GetRequest().GetTables()[0] != "t5" || w.GetSnapshot().GetSnapshot() != snapshot {
		t.Errorf("a restore of one table, which an agent must not take for one of everything: %v", as)
	}
	if _, err := c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: as.GetLease()}); err != nil {
		t.Fatal(err)
	}
	c.awaitRun(run.GetId(), pb.RunState_RUN_STATE_SUCCEEDED)
	run, as = start(&pb.RestoreRequest{Snapshot: snapshot, NewContainer: "shop-again", Image: "x"})
	if w := as.GetRestoreNew(); as.GetRestore() != nil || w.GetRequest().GetNewContainer() != "shop-again" || w.GetEngine() != "postgres" {
		t.Errorf("a restore into a new container, which an agent must not take for one over what is there: %v", as)
	}
	if _, err := c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: as.GetLease(), Warnings: []string{"it is older"}}); err != nil {
		t.Fatal(err)
	}
	if r := c.awaitRun(run.GetId(), pb.RunState_RUN_STATE_SUCCEEDED); len(r.GetWarnings()) != 1 {
		t.Errorf("its warnings are lost: %v", r)
	}
	run, _ = start(&pb.RestoreRequest{Snapshot: snapshot, TargetContainer: "other"})
	c.clock.Advance(2 * time.Minute) // lost: a restore is not tried again
	if r := c.awaitRun(run.GetId(), pb.RunState_RUN_STATE_FAILED); r.GetEpoch() != 1 || r.GetFailure().GetReason() != string(dispatch.ReasonAgentLost) {
		t.Errorf("run: %v", r)
	}
}

// The dump of a table says first how many bytes it has.
func TestDumpOfTables(t *testing.T) {
	c := newCluster(t, nil)
	a := c.connect("a1", 2, nil, ready("shop"))
	c.backup("shop")
	a.carryOut(a.assigned(), dump)
	stream, err := c.admin.DumpSnapshot(t.Context(), &pb.DumpSnapshotRequest{Snapshot: "shop@latest", Tables: []string{"t5"}})
	if err != nil {
		t.Fatal(err)
	}
	m, err := stream.Recv()
	if err != nil || m.GetSize() != 3 || len(m.GetData()) > 0 {
		t.Fatalf("it begins with %v, %v", m, err)
	}
	var got []byte
	for err == nil {
		got = append(got, m.GetData()...)
		m, err = stream.Recv()
	}
	if !errors.Is(err, io.EOF) || string(got) != dump[:1]+dump[3:5] {
		t.Errorf("the dump of a table: %q, %v", got, err)
	}
	for name, req := range map[string]*pb.DumpSnapshotRequest{
		"no such table":    {Snapshot: "shop@latest", Tables: []string{"t5", "nothing"}},
		"no such database": {Snapshot: "shop@latest", Select: "shpo", Tables: []string{"t5"}},
	} {
		stream, err := c.admin.DumpSnapshot(t.Context(), req)
		if err == nil {
			_, err = stream.Recv()
		}
		if problem.CodeOf(err) != problem.NotFound {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWhatStartBackupRefuses(t *testing.T) {
	c := newCluster(t, nil)
	if _, err := c.admin.StartBackup(t.Context(), &pb.StartBackupRequest{All: true}); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("all of none: %v", err)
	}
	stopped := ready("blog")
	stopped.State = pb.SourceState_SOURCE_STATE_STOPPED
	c.connect("a1", 1, nil, ready("shop/db"), stopped)
	for name, tc := range map[string]struct {
		req  *pb.StartBackupRequest
		want string
	}{
		"nothing named":  {&pb.StartBackupRequest{}, "no source is named"},
		"all and some":   {&pb.StartBackupRequest{All: true, Sources: []string{"shop/db"}}, "not both"},
		"misspelt":       {&pb.StartBackupRequest{Sources: []string{"shop/bd"}}, "Did you mean shop/db"},
		"the short name": {&pb.StartBackupRequest{Sources: []string{"db"}}, "Did you mean shop/db"},
		"stopped":        {&pb.StartBackupRequest{Sources: []string{"blog"}}, "does not run"},
		"two wrong ones": {&pb.StartBackupRequest{Sources: []string{"shop/db", "blog", "zzzzzzzz"}}, "2 things are wrong"},
	} {
		_, err := c.admin.StartBackup(t.Context(), tc.req)
		if err == nil || !strings.Contains(problem.Text(err), tc.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	dry, err := c.admin.StartBackup(t.Context(), &pb.StartBackupRequest{All: true, DryRun: true})
	if err != nil || len(dry.GetRuns()) != 1 || dry.GetRuns()[0].GetId() != "" {
		t.Errorf("dry run: %v, %v", dry, err)
	}
	if n := len(c.node.View().Runs("", 0)); n != 0 {
		t.Fatalf("%d runs were queued", n)
	}
	one, err := c.admin.StartBackup(t.Context(), &pb.StartBackupRequest{All: true, RequestId: "r"})
	if err != nil {
		t.Fatal(err)
	}
	c.clock.Advance(time.Second)
	two, err := c.admin.StartBackup(t.Context(), &pb.StartBackupRequest{All: true, RequestId: "r"})
	if err != nil || two.GetRuns()[0].GetId() != one.GetRuns()[0].GetId() || len(c.node.View().Runs("", 0)) != 1 {
		t.Errorf("the same request again: %v, %v", two, err)
	}
}

func TestHTTP(t *testing.T) {
	c := newCluster(t, nil)
	get := func(path string) (int, string) {
		w := httptest.NewRecorder()
		c.ctl.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		return w.Code, w.Body.String()
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "no agent is connected") {
		t.Errorf("without an agent: %d %s", code, body)
	}
	a := c.connect("a1", 2, nil, ready("shop"))
	a.beat()
	c.await("readiness", func() bool { code, _ := get("/readyz"); return code == http.StatusOK })
	_, err := c.agent.Heartbeat(t.Context(), &pb.HeartbeatRequest{Agent: "a1", Session: a.session, Providers: []*pb.ProviderHealth{{Name: "docker", Detail: "connection refused"}}})
	if err != nil {
		t.Fatal(err)
	}
	if code, body := get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "docker: connection refused") {
		t.Errorf("with Docker away: %d %s", code, body)
	}
	for _, path := range []string{"/", "/healthz", "/status", "/containers", "/backups"} {
		if code, body := get(path); code != http.StatusOK {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

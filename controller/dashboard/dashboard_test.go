package dashboard_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/dashboard"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

type reader struct {
	problems []string
	err      error
}

func (r reader) GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error) {
	return &pb.GetStatusResponse{Version: "1.2.3", Sources: 2, Problems: r.problems}, r.err
}

func (r reader) ListSources(context.Context, *pb.ListSourcesRequest) (*pb.ListSourcesResponse, error) {
	return &pb.ListSourcesResponse{Sources: []*pb.SourceStatus{
		{
			Source:       &pb.Source{Name: "<script>alert(1)</script>", State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres"},
			LastSnapshot: &pb.Snapshot{Id: "01SNAP", CommittedAt: timestamppb.New(now.Add(-time.Hour)), RawBytes: 3 << 20},
		},
		{Source: &pb.Source{Name: "typo", State: pb.SourceState_SOURCE_STATE_INVALID, Problems: []*pb.LabelProblem{{Label: "baktainer.db.nmae", Reason: "unknown label"}}}},
	}}, r.err
}

func (r reader) ListRuns(context.Context, *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	return &pb.ListRunsResponse{Runs: []*pb.Run{{Id: "r1", State: pb.RunState_RUN_STATE_FAILED, Failure: &pb.Failure{Message: "it broke"}}}}, r.err
}

func (r reader) ListSnapshots(context.Context, *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error) {
	return &pb.ListSnapshotsResponse{Snapshots: []*pb.Snapshot{{Id: "01SNAP", RawBytes: 7}}}, r.err
}

func get(t *testing.T, r reader, path string) *httptest.ResponseRecorder {
	t.Helper()
	h := dashboard.Handler(dashboard.Options{
		Reader: r, Clock: clock.NewManual(now), Config: map[string]string{"schedule": "0 0 * * *"},
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("metrics here")) }),
	})
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
	return w
}

func TestPaths(t *testing.T) {
	for _, tc := range []struct {
		name, path string
		reader     reader
		status     int
		want       []string
	}{
		{"page", "/", reader{}, 200, []string{"1 hour ago", "3.0 MiB", "baktainer.db.nmae: unknown label", "it broke", "&lt;script&gt;"}},
		{"page with problems", "/", reader{problems: []string{"docker is <away>"}}, 200, []string{"docker is &lt;away&gt;"}},
		{"alive whatever happens", "/healthz", reader{err: problem.New(problem.Unavailable, "no leader")}, 200, []string{"ok"}},
		{"ready", "/readyz", reader{}, 200, []string{`"status":"healthy"`}},
		{"not ready", "/readyz", reader{problems: []string{"no agent"}}, 503, []string{`"no agent"`}},
		{"not ready without a leader", "/health", reader{err: problem.New(problem.Unavailable, "no leader")}, 503, []string{"no leader"}},
		{"status", "/status", reader{}, 200, []string{`"version"`, `"1.2.3"`}},
		{"backups", "/backups", reader{}, 200, []string{`"raw_bytes"`}},
		{"containers", "/containers", reader{}, 200, []string{`"SOURCE_STATE_INVALID"`}},
		{"containers without a leader", "/containers", reader{err: problem.New(problem.Unavailable, "no leader")}, 503, []string{"no leader"}},
		{"config", "/config", reader{}, 200, []string{`"schedule":"0 0 * * *"`}},
		{"metrics", "/metrics", reader{}, 200, []string{"metrics here"}},
		{"nothing else", "/etc/passwd", reader{}, 404, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := get(t, tc.reader, tc.path)
			if w.Code != tc.status {
				t.Errorf("status %d, want %d", w.Code, tc.status)
			}
			body := w.Body.String()
			for _, want := range tc.want {
				if !strings.Contains(body, want) {
					t.Errorf("no %q in:\n%s", want, body)
				}
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") && strings.Contains(body, "<script>") {
				t.Error("a name was not escaped")
			}
			if strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") && !json.Valid(w.Body.Bytes()) {
				t.Errorf("not JSON: %s", body)
			}
			if w.Header().Get("Content-Security-Policy") == "" {
				t.Error("no content security policy")
			}
		})
	}
}

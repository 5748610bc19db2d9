package controller_test

import (
	"context"
	"encoding/binary"
	"maps"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/internal/telemetry"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// recorder is a tracer provider that keeps which spans each trace has.
type recorder struct {
	noop.TracerProvider
	mu    sync.Mutex
	count uint64
	spans map[string][]string // names by trace id
}

// spans is one for the process: a tracer made before the first provider was set
// stays with that one.
var spans = &recorder{spans: map[string][]string{}}

type recordingTracer struct {
	noop.Tracer
	to *recorder
}

type recordedSpan struct {
	noop.Span
	context trace.SpanContext
}

func (r *recorder) Tracer(string, ...trace.TracerOption) trace.Tracer { return recordingTracer{to: r} }

func (s recordedSpan) SpanContext() trace.SpanContext { return s.context }

func (t recordingTracer) Start(ctx context.Context, name string, options ...trace.SpanStartOption) (context.Context, trace.Span) {
	t.to.mu.Lock()
	defer t.to.mu.Unlock()
	t.to.count++
	c := trace.SpanContextConfig{TraceFlags: trace.FlagsSampled}
	binary.BigEndian.PutUint64(c.SpanID[:], t.to.count)
	binary.BigEndian.PutUint64(c.TraceID[:], t.to.count)
	parent := trace.SpanContextFromContext(ctx)
	if config := trace.NewSpanStartConfig(options...); parent.IsValid() && !config.NewRoot() {
		c.TraceID = parent.TraceID()
	}
	id := c.TraceID.String()
	t.to.spans[id] = append(t.to.spans[id], name)
	span := recordedSpan{context: trace.NewSpanContext(c)}
	return trace.ContextWithSpan(ctx, span), span
}

// One test for both, since providers are global.
func TestTelemetry(t *testing.T) {
	tel, stop, err := telemetry.Setup(t.Context(), telemetry.Options{Service: "test", Env: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = stop(context.Background()) }()
	otel.SetTracerProvider(spans)

	c := newCluster(t, func(o *controller.Options) { o.Metrics = tel.MetricsHandler() })
	a := c.connect("a1", 2, nil, ready("shop"), ready("blog"))
	run := c.backup("shop")
	as := a.assigned()
	a.carryOut(as, dump)
	failing := c.backup("blog")
	lease := a.assigned().GetLease()
	if _, err := c.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: lease, Failure: &pb.Failure{Message: "no"}}); err != nil {
		t.Fatal(err)
	}
	c.awaitRun(failing, pb.RunState_RUN_STATE_FAILED)

	t.Run("a run has one trace", func(t *testing.T) {
		parts := strings.Split(as.GetTraceparent(), "-")
		if len(parts) != 4 {
			t.Fatalf("traceparent %q", as.GetTraceparent())
		}
		spans.mu.Lock()
		defer spans.mu.Unlock()
		if got := spans.spans[parts[1]]; !slices.Contains(got, "queue run") || !slices.Contains(got, "wait for a lease") {
			t.Errorf("its spans: %v", got)
		}
	})
	t.Run("metrics", func(t *testing.T) {
		snapshot := as.GetBackup().GetSnapshot()
		propose := func(cmd *pb.Command) {
			t.Helper()
			if err := c.node.Propose(t.Context(), cmd); err != nil {
				t.Fatal(err)
			}
		}
		propose(&pb.Command{Command: &pb.Command_RecordVerification{RecordVerification: &pb.RecordVerification{Snapshot: snapshot, VerifiedAt: timestamppb.New(c.clock.Now())}}})
		propose(&pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{{
			Id: "d1", Kind: pb.RunKind_RUN_KIND_DRILL, Source: "shop", FireTime: timestamppb.New(c.clock.Now()), Drill: &pb.DrillRequest{Snapshot: snapshot},
		}}}}})
		c.awaitRun("d1", pb.RunState_RUN_STATE_RUNNING)
		drill, _ := c.node.View().Run("d1")
		propose(&pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{
			Run: "d1", Epoch: drill.GetEpoch(), Agent: drill.GetAgent(), State: pb.RunState_RUN_STATE_SUCCEEDED,
			Drill: &pb.DrillResult{Passed: true, Ready: durationpb.New(time.Second), Restored: durationpb.New(2 * time.Second)},
		}}})
		w := httptest.NewRecorder()
		c.ctl.Handler().ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
		got := map[string]string{}
		for _, m := range regexp.MustCompile(`(?m)^(baktainer_\w+)(\{[^}]*\})? (\S+)$`).FindAllStringSubmatch(w.Body.String(), -1) {
			got[m[1]+m[2]] = m[3]
		}
		for name, want := range map[string]string{
			`baktainer_backups_total`:                                "2",
			`baktainer_backups_successful`:                           "1",
			`baktainer_backups_failed`:                               "1",
			`baktainer_backup_success_rate_percent`:                  "50",
			`baktainer_containers_discovered`:                        "2",
			`baktainer_uptime_seconds`:                               "0",
			`baktainer_runs_total{kind="backup",result="succeeded"}`: "1",
			`baktainer_sources{state="ready"}`:                       "2",
			`baktainer_snapshots`:                                    "1",
			`baktainer_snapshot_age_seconds{source="shop"}`:          "0",
			`baktainer_agents_connected`:                             "1",
			`baktainer_verified_age_seconds{source="shop"}`:          "0",
			`baktainer_drilled_age_seconds{source="shop"}`:           "0",
			`baktainer_recovery_seconds{source="shop"}`:              "3",
			`baktainer_runs_total{kind="drill",result="succeeded"}`:  "1",
		} {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		if got["baktainer_backup_data_bytes"] == "" {
			t.Error("no baktainer_backup_data_bytes")
		}
		for _, id := range []string{run, as.GetBackup().GetSnapshot()} {
			if strings.Contains(w.Body.String(), id) {
				t.Errorf("the id %s is in a label", id)
			}
		}
		if t.Failed() {
			t.Log(slices.Sorted(maps.Keys(got)))
		}
	})
}

package telemetry_test

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/metric/noop"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/baktainer/baktainer/internal/telemetry"
	"github.com/baktainer/baktainer/internal/transport"
)

// receiver is an OTLP collector that keeps what it gets.
type receiver struct {
	collector.UnimplementedTraceServiceServer
	mu    sync.Mutex
	spans []*tracepb.Span
	about []string
}

func (r *receiver) Export(_ context.Context, req *collector.ExportTraceServiceRequest) (*collector.ExportTraceServiceResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, rs := range req.GetResourceSpans() {
		for _, a := range rs.GetResource().GetAttributes() {
			r.about = append(r.about, a.GetKey()+"="+a.GetValue().GetStringValue())
		}
		for _, ss := range rs.GetScopeSpans() {
			r.spans = append(r.spans, ss.GetSpans()...)
		}
	}
	return &collector.ExportTraceServiceResponse{}, nil
}

func (r *receiver) names() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	var names []string
	for _, s := range r.spans {
		names = append(names, s.GetName())
	}
	slices.Sort(names)
	return names
}

// overGRPC serves the receiver by gRPC and returns its URL.
func (r *receiver) overGRPC(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	collector.RegisterTraceServiceServer(server, r)
	run(t, server, l)
	return "http://" + l.Addr().String()
}

// overHTTP serves the receiver by HTTP and returns its URL.
func (r *receiver) overHTTP(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		body, err := io.ReadAll(req.Body)
		var m collector.ExportTraceServiceRequest
		if err != nil || proto.Unmarshal(body, &m) != nil || req.URL.Path != "/v1/traces" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		_, _ = r.Export(req.Context(), &m)
		w.Header().Set("Content-Type", "application/x-protobuf")
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func run(t *testing.T, server *grpc.Server, l net.Listener) {
	t.Helper()
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := server.Serve(l); err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	t.Cleanup(func() {
		server.Stop()
		wg.Wait()
	})
}

// setup sets telemetry up under the variables and returns what stops it and its log.
func setup(t *testing.T, env ...string) (*telemetry.Telemetry, func(), *bytes.Buffer) {
	t.Helper()
	for _, name := range []string{"OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_SDK_DISABLED", "OTEL_TRACES_SAMPLER"} {
		t.Setenv(name, "")
	}
	for _, kv := range env {
		name, value, _ := strings.Cut(kv, "=")
		t.Setenv(name, value)
	}
	var log bytes.Buffer
	tel, stop, err := telemetry.Setup(t.Context(), telemetry.Options{
		Service: "baktainer", Version: "v1.2.3", Logger: slog.New(slog.NewTextHandler(&log, nil)),
	})
	if err != nil {
		t.Fatalf("telemetry kept the program from starting: %v", err)
	}
	return tel, func() {
		if err := stop(context.Background()); err != nil {
			t.Errorf("stop: %v", err)
		}
	}, &log
}

// span makes one span and logs a line in it.
func span(log *slog.Logger) {
	ctx, s := otel.Tracer("test").Start(context.Background(), "backup")
	log.InfoContext(ctx, "within")
	s.End()
}

func TestSpansArriveAtAnOTLPReceiver(t *testing.T) {
	quiet := slog.New(slog.DiscardHandler)
	for _, protocol := range []string{"grpc", "http/protobuf"} {
		t.Run(protocol, func(t *testing.T) {
			r := &receiver{}
			url := r.overHTTP(t)
			if protocol == "grpc" {
				url = r.overGRPC(t)
			}
			tel, stop, log := setup(t, "OTEL_EXPORTER_OTLP_PROTOCOL="+protocol, "OTEL_EXPORTER_OTLP_ENDPOINT="+url,
				"OTEL_RESOURCE_ATTRIBUTES=deployment.environment=lab", "OTEL_SERVICE_NAME=mine")
			span(quiet)
			stop()
			if got := r.names(); !tel.Tracing || !slices.Equal(got, []string{"backup"}) {
				t.Errorf("got %v, log:\n%s", got, log)
			}
			for _, want := range []string{"service.name=mine", "service.version=v1.2.3", "deployment.environment=lab"} {
				if !slices.Contains(r.about, want) {
					t.Errorf("%s is not in %v", want, r.about)
				}
			}
		})
	}
}

func TestNothingIsSentUnasked(t *testing.T) {
	r := &receiver{}
	url := r.overGRPC(t)
	for name, env := range map[string][]string{
		"no endpoint":    nil,
		"disabled":       {"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_SDK_DISABLED=true"},
		"no exporter":    {"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_TRACES_EXPORTER=none"},
		"sampler is off": {"OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT=" + url, "OTEL_TRACES_SAMPLER=always_off"},
	} {
		t.Run(name, func(t *testing.T) {
			tel, stop, log := setup(t, env...)
			if tel.Tracing {
				span(slog.New(slog.DiscardHandler))
			}
			stop()
			if len(r.names()) > 0 || (tel.Tracing && name != "sampler is off") || log.Len() > 0 {
				t.Errorf("got %v, tracing %v, log %s", r.names(), tel.Tracing, log)
			}
		})
	}
}

func TestWrongSettingsAreWarnedOf(t *testing.T) {
	const endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1"
	for want, env := range map[string][]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT: want a URL":              {"OTEL_EXPORTER_OTLP_ENDPOINT=hunter2:4317"},
		"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: want a URL":       {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT=:hunter2"},
		"OTEL_EXPORTER_OTLP_PROTOCOL: want grpc":               {endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL=pigeon"},
		"OTEL_TRACES_EXPORTER: want otlp or none":              {endpoint, "OTEL_TRACES_EXPORTER=zipkin"},
		"OTEL_SDK_DISABLED: want true or false":                {"OTEL_SDK_DISABLED=maybe"},
		"some of what OTEL_RESOURCE_ATTRIBUTES says cannot be": {"OTEL_RESOURCE_ATTRIBUTES=nonsense"},
		"OTEL_TRACES_SAMPLER":                                  {endpoint, "OTEL_TRACES_SAMPLER=sometimes"},
	} {
		t.Run(want, func(t *testing.T) {
			_, stop, log := setup(t, env...)
			stop()
			if !strings.Contains(log.String(), want) && !strings.Contains(log.String(), "unsupported sampler") || !strings.Contains(log.String(), "level=WARN") {
				t.Errorf("log: %s", log)
			}
			if strings.Contains(log.String(), "hunter2") {
				t.Errorf("the log shows the value: %s", log)
			}
		})
	}
}

func TestACollectorThatIsAwayIsWarnedOfOnce(t *testing.T) {
	_, stop, log := setup(t, "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:1", "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf",
		"OTEL_EXPORTER_OTLP_TIMEOUT=200", "OTEL_BSP_MAX_EXPORT_BATCH_SIZE=1")
	for range 3 {
		otel.Handle(context.DeadlineExceeded)
	}
	if n := strings.Count(log.String(), "telemetry: context deadline exceeded"); n != 1 {
		t.Errorf("warned %d times: %s", n, log)
	}
	stop()
}

func TestMetricsAreServed(t *testing.T) {
	defer otel.SetMeterProvider(noop.NewMeterProvider())
	tel, stop, _ := setup(t)
	defer stop()
	counter, err := otel.Meter("test").Int64Counter("baktainer_tries")
	if err != nil {
		t.Fatal(err)
	}
	counter.Add(t.Context(), 3)
	answer := httptest.NewRecorder()
	tel.MetricsHandler().ServeHTTP(answer, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	for _, want := range []string{"baktainer_tries_total 3\n", "go_goroutines ", "process_resident_memory_bytes ", `service_version="v1.2.3"`} {
		if !strings.Contains(answer.Body.String(), want) {
			t.Errorf("%q is not in\n%s", want, answer.Body)
		}
	}
}

// echo answers any unary call.
//
//nolint:revive // gRPC gives the order of the arguments
func echo(_ any, _ context.Context, decode func(any) error, intercept grpc.UnaryServerInterceptor) (any, error) {
	in := &emptypb.Empty{}
	return in, decode(in)
}

func TestOneTraceCrossesGRPCAndHeartbeatsLeaveNone(t *testing.T) {
	r := &receiver{}
	_, stop, log := setup(t, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc", "OTEL_EXPORTER_OTLP_ENDPOINT="+r.overGRPC(t))
	socket := filepath.Join(t.TempDir(), "b.sock")
	l, err := transport.ListenUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(transport.ServerOptions()...)
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	server.RegisterService(&grpc.ServiceDesc{ServiceName: "x.AgentService", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
		{MethodName: "Heartbeat", Handler: echo}, {MethodName: "CommitSnapshot", Handler: echo},
	}}, nil)
	run(t, server, l)
	conn, err := transport.DialUnix(socket)
	if err != nil {
		t.Fatal(err)
	}
	ctx, root := otel.Tracer("test").Start(t.Context(), "run")
	for _, method := range []string{"/x.AgentService/Heartbeat", "/x.AgentService/CommitSnapshot"} {
		if err := conn.Invoke(ctx, method, &emptypb.Empty{}, &emptypb.Empty{}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := grpc_health_v1.NewHealthClient(conn).Check(ctx, &grpc_health_v1.HealthCheckRequest{}); err != nil {
		t.Fatal(err)
	}
	root.End()
	conn.Close()
	transport.Stop(t.Context(), server)
	stop()
	want := []string{"run", "x.AgentService/CommitSnapshot", "x.AgentService/CommitSnapshot"}
	if got := r.names(); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v; log %s", got, want, log)
	}
	for _, s := range r.spans {
		if id := root.SpanContext().TraceID(); !bytes.Equal(s.GetTraceId(), id[:]) {
			t.Errorf("%s is of another trace", s.GetName())
		}
	}
}

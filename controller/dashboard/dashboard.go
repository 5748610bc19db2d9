// Package dashboard shows the controller to people and to monitoring over HTTP:
// a status page, JSON for scripts, health, metrics. It reads through the same
// service as the command line and changes nothing.
package dashboard

import (
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"net/http"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Reader is the part of the admin service that is shown.
type Reader interface {
	GetStatus(context.Context, *pb.GetStatusRequest) (*pb.GetStatusResponse, error)
	ListSources(context.Context, *pb.ListSourcesRequest) (*pb.ListSourcesResponse, error)
	ListRuns(context.Context, *pb.ListRunsRequest) (*pb.ListRunsResponse, error)
	ListSnapshots(context.Context, *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error)
}

// Options are what a dashboard is made of.
type Options struct {
	Reader  Reader
	Metrics http.Handler // may be nil
	// Config is shown at /config: settings by name, without secrets.
	Config map[string]string
	Clock  clock.Clock
}

//go:embed page.html
var pageText string

// shownRuns is how many runs the page lists.
const shownRuns = 20

// Handler serves /, /healthz, /readyz, /metrics, and the paths of the earlier
// Baktainer: /health, /status, /backups, /containers, /config.
func Handler(o Options) http.Handler {
	d := dashboard{o, template.Must(template.New("page").Funcs(template.FuncMap{
		"ago":   func(t *timestamppb.Timestamp) string { return ago(o.Clock.Now(), t) },
		"bytes": func(n int64) string { return humanize.IBytes(uint64(max(n, 0))) },
		"word":  word,
	}).Parse(pageText))}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", d.page)
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprintln(w, "ok") })
	mux.HandleFunc("GET /readyz", d.ready)
	mux.HandleFunc("GET /health", d.ready)
	mux.HandleFunc("GET /config", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, http.StatusOK, o.Config) })
	mux.HandleFunc("GET /status", message(func(ctx context.Context) (proto.Message, error) {
		return o.Reader.GetStatus(ctx, &pb.GetStatusRequest{})
	}))
	mux.HandleFunc("GET /backups", message(func(ctx context.Context) (proto.Message, error) {
		return o.Reader.ListSnapshots(ctx, &pb.ListSnapshotsRequest{})
	}))
	mux.HandleFunc("GET /containers", message(func(ctx context.Context) (proto.Message, error) {
		return o.Reader.ListSources(ctx, &pb.ListSourcesRequest{})
	}))
	if o.Metrics != nil {
		mux.Handle("GET /metrics", o.Metrics)
	}
	return guarded(mux)
}

// guarded adds the headers that keep a browser from being turned against the page.
func guarded(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cache-Control", "no-store")
		next.ServeHTTP(w, r)
	})
}

type dashboard struct {
	Options
	tmpl *template.Template
}

// ready says 200 when backups can be made now, else 503 with the reasons.
func (d dashboard) ready(w http.ResponseWriter, r *http.Request) {
	s, err := d.Reader.GetStatus(r.Context(), &pb.GetStatusRequest{})
	switch {
	case err != nil:
		writeJSON(w, http.StatusServiceUnavailable, health{"unhealthy", []string{err.Error()}})
	case len(s.GetProblems()) > 0:
		writeJSON(w, http.StatusServiceUnavailable, health{"unhealthy", s.GetProblems()})
	default:
		writeJSON(w, http.StatusOK, health{"healthy", []string{}})
	}
}

type health struct {
	Status   string   `json:"status"`
	Problems []string `json:"problems"`
}

type pageData struct {
	Status  *pb.GetStatusResponse
	Sources []*pb.SourceStatus
	Runs    []*pb.Run
}

func (d dashboard) page(w http.ResponseWriter, r *http.Request) {
	var data pageData
	status, err := d.Reader.GetStatus(r.Context(), &pb.GetStatusRequest{})
	if err == nil {
		data.Status = status
		var sources *pb.ListSourcesResponse
		sources, err = d.Reader.ListSources(r.Context(), &pb.ListSourcesRequest{})
		data.Sources = sources.GetSources()
	}
	if err == nil {
		var runs *pb.ListRunsResponse
		runs, err = d.Reader.ListRuns(r.Context(), &pb.ListRunsRequest{Limit: shownRuns})
		data.Runs = runs.GetRuns()
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	var out strings.Builder
	if err := d.tmpl.Execute(&out, data); err != nil {
		http.Error(w, "the page cannot be shown", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	_, _ = w.Write([]byte(out.String()))
}

// message serves what a call answers as JSON, with the field names of the protos.
func message(call func(context.Context) (proto.Message, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		m, err := call(r.Context())
		if err != nil {
			status := http.StatusInternalServerError
			if problem.CodeOf(err) == problem.Unavailable {
				status = http.StatusServiceUnavailable
			}
			writeJSON(w, status, map[string]string{"error": err.Error()})
			return
		}
		text, err := protojson.MarshalOptions{UseProtoNames: true, EmitDefaultValues: true}.Marshal(m)
		if err != nil {
			http.Error(w, "the answer cannot be encoded", http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(text)
	}
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v)
}

func ago(now time.Time, t *timestamppb.Timestamp) string {
	if t == nil {
		return "–"
	}
	return humanize.RelTime(t.AsTime(), now, "ago", "from now")
}

// word turns RUN_STATE_FAILED into failed.
func word(enum fmt.Stringer) string {
	s := enum.String()
	for _, prefix := range []string{"SOURCE_STATE_", "RUN_STATE_", "RUN_KIND_"} {
		s = strings.TrimPrefix(s, prefix)
	}
	return strings.ToLower(s)
}

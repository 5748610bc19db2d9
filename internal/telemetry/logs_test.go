package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/trace"

	"github.com/baktainer/baktainer/internal/telemetry"
)

func TestLogFormats(t *testing.T) {
	for format, json := range map[string]bool{telemetry.FormatAuto: true, telemetry.FormatJSON: true, telemetry.FormatText: false} {
		var b bytes.Buffer
		slog.New(telemetry.LogHandler(&b, format, slog.LevelInfo)).Info("hello")
		if strings.HasPrefix(b.String(), "{") != json {
			t.Errorf("%s: %s", format, &b)
		}
	}
}

func TestLogLinesNameTheirSpan(t *testing.T) {
	var b bytes.Buffer
	log := slog.New(telemetry.LogHandler(&b, telemetry.FormatJSON, slog.LevelInfo)).With("run", "r1")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	log.InfoContext(trace.ContextWithSpanContext(context.Background(), span), "within")
	log.Info("without")
	var within, without map[string]any
	d := json.NewDecoder(&b)
	if err := d.Decode(&within); err != nil {
		t.Fatal(err)
	}
	if err := d.Decode(&without); err != nil {
		t.Fatal(err)
	}
	if within["trace_id"] != span.TraceID().String() || within["span_id"] != span.SpanID().String() || within["run"] != "r1" {
		t.Errorf("within: %v", within)
	}
	if _, there := without["trace_id"]; there {
		t.Errorf("without: %v", without)
	}
}

func TestTheLevelCanBeChanged(t *testing.T) {
	var b bytes.Buffer
	var level slog.LevelVar
	log := slog.New(telemetry.LogHandler(&b, telemetry.FormatText, &level))
	log.Debug("before")
	level.Set(slog.LevelDebug)
	log.WithGroup("g").Debug("after", "k", 1)
	if strings.Contains(b.String(), "before") || !strings.Contains(b.String(), "after g.k=1") {
		t.Errorf("log: %s", &b)
	}
}

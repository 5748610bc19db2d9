package telemetry

import (
	"cmp"
	"context"
	"net/url"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracegrpc"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

const (
	protocolGRPC = "grpc"
	protocolHTTP = "http/protobuf"
)

// disabled says whether OTEL_SDK_DISABLED turns everything off.
func disabled(o Options) bool {
	switch v := strings.ToLower(o.Env("OTEL_SDK_DISABLED")); v {
	case "true":
		return true
	case "", "false":
	default:
		o.Logger.Warn("OTEL_SDK_DISABLED: want true or false; taken as false", "value", v)
	}
	return false
}

// spanExporter returns the exporter that the variables ask for, nil for none.
func spanExporter(ctx context.Context, o Options) sdktrace.SpanExporter {
	name, endpoint := "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", o.Env("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
	if endpoint == "" {
		name, endpoint = "OTEL_EXPORTER_OTLP_ENDPOINT", o.Env("OTEL_EXPORTER_OTLP_ENDPOINT")
	}
	if endpoint == "" {
		return nil
	}
	switch v := cmp.Or(o.Env("OTEL_TRACES_EXPORTER"), "otlp"); v {
	case "otlp":
	case "none":
		return nil
	default:
		o.Logger.Warn("OTEL_TRACES_EXPORTER: want otlp or none; no traces are sent", "value", v)
		return nil
	}
	u, err := url.Parse(endpoint)
	if err != nil || u.Host == "" || !slices.Contains([]string{"http", "https"}, u.Scheme) {
		// The text stays out of the log: it may hold a password.
		o.Logger.Warn(name + ": want a URL such as http://collector:4318; no traces are sent")
		return nil
	}
	var client otlptrace.Client
	switch v := protocol(o, u.Port()); v {
	case protocolGRPC:
		client = otlptracegrpc.NewClient()
	case protocolHTTP:
		client = otlptracehttp.NewClient()
	default:
		o.Logger.Warn("OTEL_EXPORTER_OTLP_PROTOCOL: want grpc or http/protobuf; no traces are sent", "value", v)
		return nil
	}
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		o.Logger.Warn("traces cannot be sent: look at the variables OTEL_EXPORTER_OTLP_…", "error", err)
		return nil
	}
	return exporter
}

// protocol is what OTEL_EXPORTER_OTLP_PROTOCOL says. Without it the port that is
// kept for OTLP over gRPC decides, and otherwise OpenTelemetry's default.
func protocol(o Options, port string) string {
	said := cmp.Or(o.Env("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"), o.Env("OTEL_EXPORTER_OTLP_PROTOCOL"))
	switch {
	case said != "":
		return said
	case port == "4317":
		return protocolGRPC
	}
	return protocolHTTP
}

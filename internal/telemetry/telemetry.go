// Package telemetry sets up traces, metrics and logs for the process. It is the
// only place that knows the OpenTelemetry SDK: everything else uses the API, or
// slog.
package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// Options say who the process is.
type Options struct {
	// Service is the service's name unless OTEL_SERVICE_NAME says another.
	Service, Version string
	// Env looks up variables, os.Getenv when nil. The SDK itself reads the process's own.
	Env func(string) string
	// Logger hears of settings that are wrong and of exports that fail, slog's default when nil.
	Logger *slog.Logger
}

// Telemetry is what was set up.
type Telemetry struct {
	registry *prometheus.Registry
	// Tracing says that spans are exported.
	Tracing bool
}

// Setup installs the global tracer provider, meter provider and propagator as
// the variables OTEL_… ask for. What is wrong with them is warned of and left
// out: telemetry never keeps the program from its work. The function returned
// sends what is left, until its context ends, and then stops everything.
func Setup(ctx context.Context, o Options) (*Telemetry, func(context.Context) error, error) {
	if o.Env == nil {
		o.Env = os.Getenv
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	listen(o.Logger)
	otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator(propagation.TraceContext{}, propagation.Baggage{}))

	t := &Telemetry{registry: prometheus.NewRegistry()}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if disabled(o) {
		return t, func(context.Context) error { return nil }, nil
	}
	about := describe(ctx, o)
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(t.registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, nil, fmt.Errorf("set up metrics: %w", err)
	}
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(about))
	otel.SetMeterProvider(meters)
	stop := meters.Shutdown

	if exporter := spanExporter(ctx, o); exporter != nil {
		tracers := sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter), sdktrace.WithResource(about))
		otel.SetTracerProvider(tracers)
		t.Tracing = true
		stop = func(ctx context.Context) error {
			return errors.Join(tracers.Shutdown(ctx), meters.Shutdown(ctx))
		}
	}
	return t, stop, nil
}

// MetricsHandler serves all metrics of the process in Prometheus' form.
func (t *Telemetry) MetricsHandler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{
		ErrorHandling: promhttp.ContinueOnError, MaxRequestsInFlight: 4, Timeout: 10 * time.Second,
	})
}

// describe says who sends; OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES come last and so win.
func describe(ctx context.Context, o Options) *resource.Resource {
	about, err := resource.New(ctx,
		resource.WithTelemetrySDK(), resource.WithHost(),
		resource.WithAttributes(attribute.String("service.name", o.Service), attribute.String("service.version", o.Version)),
		resource.WithFromEnv())
	if err != nil {
		o.Logger.Warn("some of what OTEL_RESOURCE_ATTRIBUTES says cannot be used", "error", err)
	}
	return about
}

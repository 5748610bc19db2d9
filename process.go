package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/telemetry"
	"github.com/baktainer/baktainer/internal/version"
)

// stopTimeout bounds an orderly stop. What is not done by then is cut off,
// which loses nothing: it is what a crash would do.
const stopTimeout = 20 * time.Second

// process is what every long-running command has around its work.
type process struct {
	config.Config
	log *slog.Logger
	tel *telemetry.Telemetry
}

// runProcess sets up log, memory limit and telemetry, and does the work. Without
// a setting, memory is the limit.
func runProcess(ctx context.Context, c config.Config, warnings []string, memory int64, work func(context.Context, process) error) (err error) {
	log := slog.New(telemetry.LogHandler(os.Stderr, c.LogFormat, c.LogLevel))
	slog.SetDefault(log)
	limitMemory(c.Memory, memory)
	if c.CPUs > 0 {
		runtime.GOMAXPROCS(c.CPUs)
	}
	tel, stopTelemetry, err := telemetry.Setup(ctx, telemetry.Options{Service: "baktainer", Version: version.String(), Logger: log})
	if err != nil {
		return fmt.Errorf("set up telemetry: %w", err)
	}
	defer func() {
		if stopErr := stopWithin(stopTelemetry); stopErr != nil {
			log.Warn("telemetry not sent to its end", "error", stopErr)
		}
	}()
	log.Info("baktainer starts", "version", version.String(), "data", c.DataDir)
	for _, w := range warnings {
		log.Warn(w)
	}
	return work(ctx, process{Config: c, log: log, tel: tel})
}

// limitMemory gives Go a soft limit, unless the user has given it one by Go's own variable.
func limitMemory(set, usual int64) {
	if os.Getenv("GOMEMLIMIT") != "" {
		return
	}
	if set == 0 {
		set = usual
	}
	debug.SetMemoryLimit(set)
}

// stopWithin calls a stop function with stopTimeout.
func stopWithin(stop func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	return stop(ctx)
}

package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/baktainer/baktainer/agent"
	"github.com/baktainer/baktainer/agent/drill/space"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/provider/docker/mark"
	"github.com/baktainer/baktainer/internal/cli"
	"github.com/baktainer/baktainer/internal/engine/sqlite/helper"
	victoriametrics "github.com/baktainer/baktainer/internal/engine/victoriametrics/helper"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
)

// roof gives the command line what only the main package can put together.
func roof() cli.Roof {
	return cli.Roof{
		Up:             up,
		Controller:     controllerAlone,
		Agent:          agentAlone,
		OpenStore:      openStore,
		RestoreInto:    rescueInto,
		Login:          login,
		DialController: dialController,
		CheckSettings:  checkSettings,
		PlanRecovery:   planRecovery,
		Helper:         help,
		HelperCommands: []string{"helper"},
	}
}

// openStore opens an existing store; it makes nothing.
func openStore(location string) (store.Store, error) {
	if _, err := os.Stat(location); err != nil {
		return nil, problem.Wrap(problem.NotFound, err, "open the store").
			WithHint("Name the folder that has format.json in it: the store of the controller that made it.")
	}
	return fs.Open(location)
}

// help carries out what this program asks of its own binary inside helper containers.
func help(ctx context.Context, args []string, in io.Reader, out, errw io.Writer) int {
	args = args[1:] // "helper"
	if len(args) > 0 {
		switch name := args[0]; {
		case name == mark.Command:
			return mark.Main(ctx, args[1:], errw)
		case name == space.Command:
			return space.Main(ctx, args[1:], in, out, errw)
		case strings.HasPrefix(name, victoriametrics.Prefix):
			return victoriametrics.Main(ctx, args, in, out, errw)
		}
	}
	return helper.Main(ctx, args, in, out, errw)
}

// rescueInto restores a snapshot into a container, with no controller: the
// store is read directly.
func rescueInto(ctx context.Context, r cli.Rescue) (report, warnings []string, err error) {
	log := slog.New(slog.DiscardHandler)
	d, err := newDocker(r.Config, "rescue", log)
	if err != nil {
		return nil, nil, err
	}
	if r.Snapshot.Entry == nil {
		return nil, nil, problem.New(problem.Conflict, "no ledger entry confirms snapshot %s, so its engine is not known", r.Snapshot.Snapshot).
			WithHint("Restore it to a file and look at it first.")
	}
	repository, err := repo.Open(ctx, r.Store, r.Key)
	if err != nil {
		return nil, nil, err
	}
	entry := r.Snapshot.Entry
	ref := repo.Ref{Source: entry.Source, Snapshot: entry.Snapshot, Manifest: entry.Manifest, Size: entry.ManifestSize}
	key, err := repository.SourceKey(ref.Source, max(entry.Generation, 1))
	if err != nil {
		return nil, nil, err
	}
	known, err := enginesAnd(ctx, r.Config.EnginePlugins, log)
	if err != nil {
		return nil, nil, err
	}
	result, err := agent.RestoreInto(ctx, agent.DirectRestore{
		Providers: []provider.Provider{d}, Engines: known, Container: r.Container,
		Engine: entry.Engine, Snapshot: ref, Key: key, Objects: r.Store,
		Select: r.Select, Tables: r.Tables, As: r.As, Options: r.Options, Phase: r.Phase, Logger: log,
	})
	if err != nil {
		return result.Report, result.Warnings, fmt.Errorf("restore into %s: %w", r.Container, err)
	}
	return result.Report, result.Warnings, nil
}

package main

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/custom"
	"github.com/baktainer/baktainer/internal/engine/etcd"
	"github.com/baktainer/baktainer/internal/engine/influxdb"
	"github.com/baktainer/baktainer/internal/engine/mongodb"
	"github.com/baktainer/baktainer/internal/engine/mysql"
	"github.com/baktainer/baktainer/internal/engine/openldap"
	"github.com/baktainer/baktainer/internal/engine/plugin"
	"github.com/baktainer/baktainer/internal/engine/postgres"
	"github.com/baktainer/baktainer/internal/engine/redis"
	"github.com/baktainer/baktainer/internal/engine/sqlite"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics"
	"github.com/baktainer/baktainer/internal/problem"
)

// engines lists every kind of database that this program knows. A new engine is
// one folder and one line here.
func engines() []engine.Engine {
	return []engine.Engine{
		postgres.New(),
		mysql.New(),
		mongodb.New(),
		sqlite.New(),
		redis.New(),
		openldap.New(),
		etcd.New(),
		influxdb.New(),
		victoriametrics.New(),
		custom.New(),
	}
}

// enginesAnd are these and those that are programs in the folder, if any is named.
func enginesAnd(ctx context.Context, plugins string, log *slog.Logger) ([]engine.Engine, error) {
	known := engines()
	if plugins == "" {
		return known, nil
	}
	found, faults, err := plugin.Find(ctx, plugins, known)
	if err != nil {
		return nil, fmt.Errorf("find engine plugins: %w", err)
	}
	for _, fault := range faults {
		log.Error("an engine plugin cannot be used", "error", problem.Text(fault))
	}
	for _, e := range found {
		log.Info("found an engine plugin", "engine", e.Name())
	}
	return append(known, found...), nil
}

package main

import (
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/custom"
	"github.com/baktainer/baktainer/internal/engine/etcd"
	"github.com/baktainer/baktainer/internal/engine/influxdb"
	"github.com/baktainer/baktainer/internal/engine/mongodb"
	"github.com/baktainer/baktainer/internal/engine/mysql"
	"github.com/baktainer/baktainer/internal/engine/openldap"
	"github.com/baktainer/baktainer/internal/engine/postgres"
	"github.com/baktainer/baktainer/internal/engine/redis"
	"github.com/baktainer/baktainer/internal/engine/sqlite"
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
		custom.New(),
	}
}

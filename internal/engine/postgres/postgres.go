// Package postgres backs up PostgreSQL with its own pg_dump, and restores with
// psql.
//
// What is backed up: the database that the label names, else the one that the
// image's environment names (POSTGRES_DB), else, or with baktainer.db.all, every
// database that takes connections and is no template, and the roles and
// tablespaces of the server (stream "globals.sql"). When one database of several
// is backed up, the contents' notes name those that are not.
//
// A database's stream is what "pg_dump --create" writes, one consistent view of
// the database. Its head, up to the first \connect, creates the database with
// its encoding and locale; owner, settings, comments and rights of the database
// follow. By hand it is restored with "psql -d postgres -f shop.sql". Restore
// takes the dump apart statement by statement (see filter): it creates the
// database from the head when it is missing, keeps an empty one that is there,
// and runs all else in one transaction, so that it comes back whole or not at all.
//
// Restoring globals adds roles and tablespaces that are missing. Roles that are
// there stay as they are; with Overwrite they get the attributes and password of
// the backup, save the role that does the restoring.
package postgres

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/source"
)

// Kinds and formats of streams.
const (
	kindGlobals    = "globals"
	kindDatabase   = "database"
	formatGlobals  = "pg_dumpall-globals"
	formatDatabase = "pg_dump-plain"
	globalsName    = "globals"
	ending         = ".sql"
)

// maxName is the length of PostgreSQL's names, in bytes.
const maxName = 63

var variables = engine.Variables{
	User:     []string{"POSTGRES_USER", "POSTGRESQL_USERNAME", "POSTGRESQL_USER"},
	Password: []string{"POSTGRES_PASSWORD", "POSTGRESQL_PASSWORD"},
	Database: []string{"POSTGRES_DB", "POSTGRESQL_DATABASE"},
}

type postgres struct{}

// New returns the engine for PostgreSQL.
func New() engine.Engine { return postgres{} }

func (postgres) Name() string      { return "postgres" }
func (postgres) Aliases() []string { return []string{"postgresql", "pg", "postgis", "timescaledb"} }

// Detect goes by the image's name, and for images of people's own by what the
// official image leaves in those that build on it.
func (postgres) Detect(f engine.Facts) bool {
	if engine.IsToolImage(f.Image) {
		return false
	}
	known := []string{"postgres", "postgresql", "postgis", "pgvector", "timescaledb", "postgres15", "postgres16", "postgres17", "postgres18"}
	if slices.ContainsFunc(engine.ImageWords(f.Image), func(w string) bool { return slices.Contains(known, w) }) {
		return true
	}
	runsServer := slices.ContainsFunc(f.Args, func(arg string) bool {
		return slices.Contains([]string{"postgres", "postmaster"}, path.Base(arg))
	})
	return runsServer && (f.Env["PG_MAJOR"] != "" || f.Env["PGDATA"] != "")
}

func (postgres) Check(spec source.Spec, _ engine.Facts) []engine.Complaint {
	var all []engine.Complaint
	complain := func(label, reason, suggestion string) {
		all = append(all, engine.Complaint{Label: label, Reason: reason, Suggestion: suggestion})
	}
	if spec.AllDatabases && spec.Database != "" {
		complain("baktainer.db.name", "all databases are asked for, and one by name", "Keep either baktainer.db.name or baktainer.db.all.")
	}
	for label, name := range map[string]string{"baktainer.db.name": spec.Database, "baktainer.db.user": spec.User} {
		switch {
		case len(name) > maxName:
			complain(label, "PostgreSQL's names have at most 63 bytes", "Check the name.")
		case strings.ContainsAny(name, "\x00\r\n"):
			complain(label, "the name holds a line end or a zero byte", "Check the name.")
		}
	}
	slices.SortFunc(all, func(a, b engine.Complaint) int { return strings.Compare(a.Label, b.Label) })
	return all
}

func (postgres) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	tool, toolVersion, err := engine.FirstTool(ctx, inst, "pg_dump")
	if err != nil {
		return nil, err
	}
	creds, err := engine.ResolveCredentials(ctx, inst, spec, variables)
	if err != nil {
		return nil, err
	}
	if creds.User == "" {
		creds.User = "postgres"
	}
	s := &session{
		inst: inst, tool: tool, toolVersion: lastField(strings.SplitN(toolVersion, "(Debian", 2)[0]), creds: creds,
		database: creds.Database, all: spec.AllDatabases || creds.Database == "", asked: spec.AllDatabases,
		dump: spec.Dump,
	}
	if spec.AllDatabases {
		s.database = ""
	}
	if err := s.connect(ctx, engine.LocalHosts(spec)); err != nil {
		return nil, err
	}
	return s, nil
}

func (postgres) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	b := engine.Like(f, spec, variables, secret)
	if !b.Given(variables.Password...) {
		b.Env[variables.Password[0]] = secret.Reveal() // the image does not start without
	}
	return b
}

func lastField(s string) string {
	fields := strings.Fields(s)
	if len(fields) == 0 {
		return ""
	}
	return fields[len(fields)-1]
}

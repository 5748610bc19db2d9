// Package mysql backs up MariaDB and MySQL, and servers that speak their
// language, with mariadb-dump or mysqldump, whichever the image has, and
// restores with mariadb or mysql.
//
// What is backed up: the database that the label names, else the one that the
// image's environment names (MARIADB_DATABASE, MYSQL_DATABASE), else, or with
// baktainer.db.all, every database but the server's own, and the accounts with
// their grants (stream "users.sql"). When one database of several is backed up,
// the contents' notes name those that are not.
//
// A database's stream creates the database with its character set. InnoDB tables
// are dumped as one consistent view (--single-transaction). Accounts are not
// dumped with --system=users, which gives up on the first account that it cannot
// show and which MySQL lacks, but put together from SHOW CREATE USER and SHOW
// GRANTS. They come last, since a grant on a table needs the table.
//
// These servers cannot take a CREATE TABLE back. So when a restore fails, the
// database, which was missing or empty before, is made missing or empty again.
// Accounts that are there already stay as they are; with Overwrite they get the
// password and grants of the backup, save those named like the one that does
// the restoring.
//
// Known of the tools: mariadb-dump 10.11 fails on events in a database whose name
// holds a quote or a backslash. The run then fails, and says so.
package mysql

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
	kindUsers      = "users"
	kindDatabase   = "database"
	formatUsers    = "baktainer-users-1"
	formatDatabase = "mysqldump"
	usersName      = "users"
	ending         = ".sql"
)

// maxName is the length of a database's name, in characters.
const maxName = 64

// Root sees everything, so its password is preferred to that of an application.
var (
	rootVariables = engine.Variables{
		Password: []string{"MARIADB_ROOT_PASSWORD", "MYSQL_ROOT_PASSWORD"},
		Database: []string{"MARIADB_DATABASE", "MYSQL_DATABASE"},
	}
	userVariables = engine.Variables{
		User:     []string{"MARIADB_USER", "MYSQL_USER"},
		Password: []string{"MARIADB_PASSWORD", "MYSQL_PASSWORD"},
		Database: []string{"MARIADB_DATABASE", "MYSQL_DATABASE"},
	}
	emptyRoot = []string{"MARIADB_ALLOW_EMPTY_ROOT_PASSWORD", "MYSQL_ALLOW_EMPTY_PASSWORD", "ALLOW_EMPTY_PASSWORD"}
)

type mysql struct{}

// New returns the engine for MariaDB and MySQL.
func New() engine.Engine { return mysql{} }

func (mysql) Name() string      { return "mysql" }
func (mysql) Aliases() []string { return []string{"mariadb", "percona"} }

// Detect goes by the image's name, and for images of people's own by what the
// official images leave in those that build on them.
func (mysql) Detect(f engine.Facts) bool {
	if engine.IsToolImage(f.Image) {
		return false
	}
	words := engine.ImageWords(f.Image)
	has := func(any ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return slices.Contains(any, w) })
	}
	if has("mysql", "mariadb", "mysql5", "mysql8", "mysql9") || has("percona") && !has("mongodb", "postgresql", "postgres") {
		return true
	}
	runsServer := slices.ContainsFunc(f.Args, func(arg string) bool {
		return slices.Contains([]string{"mysqld", "mariadbd", "mysqld_safe", "mariadbd-safe"}, path.Base(arg))
	})
	return runsServer && (f.Env["MARIADB_VERSION"] != "" || f.Env["MYSQL_VERSION"] != "" || f.Env["MYSQL_MAJOR"] != "")
}

func (mysql) Check(spec source.Spec, _ engine.Facts) []engine.Complaint {
	var all []engine.Complaint
	if spec.AllDatabases && spec.Database != "" {
		all = append(all, engine.Complaint{
			Label: "baktainer.db.name", Reason: "all databases are asked for, and one by name",
			Suggestion: "Keep either baktainer.db.name or baktainer.db.all.",
		})
	}
	for _, c := range []struct{ label, name string }{{"baktainer.db.name", spec.Database}, {"baktainer.db.user", spec.User}} {
		switch {
		case len([]rune(c.name)) > maxName:
			all = append(all, engine.Complaint{Label: c.label, Reason: "names have at most 64 characters", Suggestion: "Check the name."})
		case strings.ContainsAny(c.name, "\x00\r\n"):
			all = append(all, engine.Complaint{Label: c.label, Reason: "the name holds a line end or a zero byte", Suggestion: "Check the name."})
		}
	}
	return all
}

func (mysql) Open(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Session, error) {
	dump, version, err := engine.FirstTool(ctx, inst, "mariadb-dump", "mysqldump")
	if err != nil {
		return nil, err
	}
	client, _, err := engine.FirstTool(ctx, inst, "mariadb", "mysql")
	if err != nil {
		return nil, err
	}
	creds, err := credentials(ctx, inst, spec)
	if err != nil {
		return nil, err
	}
	s := &session{
		inst: inst, dump: dump, client: client, mariadbTools: strings.Contains(version, "MariaDB"), creds: creds,
		database: creds.Database, all: spec.AllDatabases || creds.Database == "", asked: spec.AllDatabases,
		options: spec.Dump,
	}
	if spec.AllDatabases {
		s.database = ""
	}
	if err := s.connect(ctx, engine.LocalHosts(spec)); err != nil {
		return nil, err
	}
	return s, nil
}

// Blank has a root with a password, whoever the source's backups are made as: to
// restore takes more than to dump.
func (mysql) Blank(f engine.Facts, spec source.Spec, secret source.Secret) engine.Blank {
	b := engine.Like(f, spec, userVariables, secret)
	for _, name := range append([]string{"MARIADB_RANDOM_ROOT_PASSWORD", "MYSQL_RANDOM_ROOT_PASSWORD"}, emptyRoot...) {
		delete(b.Env, name)
	}
	for _, name := range rootVariables.Password {
		delete(b.Env, name+"_FILE")
		b.Env[name] = secret.Reveal()
	}
	return b
}

// credentials are root's where the image's environment or a label tells root's
// password, else those of the image's user. A label that names another user
// leaves root's password out.
func credentials(ctx context.Context, inst engine.Instance, spec source.Spec) (engine.Credentials, error) {
	var tried []string
	if spec.User == "" || spec.User == "root" {
		c, err := engine.ResolveCredentials(ctx, inst, spec, rootVariables)
		if err != nil {
			return c, err
		}
		for _, name := range emptyRoot {
			if v := inst.Facts().Env[name]; !c.Found && v != "" && v != "no" {
				c.Found, c.From = true, "variable "+name
			}
		}
		if c.Found {
			c.User = "root"
			return c, nil
		}
		tried = c.Tried
	}
	c, err := engine.ResolveCredentials(ctx, inst, spec, userVariables)
	if err != nil {
		return c, err
	}
	if !c.Found || c.User == "" || c.User == "root" {
		for _, line := range tried {
			if !slices.Contains(c.Tried, line) {
				c.Tried = append(c.Tried, line)
			}
		}
		return c, engine.NoCredentials(c, rootVariables)
	}
	return c, nil
}

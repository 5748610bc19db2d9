package mysql

import (
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

func TestDetect(t *testing.T) {
	for _, tc := range []struct {
		facts engine.Facts
		want  bool
	}{
		{engine.Facts{Image: "mysql:8.4"}, true},
		{engine.Facts{Image: "mariadb"}, true},
		{engine.Facts{Image: "lscr.io/linuxserver/mariadb:latest"}, true},
		{engine.Facts{Image: "bitnami/mysql:8"}, true},
		{engine.Facts{Image: "mysql/mysql-server:8.0"}, true},
		{engine.Facts{Image: "percona:8"}, true},
		{engine.Facts{Image: "percona/percona-server:8"}, true},
		{engine.Facts{Image: "acme/db", Env: map[string]string{"MARIADB_VERSION": "11"}, Args: []string{"docker-entrypoint.sh", "mariadbd"}}, true},
		{engine.Facts{Image: "percona/percona-server-mongodb:7"}, false},
		{engine.Facts{Image: "percona/percona-distribution-postgresql:16"}, false},
		{engine.Facts{Image: "percona/percona-xtrabackup"}, false},
		{engine.Facts{Image: "prom/mysqld-exporter"}, false},
		{engine.Facts{Image: "databack/mysql-backup"}, false},
		{engine.Facts{Image: "phpmyadmin"}, false},
		{engine.Facts{Image: "container-registry.example/mysql/mysql-router"}, false},
		{engine.Facts{Image: "wordpress", Env: map[string]string{"MYSQL_PASSWORD": "x"}}, false},
		{engine.Facts{Image: "postgres"}, false},
	} {
		if got := New().Detect(tc.facts); got != tc.want {
			t.Errorf("%+v: %v", tc.facts, got)
		}
	}
}

func TestCheck(t *testing.T) {
	for name, tc := range map[string]struct {
		spec source.Spec
		want int
	}{
		"nothing":     {source.Spec{}, 0},
		"all and one": {source.Spec{AllDatabases: true, Database: "x"}, 1},
		"long names":  {source.Spec{Database: strings.Repeat("ü", 65), User: strings.Repeat("x", 65)}, 2},
		"long enough": {source.Spec{Database: strings.Repeat("ü", 64)}, 0},
		"a line end":  {source.Spec{Database: "a\nb"}, 1},
	} {
		if got := New().Check(tc.spec, engine.Facts{}); len(got) != tc.want {
			t.Errorf("%s: %+v, want %d", name, got, tc.want)
		}
	}
}

func TestCredentials(t *testing.T) {
	for name, tc := range map[string]struct {
		env    map[string]string
		spec   source.Spec
		want   string
		reason problem.Reason
	}{
		"root first":          {map[string]string{"MYSQL_ROOT_PASSWORD": "r", "MYSQL_USER": "app", "MYSQL_PASSWORD": "a"}, source.Spec{}, "root r", ""},
		"mariadb first":       {map[string]string{"MYSQL_ROOT_PASSWORD": "my", "MARIADB_ROOT_PASSWORD": "maria"}, source.Spec{}, "root maria", ""},
		"random root":         {map[string]string{"MYSQL_RANDOM_ROOT_PASSWORD": "1", "MYSQL_USER": "app", "MYSQL_PASSWORD": "a"}, source.Spec{}, "app a", ""},
		"empty root":          {map[string]string{"MYSQL_ALLOW_EMPTY_PASSWORD": "yes"}, source.Spec{}, "root ", ""},
		"label user":          {map[string]string{"MYSQL_ROOT_PASSWORD": "r", "MYSQL_USER": "app", "MYSQL_PASSWORD": "a"}, source.Spec{User: "app"}, "app a", ""},
		"label password":      {map[string]string{"MYSQL_ROOT_PASSWORD": "r"}, source.Spec{Password: "l"}, "root l", ""},
		"label both":          {nil, source.Spec{User: "me", Password: "l"}, "me l", ""},
		"nothing":             {nil, source.Spec{}, "", engine.ReasonNoCredentials},
		"user without a word": {map[string]string{"MYSQL_USER": "app"}, source.Spec{}, "", engine.ReasonNoCredentials},
	} {
		c, err := credentials(t.Context(), enginetest.NewScript(engine.Facts{Env: tc.env}), tc.spec)
		if problem.ReasonOf(err) != tc.reason {
			t.Errorf("%s: %v, want reason %q", name, err, tc.reason)
		}
		if got := c.User + " " + c.Password.Reveal(); err == nil && got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

// scripted is a server with these databases. deny says that accounts are not to be read.
func scripted(dump, client, version string, deny bool, databases ...string) *enginetest.Script {
	return enginetest.NewScript(engine.Facts{Image: "mysql", Env: map[string]string{"MYSQL_ROOT_PASSWORD": "s3cret"}}).
		On(dump, func(c enginetest.Call) enginetest.Answer {
			if c.Argv[1] == "--version" {
				return enginetest.Answer{Stdout: version + "\n"}
			}
			return enginetest.Answer{Stdout: mysqlDump("")}
		}).
		On(client, func(c enginetest.Call) enginetest.Answer {
			switch {
			case c.Argv[1] == "--version":
				return enginetest.Answer{Stdout: version}
			case strings.Contains(c.Input, "VERSION()"):
				return enginetest.Answer{Stdout: "8.0.36\nMySQL Community Server - GPL\n"}
			case strings.Contains(c.Input, "SCHEMATA"):
				var out string
				for _, d := range append(databases, "mysql", "sys", "information_schema", "PERFORMANCE_SCHEMA", "#mysql50#lost+found") {
					out += hex.EncodeToString([]byte(d)) + "\n"
				}
				return enginetest.Answer{Stdout: out}
			case strings.Contains(c.Input, "mysql.user") && deny:
				return enginetest.Answer{Status: 1, Stderr: "ERROR 1142 (42000) at line 2: SELECT command denied to user"}
			}
			return enginetest.Answer{Stdout: "1\n"}
		})
}

func TestOpenWithMySQLsTools(t *testing.T) {
	inst := scripted("mysqldump", "mysql", "mysqldump  Ver 8.0.36 for Linux on x86_64 (MySQL Community Server - GPL)", false, "shop", "--x`y")
	recorder := enginetest.Record(inst, "s3cret")
	session, err := New().Open(t.Context(), recorder, source.Spec{Database: "--x`y"})
	if err != nil {
		t.Fatal(err)
	}
	if got := session.Server(); got != "MySQL 8.0.36" {
		t.Errorf("server %q", got)
	}
	p, err := session.Dump(t.Context(), databaseStream("--x`y"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = p.Wait()
	calls := inst.Calls()
	dump := calls[len(calls)-1]
	if n := len(dump.Argv); !slices.Equal(dump.Argv[n-3:], []string{"--databases", "--", "--x`y"}) || !slices.Contains(dump.Argv, "--set-gtid-purged=OFF") {
		t.Errorf("argv %q", dump.Argv)
	}
	if !slices.Contains(dump.Env, "MYSQL_PWD=s3cret") || len(recorder.Leaks()) > 0 {
		t.Errorf("environment %q, leaks %q", dump.Env, recorder.Leaks())
	}
}

func TestStreams(t *testing.T) {
	const maria = "mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB"
	for name, tc := range map[string]struct {
		spec   source.Spec
		deny   bool
		want   []string
		reason problem.Reason
	}{
		"one":                  {source.Spec{Database: "users"}, false, []string{"%75sers.sql"}, ""},
		"nothing named":        {source.Spec{}, false, []string{"shop.sql", "%75sers.sql", "users.sql"}, ""},
		"nothing named, no su": {source.Spec{}, true, []string{"shop.sql", "%75sers.sql"}, ""},
		"all":                  {source.Spec{AllDatabases: true}, false, []string{"shop.sql", "%75sers.sql", "users.sql"}, ""},
		"all, no su":           {source.Spec{AllDatabases: true}, true, nil, engine.ReasonToolFailed},
		"not there":            {source.Spec{Database: "x"}, false, nil, engine.ReasonNoDatabase},
	} {
		t.Run(name, func(t *testing.T) {
			session, err := New().Open(t.Context(), scripted("mariadb-dump", "mariadb", maria, tc.deny, "users", "shop"), tc.spec)
			if err != nil {
				t.Fatal(err)
			}
			streams, err := session.Streams(t.Context())
			var names []string
			for _, s := range streams {
				names = append(names, s.Name)
			}
			if problem.ReasonOf(err) != tc.reason || !slices.Equal(names, tc.want) {
				t.Errorf("%q, %v, want %q, reason %q", names, err, tc.want, tc.reason)
			}
		})
	}
}

// Whatever is permitted, the server's own databases are not dropped for a backup.
func TestNotAsTheServersOwn(t *testing.T) {
	inst := scripted("mariadb-dump", "mariadb", "mariadb-dump  Ver 10.19 Distrib 10.11.6-MariaDB", false, "shop")
	session, err := New().Open(t.Context(), inst, source.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []engine.RestoreOptions{{As: "mysql", Overwrite: true}, {As: "SYS", Overwrite: true, Only: []string{"x"}}} {
		if _, err := session.Prepare(t.Context(), []engine.Stream{databaseStream("shop")}, o); problem.ReasonOf(err) != engine.ReasonUnsupported {
			t.Errorf("%+v: %v", o, err)
		}
	}
	for _, c := range inst.Calls() {
		if strings.Contains(c.Input, "DROP") {
			t.Errorf("dropped: %s", c.Input)
		}
	}
}

// said are what tools really wrote.
var said = map[string]problem.Reason{
	`mariadb-dump: Got error: 1045: "Access denied for user 'root'@'localhost' (using password: YES)" when trying to connect`: engine.ReasonWrongPassword,
	`mysqldump: Got error: 1045: Access denied for user '[hidden]'@'localhost' (using [hidden]: YES) when trying to connect`:  engine.ReasonWrongPassword,
	`ERROR 1045 (28000): Access denied for user 'root'@'localhost' (using password: YES)`:                                     engine.ReasonWrongPassword,
	`ERROR 1698 (28000): Access denied for user 'root'@'localhost'`:                                                           engine.ReasonWrongPassword,
	`mariadb-dump: Got error: 1049: "Unknown database 'shopxx'" when selecting the database`:                                  engine.ReasonNoDatabase,
	`mariadb-dump: Got error: 2002: "Can't connect to server on '127.0.0.1' (115)" when trying to connect`:                    engine.ReasonNoConnection,
	`mysqldump: Error 2013: Lost connection to MySQL server during query when dumping table items at row: 7`:                  engine.ReasonNoConnection,
	`mysqldump: Couldn't execute 'SHOW TRIGGERS': Access denied; you need (at least one of) the PROCESS privilege(s) (1227)`:  engine.ReasonToolFailed,
	`ERROR 1273 (HY000) at line 25: Unknown collation: 'utf8mb4_0900_ai_ci'`:                                                  engine.ReasonUnsupported,
	`ERROR at line 1: Unknown command '\-'.`:                                                                                  engine.ReasonUnsupported,
	`ERROR 1146 (42S02) at line 9: Table 'shop.gone' doesn't exist`:                                                           engine.ReasonToolFailed,
	`something new`: engine.ReasonToolFailed,
}

func TestExplain(t *testing.T) {
	for stderr, want := range said {
		p := (&session{dump: "mysqldump"}).Explain(engine.Exit{Status: 2, Stderr: stderr})
		if p.Reason != want {
			t.Errorf("%s: %s, want %s", stderr, p.Reason, want)
		}
		if p.Hint == "" && stderr != "something new" {
			t.Errorf("%s: no hint", stderr)
		}
	}
}

func FuzzExplain(f *testing.F) {
	for stderr := range said {
		f.Add(1, stderr)
	}
	f.Fuzz(func(t *testing.T, status int, stderr string) {
		p := (&session{dump: "mysqldump"}).Explain(engine.Exit{Status: status, Stderr: stderr})
		if p.Reason == "" || p.What == "" || p.Code == "" {
			t.Fatalf("%+v", p)
		}
	})
}

func FuzzUsers(f *testing.F) {
	f.Add(accountsStream, 3)
	f.Add(usersTitle+"\n-- Create user zz@\n"+usersEnd+"\n", 1)
	f.Fuzz(func(t *testing.T, data string, size int) {
		size = max(size, 1)
		whole, pieces := &usersInspector{}, &usersInspector{}
		_, _ = whole.Write([]byte(data))
		for b := []byte(data); len(b) > 0; b = b[min(size, len(b)):] {
			_, _ = pieces.Write(b[:min(size, len(b))])
		}
		contents, err := whole.Finish()
		again, errAgain := pieces.Finish()
		if fmt.Sprint(contents, err) != fmt.Sprint(again, errAgain) {
			t.Fatalf("the verdict depends on the writes: %v %v", err, errAgain)
		}
		if _, restoreErr := restoreUsers(strings.NewReader(data), nil, true, "root"); err != nil && restoreErr == nil {
			t.Fatalf("a restore takes what the inspector refuses: %v", err)
		}
	})
}

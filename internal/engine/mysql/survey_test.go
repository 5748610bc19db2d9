package mysql

import (
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/source"
)

func TestDefinerOf(t *testing.T) {
	for stmt, want := range map[string]string{
		"/*!50001 CREATE ALGORITHM=UNDEFINED */\n/*!50013 DEFINER=`root`@`localhost` SQL SECURITY DEFINER */": "'root'@'localhost'",
		"CREATE DEFINER=`a``b`@`%` PROCEDURE `p`()\nSELECT 'DEFINER=`x`@`y`'":                                 "'a`b'@'%'",
		"/*!50003 CREATE*/ /*!50017 DEFINER=`it's`@`%`*/ /*!50003 TRIGGER x":                                  "'it''s'@'%'",
		"CREATE DEFINER=`keeper` PROCEDURE `p`()":                                                             "'keeper'",
		"INSERT INTO `x` VALUES ('DEFINER=`x`@`y`')":                                                          "",
		"/*!50013 DEFINER=":   "",
		"/*!50013 DEFINER=`":  "",
		"/*!50013 DEFINER=`x": "'x'",
	} {
		if got := definerOf([]byte(stmt)); got != want {
			t.Errorf("%s: %q, want %q", stmt, got, want)
		}
	}
}

func TestStorageOf(t *testing.T) {
	for stmt, want := range map[string]string{
		"CREATE TABLE `x` (\n  `a` int\n) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4": "InnoDB",
		"CREATE TABLE `x` (\n  `a` text COMMENT '\n) ENGINE=a'\n) ENGINE=MyISAM": "MyISAM",
		"CREATE TABLE `x` (\n  `a` int\n)":                                       "",
		"CREATE TABLE `x` (\n) ENGINE=":                                          "",
	} {
		if got := storageOf([]byte(stmt)); got != want {
			t.Errorf("%s: %q, want %q", stmt, got, want)
		}
	}
}

func TestSurvey(t *testing.T) {
	const mariadb, mysql = "10.11.6-MariaDB-0+deb12u1", "8.4.2"
	shop := func(server string, objects ...string) engine.Dumped {
		d := engine.Dumped{Stream: databaseStream("shop"), Size: 1, Contents: engine.Contents{Notes: []string{
			serverNote + server, definersNote + `: "'app'@'%'", "'root'@'localhost'"`, enginesNote + `: "Aria", "InnoDB"`,
		}}}
		for _, o := range objects {
			d.Contents.Objects = append(d.Contents.Objects, engine.Object{Kind: "table", Name: o})
		}
		return d
	}
	leftOut := func(d engine.Dumped, names ...string) engine.Dumped {
		for _, n := range names {
			d.Contents.Objects = append(d.Contents.Objects, engine.Object{Kind: engine.KindRowsLeftOut, Name: n})
		}
		return d
	}
	accounts := engine.Dumped{Stream: engine.Stream{Name: "users.sql", Kind: kindUsers}, Contents: engine.Contents{Objects: []engine.Object{{Kind: "account", Name: "'app'@'%'"}}}}
	for name, tc := range map[string]struct {
		server, accounts, more string
		refused                bool // to read accounts
		dumps                  []engine.Dumped
		only                   []string
		missing, warnings      string
	}{
		"all is there":             {server: mariadb, accounts: "app", more: "e Aria\nl 0\n"},
		"no definer":               {server: mariadb, more: "e Aria\n", warnings: `run as "'app'@'%'", who`},
		"comes with it":            {server: mariadb, more: "e Aria\n", dumps: []engine.Dumped{shop(mariadb), accounts}},
		"who may not ask":          {server: mariadb, refused: true, more: "e Aria\n"},
		"no storage engine":        {server: mariadb, accounts: "app", warnings: `storage engines "Aria", which`},
		"lower case":               {server: mariadb, accounts: "app", more: "e Aria\nl 1\n", dumps: []engine.Dumped{shop(mariadb, "Orders", "x")}, warnings: `capitals: "Orders"`},
		"lower case, same names":   {server: mariadb, accounts: "app", more: "e Aria\nl 1\n", dumps: []engine.Dumped{shop(mariadb, "Orders", "orders")}, missing: `one then: "orders"`},
		"lower case, one of these": {server: mariadb, accounts: "app", more: "e Aria\nl 1\n", dumps: []engine.Dumped{shop(mariadb, "Orders", "orders", "x")}, only: []string{"x"}},
		"lower case, without rows": {server: mariadb, accounts: "app", more: "e Aria\nl 1\n", dumps: []engine.Dumped{leftOut(shop(mariadb, "orders"), "ORDERS", "orders")}},
		"an older server":          {server: "10.6.1-MariaDB", accounts: "app", more: "e Aria\n", warnings: "runs MariaDB 10.6.1"},
		"a newer server":           {server: "11.4.1-MariaDB", accounts: "app", more: "e Aria\n"},
		"into MySQL":               {server: mysql, accounts: "app", more: "e Aria\n", warnings: "is of MariaDB 10.11.6"},
		"into MariaDB":             {server: mariadb, accounts: "app", more: "e Aria\n", dumps: []engine.Dumped{shop(mysql)}, warnings: "is of MySQL 8.4.2"},
	} {
		t.Run(name, func(t *testing.T) {
			inst := enginetest.NewScript(engine.Facts{Env: map[string]string{"MARIADB_ROOT_PASSWORD": "x"}}).
				On("mariadb-dump", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: "x"} }).
				On("mariadb", func(c enginetest.Call) enginetest.Answer {
					switch {
					case strings.Contains(c.Input, "VERSION()"):
						return enginetest.Answer{Stdout: tc.server + "\n\n"}
					case strings.Contains(c.Input, "SCHEMATA"):
						return enginetest.Answer{}
					case strings.Contains(c.Input, "information_schema.ENGINES"):
						return enginetest.Answer{Stdout: "e InnoDB\nd /var/lib/mysql\n" + tc.more}
					case strings.Contains(c.Input, "mysql.user") && tc.refused:
						return enginetest.Answer{Status: 1, Stderr: "no"}
					case strings.Contains(c.Input, "mysql.user") && tc.accounts != "":
						return enginetest.Answer{Stdout: "617070 25 N\n726F6F74 6C6F63616C686F7374 N\n"}
					case strings.Contains(c.Input, "mysql.user"):
						return enginetest.Answer{Stdout: "726F6F74 6C6F63616C686F7374 N\n"}
					}
					return enginetest.Answer{Stdout: "mariadb Ver 15.1\n"}
				})
			session, err := New().Open(t.Context(), inst, source.Spec{})
			if err != nil {
				t.Fatal(err)
			}
			dumps := tc.dumps
			if dumps == nil {
				dumps = []engine.Dumped{shop(mariadb)}
			}
			found, err := session.(engine.Surveyor).Survey(t.Context(), dumps, engine.RestoreOptions{Only: tc.only})
			if err != nil {
				t.Fatal(err)
			}
			for what, pair := range map[string][2]string{"missing": {tc.missing, strings.Join(found.Missing, "\n")}, "warnings": {tc.warnings, strings.Join(found.Warnings, "\n")}} {
				if want, got := pair[0], pair[1]; !strings.Contains(got, want) || (got == "") != (want == "") {
					t.Errorf("%s: %q, want %q", what, got, want)
				}
			}
		})
	}
}

package mysql_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/engine/mysql"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	password = "s3cret pass'word$x"
	hostile  = "a b;$(x)'\"-- `x"
)

// box is a server in a container, and how its tests talk to it.
type box struct {
	*dockercli.Instance
	client string
}

func start(t testing.TB, name, image, client string, env ...string) box {
	b := box{dockercli.Start(t, name, image, env), client}
	b.Ready(t, []string{"MYSQL_PWD=" + password}, client, "-uroot", "-h127.0.0.1", "-e", "SELECT 1")
	return b
}

func ident(name string) string { return "`" + strings.ReplaceAll(name, "`", "``") + "`" }

func (b box) sql(t testing.TB, sql string) string {
	t.Helper()
	return b.Run(t, sql, []string{"MYSQL_PWD=" + password}, b.client, "-uroot", "--batch", "-N", "--comments", "--default-character-set=utf8mb4")
}

const seed = `
CREATE TABLE items (id int PRIMARY KEY, name text, raw blob, at timestamp DEFAULT '2020-01-01 00:00:00', twice int AS (id * 2) STORED) COMMENT 'x
-- Dump completed
y';
INSERT INTO items (id, name, raw) SELECT seq, CONCAT('item ', seq, ' \\ '' "', char(10), 'ü€😀'), UNHEX(MD5(seq)) FROM seq_1_to_3000;
CREATE TABLE fools (line text);
INSERT INTO fools VALUES ('-- Dump completed'), ('\n-- Dump completed\n'), (';\n'), (');\n'), (''), (NULL), ('\\'), ('\\'''), ('/*'), ('\\! touch /tmp/x'), ('DELIMITER //');
CREATE TABLE customers (id int AUTO_INCREMENT PRIMARY KEY, name text);
INSERT INTO customers (name) SELECT CONCAT('customer ', seq) FROM seq_1_to_40;
CREATE TABLE orders (id int AUTO_INCREMENT PRIMARY KEY, customer int, note text, KEY (customer), CONSTRAINT of_customer FOREIGN KEY (customer) REFERENCES customers (id) ON DELETE CASCADE);
INSERT INTO orders (customer, note) SELECT 1 + seq MOD 40, '/*!40103 SET TIME_ZONE=@OLD_TIME_ZONE */' FROM seq_1_to_500;
CREATE TABLE empty (a int);
CREATE TABLE ` + "`we``ird\nname;\n-- Dump completed\nz`" + ` (` + "`c``;\nz`" + ` int, d int AS (1) VIRTUAL);
INSERT INTO ` + "`we``ird\nname;\n-- Dump completed\nz`" + ` (` + "`c``;\nz`" + `) VALUES (1), (2);
CREATE TABLE ` + "`Dump completed\nx`" + ` (a int);
CREATE SEQUENCE sq START WITH 42;
DELIMITER ;;
CREATE PROCEDURE p() BEGIN
-- Dump completed
# it's
SELECT ';' /* ' */, "\\";
END;;
CREATE FUNCTION fn(a int) RETURNS text DETERMINISTIC RETURN CONCAT('it''s ', a);;
CREATE TRIGGER tr BEFORE INSERT ON fools FOR EACH ROW BEGIN
-- Dump completed
SET @x = 'it''s'; END;;
SET sql_mode = 'NO_BACKSLASH_ESCAPES';;
CREATE PROCEDURE q() BEGIN SELECT '\', '-- Dump completed
'; END;;
SET sql_mode = '';;
DELIMITER ;
CREATE VIEW v AS SELECT 'a
-- Dump completed
b' AS x FROM items;
`

// event is left out of databases with a quote in their name: mariadb-dump fails
// on the two together ("Unknown database 'q\'x'").
const event = `
CREATE EVENT ev ON SCHEDULE EVERY 1 DAY STARTS '2030-01-01 00:00:00' DO SELECT 'x;
-- Dump completed';
`

func (b box) create(t testing.TB, database string) {
	t.Helper()
	content := seed
	if !strings.ContainsAny(database, `'"\`) {
		content += event
	}
	b.sql(t, "CREATE DATABASE IF NOT EXISTS "+ident(database)+" CHARACTER SET latin1 COLLATE latin1_german1_ci;\nALTER DATABASE "+ident(database)+
		" CHARACTER SET latin1 COLLATE latin1_german1_ci;\nUSE "+ident(database)+";\nSET NAMES utf8mb4;\nSET SESSION character_set_client = utf8mb4;\n"+strings.ReplaceAll(content, "text", "text CHARACTER SET utf8mb4"))
}

func (b box) drop(t testing.TB, database string) {
	t.Helper()
	b.sql(t, "DROP DATABASE IF EXISTS "+ident(database)+";\n")
}

// fingerprint tells rows and definitions of a database.
func (b box) fingerprint(t testing.TB, database string) string {
	t.Helper()
	name := fmt.Sprintf("0x%x", database)
	props := b.sql(t, "SELECT DEFAULT_CHARACTER_SET_NAME, DEFAULT_COLLATION_NAME FROM information_schema.SCHEMATA WHERE SCHEMA_NAME = "+name)
	if props == "" {
		return fmt.Sprintf("%q: none\n", database)
	}
	var out strings.Builder
	fmt.Fprintf(&out, "%q: %s", database, props)
	tables := b.sql(t, "SELECT HEX(TABLE_NAME), TABLE_TYPE FROM information_schema.TABLES WHERE TABLE_SCHEMA = "+name+" ORDER BY 1")
	var queries strings.Builder
	for line := range strings.Lines(tables) {
		hexName, kind, _ := strings.Cut(strings.TrimSpace(line), "\t")
		var table []byte
		if _, err := fmt.Sscanf(hexName, "%x", &table); err != nil {
			t.Fatalf("the name of a table is %q: %v", hexName, err)
		}
		full := ident(database) + "." + ident(string(table))
		fmt.Fprintf(&queries, "SELECT 'next: %s %s';\nSELECT * FROM %s ORDER BY 1;\nSELECT 'definition';\nSHOW CREATE TABLE %s;\n", hexName, kind, full, full)
	}
	answers := b.sql(t, queries.String())
	for _, answer := range strings.Split(answers, "next: ")[1:] {
		head, rest, _ := strings.Cut(answer, "\n")
		rows, definition, _ := strings.Cut(rest, "definition\n")
		fmt.Fprintf(&out, "  %s: %d rows, %x, definition %x\n", head, strings.Count(rows, "\n"), sha256.Sum256([]byte(rows)), sha256.Sum256([]byte(definition)))
	}
	for _, query := range []string{
		"SELECT ROUTINE_NAME, ROUTINE_DEFINITION, SQL_MODE, DEFINER FROM information_schema.ROUTINES WHERE ROUTINE_SCHEMA = " + name + " ORDER BY 1",
		"SELECT TRIGGER_NAME, ACTION_STATEMENT, SQL_MODE FROM information_schema.TRIGGERS WHERE TRIGGER_SCHEMA = " + name + " ORDER BY 1",
		"SELECT EVENT_NAME, EVENT_DEFINITION, STARTS, STATUS FROM information_schema.EVENTS WHERE EVENT_SCHEMA = " + name + " ORDER BY 1",
	} {
		answer := b.sql(t, query)
		fmt.Fprintf(&out, "  %d, %x\n", strings.Count(answer, "\n"), sha256.Sum256([]byte(answer)))
	}
	return out.String()
}

func (b box) fixture(database string, spec source.Spec) enginetest.Fixture {
	return enginetest.Fixture{
		Engine: mysql.New(), Instance: b.Instance, Spec: spec, Secrets: []string{password},
		Seed: func(t testing.TB) { b.create(t, database) },
		Bulk: func(t testing.TB) {
			b.sql(t, "CREATE TABLE "+ident(database)+".bulk (seq int, filler text);\nUSE "+ident(database)+
				";\nINSERT INTO bulk SELECT seq, REPEAT(MD5(seq), 8) FROM seq_1_to_280000;\n")
		},
		Fingerprint: func(t testing.TB) string { return b.fingerprint(t, database) },
		Wreck:       func(t testing.TB) { b.drop(t, database) },
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return b.Instance, source.Spec{Password: "this is not it"}
		},
	}
}

func TestContainer(t *testing.T) {
	dockercli.Need(t)
	for _, tc := range []struct{ image, client, prefix, server string }{
		{"mariadb", "mariadb", "MARIADB_", "MariaDB 10.11"},
		{"mariadb-new", "mariadb", "MARIADB_", "MariaDB 10.11"},
		{"mysql", "mysql", "MYSQL_", "MariaDB 10.11"}, // MariaDB under MySQL's names
	} {
		t.Run(tc.image, func(t *testing.T) {
			b := start(t, tc.image, tc.image, tc.client, tc.prefix+"ROOT_PASSWORD="+password, tc.prefix+"DATABASE=shop", tc.prefix+"USER=app", tc.prefix+"PASSWORD=app's")
			t.Run("from the environment", func(t *testing.T) {
				f := b.fixture("shop", source.Spec{})
				f.KeepsHalfPart = true
				if tc.image != "mariadb-new" { // the tools of the other two differ more
					f.Lose = func(t testing.TB) (stream, name string) {
						b.sql(t, "DROP TABLE shop.orders;\n")
						return "shop.sql", "orders"
					}
				}
				enginetest.Run(t, f)
			})
			if tc.image != "mariadb" {
				return
			}
			t.Run("hostile name", func(t *testing.T) { enginetest.Run(t, b.fixture(hostile, source.Spec{Database: hostile})) })
			t.Run("failures", func(t *testing.T) { failures(t, b) })
			t.Run("leaving out", func(t *testing.T) { leavingOut(t, b) })
			t.Run("as the application", func(t *testing.T) { asApplication(t, b) })
		})
	}
}

func failures(t *testing.T, b box) {
	for name, tc := range map[string]struct {
		spec source.Spec
		want problem.Reason
	}{
		"no such database": {source.Spec{Database: "nowhere"}, engine.ReasonNoDatabase},
		"no such user":     {source.Spec{User: "nobody", Password: "x"}, engine.ReasonWrongPassword},
		"no such file":     {source.Spec{PasswordFile: "/nowhere"}, engine.ReasonNoCredentials},
		"no such variable": {source.Spec{PasswordEnv: "NOWHERE"}, engine.ReasonNoCredentials},
		"no right":         {source.Spec{User: "app", Password: "app's", AllDatabases: true}, engine.ReasonToolFailed},
	} {
		t.Run(name, func(t *testing.T) {
			session, err := mysql.New().Open(t.Context(), b.Instance, tc.spec)
			if err == nil {
				_, err = session.Streams(t.Context())
			}
			if problem.ReasonOf(err) != tc.want {
				t.Fatalf("%v, want reason %s", err, tc.want)
			}
			t.Logf("what the user reads:\n%s", problem.Text(err))
		})
	}
}

// asApplication backs up with the rights that the image gives its user.
func asApplication(t *testing.T, b box) {
	f := b.fixture("shop", source.Spec{User: "app"})
	f.Secrets = []string{"app's"}
	f.Seed = func(t testing.TB) {
		b.sql(t, "CREATE DATABASE IF NOT EXISTS shop;\nUSE shop;\nCREATE TABLE shop.items AS SELECT seq AS id FROM seq_1_to_1000;\n")
	}
	f.Bulk = func(t testing.TB) {
		b.sql(t, "USE shop;\nCREATE TABLE shop.bulk AS SELECT seq, REPEAT(MD5(seq), 8) AS filler FROM seq_1_to_280000;\n")
	}
	f.Wreck = func(t testing.TB) { b.sql(t, "DROP DATABASE IF EXISTS shop;\nCREATE DATABASE shop;\n") }
	enginetest.Run(t, f)
}

func TestContainerAllDatabases(t *testing.T) {
	dockercli.Need(t)
	b := start(t, "mariadb-all", "mariadb", "mariadb", "MARIADB_ROOT_PASSWORD="+password)
	databases := []string{"first", "users", hostile}
	const odd = "'o''d\\\\d\"`x;'@'10.%'"
	f := b.fixture(hostile, source.Spec{})
	f.Seed = func(t testing.TB) {
		for _, database := range databases {
			b.create(t, database)
		}
		b.sql(t, "CREATE ROLE rr;\nGRANT SELECT ON `first`.* TO rr;\nCREATE USER app IDENTIFIED BY 'pw' REQUIRE SSL WITH MAX_USER_CONNECTIONS 7;\n"+
			"GRANT rr TO app;\nSET DEFAULT ROLE rr FOR app;\nCREATE USER "+odd+" IDENTIFIED BY 'x';\nGRANT SELECT (name) ON `first`.items TO "+odd+";\n"+
			"GRANT ALL ON "+ident(hostile)+".* TO "+odd+" WITH GRANT OPTION;\n")
	}
	f.Wreck = func(t testing.TB) {
		for _, database := range databases {
			b.drop(t, database)
		}
		b.sql(t, "DROP USER IF EXISTS app;\nDROP ROLE IF EXISTS rr;\nDROP USER IF EXISTS "+odd+";\n")
	}
	f.Fingerprint = func(t testing.TB) string {
		accounts := b.sql(t, "SELECT User, Host, is_role, authentication_string, max_user_connections, ssl_type, default_role FROM mysql.user ORDER BY 1, 2;\n"+
			"SELECT * FROM mysql.roles_mapping ORDER BY 1, 2, 3;\nSELECT Host, Db, User, Select_priv, Grant_priv FROM mysql.db ORDER BY 1, 2, 3;\n"+
			"SELECT Host, Db, User, Table_name, Column_name, Column_priv FROM mysql.columns_priv ORDER BY 1, 2, 3;\n")
		for _, database := range databases {
			accounts += b.fingerprint(t, database)
		}
		return accounts
	}
	enginetest.Run(t, f)
}

const pickySeed = `
CREATE TABLE customers (id int PRIMARY KEY, name text);
INSERT INTO customers SELECT seq, CONCAT('c', seq) FROM seq_1_to_7;
CREATE TABLE orders (id int PRIMARY KEY, customer int, FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO orders SELECT seq, seq FROM seq_1_to_5;
CREATE SEQUENCE standing;
CREATE TABLE ` + "`Sess.ions; --''\"*\\`" + ` (id int DEFAULT (NEXT VALUE FOR standing), customer int, secret text, FOREIGN KEY (customer) REFERENCES customers (id));
INSERT INTO ` + "`Sess.ions; --''\"*\\`" + ` (customer, secret) VALUES (1, 'a secret');
CREATE TABLE log_1 (what text);
INSERT INTO log_1 VALUES ('a secret');
CREATE VIEW names AS SELECT name FROM customers;
CREATE VIEW secrets AS SELECT secret FROM ` + "`Sess.ions; --''\"*\\`" + `;
`

// leavingOut makes dumps with labels that leave out, looks at what they say, and
// restores them.
func leavingOut(t *testing.T, b box) {
	const database, other = "picky" + hostile, "picky.other"
	const sessions, written = `"Sess.ions; --''""*\"`, "Sess.ions; --''\"*\\"
	create := func(t testing.TB, databases ...string) {
		for _, d := range databases {
			b.drop(t, d)
			b.sql(t, "CREATE DATABASE "+ident(d)+";\nUSE "+ident(d)+";\n"+pickySeed)
		}
	}
	create(t, database, other)
	b.sql(t, "CREATE DATABASE IF NOT EXISTS shop;\nCREATE USER picked IDENTIFIED BY 'x';\nGRANT SELECT ON "+ident(database)+"."+ident(written)+" TO picked;\nGRANT SELECT ON "+ident(other)+".log_1 TO picked;\nGRANT SELECT (name) ON "+ident(database)+".customers TO picked;\n")
	t.Cleanup(func() {
		b.drop(t, database)
		b.drop(t, other)
		b.sql(t, "DROP USER picked;\n")
	})
	for name, tc := range map[string]struct {
		in, out, noData, databases string
		args                       []string
		want, notes, fails         string
	}{
		"rows":      {noData: sessions + ",log_*", want: "rows left out " + written + ", rows left out log_1, " + written + " 0, customers 7, log_1 0, orders 5"},
		"only some": {in: "orders,customers,names", out: "nothing*", args: []string{"--skip-events"}, want: "left out " + written + ", left out log_1, left out secrets, left out events, customers 7, orders 5", notes: "nothing matches nothing* of the label baktainer.dump.exclude_tables\ndumped with --skip-events"},
		"one of several": {databases: `"` + strings.ReplaceAll(database, `"`, `""`) + `"`, out: sessions + ",secrets", noData: "log_1",
			want: "database left out picky.other, database left out shop, left out " + written + ", rows left out log_1, left out secrets, customers 7, log_1 0, orders 5"},
		"a view needs it": {out: sessions, fails: "view `picky"},
		"a key needs it":  {out: "customers,names", fails: "a foreign key of table"},
	} {
		t.Run(name, func(t *testing.T) {
			spec := source.Spec{Database: database, Dump: source.Dump{
				Tables: source.Selection{Include: enginetest.Patterns(t, tc.in), Exclude: enginetest.Patterns(t, tc.out)}, NoData: enginetest.Patterns(t, tc.noData), Args: tc.args,
			}}
			if tc.databases != "" {
				spec.Database, spec.AllDatabases, spec.Dump.Databases.Include = "", true, enginetest.Patterns(t, tc.databases)
			}
			session, err := mysql.New().Open(t.Context(), b.Instance, spec)
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			streams, err := session.Streams(t.Context())
			if tc.fails != "" {
				if problem.ReasonOf(err) != engine.ReasonSelection || !strings.Contains(problem.Text(err), tc.fails) {
					t.Fatalf("%v, want reason %s and %q", err, engine.ReasonSelection, tc.fails)
				}
				t.Logf("what the user reads:\n%s", problem.Text(err))
				return
			}
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			var got, notes, dumps []string
			leftOut := map[string][]string{}
			for _, s := range streams {
				p, err := session.Dump(t.Context(), s)
				if err != nil {
					t.Fatal(err)
				}
				inspector := session.Inspect(s)
				text, _ := io.ReadAll(io.TeeReader(p, inspector))
				if exit, err := p.Wait(); err != nil || exit.Status != 0 {
					t.Fatalf("%v, %+v", err, exit)
				}
				seen, err := inspector.Finish()
				if err != nil {
					t.Fatal(problem.Text(err))
				}
				for _, o := range seen.Objects {
					switch {
					case engine.IsLeftOut(o.Kind):
						got = append(got, o.Kind+" "+o.Name)
					case o.Kind == "table":
						got = append(got, fmt.Sprint(o.Name, " ", o.Rows))
					}
				}
				notes, dumps = append(notes, seen.Notes...), append(dumps, string(text))
				leftOut[s.Name] = engine.LeftOut(seen.Objects)
			}
			if strings.Join(got, ", ") != tc.want || strings.Contains(strings.Join(dumps, ""), "a secret") {
				t.Errorf("in the dump:\n%s\nwant\n%s", strings.Join(got, ", "), tc.want)
			}
			if !strings.Contains(strings.Join(notes, "\n"), tc.notes) {
				t.Errorf("notes %q, want %q", notes, tc.notes)
			}
			plan, err := session.Prepare(t.Context(), streams, engine.RestoreOptions{Overwrite: true, LeftOut: leftOut})
			if err != nil || !strings.Contains(strings.Join(plan.Replaces, "\n"), "is lost with database") {
				t.Errorf("the plan %q does not tell of what will be lost: %v", plan, err)
			}
			if tc.databases != "" {
				b.sql(t, "DROP USER picked;\nDROP DATABASE "+ident(other)+";\n")
			}
			for i, s := range streams {
				if err := session.Restore(t.Context(), s, strings.NewReader(dumps[i]), engine.RestoreOptions{}); err != nil {
					t.Fatalf("restore %s: %s", s.Name, problem.Text(err))
				}
			}
			if n := b.sql(t, "SELECT COUNT(*) FROM "+ident(database)+".orders"); n != "5\n" {
				t.Errorf("restored are %s orders", n)
			}
			if grants := b.sql(t, "SHOW GRANTS FOR picked;\n"); tc.databases != "" && (strings.Contains(grants, "log_1") || !strings.Contains(grants, "customers")) {
				t.Errorf("the account may:\n%s", grants)
			}
			create(t, database)
		})
	}
}

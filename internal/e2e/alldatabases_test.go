package e2e

import (
	"reflect"
	"slices"
	"strings"
	"testing"
)

// TestAllDatabases backs whole servers up, loses a whole database and a role, and has them back.
func TestAllDatabases(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	t.Run("postgres", func(t *testing.T) { t.Parallel(); allOfPostgres(t, u) })
	t.Run("mariadb", func(t *testing.T) { t.Parallel(); allOfMariaDB(t, u) })
}

func allOfPostgres(t *testing.T, u *up) {
	c := postgres.start(t, "baktainer.db.all=true")
	postgres.seed(t, c, 0)
	query(t, c, "postgres", `CREATE ROLE accountant LOGIN PASSWORD 'x1y2z3' CONNECTION LIMIT 7`)
	query(t, c, "postgres", `CREATE ROLE clerks NOLOGIN; GRANT clerks TO accountant`)
	query(t, c, "postgres", `CREATE DATABASE "Büro; 2" OWNER accountant`)
	query(t, c, "Büro; 2", `CREATE TABLE ledger AS SELECT i, md5(i::text) AS h FROM generate_series(1, 10000) i; ALTER TABLE ledger OWNER TO accountant; GRANT SELECT ON ledger TO clerks`)
	query(t, c, "postgres", `ALTER DATABASE "Büro; 2" SET work_mem = '8MB'`)
	all := func() string {
		return postgresFingerprint(t, c, "shop") + postgresFingerprint(t, c, "Büro; 2") +
			query(t, c, "postgres", `SELECT rolname, rolcanlogin, rolconnlimit, (SELECT rolpassword FROM pg_authid a WHERE a.oid = r.oid) FROM pg_roles r WHERE rolname IN ('accountant', 'clerks') ORDER BY 1;
				SELECT roleid::regrole, member::regrole FROM pg_auth_members WHERE member = 'accountant'::regrole;
				SELECT datname, datdba::regrole FROM pg_database WHERE datname LIKE 'B%'`) +
			query(t, c, "Büro; 2", `SELECT relowner::regrole, relacl FROM pg_class WHERE relname = 'ledger'`)
	}
	before := all()
	s := u.backup(t, c)
	t.Logf("\n%s", u.ok(t, "snapshot", "show", s.ID))
	for _, want := range []string{"shop", "Büro; 2", "postgres"} {
		if !slices.ContainsFunc(s.Streams, func(st stream) bool { return st.Database == want }) {
			t.Errorf("no stream of database %q", want)
		}
	}
	u.verify(t, s)
	u.dumpsWhatTheLedgerSays(t, s)

	lose := func() {
		query(t, c, "postgres", `DROP DATABASE "Büro; 2"`)
		query(t, c, "postgres", `DROP ROLE accountant`)
	}
	lose()
	postgres.wreck(t, c)
	r := u.cli(t, "restore", s.ID, "--overwrite")
	t.Logf("restore of all:\n%s", r.text())
	if after := all(); after != before {
		t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
	}

	// One of them alone; what happened to the other one meanwhile stays.
	query(t, c, "postgres", `DROP DATABASE "Büro; 2"`)
	query(t, c, "shop", `DELETE FROM customers WHERE note IS NULL AND NOT EXISTS (SELECT FROM orders WHERE customer = customers.id)`)
	query(t, c, "shop", `CREATE TABLE meanwhile (x int)`)
	r = u.cli(t, "restore", s.ID, "--select", "Büro; 2")
	t.Logf("restore of one database:\n%s", r.text())
	if r.status != fine {
		t.Error("the restore failed")
	}
	if got := strings.TrimSpace(query(t, c, "shop", `SELECT count(*) FROM pg_tables WHERE tablename = 'meanwhile'`)); got != "1" {
		t.Error("restoring one database changed another")
	}
	query(t, c, "shop", `DROP TABLE meanwhile`)
	if after := all(); after != before {
		t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
	}

	// What two snapshots hold can be compared without a restore.
	query(t, c, "Büro; 2", `DELETE FROM ledger WHERE i > 1000; DROP OWNED BY clerks; CREATE TABLE meanwhile AS SELECT 1 AS x`)
	query(t, c, "postgres", `DROP ROLE clerks`)
	second := u.backup(t, c)
	type change struct {
		Kind, Name, Change string
		Before             *int64 `json:"rows_before"`
		After              *int64 `json:"rows_after"`
	}
	diff := decode[struct{ Changes []change }](t, u.ok(t, "snapshot", "diff", s.ID, second.ID, "-o", "json")).Changes
	rows := func(n int64) *int64 { return &n }
	want := []change{
		{"role", "clerks", "gone", nil, nil},
		{"table", "public.ledger", "fewer", rows(10000), rows(1000)},
		{"table", "public.meanwhile", "new", nil, rows(1)},
	}
	odd := decode[struct{ Strange []string }](t, u.ok(t, "snapshot", "show", second.ID, "-o", "json")).Strange
	if len(odd) != 1 || !strings.HasSuffix(odd[0], ": table public.ledger has 1000 rows, and had 10000") {
		t.Errorf("what is strange: %q", odd)
	}
	if !reflect.DeepEqual(diff, want) {
		t.Errorf("what changed:\n%s", u.ok(t, "snapshot", "diff", s.ID, second.ID))
	}

	// What a restore is about to replace is backed up before, if that is
	// asked for.
	r = u.cli(t, "restore", s.ID, "--overwrite", "--backup-first")
	t.Logf("restore with a backup before it:\n%s", r.text())
	if kept := u.snapshots(t, c.source()); len(kept) != 3 || !strings.Contains(r.stderr, kept[0].ID) {
		t.Errorf("what was replaced was not backed up before: %s", sprintJSON(kept))
	}
	if after := all(); after != before {
		t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
	}
}

func allOfMariaDB(t *testing.T, u *up) {
	const client = "mariadb"
	c := mariadb.start(t, "baktainer.db.all=true")
	mariadb.seed(t, c, 0)
	mysqlQuery(t, c, client, "shop", "CREATE DATABASE `Büro; 2`; CREATE TABLE `Büro; 2`.ledger AS SELECT seq, MD5(seq) AS h FROM seq_1_to_10000")
	mysqlQuery(t, c, client, "shop", "CREATE USER accountant@'%' IDENTIFIED BY 'x1y2z3'; GRANT SELECT ON `Büro; 2`.* TO accountant@'%'")
	all := func() string {
		return mysqlFingerprint(t, c, client, "shop") + mysqlFingerprint(t, c, client, "Büro; 2") +
			mysqlQuery(t, c, client, "shop", "SHOW GRANTS FOR accountant@'%'")
	}
	before := all()
	s := u.backup(t, c)
	t.Logf("\n%s", u.ok(t, "snapshot", "show", s.ID))
	u.verify(t, s)
	mysqlQuery(t, c, client, "shop", "DROP DATABASE `Büro; 2`; DROP USER accountant@'%'")
	mariadb.wreck(t, c)
	r := u.cli(t, "restore", s.ID, "--overwrite")
	t.Logf("restore of all:\n%s", r.text())
	if after := all(); after != before {
		t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
	}
}

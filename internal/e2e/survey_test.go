package e2e

import (
	"strings"
	"testing"
)

// TestWhatTheTargetLacks takes away what a backup needs beside its own data, and
// has it told before anything is touched.
func TestWhatTheTargetLacks(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	t.Run("postgres", func(t *testing.T) {
		t.Parallel()
		c := postgres.start(t)
		query(t, c, "shop", "CREATE ROLE app; CREATE TABLE owned AS SELECT 1 AS n; ALTER TABLE owned OWNER TO app; GRANT SELECT ON owned TO PUBLIC;")
		s := u.backup(t, c)
		if shown := u.ok(t, "snapshot", "show", s.ID); !strings.Contains(shown, `roles that it names: "app"`) {
			t.Errorf("the snapshot does not tell the roles:\n%s", shown)
		}
		query(t, c, "shop", "DROP TABLE owned; DROP ROLE app; CREATE TABLE mine AS SELECT 2 AS n;")
		for _, argv := range [][]string{{"--dry-run"}, {"--overwrite", "--yes"}, {"--overwrite", "--dry-run"}} {
			r := u.cli(t, append([]string{"restore", s.ID}, argv...)...)
			t.Logf("%q:\n%s", argv, r.text())
			if r.status != failedStatus || !strings.Contains(r.text(), `"app"`) || !strings.Contains(r.text(), "--no-owner") {
				t.Errorf("%q: it ends with %d, want %d and what is missing", argv, r.status, failedStatus)
			}
			if full := strings.Contains(r.text(), "not empty"); full != (len(argv) == 1) {
				t.Errorf("%q: that it is not empty is to be told with it unless it may be overwritten:\n%s", argv, r.text())
			}
		}
		if n := strings.TrimSpace(query(t, c, "shop", "SELECT n FROM mine;")); n != "2" {
			t.Errorf("a restore that was refused has touched the database: %q", n)
		}
		u.ok(t, "restore", s.ID, "--overwrite", "--yes", "--no-owner")
		if n := strings.TrimSpace(query(t, c, "shop", "SELECT n FROM owned;")); n != "1" {
			t.Errorf("without owners it is not there: %q", n)
		}
	})
	t.Run("mariadb", func(t *testing.T) {
		t.Parallel()
		c := mariadb.start(t)
		mysqlQuery(t, c, "mariadb", "shop", "CREATE TABLE t (a int) ENGINE=Aria; CREATE USER keeper; CREATE DEFINER=keeper VIEW v AS SELECT a FROM t;")
		s := u.backup(t, c)
		mysqlQuery(t, c, "mariadb", "shop", "DROP VIEW v; DROP TABLE t; DROP USER keeper;")
		type told struct{ Warnings, Report []string }
		r := decode[told](t, u.ok(t, "restore", s.ID, "--dry-run", "-o", "json", "--select", "shop"))
		if len(r.Warnings) != 1 || !strings.Contains(r.Warnings[0], "'keeper'@'%'") || len(r.Report) == 0 {
			t.Errorf("a dry run tells %q", r)
		}
		out := u.ok(t, "restore", s.ID, "--select", "shop")
		t.Logf("restored:\n%s", out)
		if !strings.Contains(out, "Warning: ") {
			t.Error("the restore does not warn")
		}
	})
}

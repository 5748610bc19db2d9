package e2e

import (
	"net"
	"strings"
	"testing"
	"time"
)

// TestLegacyUser runs the program for somebody who brings nothing but the
// variables and labels of the Baktainer before this one.
func TestLegacyUser(t *testing.T) {
	needContainers(t)
	t.Parallel()
	dir, address := tempDir(t), freeAddress(t)
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cron := "17 3 * * *"
	if long() {
		cron = "* * * * *"
	}
	u := startUp(t, upOptions{bare: true, dir: dir, http: address, env: []string{
		"BT_BACKUP_DIR=" + dir, "BT_CRON=" + cron, "BT_THREADS=2", "BT_LOG_LEVEL=info", "BT_COMPRESS=true", "BT_DOCKER_URL=unix://" + dockerSocket,
		"BT_SSL=false", "BT_HEALTH_SERVER_ENABLED=true", "BT_HEALTH_BIND=" + host, "BT_HEALTH_PORT=" + port,
		"BT_ROTATION_ENABLED=true", "BT_RETENTION_DAYS=30", "BT_MIN_FREE_SPACE_GB=10",
	}})

	fresh := mariadb.fresh()
	c := mariadb.startWith(t, fresh, "baktainer.db.engine=mariadb", "baktainer.db.name=shop", "baktainer.db.user=root",
		"baktainer.db.password="+fresh.env["MARIADB_ROOT_PASSWORD"], "baktainer.name="+uniqueName("MyApp"),
		"baktainer.backup.retention.days=7", "baktainer.backup.priority=high")
	mariadb.seed(t, c, 0)
	before := mariadb.fingerprint(t, c)
	s := u.sees(t, c, "ready")
	for _, p := range s.Problems {
		t.Logf("%s: %s → %s", p.Label, p.Reason, p.Suggestion)
		if !p.Warning {
			t.Errorf("a label of the earlier Baktainer is a problem: %s", sprintJSON(p))
		}
	}
	u.verify(t, u.backup(t, c))
	mariadb.wreck(t, c)
	u.ok(t, "restore", c.source()+"@latest", "--overwrite")
	if after := mariadb.fingerprint(t, c); after != before {
		t.Errorf("restored\n%s\nwant\n%s", after, before)
	}

	if code, body := u.get(t, "/healthz"); code != 200 {
		t.Errorf("/healthz on the port of BT_HEALTH_PORT says %d: %s", code, body)
	}
	st := decode[status](t, u.ok(t, "status", "-o", "json"))
	next, err := time.Parse(time.RFC3339, st.NextFire)
	if err != nil || st.Schedule != cron {
		t.Fatalf("schedule %q, next at %q: want %q from BT_CRON", st.Schedule, st.NextFire, cron)
	}
	if local := next.Local(); !long() && (local.Hour() != 3 || local.Minute() != 17) {
		t.Errorf("the next backup is at %v, want 03:17", local)
	}
	if r := u.ok(t, "retention", "preview", c.source(), "-o", "json"); !strings.Contains(r, `"policy": "within=7d"`) || !strings.Contains(r, "at least: ") {
		t.Errorf("baktainer.backup.retention.days=7 is not what is kept:\n%s", r)
	}
	if long() {
		have := len(u.snapshots(t, c.source()))
		eventually(t, "the schedule fires", func() (bool, string) {
			runs := u.runs(t, c.source())
			return len(u.snapshots(t, c.source())) > have, sprintJSON(runs)
		})
	}
}

package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// drilled is what `drill ls -o json` tells of one.
type drilled struct {
	ID, State, Snapshot, Trigger string
	Failure                      *failure
	Report                       []string
	Result                       *struct {
		Passed        bool
		Objects, Rows int64
		Assertions    int
	} `json:"drill_result"`
}

func (u *up) drills(t testing.TB, name string) []drilled {
	t.Helper()
	return decode[[]drilled](t, u.ok(t, "drill", "ls", name, "-o", "json"))
}

// marks are those that drills leave on a snapshot.
type marks struct {
	DrilledAt     string   `json:"drilled_at"`
	DrillFailedAt string   `json:"drill_failed_at"`
	Recovery      *float64 `json:"recovery_seconds"`
}

func (u *up) marks(t testing.TB, id string) marks {
	t.Helper()
	return decode[marks](t, u.ok(t, "snapshot", "show", id, "-o", "json"))
}

// TestDrills holds drills that pass and drills that must not.
func TestDrills(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	passes := func(t *testing.T, c *container, id string) {
		t.Helper()
		r := u.cli(t, "drill", "run", id)
		t.Log(r.text())
		d := u.drills(t, c.source())[0]
		if r.status != fine || d.State != "succeeded" || d.Result == nil || !d.Result.Passed {
			t.Fatalf("the drill did not pass: %s", sprintJSON(d))
		}
		if m := u.marks(t, id); m.DrilledAt == "" || m.DrillFailedAt != "" || m.Recovery == nil {
			t.Errorf("the snapshot's marks: %s", sprintJSON(m))
		}
		none(t, d.ID)
	}
	fails := func(t *testing.T, c *container, id, reason string, verdict bool, words ...string) {
		t.Helper()
		r := u.cli(t, "drill", "run", id)
		t.Log(r.text())
		d := u.drills(t, c.source())[0]
		if r.status != 1 || d.State != "failed" || d.Failure == nil || d.Failure.Reason != reason || verdict != (d.Result != nil) {
			t.Fatalf("the drill ended with status %d as: %s", r.status, sprintJSON(d))
		}
		for _, w := range words {
			if !strings.Contains(r.text(), w) {
				t.Errorf("it does not say %q", w)
			}
		}
		if m := u.marks(t, id); verdict != (m.DrillFailedAt != "") {
			t.Errorf("the snapshot's marks: %s", sprintJSON(m))
		}
		none(t, d.ID)
	}

	t.Run("passes", func(t *testing.T) {
		t.Parallel()
		c := postgres.start(t, "baktainer.drill.assert.orders=SELECT count(*), min(many) FROM orders => 50000 1",
			"baktainer.drill.assert.any=SELECT EXISTS (SELECT FROM customers)", "baktainer.drill.assert.elsewhere=postgres: SELECT 1")
		postgres.seed(t, c, 0)
		s := u.backup(t, c)
		passes(t, c, s.ID)
		if d := u.drills(t, c.source())[0].Result; d.Assertions != 3 || d.Rows < 70000 {
			t.Errorf("it has counted %s", sprintJSON(d))
		}
		if got := u.ok(t, "snapshot", "show", c.source()+"@latest-drilled", "-q"); strings.TrimSpace(got) != s.ID {
			t.Errorf("the newest drilled one is %s", got)
		}
		// A container that does not run is drilled all the same.
		must(t, command(t, nil, nil, "docker", "stop", "-t", "1", c.id), "docker stop")
		u.sees(t, c, "stopped")
		passes(t, c, s.ID)
	})
	for name, d := range map[string]database{"sqlite": sqlite, "mariadb": mariadb, "custom": custom, "openldap": openldap, "influxdb": influxdb} {
		t.Run(name+" is asked", func(t *testing.T) {
			t.Parallel()
			query := map[string]string{
				"sqlite":   "SELECT count(*), min(id) FROM customers => 20000 1",
				"mariadb":  "shop: SELECT count(*) > 0 FROM orders",
				"custom":   "wc -l /srv/numbers => 200000 /srv/numbers",
				"openldap": "(&(objectClass=inetOrgPerson)(memberOf=cn=all," + ldapSuffix + ")) => 2",
				"influxdb": "SELECT count(n), max(n) FROM sold WHERE paid = true => 1500 2998",
			}[name]
			c := d.start(t, "baktainer.drill.assert.rows="+query)
			d.seed(t, c, 0)
			passes(t, c, u.backup(t, c).ID)
			if got := u.drills(t, c.source())[0].Result; got.Assertions != 1 {
				t.Errorf("it was not asked: %s", sprintJSON(got))
			}
		})
	}
	t.Run("by itself", func(t *testing.T) {
		t.Parallel()
		c := redis.start(t, "baktainer.drill.schedule=*/3 * * * * *")
		redis.seed(t, c, 0)
		s := u.backup(t, c)
		eventually(t, "a drill is held by itself", func() (bool, string) {
			all := u.drills(t, c.source())
			return slices.ContainsFunc(all, func(d drilled) bool { return d.Trigger == "schedule" && d.State == "succeeded" && d.Snapshot == s.ID }), sprintJSON(all)
		})
	})
	t.Run("assertion", func(t *testing.T) {
		t.Parallel()
		c := redis.start(t, "baktainer.drill.assert.elsewhere=3: GET elsewhere => in database 4", "baktainer.drill.assert.type=TYPE queue => list")
		redis.seed(t, c, 0)
		fails(t, c, u.backup(t, c).ID, "assertion-failed", true, `elsewhere: the answer is "in database 3", and "in database 4" is expected`)
	})
	t.Run("missing", func(t *testing.T) {
		t.Parallel()
		// Its client leaves a row out of whatever it is given, and drops a table.
		image := "bt-e2e-forgetful-" + uniqueName("image")[len("bt-e2e-"):]
		build := t.TempDir()
		write(t, filepath.Join(build, "psql"), `#!/bin/sh
sed /ghost/d | /usr/lib/postgresql/15/bin/psql "$@"
status=$?
/usr/lib/postgresql/15/bin/psql "$@" -c 'DROP TABLE IF EXISTS rooms' </dev/null >/dev/null 2>&1
exit $status
`)
		write(t, filepath.Join(build, "Dockerfile"), "FROM "+samplePrefix+"postgres\nCOPY psql /usr/local/bin/\nRUN chmod 755 /usr/local/bin/psql\n")
		must(t, command(t, nil, append(os.Environ(), "DOCKER_BUILDKIT=0"), "docker", "build", "-q", "-t", image, build), "docker build")
		t.Cleanup(func() { _ = dockerQuietly("rmi", image) })
		c := postgres.start(t, "baktainer.drill.image="+image)
		query(t, c, "shop", "CREATE TABLE guests (name text); INSERT INTO guests VALUES ('Zoe'), ('ghost'), ('Ann'); CREATE TABLE rooms AS SELECT 1 AS n")
		fails(t, c, u.backup(t, c).ID, "drill-mismatch", true, "the table public.guests has 2 rows, and had 3", "the table public.rooms is missing")
	})
	t.Run("wrong image", func(t *testing.T) {
		t.Parallel()
		c := postgres.start(t, "baktainer.drill.image="+samplePrefix+"base")
		fails(t, c, u.backup(t, c).ID, "drill-not-ready", false, "docker-entrypoint.sh")
	})
	t.Run("no image", func(t *testing.T) {
		t.Parallel()
		c := redis.start(t, "baktainer.drill.image=nobody/has:this")
		fails(t, c, u.backup(t, c).ID, "no-image", false, "nobody/has:this", "baktainer.drill.image")
	})
	t.Run("truncated pack", func(t *testing.T) {
		t.Parallel()
		c := mariadb.start(t)
		mariadb.seed(t, c, 0)
		s := u.backup(t, c)
		var packs []string
		err := filepath.WalkDir(u.store(), func(path string, d os.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() && strings.Contains(path, c.source()) && strings.Contains(path, "pack") {
				packs = append(packs, path)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(packs) == 0 {
			t.Fatal("no packs of it")
		}
		slices.Sort(packs)
		info, err := os.Stat(packs[0])
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(packs[0], info.Size()/2); err != nil {
			t.Fatal(err)
		}
		fails(t, c, s.ID, "", true)
	})
}

// TestADrillOutlivesItsAgent kills `baktainer up` in the middle of a drill: what is
// left of it is removed, and it is held again.
func TestADrillOutlivesItsAgent(t *testing.T) {
	needContainers(t)
	t.Parallel()
	c := postgres.start(t)
	postgres.seed(t, c, 0)
	u := startUp(t, upOptions{})
	s := u.backup(t, c)
	run := strings.TrimSpace(u.ok(t, "drill", "run", s.ID, "--detach", "-q"))
	eventually(t, "its container is there", func() (bool, string) { return throwaway(t, run) != "", run })
	first := throwaway(t, run)
	u.kill9()
	u.start(t)
	u.ready(t)
	eventually(t, "the drill has succeeded", func() (bool, string) {
		d := u.drills(t, c.source())
		return len(d) == 1 && d[0].State == "succeeded", sprintJSON(d)
	})
	if r := command(t, nil, nil, "docker", "inspect", first); r.status == 0 {
		t.Error("the container of the drill that broke off is still there")
	}
	none(t, run)
}

// throwaway is the id of the container of a drill, empty while there is none.
func throwaway(t testing.TB, run string) string {
	t.Helper()
	all := docker(t, "ps", "-a", "--no-trunc", "--filter", "label=baktainer.helper", "--format", `{{.ID}} {{.Label "baktainer.helper"}}`)
	for line := range strings.Lines(all) {
		if id, label, _ := strings.Cut(strings.TrimSpace(line), " "); strings.HasSuffix(label, " "+run) {
			return id
		}
	}
	return ""
}

// none says that nothing is left of a drill.
func none(t testing.TB, run string) {
	t.Helper()
	if id := throwaway(t, run); id != "" {
		t.Errorf("something is left of the drill: container %s", id)
	}
}

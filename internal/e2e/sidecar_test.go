package e2e

import (
	"slices"
	"strings"
	"syscall"
	"testing"
)

// TestToolsOfAnotherImage backs up containers that lack their tools with those of
// a side-car, through the socket proxy: what that lets through is enough.
func TestToolsOfAnotherImage(t *testing.T) {
	needContainers(t)
	t.Parallel()
	host := []string{"--docker-host", "unix://" + startSocketProxy(t)}
	u := startUp(t, upOptions{flags: host})
	for name, d := range map[string]database{"postgres": postgresBare(t), "mariadb": mariadb, "mongo": mongoAuth, "redis": redis, "etcd": etcd, "influxdb": influxdb} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := d.start(t, "baktainer.tools.image="+toolsFor(d))
			d.seed(t, c, 0)
			before := d.fingerprint(t, c)
			// Some of them are what the test itself looks with.
			without := spoil{up: u, database: d}
			without.hide(t, c)
			s := u.backup(t, c)
			without.unhide(t, c)
			d.wreck(t, c)
			without.hide(t, c)
			u.ok(t, "restore", s.ID, "--overwrite")
			without.unhide(t, c)
			if after := d.fingerprint(t, c); after != before {
				t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
			}
			if name == "postgres" { // the one whose image lacks them, too
				u.ok(t, "drill", "run", s.ID)
				if said := u.ok(t, "run", "show", u.drills(t, c.source())[0].ID); !strings.Contains(said, "The tools are those of the image "+toolsFor(d)+".") {
					t.Errorf("the drill:\n%s", said)
				}
			}
			if left := sidecars(t, c); len(left) > 0 {
				t.Errorf("helpers are left: %q", left)
			}
		})
	}
	t.Run("no such image", func(t *testing.T) {
		t.Parallel()
		c := postgres.start(t, "baktainer.tools.image=nobody/has:this")
		u.sees(t, c, "ready")
		r := u.cli(t, "backup", c.source())
		spoil{up: u, database: postgres}.failed(t, c, r, nil, "no-image")
		if !strings.Contains(r.text(), "docker pull nobody/has:this") {
			t.Errorf("it does not say what to do:\n%s", r.text())
		}
	})
	t.Run("no side-car for files", func(t *testing.T) {
		t.Parallel()
		c := sqlite.start(t, "baktainer.tools.image=baktainer-sample/sqlite")
		u.sees(t, c, "invalid")
	})
	t.Run("spoilt", func(t *testing.T) {
		t.Parallel()
		u := startUp(t, upOptions{flags: host}) // it is killed in the end
		d := postgresBare(t)
		c := d.start(t, "baktainer.tools.image="+toolsFor(d))
		d.seed(t, c, 20)
		s := spoil{up: u, database: d}
		s.inSidecar(t, c, func(_ process, helper string) { docker(t, "kill", helper) }, "stream-lost", "tool-failed")
		s.inSidecar(t, c, func(process, string) { docker(t, "kill", c.id) }, "tool-failed", "no-connection", "not-running")
		docker(t, "start", c.id)
		s.wait(t, c)

		p, helper, _ := s.freezeInSidecar(t, c)
		before := u.snapshots(t, c.source())
		u.kill9()
		eventually(t, "the side-car of one that was killed has ended by itself", func() (bool, string) {
			left := sidecars(t, c)
			return !slices.Contains(left, helper), strings.Join(left, " ")
		})
		if err := syscall.Kill(p.pid, 0); err == nil {
			t.Error("the dump tool goes on")
		}
		u.start(t)
		u.ready(t)
		eventually(t, "the run is carried out after all", func() (bool, string) {
			list := u.snapshots(t, c.source())
			return len(list) == len(before)+1, sprintJSON(list)
		})
		u.verify(t, u.snapshots(t, c.source())[0])
		eventually(t, "nothing is left", func() (bool, string) { return len(sidecars(t, c)) == 0, "" })
	})
}

// postgresBare is postgres in an image that has no program to dump it with.
func postgresBare(t *testing.T) database {
	t.Helper()
	image := uniqueName("bare")
	must(t, command(t, []byte("FROM "+samplePrefix+"postgres\nRUN rm /usr/bin/pg_dump* /usr/lib/postgresql/*/bin/pg_dump*\n"), nil,
		"docker", "build", "-q", "-t", image, "-"), "docker build")
	t.Cleanup(func() {
		if err := dockerQuietly("image", "rm", "-f", image); err != nil {
			t.Error(err)
		}
	})
	d := postgres
	d.fresh = func() *container {
		c := postgres.fresh()
		c.image = image
		c.labels["baktainer.db.engine"] = "postgres"
		return c
	}
	return d
}

// toolsFor is a sample image with the tools of a kind of database.
func toolsFor(d database) string {
	if d.engine == "postgres" {
		return samplePrefix + "postgres"
	}
	return d.fresh().image
}

// sidecars are the ids of those that are in the container's network.
func sidecars(t testing.TB, c *container) (found []string) {
	t.Helper()
	for id := range strings.FieldsSeq(docker(t, "ps", "-aq", "--no-trunc", "--filter", "label=baktainer.helper=tools")) {
		r := command(t, nil, nil, "docker", "inspect", "-f", "{{.HostConfig.NetworkMode}}", id) // it may be gone
		if strings.TrimSpace(r.stdout) == "container:"+c.id {
			found = append(found, id)
		}
	}
	return found
}

// inSidecar is failsWhile for a dump tool in a side-car, which is gone in the end.
func (s spoil) inSidecar(t *testing.T, c *container, befall func(p process, helper string), reasons ...string) {
	t.Helper()
	p, helper, done := s.freezeInSidecar(t, c)
	before := s.up.snapshots(t, c.source())
	befall(p, helper)
	_ = syscall.Kill(p.pid, syscall.SIGCONT) // it may be gone
	s.failed(t, c, <-done, before, reasons...)
	eventually(t, "no side-car is left behind", func() (bool, string) {
		left := sidecars(t, c)
		return len(left) == 0, strings.Join(left, " ")
	})
}

// freezeInSidecar is freeze for a dump tool in a side-car.
func (s spoil) freezeInSidecar(t *testing.T, c *container) (p process, helper string, done <-chan result) {
	t.Helper()
	looked := 0
	p, done = s.freeze(t, c, func() []process {
		if helper != "" {
			if found := processes("cgroup", helper, s.dumpers...); found != nil {
				return found
			}
		}
		if looked++; looked%20 == 1 { // asking the Engine takes longer than a dump may
			if found := sidecars(t, c); len(found) == 1 {
				helper = found[0]
			}
		}
		return nil
	})
	return p, helper, done
}

package e2e

import (
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestTheSocketProxyIsEnough goes the way of every engine with nothing but the
// socket that `baktainer docker-proxy` offers: what SECURITY.md recommends
// works, and what it promises to keep away is kept away.
func TestTheSocketProxyIsEnough(t *testing.T) {
	needContainers(t)
	t.Parallel()
	socket := startSocketProxy(t)
	u := startUp(t, upOptions{flags: []string{"--docker-host", "unix://" + socket}})
	for name, d := range everyDatabase() {
		if twin(name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c := d.start(t)
			d.seed(t, c, 0)
			before := d.fingerprint(t, c)
			s := u.backup(t, c)
			u.verify(t, s)
			d.wreck(t, c)
			// What is drilled is the snapshot, not what the source has become.
			t.Log(u.ok(t, "drill", "run", s.ID))
			u.ok(t, "restore", s.ID, "--overwrite")
			if name == "redis" {
				made := uniqueName("made")
				removeLater(t, made)
				u.ok(t, "restore", s.ID, "--to", "new:"+made)
				if left := named(t, made); len(left) != 1 || left[0] != made {
					t.Errorf("there is %q", left)
				}
			}
			if after := d.fingerprint(t, c); after != before {
				t.Errorf("it is not what was backed up:\n%s\nit was:\n%s", after, before)
			}
		})
	}

	t.Run("nothing else", func(t *testing.T) {
		stranger := postgres.fresh() // without the label
		stranger.start(t)
		for _, argv := range [][]string{
			{"exec", stranger.name, "true"},
			{"inspect", stranger.name},
			{"cp", stranger.name + ":/etc/passwd", filepath.Join(tempDir(t), "stolen")},
			{"stop", stranger.name},
			{"run", "--rm", "-v", "/:/host", "baktainer-sample/base", "true"},
			{"run", "--rm", "--privileged", "--label", "baktainer.helper=1", "baktainer-sample/base", "true"},
			{"run", "--rm", "--label", "baktainer.helper=drill x", "baktainer-sample/base", "true"}, // with a network
			{"run", "--rm", "--network", "none", "-v", "/:/host", "--label", "baktainer.helper=drill x", "baktainer-sample/base", "true"},
			{"run", "--rm", "--network", "none", "--volumes-from", stranger.name, "--label", "baktainer.helper=drill x", "baktainer-sample/base", "true"},
			{"run", "--rm", "--network", "container:" + stranger.name, "--label", "baktainer.helper=tools", "baktainer-sample/base", "true"},
			{"run", "--rm", "--network", "host", "--label", "baktainer.helper=tools", "baktainer-sample/base", "true"},
		} {
			r := command(t, nil, append(plainEnvironment(), "DOCKER_HOST=unix://"+socket), append([]string{"docker"}, argv...)...)
			if r.status == 0 || !strings.Contains(r.text(), "refused by the Baktainer socket proxy") {
				t.Errorf("docker %s: status %d\n%s", strings.Join(argv, " "), r.status, r.text())
			}
		}
	})
}

// startSocketProxy runs `baktainer docker-proxy` until the test ends and
// returns the path of its socket.
func startSocketProxy(t *testing.T) string {
	t.Helper()
	socket := filepath.Join(tempDir(t), "docker.sock")
	var log logs
	cmd := exec.Command(program(t), "docker-proxy", "--listen", "unix://"+socket)
	cmd.Env, cmd.Stdout, cmd.Stderr = plainEnvironment(), &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Errorf("the proxy ended with %v:\n%s", err, tail(log.String()))
		}
		if t.Failed() {
			t.Logf("the proxy's log:\n%s", tail(log.String()))
		}
	})
	eventually(t, "the proxy answers", func() (bool, string) {
		r := command(t, nil, append(plainEnvironment(), "DOCKER_HOST=unix://"+socket), "docker", "version")
		return r.status == 0, r.text()
	})
	return socket
}

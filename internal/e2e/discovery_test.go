package e2e

import (
	"strings"
	"testing"
)

// TestDiscovery starts, stops and relabels containers beside a running
// `baktainer up`, and takes the Docker Engine away.
func TestDiscovery(t *testing.T) {
	needContainers(t)
	t.Parallel()
	w := newWire(t)
	u := startUp(t, upOptions{flags: []string{"--docker-host", w.host()}})

	idle := func(labels map[string]string) *container {
		c := &container{image: samplePrefix + "base", args: []string{"sleep", "infinity"}, labels: labels}
		return c.start(t)
	}
	customLabels := func(more ...string) map[string]string {
		return labelled(append([]string{"baktainer.db.engine=custom", "baktainer.command=echo data"}, more...)...)
	}

	t.Run("start, stop, start, remove", func(t *testing.T) {
		c := idle(customLabels())
		u.sees(t, c, "ready")
		u.backup(t, c)
		docker(t, "stop", "-t", "0", c.id)
		u.sees(t, c, "stopped")
		docker(t, "start", c.id)
		u.sees(t, c, "ready")
		docker(t, "rm", "-f", c.id)
		c.id = ""
		s := u.sees(t, c, "gone")
		if s.Snapshots != 1 {
			t.Errorf("the source that is gone has %d snapshots, want 1", s.Snapshots)
		}
		r := u.cli(t, "backup", c.source())
		t.Logf("backup of a source that is gone:\n%s", r.text())
		if r.status == fine {
			t.Error("it succeeded")
		}
	})

	t.Run("the name outlives the container", func(t *testing.T) {
		name := uniqueName("named")
		c := idle(customLabels("baktainer.name=" + name))
		u.backup(t, c)
		docker(t, "rm", "-f", c.id)
		c.id = ""
		u.sees(t, c, "gone")
		next := idle(customLabels("baktainer.name="+name, "baktainer.compress=off"))
		u.backup(t, next)
		if got := len(u.snapshots(t, name)); got != 2 {
			t.Errorf("%d snapshots under the name, want those of both containers", got)
		}
	})

	t.Run("invalid labels", func(t *testing.T) {
		c := idle(labelled("baktainer.db.engine=postgers", "baktainer.db.pasword=hush-hush", "baktainer.compress=zipp", "baktainer.db.name=-rf"))
		s := u.sees(t, c, "invalid")
		for _, want := range []struct{ label, suggestion string }{
			{"baktainer.db.engine", "postgres"},
			{"baktainer.db.pasword", "baktainer.db.password"},
			{"baktainer.compress", ""},
			{"baktainer.db.name", ""},
		} {
			found := false
			for _, p := range s.Problems {
				found = found || p.Label == want.label && p.Reason != "" && strings.Contains(p.Suggestion, want.suggestion)
			}
			if !found {
				t.Errorf("no problem about %s that suggests %q: %s", want.label, want.suggestion, sprintJSON(s.Problems))
			}
		}
		list := u.ok(t, "source", "ls")
		t.Logf("source ls:\n%s", linesAbout(list, c.name))
		if strings.Contains(list, "hush-hush") {
			t.Error("a password under a misspelt label is shown")
		}
		r := u.cli(t, "backup", c.source())
		t.Logf("backup of it:\n%s", r.text())
		if r.status == fine {
			t.Error("it succeeded")
		}
	})

	t.Run("two containers with one name", func(t *testing.T) {
		name := uniqueName("twice")
		first := idle(customLabels("baktainer.name=" + name))
		u.sees(t, first, "ready")
		second := idle(customLabels("baktainer.name=" + name))
		s := u.sees(t, second, "invalid")
		text := sprintJSON(s.Problems)
		t.Log(text)
		if !strings.Contains(text, first.name) || !strings.Contains(text, second.name) {
			t.Error("the problem does not name both containers")
		}
		docker(t, "rm", "-f", second.id)
		second.id = ""
		u.sees(t, first, "ready")
	})

	t.Run("Docker goes away and comes back", func(t *testing.T) {
		c := idle(customLabels())
		u.sees(t, c, "ready")
		w.goAway()
		eventually(t, "/readyz says that Docker is away", func() (bool, string) {
			code, body := u.get(t, "/readyz")
			return code == 503 && strings.Contains(strings.ToLower(body), "docker"), body
		})
		_, body := u.get(t, "/readyz")
		t.Logf("/readyz:\n%s", body)
		t.Logf("status:\n%s", u.cli(t, "status").text())
		if code, body := u.get(t, "/healthz"); code != 200 {
			t.Errorf("/healthz says %d: the process itself is well\n%s", code, body)
		}
		late := idle(customLabels()) // while nobody looks
		docker(t, "stop", "-t", "0", c.id)
		w.comeBack()
		u.sees(t, late, "ready")
		u.sees(t, c, "stopped")
		eventually(t, "/readyz is well again", func() (bool, string) {
			code, body := u.get(t, "/readyz")
			return code == 200, body
		})
		u.backup(t, late)
	})
}

// linesAbout are the first line and those that hold the word, with those indented below them.
func linesAbout(text, word string) string {
	var b strings.Builder
	keep := false
	for i, line := range strings.Split(text, "\n") {
		if !strings.HasPrefix(line, " ") {
			keep = i == 0 || strings.Contains(line, word)
		}
		if keep {
			b.WriteString(line + "\n")
		}
	}
	return b.String()
}

package e2e

import (
	"strings"
	"testing"
)

// TestWhatIsDoneAroundABackup has hooks run, and companions paused and stopped
// while a dump is made; and the program killed in its middle: when it starts
// again they go on.
func TestWhatIsDoneAroundABackup(t *testing.T) {
	needContainers(t)
	t.Parallel()
	c := pausing(t, "baktainer.hook.before=sh -c 'echo $BAKTAINER_EVENT >>/tmp/hooks'", "baktainer.hook.after=sh -c 'echo $BAKTAINER_EVENT $BAKTAINER_OUTCOME >>/tmp/hooks'")
	beside := func(action string) *container {
		fresh := custom.fresh()
		delete(fresh.labels, "baktainer.backup")
		fresh.labels["baktainer.companion_of"] = c.source()
		fresh.labels["baktainer.companion.action"] = action
		return custom.startWith(t, fresh)
	}
	app, web := beside("pause"), beside("stop")
	is := func(x *container) string {
		t.Helper()
		r := command(t, nil, nil, "docker", "inspect", "-f", "{{.State.Status}}", x.name)
		return strings.TrimSpace(r.stdout)
	}
	u := startUp(t, upOptions{})
	u.sees(t, c, "ready")
	half := func() {
		t.Helper()
		eventually(t, "half of the dump is written", func() (bool, string) {
			r := c.execute(t, nil, nil, "test", "-e", "/tmp/half")
			return r.status == 0, r.text()
		})
		if is(app) != "paused" || is(web) != "exited" {
			t.Errorf("in the dump the companions are %s and %s", is(app), is(web))
		}
	}
	goOn := func() {
		t.Helper()
		eventually(t, "the companions go on", func() (bool, string) {
			return is(app) == "running" && is(web) == "running", is(app) + ", " + is(web)
		})
	}

	u.ok(t, "backup", c.source(), "--detach")
	half()
	u.kill9()
	if is(app) != "paused" || is(web) != "exited" {
		t.Errorf("after kill -9 the companions are %s and %s", is(app), is(web))
	}
	u.start(t)
	goOn()
	// The lease runs out, and the run is given out anew; now the dump comes to its end.
	c.script(t, "rm -f /tmp/half")
	half()
	c.script(t, "touch /tmp/go")
	eventually(t, "there is a snapshot", func() (bool, string) {
		return len(u.snapshots(t, c.source())) == 1, u.cli(t, "run", "ls").text()
	})
	goOn()
	eventually(t, "the hook after it has run", func() (bool, string) {
		hooks := c.script(t, "cat /tmp/hooks")
		return strings.HasPrefix(hooks, "before-backup\n") && strings.HasSuffix(strings.TrimSpace(hooks), "after-backup succeeded"), hooks
	})
	u.verify(t, u.snapshots(t, c.source())[0])
}

// A hook that fails keeps a backup from being made, and says so.
func TestAHookThatFails(t *testing.T) {
	needContainers(t)
	t.Parallel()
	fresh := custom.fresh()
	fresh.labels["baktainer.hook.before"] = "sh -c 'echo the app says no >&2; exit 3'"
	c := custom.startWith(t, fresh)
	u := startUp(t, upOptions{})
	u.sees(t, c, "ready")
	if r := u.cli(t, "backup", c.source()); r.status == 0 || !strings.Contains(r.text(), "the hook before-backup") || !strings.Contains(r.text(), "the app says no") {
		t.Errorf("the backup:\n%s", r.text())
	}
	if n := len(u.snapshots(t, c.source())); n != 0 {
		t.Errorf("%d snapshots", n)
	}
}

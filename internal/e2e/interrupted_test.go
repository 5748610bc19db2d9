package e2e

import (
	"slices"
	"testing"
)

// TestDeafToolIsNoFalseGreen loses the connection between two writes of a tool
// that takes no notice: it ignores signals, writes on into nothing and ends with
// status 0. Nothing in what was received says that more was to come.
func TestDeafToolIsNoFalseGreen(t *testing.T) {
	needContainers(t)
	t.Parallel()
	w := newWire(t)
	u := startUp(t, upOptions{flags: []string{"--docker-host", w.host()}})
	fresh := custom.fresh()
	fresh.labels["baktainer.command"] = "deaf"
	c := custom.startWith(t, fresh)
	c.script(t, `cat >/usr/local/bin/deaf <<'END'
#!/bin/sh
trap '' TERM PIPE HUP
echo first half
touch /tmp/half
while [ ! -e /tmp/go ]; do sleep 0.1; done
echo second half 2>/tmp/lost
touch /tmp/done
exit 0
END
chmod 755 /usr/local/bin/deaf`)
	u.sees(t, c, "ready")
	ended := background(t, func() result { return u.cli(t, "backup", c.source()) })
	eventually(t, "half is written", func() (bool, string) {
		r := c.execute(t, nil, nil, "test", "-e", "/tmp/half")
		return r.status == 0, r.text()
	})
	w.goAway() // and when it is back, the Engine knows how the tool ended
	c.script(t, "touch /tmp/go")
	eventually(t, "the tool has ended", func() (bool, string) {
		r := c.execute(t, nil, nil, "test", "-e", "/tmp/done")
		return r.status == 0, r.text()
	})
	w.comeBack()
	spoil{up: u, wire: w, database: custom}.failed(t, c, <-ended, nil, "stream-lost")
}

// TestCancel cancels a backup whose tool would never end.
func TestCancel(t *testing.T) {
	needContainers(t)
	t.Parallel()
	u := startUp(t, upOptions{})
	fresh := custom.fresh()
	fresh.labels["baktainer.command"] = "yes"
	c := custom.startWith(t, fresh)
	u.sees(t, c, "ready")
	ended := background(t, func() result { return u.cli(t, "backup", c.source()) })
	eventually(t, "the tool runs", func() (bool, string) { return len(c.processes("yes")) == 1, "" })
	running := u.runs(t, c.source())
	if len(running) != 1 {
		t.Fatalf("%d runs", len(running))
	}
	second := u.cli(t, "backup", "--detach", c.source())
	t.Logf("a second backup of the same source meanwhile:\n%s", second.text())
	u.ok(t, "run", "cancel", running[0].ID)
	r := <-ended
	t.Logf("what the user of the first reads:\n%s", r.text())
	if r.status == fine {
		t.Error("a cancelled backup ends with 0")
	}
	for _, queued := range u.runs(t, c.source()) {
		if queued.State == "queued" || queued.State == "running" {
			u.ok(t, "run", "cancel", queued.ID)
		}
	}
	eventually(t, "nothing runs any more", func() (bool, string) {
		runs := u.runs(t, c.source())
		over := !slices.ContainsFunc(runs, func(r run) bool { return r.State != "cancelled" })
		return over && len(c.processes("yes")) == 0, sprintJSON(runs)
	})
	if list := u.snapshots(t, c.source()); len(list) > 0 {
		t.Errorf("a snapshot is listed: %s", sprintJSON(list))
	}
}

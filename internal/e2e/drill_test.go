package e2e

import (
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

// TestDrills holds drills by hand and by themselves. TestEveryEngineIsProven has
// those that must fail.
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
	t.Run("no image", func(t *testing.T) {
		t.Parallel()
		c := redis.start(t, "baktainer.drill.image=nobody/has:this")
		id := u.backup(t, c).ID
		r := u.cli(t, "drill", "run", id)
		d := u.drills(t, c.source())[0]
		if r.status != failedStatus || d.Failure == nil || d.Failure.Reason != "no-image" || d.Result != nil || u.marks(t, id).DrillFailedAt != "" {
			t.Errorf("the drill ended with status %d as: %s", r.status, sprintJSON(d))
		}
		for _, w := range []string{"nobody/has:this", "baktainer.drill.image"} {
			if !strings.Contains(r.text(), w) {
				t.Errorf("it does not say %q:\n%s", w, r.text())
			}
		}
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

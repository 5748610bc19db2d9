package e2e

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestByItself leaves a program alone with a settings file and labels: backups are
// made by schedules, and what is not to be kept goes, each by its own rule.
func TestByItself(t *testing.T) {
	needContainers(t)
	t.Parallel()
	named := redis.start(t)
	own := redis.start(t, "baktainer.schedule=*/3 * * * * *", "baktainer.retention=last=1")
	redis.seed(t, named, 0)
	redis.seed(t, own, 1)
	dir := tempDir(t)
	file := filepath.Join(dir, "settings.yaml")
	write(t, file, `
undo-window: 0h
retention: gold
retention-policies: "gold: last=2"
schedules:
  often: {cron: "*/2 * * * * *", sources: [`+named.source()+`]}
`)
	u := startUp(t, upOptions{flags: []string{"--config", file}})

	eventually(t, "both schedules are there", func() (bool, string) {
		r := u.cli(t, "schedule", "ls")
		return strings.Contains(r.stdout, "often") && strings.Contains(r.stdout, own.source()+":main"), r.text()
	})
	// A wrong file keeps nothing from going on that runs, and is told of at once.
	wrong := filepath.Join(dir, "wrong.yaml")
	write(t, wrong, "schedules:\n  often: {cron: \"61 * * * *\", retention: silver}\n")
	if r := u.cli(t, "--config", wrong, "config", "check"); r.status != 2 || !strings.Contains(r.stderr, "wrong.yaml:2: schedule often: cron") || !strings.Contains(r.stderr, `no policy named "silver"`) {
		t.Errorf("config check:\n%s", r.text())
	}

	count := func(c *container) int { return len(u.snapshots(t, c.source())) }
	eventually(t, "five backups of each", func() (bool, string) {
		return count(named) >= 5 && count(own) >= 5, u.cli(t, "run", "ls").text()
	})
	u.ok(t, "schedule", "pause", "often")
	u.ok(t, "schedule", "pause", own.source()+":main")
	made := map[*container]int{}
	eventually(t, "all runs have ended", func() (bool, string) {
		r := u.cli(t, "run", "ls")
		made[named], made[own] = count(named), count(own)
		return !strings.Contains(r.stdout, "running") && !strings.Contains(r.stdout, "queued"), r.text()
	})
	// The leader looks a minute after it began, then once an hour, and verifies once a
	// day: on a slow machine it has looked by now, at less than there is. Pauses
	// outlast a restart.
	verified := func(s snapshot) bool { return s.VerifiedAt != nil }
	if slices.ContainsFunc(slices.Concat(u.snapshots(t, named.source()), u.snapshots(t, own.source())), verified) {
		for _, s := range slices.Concat(u.snapshots(t, named.source()), u.snapshots(t, own.source())) {
			u.verify(t, s)
		}
	}
	u.stop(t)
	u.start(t)
	u.ready(t)
	eventually(t, "what is not to be kept is forgotten", func() (bool, string) {
		r := u.cli(t, "snapshot", "ls")
		return count(named) == 2 && count(own) == 3, r.text() // a label never keeps less than retention-least
	})
	for c, kept := range map[*container]int{named: 2, own: 3} {
		for _, s := range u.snapshots(t, c.source()) {
			if s.VerifiedAt == nil {
				t.Errorf("%s: snapshot %s was never verified", c.source(), s.ID)
			}
			kept--
		}
		if n := count(c); n > made[c] || kept != 0 {
			t.Errorf("%s: %d snapshots, %d were made", c.source(), n, made[c])
		}
	}
	audit := u.ok(t, "audit", "ls", "--match", "retention", "-o", "json")
	if !strings.Contains(audit, "retention/Forget") || !strings.Contains(audit, "no rule would keep it") {
		t.Errorf("the audit does not say why:\n%s", audit)
	}
	preview := u.ok(t, "retention", "preview", own.source())
	if !strings.Contains(preview, "at least: last 3 of 3") {
		t.Errorf("retention preview:\n%s", preview)
	}
	// One backup at a time, once only, and paused schedules stay so.
	at := time.Now().Add(2 * time.Second).UTC().Format(time.RFC3339)
	u.ok(t, "schedule", "once", named.source(), "--at", at)
	eventually(t, "the one-shot", func() (bool, string) { return count(named) == 3, u.cli(t, "schedule", "ls").text() })
	if r := u.ok(t, "schedule", "ls"); strings.Count(r, "paused") != 2 {
		t.Errorf("schedule ls:\n%s", r)
	}
	if !slices.ContainsFunc(u.snapshots(t, named.source()), func(s snapshot) bool { return s.VerifiedAt == nil }) {
		t.Error("a snapshot that nobody has read is called verified")
	}
}

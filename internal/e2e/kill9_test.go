package e2e

import (
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"testing"
	"time"
)

// TestKill9 kills `baktainer up` at random moments of a running backup. After
// each restart nothing partial is listed, everything listed is whole, and the
// next backup succeeds.
func TestKill9(t *testing.T) {
	needContainers(t)
	t.Parallel()
	rounds := 4
	if long() {
		rounds = 20
	}
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("BAKTAINER_E2E_SEED"); text != "" {
		seed, _ = strconv.ParseUint(text, 10, 64)
	}
	t.Logf("BAKTAINER_E2E_SEED=%d", seed)
	random := rand.New(rand.NewPCG(seed, 0))

	c := postgres.start(t)
	postgres.seed(t, c, 40)
	u := startUp(t, upOptions{})
	began := time.Now()
	u.backup(t, c)
	usual := time.Since(began)
	t.Logf("a backup takes %v", usual.Round(time.Millisecond))

	killedMidway := 0
	for round := range rounds {
		// All of the bulk changes, so that packs flow.
		query(t, c, "shop", `UPDATE bulk SET body = md5(body) || reverse(body)`)
		listed := u.snapshots(t, c.source())

		ended := background(t, func() result { return u.cli(t, "backup", c.source()) })
		moment := time.Duration(random.Int64N(int64(usual)))
		select {
		case <-time.After(moment):
		case <-ended:
		}
		u.kill9()
		u.start(t)
		u.ready(t)

		after := u.snapshots(t, c.source())
		u.explained(t, c, after)
		t.Logf("round %d: killed after %v; %d snapshots before, %d after", round+1, moment.Round(time.Millisecond), len(listed), len(after))
		for _, s := range listed {
			if !slices.ContainsFunc(after, func(a snapshot) bool { return a.ID == s.ID }) {
				t.Errorf("snapshot %s is gone", s.ID)
			}
		}
		if len(after) == len(listed) {
			killedMidway++
		}
		// What the killed one left behind ends: by its lease, by the agent's hand.
		spoil{up: u, database: postgres}.nothingLeft(t, c)
		eventually(t, "the interrupted run has ended", func() (bool, string) {
			runs := u.runs(t, c.source())
			busy := slices.ContainsFunc(runs, func(r run) bool { return r.State == "queued" || r.State == "running" })
			return !busy, sprintJSON(runs[:min(2, len(runs))])
		})
		u.backup(t, c)
	}
	if killedMidway == 0 {
		t.Error("no backup was killed in its middle: this shows nothing")
	}
	all := u.snapshots(t, c.source())
	u.explained(t, c, all)
	for _, s := range all {
		u.verify(t, s)
	}
	newest := all[0]
	before := postgres.fingerprint(t, c)
	postgres.wreck(t, c)
	u.ok(t, "restore", newest.ID, "--overwrite")
	if after := postgres.fingerprint(t, c); after != before {
		t.Errorf("the newest snapshot restores\n%s\nwant\n%s", after, before)
	}
}

// explained holds that each snapshot was made by a run that succeeded, and each
// such run made one.
func (u *up) explained(t *testing.T, c *container, snapshots []snapshot) {
	t.Helper()
	made := map[string]bool{}
	for _, r := range u.runs(t, c.source()) {
		if r.Kind == "backup" && r.State == "succeeded" {
			made[r.Snapshot] = true
		}
	}
	for _, s := range snapshots {
		if !made[s.ID] {
			t.Errorf("snapshot %s is listed, and no run that succeeded made it", s.ID)
		}
		delete(made, s.ID)
	}
	for id := range made {
		t.Errorf("a run succeeded with snapshot %s, and it is not listed", id)
	}
}

package config

import (
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

func TestRetentionSettings(t *testing.T) {
	c, _, err := load(t, "retention: gold\nretention-policies: 'gold: last=3 daily=7; dev: last=1'\nundo-window: 36h\nfree-space-pause: 2GiB\n", nil, "BAKTAINER_RETENTION_LEAST=dev")
	if err != nil {
		t.Fatal(err)
	}
	r := c.Retention
	if r.Policy.String() != "last=3 daily=7" || r.Least.String() != "last=1" || r.Undo != 36*time.Hour || r.Pause.String() != "2GiB" {
		t.Errorf("%+v", r)
	}
	c, _, err = load(t, "", nil)
	r = c.Retention
	if err != nil || !r.Policy.Empty() || r.Least.String() != "last=3 daily=7" || r.Undo != 72*time.Hour || r.Freeze != 2 || r.Verify != 24*time.Hour ||
		r.Notify.Percent != 10 || r.Prune.Percent != 5 || r.Pause.Of(1<<40) != 0 {
		t.Errorf("by default: %+v, %v", r, err)
	}
	if c, _, err := load(t, "", nil, "BAKTAINER_UNDO_WINDOW=0h", "BAKTAINER_RETENTION_VERIFY=off", "BAKTAINER_RETENTION_FREEZE=0"); err != nil || c.Retention.Undo != 0 || c.Retention.Verify != 0 || c.Retention.Freeze != 0 {
		t.Errorf("all off: %+v, %v", c.Retention, err)
	}
	_, _, err = load(t, "retention: last=x\nretention-least: gold\nundo-window: 5m\nfree-space-prune: 100%\nretention-freeze: -1\nretention-policies: 'a: b=c'\nretention-verify: 0d\n", nil)
	for _, want := range []string{`last: "x" is no number`, `no policy named "gold"`, "want hours or days", "want 1% to 99%", "want a whole number from 0 to 100", `policy a: there is no rule "b"`, "or off"} {
		if err == nil || !strings.Contains(problem.Text(err), want) {
			t.Errorf("%q is not in %v", want, problem.Text(err))
		}
	}
}

// What the earlier version did without being asked is done only when somebody asks.
func TestLegacyRetention(t *testing.T) {
	for _, tt := range []struct {
		env                  []string
		policy, notify, down string // down: free-space-prune
	}{
		{nil, "off", "10%", "5%"},
		{[]string{"BT_RETENTION_DAYS=14"}, "within=14d", "10%", "5%"},
		{[]string{"BT_RETENTION_COUNT=7"}, "last=7 within=30d", "10%", "5%"},
		{[]string{"BT_RETENTION_COUNT=7", "BT_RETENTION_DAYS=0"}, "last=7", "10%", "5%"},
		{[]string{"BT_RETENTION_COUNT=0", "BT_RETENTION_DAYS=0"}, "off", "10%", "5%"},
		{[]string{"BT_RETENTION_DAYS=14", "BT_RETENTION_COUNT=3"}, "last=3 within=14d", "10%", "5%"},
		{[]string{"BT_ROTATION_ENABLED=true"}, "within=30d", "10%", "5%"},
		{[]string{"BT_ROTATION_ENABLED=false", "BT_RETENTION_DAYS=14"}, "off", "10%", "5%"},
		{[]string{"BT_RETENTION_DAYS=14", "BAKTAINER_RETENTION=daily=3"}, "daily=3", "10%", "5%"},
		{[]string{"BT_MIN_FREE_SPACE_GB=10"}, "off", "10GiB", "10GiB"},
		{[]string{"BT_MIN_FREE_SPACE_GB=0"}, "off", "off", "off"},
	} {
		c, warnings, err := load(t, "", nil, tt.env...)
		r := c.Retention
		if err != nil || len(warnings) > 0 || r.Policy.String() != tt.policy || r.Notify.String() != tt.notify || r.Prune.String() != tt.down {
			t.Errorf("%v: %s, %s, %s, %v, %v", tt.env, r.Policy, r.Notify, r.Prune, warnings, err)
		}
	}
	if _, _, err := load(t, "", nil, "BT_RETENTION_DAYS=x"); err == nil || !strings.Contains(problem.Text(err), "BT_RETENTION_DAYS") {
		t.Errorf("a wrong number: %v", err)
	}
}

package config

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
)

func TestNotifySettingsAreReadBackAsTheyWereSet(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"notify-events", "Failure, success", "failure,success"}, {"notify-events", "off", "off"}, {"notify-events", "size,size", "size"},
		{"notify-failures", "3", "3"}, {"notify-stale", "AUTO", "auto"}, {"notify-stale", "36h", "36h0m0s"}, {"notify-stale", "off", "off"},
		{"notify-size", "10-1000", "10-1000"}, {"notify-size", "50% - 200%", "50-200"}, {"notify-size", "off", "off"},

		{"notify-silent", "90s", "1m30s"}, {"notify-silent", "off", "off"}, {"notify-digest", "0s", "0s"}, {"notify-interval", "2h", "2h0m0s"},
	} {
		c, _, err := load(t, "", map[string]string{tc.name: tc.text})
		if got := find(tc.name).Value(c); err != nil || got != tc.want {
			t.Errorf("%s %q: %q, %v, want %q", tc.name, tc.text, got, err, tc.want)
		}
	}
}

func TestWrongNotifySettingsAreToldAtOnce(t *testing.T) {
	wrong := map[string][]string{
		"notify-events": {"failures", "failure;size", ""}, "notify-failures": {"0", "x", "101"}, "notify-stale": {"1s", "never", "-1h"},
		"notify-size":   {"200-50", "50", "0-100", "100-200", "a-b"},
		"notify-silent": {"1s", "x"}, "notify-digest": {"off", "25h", "-1s"}, "notify-interval": {"1", "off"},
	}
	for name, texts := range wrong {
		for _, text := range texts {
			if _, _, err := load(t, "", map[string]string{name: text}); err == nil || !strings.Contains(problem.Text(err), "--"+name+": ") {
				t.Errorf("%s %q: %v", name, text, err)
			}
		}
	}
	_, _, err := load(t, "", map[string]string{"notify-size": "x", "notify-digest": "x"}, NotifyVariable+"=slack://hunter2", "BAKTAINER_NOTIFY_FILE=/n",
		NotifySecretVariable+"=hunter2", "BAKTAINER_NOTIFY_SECRET_FILE=/s")
	if text := problem.Text(err); !strings.Contains(text, "4 settings are wrong") || strings.Contains(text, "hunter2") || problem.ExitStatus(err) != 2 {
		t.Errorf("all at once: %s", text)
	}
}

// lines are the channels that settings lead to.
func lines(t *testing.T, c Config) string {
	t.Helper()
	all, err := c.Notify.Lines()
	if err != nil {
		t.Fatal(err)
	}
	var text []string
	for _, l := range all {
		text = append(text, l.Origin+" "+l.URL.Reveal())
		if shown := fmt.Sprintf("%v %+v", l, c); strings.Contains(shown, l.URL.Reveal()) {
			t.Errorf("a URL shows itself: %s", shown)
		}
	}
	return strings.Join(text, "\n")
}

func TestChannelsComeFromAFileOrAVariable(t *testing.T) {
	name := filepath.Join(t.TempDir(), "channels")
	if err := os.WriteFile(name, []byte("# ours\n\nslack://a ntfy://b\n  # smtp://c\nping+https://d/#x\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, "notify-file: "+name, nil)
	if want := fmt.Sprintf("%[1]s:3 slack://a\n%[1]s:3 ntfy://b\n%[1]s:5 ping+https://d/#x", name); err != nil || lines(t, c) != want {
		t.Errorf("%v\n%s\nwant\n%s", err, lines(t, c), want)
	}
	c, _, err = load(t, "", nil, NotifyVariable+"=slack://a ntfy://b\nx://c")
	if want := "BAKTAINER_NOTIFY:1 slack://a\nBAKTAINER_NOTIFY:1 ntfy://b\nBAKTAINER_NOTIFY:2 x://c"; err != nil || lines(t, c) != want {
		t.Errorf("%v\n%s", err, lines(t, c))
	}
	for what, n := range map[string]Notify{"there is none": {File: name + "x"}, "a folder": {File: t.TempDir()}} {
		if _, err := n.Lines(); problem.ExitStatus(err) != 2 {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := (Notify{SecretFile: name + "x"}).SigningSecret(); problem.ExitStatus(err) != 2 {
		t.Errorf("a secret that is not there: %v", err)
	}
	if s, err := (Notify{Secret: "hunter2"}).SigningSecret(); err != nil || s.Reveal() != "hunter2" {
		t.Error(s, err)
	}
}

func TestLegacyNotifications(t *testing.T) {
	for _, tc := range []struct {
		name            string
		env             []string
		lines, events   string
		warnings, wrong []string
	}{
		{"nothing", nil, "", "", nil, nil},
		{"log alone", []string{"BT_NOTIFICATION_CHANNELS=log"}, "", "", nil, nil},
		{
			"all channels", []string{
				"BT_NOTIFICATION_CHANNELS=slack,discord, teams,webhook,log", "BT_SLACK_WEBHOOK_URL=https://hooks.slack.com/services/T1/B2/X3",
				"BT_DISCORD_WEBHOOK_URL=https://discord.com/api/webhooks/123/tok", "BT_TEAMS_WEBHOOK_URL=https://org.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d",
				"BT_WEBHOOK_URL=https://example.com/hook",
			},
			"BT_SLACK_WEBHOOK_URL slack://hook:T1-B2-X3@webhook\nBT_DISCORD_WEBHOOK_URL discord://tok@123\n" +
				"BT_TEAMS_WEBHOOK_URL teams+https://org.webhook.office.com/webhookb2/a@b/IncomingWebhook/c/d?host=org.webhook.office.com\nBT_WEBHOOK_URL webhook+https://example.com/hook",
			"", nil, nil,
		},
		{
			"servers of others", []string{"BT_NOTIFICATION_CHANNELS=slack,discord", "BT_SLACK_WEBHOOK_URL=https://chat.example.com/hooks/x?a=b", "BT_DISCORD_WEBHOOK_URL=http://127.0.0.1:1/y"},
			"BT_SLACK_WEBHOOK_URL generic+https://chat.example.com/hooks/x?a=b&messagekey=text&template=json\n" +
				"BT_DISCORD_WEBHOOK_URL generic+http://127.0.0.1:1/y?messagekey=content&template=json",
			"", nil, nil,
		},
		{"what is missing", []string{"BT_NOTIFICATION_CHANNELS=slack,email", "BT_WEBHOOK_URL=https://x/hunter2"}, "", "", []string{
			"BT_NOTIFICATION_CHANNELS: slack has no effect without BT_SLACK_WEBHOOK_URL", "BT_WEBHOOK_URL: has no effect unless BT_NOTIFICATION_CHANNELS names webhook",
			"BT_NOTIFICATION_CHANNELS: email had no server and no address in the earlier version either: put a URL smtp://… into notify-file",
		}, nil},
		{"an unknown channel", []string{"BT_NOTIFICATION_CHANNELS=pager"}, "", "", nil, []string{"BT_NOTIFICATION_CHANNELS: want some of"}},
		{"what is told", []string{"BT_NOTIFY_FAILURES=true"}, "", "failure,recovery,missed,size,stale,damaged,contents,drill,retention,space,paused,store,agent", nil, nil},
		{"successes too", []string{"BT_NOTIFY_SUCCESS=true", "BT_NOTIFY_SUMMARY=true", "BT_NOTIFY_HEALTH=false"}, "", "failure,recovery,missed,size,stale,success", nil, nil},
		{"nothing is told", []string{"BT_NOTIFY_FAILURES=no", "BT_NOTIFY_WARNINGS=no", "BT_NOTIFY_HEALTH=no"}, "", "off", nil, nil},
		{"not yes or no", []string{"BT_NOTIFY_FAILURES=maybe"}, "", "", nil, []string{"BT_NOTIFY_FAILURES"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c, warnings, err := load(t, "", nil, tc.env...)
			for _, want := range tc.wrong {
				if err == nil || !strings.Contains(problem.Text(err), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
			if len(tc.wrong) > 0 {
				return
			}
			if err != nil || !slices.Equal(warnings, tc.warnings) {
				t.Errorf("warnings %q, %v, want %q", warnings, err, tc.warnings)
			}
			if got := lines(t, c); got != tc.lines {
				t.Errorf("channels\n%s\nwant\n%s", got, tc.lines)
			}
			want := tc.events
			if want == "" {
				want = find("notify-events").Default
			}
			if got := find("notify-events").Value(c); got != want {
				t.Errorf("events %s, want %s", got, want)
			}
		})
	}
}

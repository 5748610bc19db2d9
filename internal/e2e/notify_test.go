package e2e

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/controller/notify/notifytest"
)

// hook is what a webhook brings, as docs/notifications.md describes it.
type hook struct {
	Version int    `json:"version"`
	Type    string `json:"type"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
	Open    int    `json:"open"`
	Events  []struct {
		Event   string `json:"event"`
		State   string `json:"state"`
		Of      string `json:"of"`
		Name    string `json:"name"`
		Message string `json:"message"`
		Run     string `json:"run"`
	} `json:"events"`
}

// signed checks the signature of a webhook, as docs/notifications.md says, and reads it.
func signed(t testing.TB, secret string, r notifytest.Request) hook {
	t.Helper()
	sent, given, ok := strings.Cut(strings.TrimPrefix(r.Header.Get("Baktainer-Signature"), "t="), ",v1=")
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(sent + "."))
	mac.Write(r.Body)
	if !ok || given != hex.EncodeToString(mac.Sum(nil)) {
		t.Errorf("the signature %q is not that of the body\n%s", r.Header.Get("Baktainer-Signature"), r.Body)
	}
	return decode[hook](t, string(r.Body))
}

// TestPeopleAreTold has a backup fail and recover, with people listening by mail,
// by a signed webhook, by the channels of the earlier Baktainer and by a dead
// man's switch.
// It runs alone: of containers of other tests people would be told, too.
func TestPeopleAreTold(t *testing.T) {
	needContainers(t)
	t.Parallel()
	mails, hooks, slack, legacy, ping := notifytest.NewMailServer(t), notifytest.NewHookServer(t), notifytest.NewHookServer(t), notifytest.NewHookServer(t), notifytest.NewHookServer(t)
	secrets := &secrets{}
	mailPassword, token, signing := password(), rand.Text(), password()
	secrets.add("password of the mail server", mailPassword)
	secrets.add("token in a URL", token)
	secrets.add("what webhooks are signed with", signing)
	channels := filepath.Join(tempDir(t), "channels")
	content := "# who is told\nsmtp://" + url.UserPassword("bak", mailPassword).String() + "@" + mails.Address + "/?from=bak@example.com&to=ops@example.com&starttls=no\n" +
		"webhook+" + hooks.URL + "/hook/" + token + "\nping+" + ping.URL + "/" + token + "/{source}\n"
	if err := os.WriteFile(channels, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	u := startUp(t, upOptions{
		flags: []string{"--notify-file", channels, "--notify-digest", "1s", "--notify-interval", "0s", "--log-level", "debug"},
		env: []string{
			"BAKTAINER_NOTIFY_SECRET=" + signing,
			"BT_NOTIFICATION_CHANNELS=slack,webhook,log", "BT_SLACK_WEBHOOK_URL=" + slack.URL + "/services/" + token, "BT_WEBHOOK_URL=" + legacy.URL + "/" + token,
		},
	})
	var seen strings.Builder // what the user reads
	say := func(r result) result {
		seen.WriteString(r.stdout + r.stderr)
		return r
	}

	if r := say(u.cli(t, "notify", "test")); r.status != 0 || strings.Count(r.stdout, "done") != 5 {
		t.Errorf("notify test: %s", r.text())
	}
	if m := mails.Wait(1)[0]; m.Subject != "Baktainer: a test message" || m.User != "bak" || m.Password != mailPassword || m.To[0] != "ops@example.com" {
		t.Errorf("the test mail: %+v", m)
	}
	if h := signed(t, signing, hooks.Wait(1)[0]); h.Version != 1 || h.Type != "test" {
		t.Errorf("the test webhook: %+v", h)
	}
	slack.Wait(1)
	legacy.Wait(1)
	if r := ping.Wait(1)[0]; r.Method != "GET" || r.Path != "/"+token+"/baktainer-test" {
		t.Errorf("the test ping: %s %s", r.Method, r.Path)
	}

	c := (&container{
		image: samplePrefix + "base", args: []string{"sleep", "infinity"},
		labels: labelled("baktainer.db.engine=custom", "baktainer.command=cat /srv/data", "baktainer.restore_command=tee /srv/data"),
	}).start(t)
	u.sees(t, c, "ready")
	if r := say(u.cli(t, "backup", c.source())); r.status == 0 {
		t.Fatalf("a backup of nothing succeeded: %s", r.text())
	}
	failure := mails.Wait(2)[1]
	t.Logf("the mail:\nSubject: %s\n\n%s", failure.Subject, failure.Body)
	if failure.Subject != "Baktainer: "+c.source()+": backup failed" || !strings.Contains(failure.Body, "PROBLEMS\n  "+c.source()+": backup failed\n") || !strings.Contains(failure.Body, "baktainer run show ") {
		t.Errorf("of the failure this mail came: %+v", failure)
	}
	request := hooks.Wait(2)[1]
	t.Logf("the webhook:\n%s\n%s", request.Header.Get("Baktainer-Signature"), request.Body)
	if h := signed(t, signing, request); len(h.Events) != 1 || h.Events[0].Event != "failure" || h.Events[0].State != "open" || h.Events[0].Name != c.source() || h.Events[0].Run == "" || h.Open != 1 || h.Subject != failure.Subject {
		t.Errorf("of the failure this webhook came: %s", request.Body)
	}
	var text struct{ Text string }
	if err := json.Unmarshal(slack.Wait(2)[1].Body, &text); err != nil || !strings.Contains(text.Text, c.source()+": backup failed") {
		t.Errorf("of the failure this came for BT_SLACK_WEBHOOK_URL: %s, %v", slack.All()[1].Body, err)
	}
	if h := signed(t, signing, legacy.Wait(2)[1]); len(h.Events) != 1 {
		t.Errorf("of the failure this came for BT_WEBHOOK_URL: %+v", h)
	}
	if r := say(u.cli(t, "notify", "ls")); !strings.Contains(r.stdout, c.source()) || !strings.Contains(r.stdout, "backup failed") || !strings.Contains(r.stdout, "smtp 127.0.0.1") {
		t.Errorf("notify ls: %s", r.text())
	}

	c.script(t, "echo something >/srv/data")
	u.backup(t, c)
	recovery := mails.Wait(3)[2]
	if recovery.Subject != "Baktainer: "+c.source()+": backups succeed again" || !strings.Contains(recovery.Body, "RECOVERED\n  "+c.source()) || !strings.Contains(recovery.Body, "No problem is open any more.") {
		t.Errorf("of the recovery this mail came: %+v", recovery)
	}
	if h := signed(t, signing, hooks.Wait(3)[2]); len(h.Events) != 1 || h.Events[0].State != "closed" || h.Open != 0 {
		t.Errorf("of the recovery this webhook came: %+v", h)
	}
	if r := ping.Wait(2)[1]; r.Path != "/"+token+"/"+c.source() {
		t.Errorf("of the success this ping came: %s", r.Path)
	}

	// A server that refuses is told of, without what is secret about it.
	hooks.Answer(403, nil)
	if r := say(u.cli(t, "notify", "test")); r.status != partlyFailed || !strings.Contains(r.stderr, "403 Forbidden") {
		t.Errorf("a test with one that refuses: %s", r.text())
	}
	for _, what := range [][]string{{"audit", "ls", "-v"}, {"status", "-o", "json"}, {"notify", "ls", "-o", "json"}} {
		say(u.cli(t, what...))
	}
	say(command(t, nil, u.env, u.binary, "config", "show", "--data-dir", u.dir, "--notify-file", channels))
	_, page := u.get(t, "/config")
	secrets.absent(t, "/config", []byte(page))
	secrets.absent(t, "what the commands print", []byte(seen.String()))
	secrets.absent(t, "the log of up", []byte(u.log.String()))
	u.stop(t)
	err := filepath.WalkDir(u.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if err == nil {
			secrets.absent(t, path, content)
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	if len(mails.All()) != 4 { // and one of the second test
		t.Errorf("%d mails came: %+v", len(mails.All()), mails.All())
	}
}

// TestUpNowTellsBeforeItEnds backs up once, as from somebody else's cron.
func TestUpNowTellsBeforeItEnds(t *testing.T) {
	needContainers(t)
	t.Parallel()
	mails := notifytest.NewMailServer(t)
	c := (&container{
		image: samplePrefix + "base", args: []string{"sleep", "infinity"},
		labels: labelled("baktainer.db.engine=custom", "baktainer.command=cat /srv/data", "baktainer.restore_command=tee /srv/data"),
	}).start(t)
	env := append(plainEnvironment(), "BAKTAINER_NOTIFY=smtp://"+mails.Address+"/?from=bak@example.com&to=ops@example.com&starttls=no")
	r := command(t, nil, env, program(t), "-N", "--data-dir", tempDir(t), "--http-listen", "off")
	if r.status == fine || !strings.Contains(r.stderr, c.source()) {
		t.Errorf("a backup of nothing: %s", r.text())
	}
	told := slices.ContainsFunc(mails.All(), func(m notifytest.Mail) bool { // others may tell of containers of other tests
		return strings.Contains(m.Body, c.source()+": backup failed")
	})
	if !told {
		t.Errorf("when it had ended, these mails were there: %+v\n%s", mails.All(), r.text())
	}
}

// TestWrongNotificationsAreRefusedAtTheStart has everything wrong at once.
func TestWrongNotificationsAreRefusedAtTheStart(t *testing.T) {
	needContainers(t)
	t.Parallel()
	dir := tempDir(t)
	template := filepath.Join(dir, "template")
	if err := os.WriteFile(template, []byte(`{{define "body"}}{{.Nothing}}{{end}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	env := append(plainEnvironment(), "BAKTAINER_NOTIFY=slack://hunter2 pager://hunter2", "BAKTAINER_NOTIFY_SECRET=hunter2")
	for _, argv := range [][]string{{"up", "--data-dir", dir, "--notify-template", template}, {"config", "check", "--data-dir", dir, "--notify-template", template}} {
		r := command(t, nil, env, append([]string{program(t)}, argv...)...)
		for _, want := range []string{"BAKTAINER_NOTIFY:1: slack: ", "BAKTAINER_NOTIFY:1: its scheme is no service", "fewer than 16 bytes", "can't evaluate field Nothing"} {
			if !strings.Contains(r.stderr, want) {
				t.Errorf("%v does not say %q: %s", argv, want, r.text())
			}
		}
		if r.status != badInput || strings.Contains(r.text(), "hunter2") {
			t.Errorf("%v: %s", argv, r.text())
		}
	}
	r := command(t, nil, plainEnvironment(), program(t), "up", "--data-dir", dir, "--notify-digest", "soon", "--notify-size", "big")
	if r.status != badInput || !strings.Contains(r.stderr, "2 settings are wrong") {
		t.Errorf("two wrong settings: %s", r.text())
	}
}

// TestAMissedBackupIsTold has a schedule fire for a container that does not run,
// and then for the same container running again.
func TestAMissedBackupIsTold(t *testing.T) {
	needContainers(t)
	t.Parallel()
	mails := notifytest.NewMailServer(t)
	c := (&container{
		image: samplePrefix + "base", args: []string{"sleep", "infinity"},
		labels: labelled("baktainer.db.engine=custom", "baktainer.command=echo data", "baktainer.restore_command=cat", "baktainer.schedule=*/5 * * * * *"),
	}).start(t)
	u := startUp(t, upOptions{
		flags: []string{"--notify-digest", "0s", "--notify-interval", "0s", "--notify-events", "missed,recovery"},
		env:   []string{"BAKTAINER_NOTIFY=smtp://" + mails.Address + "/?from=bak@example.com&to=ops@example.com&starttls=no"},
	})
	u.sees(t, c, "ready")
	must(t, command(t, nil, nil, "docker", "stop", "-t", "0", c.id), "docker stop")
	u.sees(t, c, "stopped")
	telling := func(words string) {
		t.Helper()
		eventually(t, "a mail says "+words, func() (bool, string) {
			all := mails.All()
			return slices.ContainsFunc(all, func(m notifytest.Mail) bool { return strings.Contains(m.Body, words) }), sprintJSON(all)
		})
	}
	telling("  " + c.source() + ": backup missed\n    the backup of ")
	telling("was not made: its container does not run")
	must(t, command(t, nil, nil, "docker", "start", c.id), "docker start")
	telling("RECOVERED\n  " + c.source() + ": backed up again")
}

package notify

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/notify/notifytest"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const signingSecret = "a secret of more than sixteen bytes"

func parse(t testing.TB, secret source.Secret, urls ...string) []*Channel {
	t.Helper()
	channels, err := ParseChannels(lines(urls...), secret)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return channels
}

func lines(urls ...string) (all []config.NotifyLine) {
	for i, u := range urls {
		all = append(all, config.NotifyLine{Origin: fmt.Sprintf("/n:%d", i+1), URL: source.Secret(u)})
	}
	return all
}

// rendered is the sample with its built-in text.
func rendered(t testing.TB) *outgoing {
	t.Helper()
	text, err := BuiltIn()
	if err != nil {
		t.Fatal(err)
	}
	m := sample()
	subject, body, err := text.Render(m)
	if err != nil {
		t.Fatal(err)
	}
	return &outgoing{Message: m, subject: subject, body: body}
}

func TestNamesOfChannelsHoldNoSecret(t *testing.T) {
	channels := parse(t, "",
		"slack://hook:T1234567A-B1234567A-XXXXhunter2XXXXhunter2XX@webhook", "discord://hunter2hunter2@123456789", "telegram://123456789:hunter2hunter2hunter2hunter2hunter2xx@telegram?chats=@ops",
		"smtp://user:hunter2@mail.example.com:587/?from=a@example.com&to=b@example.com", "ntfy://hunter2@ntfy.sh/topic", "webhook+https://hooks.example.com/hunter2",
		"webhook+http://hooks.example.com/hunter3", "ping+https://hc-ping.com/hunter2/{source}?create=1", "generic+https://example.com/hunter2?template=json",
		"teams+https://org.webhook.office.com/webhookb2/11111111-4444-4444-8444-cccccccccccc@22222222-4444-4444-8444-cccccccccccc/IncomingWebhook/33333333012222222222333333333344/44444444-4444-4444-8444-cccccccccccc/V2ESyij_gAljSoUQHvZoZYzlpAoAXExyOl26dlf1xHEx05?host=org.webhook.office.com",
	)
	var names []string
	for _, c := range channels {
		names = append(names, c.Name)
	}
	want := "slack, discord, telegram, smtp mail.example.com, ntfy ntfy.sh, webhook hooks.example.com, webhook hooks.example.com #2, ping hc-ping.com, generic example.com, teams"
	if got := strings.Join(names, ", "); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestWrongURLsAreToldAtOnceAndNeverShown(t *testing.T) {
	wrong := []string{
		"hunter2", "hunter2:hunter2@x", "htps://hunter2", "slack://hunter2", "smtp://user:hunter2@mail.example.com/?from=hunter2", "smtp://mail.example.com:hunter2/", "webhook://example.com/hunter2",
		"webhook+ftp://example.com/hunter2", "webhook+https:///hunter2", "webhook+https://hunter2:hunter2@example.com/", "ping://hunter2", "slack+https://hunter2.example.com/hunter2",
		"teams+https://example.com/hunter2", "logger://hunter2", "smtp://%zzhunter2", "telegram://hunter2@telegram",
	}
	_, err := ParseChannels(lines(wrong...), "short")
	text := problem.Text(err)
	if problem.ExitStatus(err) != 2 || !strings.Contains(text, fmt.Sprintf("%d things are wrong", len(wrong)+1)) || !strings.Contains(text, "fewer than 16 bytes") {
		t.Errorf("got %s", text)
	}
	for i := range wrong {
		if !strings.Contains(text, fmt.Sprintf("/n:%d: ", i+1)) {
			t.Errorf("nothing is said of line %d", i+1)
		}
	}
	if strings.Contains(text, "hunter2") {
		t.Errorf("a secret is shown:\n%s", text)
	}
}

func TestMailArrives(t *testing.T) {
	server := notifytest.NewMailServer(t)
	c := parse(t, "", fmt.Sprintf("smtp://bak:hunter2@%s/?from=bak@example.com&to=ops@example.com,boss@example.com&starttls=no", server.Address))[0]
	m := rendered(t)
	if err := c.send(t.Context(), m); err != nil {
		t.Fatal(err)
	}
	for i, got := range server.Wait(2) {
		if to := []string{"ops@example.com", "boss@example.com"}[i]; got.From != "bak@example.com" || got.To[0] != to || got.User != "bak" || got.Password != "hunter2" {
			t.Errorf("mail %d: %v", i, got)
		}
		if got.Subject != m.subject || strings.TrimSpace(got.Body) != strings.TrimSpace(m.body) {
			t.Errorf("subject %q, body\n%s\nwant %q and\n%s", got.Subject, got.Body, m.subject, m.body)
		}
	}
}

func TestErrorsOfServersHoldNoSecret(t *testing.T) {
	mailServer, hooks := notifytest.NewMailServer(t), notifytest.NewHookServer(t)
	hooks.Answer(http.StatusForbidden, nil)
	host := strings.TrimPrefix(hooks.URL, "http://")
	closed := freeAddress(t)
	for name, tc := range map[string]struct{ url, says string }{
		"mail, wrong password":    {"smtp://hunter2:wrong@" + mailServer.Address + "/?from=a@example.com&to=b@example.com&starttls=no", "Authentication failed"},
		"mail, nobody there":      {"smtp://a:hunter2@" + closed + "/?from=a@example.com&to=b@example.com", "connection refused"},
		"mail, without TLS":       {"smtp://a:hunter2@" + mailServer.Address + "/?from=a@example.com&to=b@example.com&requirestarttls=yes", "StartTLS"},
		"a webhook that refuses":  {"webhook+http://" + host + "/hunter2?key=hunter2", "403 Forbidden"},
		"a webhook, nobody there": {"webhook+http://" + closed + "/hunter2", "connection refused"},
		"generic that refuses":    {"generic+http://" + host + "/hunter2?template=json", "403"},
		"generic, nobody there":   {"generic+http://" + closed + "/hunter2", "connection refused"},
		"ntfy that refuses":       {"ntfy://user:hunter2@" + host + "/topic-hunter2?scheme=http", "403"},
		"ntfy, nobody there":      {"ntfy://user:hunter2@" + closed + "/topic-hunter2?scheme=http", "connection refused"},
		"gotify that refuses":     {"gotify://" + host + "/AHunter2hunter2?disabletls=yes", "403"},
		"a ping that is refused":  {"ping+http://" + host + "/hunter2/{source}", "403 Forbidden"},
	} {
		t.Run(name, func(t *testing.T) {
			channels, err := ParseChannels(lines(tc.url), signingSecret)
			if err != nil {
				t.Fatal(problem.Text(err))
			}
			err = channels[0].send(t.Context(), rendered(t))
			text := ""
			if err != nil {
				text = problem.Text(err)
			}
			if !strings.Contains(text, tc.says) {
				t.Errorf("it says %q, want %q", text, tc.says)
			}
			if strings.Contains(strings.ToLower(text), "hunter2") || strings.Contains(text, signingSecret) {
				t.Errorf("a secret is shown: %s", text)
			}
		})
	}
}

func freeAddress(t testing.TB) string {
	t.Helper()
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// verify is what docs/notifications.md tells whoever gets a webhook to do.
func verify(secret string, header string, body []byte, now time.Time) error {
	var t, v1 string
	for part := range strings.SplitSeq(header, ",") {
		switch name, value, _ := strings.Cut(part, "="); name {
		case "t":
			t = value
		case "v1":
			v1 = value
		}
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.%s", t, body)
	given, err := hex.DecodeString(v1)
	if err != nil || !hmac.Equal(given, mac.Sum(nil)) {
		return fmt.Errorf("the signature is wrong")
	}
	sent, err := strconv.ParseInt(t, 10, 64)
	if age := now.Sub(time.Unix(sent, 0)).Abs(); err != nil || age > 5*time.Minute {
		return fmt.Errorf("it is %s old", age)
	}
	return nil
}

func TestWebhooksAreSigned(t *testing.T) {
	hooks := notifytest.NewHookServer(t)
	m := rendered(t)
	for _, secret := range []source.Secret{signingSecret, ""} {
		if err := parse(t, secret, "webhook+"+hooks.URL+"/hook")[0].send(t.Context(), m); err != nil {
			t.Fatal(err)
		}
	}
	got := hooks.Wait(2)
	signature := got[0].Header.Get(SignatureHeader)
	if err := verify(signingSecret, signature, got[0].Body, m.At); err != nil {
		t.Errorf("%s: %v", signature, err)
	}
	changed := append([]byte(nil), got[0].Body...)
	changed[len(changed)/2] ^= 1
	later := strings.Replace(signature, "t=", "t=1", 1)
	for name, err := range map[string]error{
		"another secret": verify("another", signature, got[0].Body, m.At), "a changed body": verify(signingSecret, signature, changed, m.At),
		"another time": verify(signingSecret, later, got[0].Body, m.At), "told again later": verify(signingSecret, signature, got[0].Body, m.At.Add(6*time.Minute)),
		"no signature": verify(signingSecret, "", got[0].Body, m.At),
	} {
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if got[1].Header.Get(SignatureHeader) != "" {
		t.Error("signed without a secret")
	}
	var p payload
	if err := json.Unmarshal(got[0].Body, &p); err != nil {
		t.Fatal(err)
	}
	if got[0].Method != http.MethodPost || got[0].Path != "/hook" || got[0].Header.Get("Content-Type") != "application/json" || p.Version != 1 || p.Subject != m.subject || p.Text != m.body {
		t.Errorf("%s %s: %s", got[0].Method, got[0].Path, got[0].Body)
	}
	if first := p.Events[0]; len(p.Events) != 2*(len(pb.ConditionKind_name)-1) || first.Sequence != 1 || first.Event != "failure" || first.State != "open" || first.Name != "shop/db" || first.Of != "source" {
		t.Errorf("%d events, the first: %+v", len(p.Events), first)
	}
}

func TestRedirectsAreNotFollowed(t *testing.T) {
	hooks, other := notifytest.NewHookServer(t), notifytest.NewHookServer(t)
	hooks.Answer(http.StatusTemporaryRedirect, http.Header{"Location": {other.URL + "/hunter2"}})
	for _, url := range []string{"webhook+" + hooks.URL + "/a", "ping+" + hooks.URL + "/a/{source}"} {
		err := parse(t, signingSecret, url)[0].send(t.Context(), rendered(t))
		if err == nil || !strings.Contains(err.Error(), "sends to "+other.URL+", which is not followed") || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%v", err)
		}
	}
	if n := len(other.All()); n > 0 {
		t.Errorf("the other server got %d requests", n)
	}
}

func TestPings(t *testing.T) {
	hooks := notifytest.NewHookServer(t)
	each, all := parse(t, "", "ping+"+hooks.URL+"/{source}")[0], parse(t, "", "ping+"+hooks.URL+"/all")[0]
	m := &outgoing{Message: &Message{Successes: []Item{{Subject: "shop/db"}, {Subject: "Blog_1"}}}}
	troubled := &outgoing{Message: &Message{Successes: m.Successes, troubled: true}}
	for _, err := range []error{each.send(t.Context(), m), all.send(t.Context(), m), each.send(t.Context(), troubled), all.send(t.Context(), troubled)} {
		if err != nil {
			t.Error(err)
		}
	}
	var got []string
	for _, r := range hooks.All() {
		got = append(got, r.Method+" "+r.Path)
	}
	if want := "GET /shop-db, GET /blog_1, GET /all, GET /shop-db, GET /blog_1"; strings.Join(got, ", ") != want {
		t.Errorf("got %v, want %s", got, want)
	}
}

func TestAServiceThatHangsIsLeftAlone(t *testing.T) {
	var lc net.ListenConfig
	l, err := lc.Listen(t.Context(), "tcp", "127.0.0.1:0") // takes connections, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := parse(t, "", "smtp://"+l.Addr().String()+"/?from=a@example.com&to=b@example.com")[0]
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := c.send(ctx, rendered(t)); err == nil || !strings.Contains(err.Error(), "no answer") {
		t.Errorf("%v", err)
	}
	if err := c.send(t.Context(), rendered(t)); err == nil || !strings.Contains(err.Error(), "an earlier attempt has not ended yet") {
		t.Errorf("%v", err)
	}
}

func TestShortPasswordsAreHiddenToo(t *testing.T) {
	m := newMasker("smtp://user:abc@mail.example.com/", true)
	if got := m.mask(fmt.Errorf("login abc refused")); strings.Contains(got, "abc") {
		t.Error(got)
	}
	if got := m.mask(fmt.Errorf("no such host")); got != "no such host" {
		t.Error(got)
	}
}

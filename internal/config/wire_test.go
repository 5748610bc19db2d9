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

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"c1:8468":                    "c1:8468",
		"c1:8468,c2.example.org:1":   "c1:8468 c2.example.org:1",
		" c1:1 , c1:1,dns+tasks.c:2": "c1:1 dns+tasks.c:2",
		"[2001:db8::1]:8468":         "[2001:db8::1]:8468",
		"10.0.0.1:65535":             "10.0.0.1:65535",
		"shop_controller_1:8468":     "shop_controller_1:8468",
		"":                           "",
		"c1":                         "",
		":8468":                      "",
		"c1:0":                       "",
		"c1:65536":                   "",
		"c1:8468,":                   "",
		"c1:8468;c2:8468":            "",
		"https://c1:8468":            "",
		"a@c1:8468":                  "",
		"a b:8468":                   "",
		"dns+:8468":                  "",
		"dns:c1:8468":                "",
		"-c1:8468":                   "",
	} {
		all, err := Addresses(text)
		if got := strings.Join(all, " "); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v, want %q", text, got, err, want)
		}
	}
}

func FuzzAddresses(f *testing.F) {
	for _, seed := range []string{"c1:8468,dns+c:1", "[::1]:1", ",", "dns+dns+a:1", "a:1,a:1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		all, err := Addresses(text)
		if err != nil {
			return
		}
		again, err := Addresses(strings.Join(all, ","))
		if err != nil || !slices.Equal(all, again) {
			t.Errorf("%q is read as %q and then as %q, %v", text, all, again, err)
		}
	})
}

// loadFor loads settings as a command would.
func loadFor(t *testing.T, command string, env ...string) (Config, []string, error) {
	t.Helper()
	l := loader{env: environ(env), defaultFile: "/nonexistent"}
	return l.load(LoadOptions{Root: true, Command: command})
}

func TestWhereAControllerListens(t *testing.T) {
	for _, tc := range []struct {
		command, env, want string
	}{
		{"up", "", ""},
		{"up", "BAKTAINER_LISTEN=:1", ":1"},
		{"controller", "", ":8468"},
		{"", "BAKTAINER_LISTEN=off", ""},
	} {
		c, _, err := loadFor(t, tc.command, tc.env)
		if err != nil || c.Listen != tc.want {
			t.Errorf("%+v: %q, %v", tc, c.Listen, err)
		}
	}
	if _, _, err := loadFor(t, "controller", "BAKTAINER_LISTEN=off"); err == nil || !strings.Contains(problem.Text(err), "listen (BAKTAINER_LISTEN): off is for `baktainer up`") {
		t.Errorf("a controller that nobody reaches: %v", err)
	}
}

func TestJoining(t *testing.T) {
	c, warnings, err := loadFor(t, "controller", "BAKTAINER_NAME=c2", "BAKTAINER_ADVERTISE=c2.example.org:8468",
		"BAKTAINER_JOIN=c1:8468,dns+tasks.controller:8468", "BAKTAINER_JOIN_TOKEN=BKTN-1-x-hunter2", "BAKTAINER_BOOTSTRAP_EXPECT=3")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	if c.Name != "c2" || c.Advertise != "c2.example.org:8468" || strings.Join(c.Join, " ") != "c1:8468 dns+tasks.controller:8468" || c.Expect != 3 {
		t.Errorf("%+v", c)
	}
	if got := find("join").Value(c); got != "c1:8468,dns+tasks.controller:8468" {
		t.Errorf("join is shown as %q", got)
	}
	if token, err := c.JoinToken.Read(); err != nil || token.Reveal() != "BKTN-1-x-hunter2" || strings.Contains(fmt.Sprintf("%+v", c), "hunter2") {
		t.Errorf("%+v, %v", c, err)
	}

	for name, tc := range map[string]struct {
		env  []string
		want []string
	}{
		"expecting without join": {[]string{"BAKTAINER_BOOTSTRAP_EXPECT=3"}, []string{"bootstrap-expect (BAKTAINER_BOOTSTRAP_EXPECT): needs join"}},
		"an even number":         {[]string{"BAKTAINER_BOOTSTRAP_EXPECT=2", "BAKTAINER_JOIN=a:1"}, []string{`"2": want 1, 3 or 5`}},
		"all at once": {
			[]string{"BAKTAINER_JOIN=a", "BAKTAINER_NAME=a/b", "BAKTAINER_ADVERTISE=:8468", "BAKTAINER_JOIN_TOKEN=hunter2", "BAKTAINER_JOIN_TOKEN_FILE=/t"},
			[]string{`BAKTAINER_JOIN: "a": want HOST:PORT`, `BAKTAINER_NAME: "a/b": want 1 to 64 letters`, `BAKTAINER_ADVERTISE: ":8468": want HOST:PORT`,
				"join-token-file (BAKTAINER_JOIN_TOKEN_FILE), BAKTAINER_JOIN_TOKEN: both hold a token"},
		},
	} {
		_, _, err := loadFor(t, "controller", tc.env...)
		text := ""
		if err != nil {
			text = problem.Text(err)
		}
		for _, want := range tc.want {
			if strings.Count(text, want) != 1 {
				t.Errorf("%s: %q is not in\n%s", name, want, text)
			}
		}
		if strings.Contains(text, "hunter2") {
			t.Errorf("%s shows the token:\n%s", name, text)
		}
	}
}

func TestWarningsAboutTheWire(t *testing.T) {
	tls := []string{"BAKTAINER_TLS_CA=/ca", "BAKTAINER_TLS_CERT=/c", "BAKTAINER_TLS_KEY=/k"}
	for _, tc := range []struct {
		command string
		env     []string
		want    string
	}{
		{"up", []string{"BAKTAINER_ADVERTISE=h:1"}, "advertise: has no effect while listen is off"},
		{"up", []string{"BAKTAINER_ADVERTISE=h:1", "BAKTAINER_LISTEN=:1"}, ""},
		{"controller", []string{"BAKTAINER_JOIN_TOKEN=x"}, "join-token-file: has no effect without join"},
		{"agent", append([]string{"BAKTAINER_CONTROLLER=h:1", "BAKTAINER_TOKEN=x"}, tls...), "token-file: has no effect with tls-ca"},
		{"agent", []string{"BAKTAINER_CONTROLLER=h:1", "BAKTAINER_TOKEN=x"}, ""},
		{"agent", append([]string{"BAKTAINER_CONTROLLER=h:1"}, tls...), ""},
	} {
		_, warnings, err := loadFor(t, tc.command, tc.env...)
		if got := strings.Join(warnings, "\n"); err != nil || (tc.want == "") != (got == "") || !strings.HasPrefix(got, tc.want) {
			t.Errorf("%+v: %q, %v", tc, got, err)
		}
	}
}

func TestTokens(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("BKTN-1-a-b\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := loadFor(t, "agent", "BAKTAINER_CONTROLLER=c1:1,c2:1", "BAKTAINER_TOKEN_FILE="+file)
	if err != nil || !c.Token.Given() || c.JoinToken.Given() || strings.Join(c.Controllers, " ") != "c1:1 c2:1" {
		t.Fatalf("%+v, %v", c, err)
	}
	if text, err := c.Token.Read(); err != nil || text.Reveal() != "BKTN-1-a-b" {
		t.Errorf("%q, %v", text.Reveal(), err)
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Token.Read(); problem.CodeOf(err) != problem.InvalidInput || !strings.Contains(problem.Text(err), "token create") {
		t.Errorf("a file that is not there: %v", err)
	}
	c, _, err = loadFor(t, "agent", "BAKTAINER_CONTROLLER=c1:1", "BAKTAINER_TOKEN=BKTN-1-c-d")
	if text, readErr := c.Token.Read(); err != nil || readErr != nil || text.Reveal() != "BKTN-1-c-d" {
		t.Errorf("%q, %v, %v", text.Reveal(), err, readErr)
	}
}

func TestWhereALoginIsKept(t *testing.T) {
	for env, want := range map[string]string{
		"HOME=/home/u": "/home/u/.config/baktainer/login", "XDG_CONFIG_HOME=/x": "/x/baktainer/login", "XDG_CONFIG_HOME=relative": "",
	} {
		if c, _, err := loadFor(t, "", env); err != nil || c.LoginDir != want {
			t.Errorf("%s: %q, %v, want %q", env, c.LoginDir, err, want)
		}
	}
}

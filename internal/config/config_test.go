package config

import (
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/schedule"
	"github.com/baktainer/baktainer/internal/source"
)

var update = flag.Bool("update", false, "write docs/configuration.md")

// load reads settings on a machine that has no file of its own.
func load(t *testing.T, file string, flags map[string]string, env ...string) (Config, []string, error) {
	t.Helper()
	o := LoadOptions{Flags: flags, Environ: append(env, "HOME=/home/u"), Root: true}
	if file != "" {
		o.File = filepath.Join(t.TempDir(), "b.yaml")
		if err := os.WriteFile(o.File, []byte(file), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	l := loader{env: environ(o.Environ), defaultFile: filepath.Join(t.TempDir(), "none.yaml")}
	return l.load(o)
}

func TestDefaults(t *testing.T) {
	c, warnings, err := load(t, "", nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	want := map[string]string{
		"data-dir": "/var/lib/baktainer", "socket": "/var/lib/baktainer/baktainer.sock",
		"store": "/var/lib/baktainer/store", "key-file": "/var/lib/baktainer/repository.key",
		"schedule": "0 0 * * *", "drill-schedule": "@weekly", "verify-age": "30d", "verify-bandwidth": "off", "timezone": "Local", "concurrency": "4", "cache": "1GiB", "compress": "default", "log-level": "info",
		"log-format": "auto", "http-listen": "127.0.0.1:8080", "docker-host": "unix:///var/run/docker.sock",
		"docker-ca": "", "docker-cert": "", "docker-key": "", "only-labelled": "", "engine-plugins": "", "agent-id": "", "lease-duration": "1m0s",
		"listen": ":8468", "name": "", "advertise": "", "join": "", "join-token-file": "", "bootstrap-expect": "1", "controller": "", "token-file": "", "tls-ca": "", "tls-cert": "", "tls-key": "", "memory": "", "attempts": "3", "time-limit": "off", "bandwidth": "off", "cpus": "all", "passphrase-file": "", "identity-file": "",
		"notify-file": "", "notify-secret-file": "", "notify-events": "failure,recovery,missed,size,stale,damaged,contents,drill,retention,space,paused,store,agent", "notify-failures": "1", "notify-stale": "auto",
		"notify-size": "50-200", "notify-silent": "10m0s", "notify-digest": "1m0s", "notify-interval": "5m0s", "notify-template": "",
		"retention": "off", "retention-policies": "", "retention-least": "last=3 daily=7", "undo-window": "3d", "retention-freeze": "2", "retention-verify": "1d", "compact-below": "30%",
		"free-space-notify": "10%", "free-space-prune": "5%", "free-space-pause": "off",
	}
	for _, s := range Settings() {
		if got := s.Value(c); got != want[s.Name] {
			t.Errorf("%s = %q, want %q", s.Name, got, want[s.Name])
		}
		if c.Origins[s.Name] != "default" {
			t.Errorf("%s comes from %q", s.Name, c.Origins[s.Name])
		}
	}
	if len(want) != len(Settings()) {
		t.Errorf("%d settings, %d tested", len(Settings()), len(want))
	}
}

// What opens the store is never guessed at.
func TestOneKey(t *testing.T) {
	const words = "correct horse battery"
	c, _, err := load(t, "", nil, PassphraseVariable+"="+words)
	if err != nil || c.Passphrase.Reveal() != words || strings.Contains(fmt.Sprintf("%+v", c), "horse") {
		t.Errorf("%+v, %v", c, err)
	}
	for name, o := range map[string]struct {
		file  string
		flags map[string]string
		env   []string
	}{
		"file and passphrase":     {"key-file: /k", nil, []string{PassphraseVariable + "=" + words}},
		"file and file":           {"", map[string]string{"key-file": "/k", "passphrase-file": "/p"}, nil},
		"passphrase and its file": {"", nil, []string{PassphraseVariable + "=" + words, "BAKTAINER_PASSPHRASE_FILE=/p"}},
		"identity and file":       {"identity-file: /i", nil, []string{"BAKTAINER_KEY_FILE=/k"}},
	} {
		_, _, err := load(t, o.file, o.flags, o.env...)
		if text := problem.Text(err); err == nil || !strings.Contains(text, "only one of them") || strings.Contains(text, "horse") {
			t.Errorf("%s: %v", name, text)
		}
	}
}

func TestStateOfAnOrdinaryUser(t *testing.T) {
	for _, tc := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"HOME": "/home/u"}, "/home/u/.local/state/baktainer"},
		{map[string]string{"HOME": "/home/u", "XDG_STATE_HOME": "/s"}, "/s/baktainer"},
		{map[string]string{"XDG_STATE_HOME": "relative"}, ""},
	} {
		if got := stateDir(circumstances{env: tc.env}); got != tc.want {
			t.Errorf("%v: %q, want %q", tc.env, got, tc.want)
		}
	}
	l := loader{env: map[string]string{}, defaultFile: "/nonexistent"}
	if _, _, err := l.load(LoadOptions{}); err == nil || !strings.Contains(problem.Text(err), "--data-dir") {
		t.Errorf("without a home: %v", err)
	}
}

func TestPrecedence(t *testing.T) {
	file := "# first\nconcurrency: 2\nlog-level: error\n"
	for _, tc := range []struct {
		flags  map[string]string
		env    []string
		want   int
		origin string
	}{
		{nil, nil, 2, "b.yaml:2: concurrency"},
		{nil, []string{"BT_THREADS=3"}, 3, "BT_THREADS"},
		{nil, []string{"BT_THREADS=3", "BAKTAINER_CONCURRENCY=5"}, 5, "BAKTAINER_CONCURRENCY"},
		{map[string]string{"concurrency": "6"}, []string{"BT_THREADS=3", "BAKTAINER_CONCURRENCY=5"}, 6, "--concurrency"},
		{nil, []string{"BAKTAINER_CONCURRENCY="}, 2, "b.yaml:2: concurrency"},
	} {
		c, _, err := load(t, file, tc.flags, tc.env...)
		if err != nil {
			t.Fatal(err)
		}
		if c.Concurrency != tc.want || !strings.HasSuffix(c.Origins["concurrency"], tc.origin) || c.LogLevel != slog.LevelError {
			t.Errorf("%v %v: %d from %q, want %d from %q", tc.flags, tc.env, c.Concurrency, c.Origins["concurrency"], tc.want, tc.origin)
		}
	}
}

func TestTheFileIsFound(t *testing.T) {
	name := filepath.Join(t.TempDir(), "b.yaml")
	if err := os.WriteFile(name, []byte("agent-id: a1"), 0o600); err != nil {
		t.Fatal(err)
	}
	for what, l := range map[string]loader{
		"by variable": {env: map[string]string{FileVariable: name}, defaultFile: "/nonexistent"},
		"by default":  {env: map[string]string{}, defaultFile: name},
	} {
		if c, _, err := l.load(LoadOptions{Root: true}); err != nil || c.AgentID != "a1" || c.File != name {
			t.Errorf("%s: %+v, %v", what, c, err)
		}
	}
	_, _, err := load(t, "", nil, FileVariable+"=/nonexistent/b.yaml")
	if err == nil || !strings.Contains(problem.Text(err), "BAKTAINER_CONFIG: read the settings file: open /nonexistent/b.yaml") {
		t.Errorf("a named file that is missing: %v", err)
	}
}

func TestEveryWrongSettingIsToldAtOnce(t *testing.T) {
	file := "concurency: 3\nlog-level: loud\nstore: [a]\nschedule:\nagent-id: x\nagent-id: y\ntimezone: Mars/Olympus\n"
	_, _, err := load(t, file, map[string]string{"http-listen": "nowhere", "concurrency": "0"},
		"BAKTAINER_COMPRES=off", "BAKTAINER_COMPRESS=zip", "BT_THREAD=1", "BT_THREADS=99", "BAKTAINER_DOCKER_HOST=ftp://x",
		"BT_COMPRESS=maybe", "BAKTAINER_SCHEDULE_FILE=/nonexistent", "BAKTAINER_STORE=/a", "BAKTAINER_STORE_FILE=/b",
		"BAKTAINER_LEASE_DURATION=1ms", "BT_CRON=61 * * * *", "BAKTAINER_DOCKER_CERT=/c", "BAKTAINER_E2E=1", "BAKTAINER_SAMPLES=x", "BAKTAINER_PORT_8080_TCP=tcp://1",
		"BAKTAINER_CONTROLLER_PORT_8468_TCP=tcp://1", "BAKTAINER_CONTROLLER_SERVICE_HOST=1", "BAKTAINER_CONTROLLER=:8468", "BAKTAINER_MEMORY=1KiB", "BAKTAINER_ONLY_LABELLED=a,=b", "BAKTAINER_LISTEN=nowhere", "BAKTAINER_TLS_CA=/ca")
	if problem.CodeOf(err) != problem.InvalidInput || problem.ExitStatus(err) != 2 {
		t.Fatalf("got %v", err)
	}
	text := problem.Text(err)
	for _, want := range []string{
		`b.yaml:1: "concurency": there is no such setting (did you mean concurrency?)`,
		`b.yaml:2: log-level: "loud": want one of debug, info, warn, error`,
		`b.yaml:3: store: want a single value`,
		`b.yaml:4: schedule: has no value`,
		`b.yaml:6: agent-id: is set in line 5 already`,
		`b.yaml:7: timezone: "Mars/Olympus": there is no such time zone`,
		`--http-listen: "nowhere": want HOST:PORT`,
		`--concurrency: "0": want a whole number from 1 to 50`,
		`BAKTAINER_COMPRES: there is no such setting (did you mean BAKTAINER_COMPRESS?)`,
		`BAKTAINER_COMPRESS: "zip": want one of default, off, fast, better`,
		`BT_THREAD: there is no such setting (did you mean BT_THREADS?)`,
		`BT_THREADS: "99": want a whole number from 1 to 50`,
		`BAKTAINER_DOCKER_HOST: "ftp://x": want a URL`,
		`BT_COMPRESS: "maybe": want true or false`,
		`BAKTAINER_SCHEDULE_FILE: read the value: open /nonexistent`,
		`BAKTAINER_STORE: BAKTAINER_STORE_FILE is set as well`,
		`BAKTAINER_LEASE_DURATION: "1ms": want a duration from 5s to 1h`,
		`BT_CRON: "61 * * * *": want a cron expression`,
		`docker-cert and docker-key belong together`,
		`BAKTAINER_CONTROLLER: ":8468": want HOST:PORT, such as backup`,
		`BAKTAINER_MEMORY: "1KiB": want a size from 16MiB on`,
		`BAKTAINER_ONLY_LABELLED: "a,=b": want labels, KEY or KEY=VALUE, with commas between`,
		`BAKTAINER_LISTEN: "nowhere": want HOST:PORT, such as :8468 or :8080, or off`,
		`tls-ca, tls-cert and tls-key belong together: not set: tls-cert, tls-key`,
	} {
		if strings.Count(text, want) != 1 {
			t.Errorf("%q is there %d times", want, strings.Count(text, want))
		}
	}
	if !strings.HasPrefix(text, "24 settings are wrong\n") {
		t.Errorf("got:\n%s", text)
	}
}

func TestLegacyVariables(t *testing.T) {
	c, warnings, err := load(t, "", nil, "BT_BACKUP_DIR=/backups", "BT_CRON=5 4 * * *", "BT_THREADS=7", "BT_LOG_LEVEL=DEBUG",
		"BT_COMPRESS=false", "BT_DOCKER_URL=tcp://docker:2376", "BT_SSL=true", "BT_CA=/ca.pem", "BT_CERT=/cert.pem",
		"BT_KEY=-----BEGIN EC PRIVATE KEY-----\nx\n-----END EC PRIVATE KEY-----", "BT_HEALTH_SERVER_ENABLED=true", "BT_HEALTH_PORT=9090")
	if err != nil || len(warnings) > 0 {
		t.Fatal(warnings, err)
	}
	for name, want := range map[string]string{
		"data-dir": "/backups", "store": "/backups/store", "schedule": "5 4 * * *", "concurrency": "7", "log-level": "debug",
		"compress": "off", "docker-host": "tcp://docker:2376", "docker-ca": "/ca.pem", "docker-cert": "/cert.pem",
		"docker-key": "[hidden]", "http-listen": "0.0.0.0:9090",
	} {
		if got := find(name).Value(c); got != want {
			t.Errorf("%s = %q, want %q", name, got, want)
		}
	}
	if !strings.HasPrefix(c.Docker.Key.Reveal(), "-----BEGIN") {
		t.Error("the key is lost")
	}
}

func TestLegacyHealthServer(t *testing.T) {
	for _, tc := range []struct {
		env  []string
		want string
	}{
		{[]string{"BT_HEALTH_SERVER_ENABLED=true"}, "0.0.0.0:8080"},
		{[]string{"BT_HEALTH_SERVER_ENABLED=false", "BT_HEALTH_PORT=9090"}, "off"},
		{[]string{"BT_HEALTH_PORT=9090"}, "127.0.0.1:9090"},
		{[]string{"BT_HEALTH_BIND=::1"}, "[::1]:8080"},
		{[]string{"BT_HEALTH_SERVER_ENABLED=true", "BAKTAINER_HTTP_LISTEN=:1"}, ":1"},
	} {
		c, _, err := load(t, "", nil, tc.env...)
		if got := find("http-listen").Value(c); err != nil || got != tc.want {
			t.Errorf("%v: %q, %v, want %q", tc.env, got, err, tc.want)
		}
	}
	if _, _, err := load(t, "", nil, "BT_HEALTH_PORT=x"); err == nil || !strings.Contains(problem.Text(err), "BT_HEALTH_PORT") {
		t.Errorf("a wrong port: %v", err)
	}
}

func TestLegacyVariablesWithoutAMeaningAreWarnedOf(t *testing.T) {
	var env []string
	for _, u := range unusedLegacy {
		for name := range strings.FieldsSeq(u.names) {
			env = append(env, name+"=hunter2")
		}
	}
	_, warnings, err := load(t, "", nil, append(env, "BT_CA=/ca.pem")...)
	if err != nil {
		t.Fatal(err)
	}
	if len(warnings) != len(env)+1 {
		t.Errorf("%d warnings for %d variables: %q", len(warnings), len(env)+1, warnings)
	}
	all := strings.Join(warnings, "\n")
	if strings.Contains(all, "hunter2") {
		t.Error("a warning shows a value")
	}
	for _, want := range []string{"BT_KEY_ROTATION_ENABLED: keys are not rotated", "BT_CA: has no effect unless BT_SSL"} {
		if !strings.Contains(all, want) {
			t.Errorf("no warning says %q:\n%s", want, all)
		}
	}
	// With the twin alone there is one warning too.
	if _, warnings, err := load(t, "", nil, "BT_ENCRYPTION_KEY_FILE=/x"); err != nil || len(warnings) != 1 {
		t.Errorf("%q, %v", warnings, err)
	}
}

func TestValuesFromFiles(t *testing.T) {
	name := filepath.Join(t.TempDir(), "value")
	if err := os.WriteFile(name, []byte("5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, "", nil, "BAKTAINER_CONCURRENCY_FILE="+name)
	if err != nil || c.Concurrency != 5 || c.Origins["concurrency"] != "BAKTAINER_CONCURRENCY_FILE" {
		t.Errorf("%d from %q, %v", c.Concurrency, c.Origins["concurrency"], err)
	}
	for what, content := range map[string]string{"is empty": "\n", "is larger than": strings.Repeat("x", maxValueFile+1)} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, _, err := load(t, "", nil, "BT_THREADS_FILE="+name); err == nil || !strings.Contains(problem.Text(err), what) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDockersOwnVariables(t *testing.T) {
	c, _, err := load(t, "", nil, "DOCKER_HOST=tcp://d:2376", "DOCKER_TLS_VERIFY=1", "DOCKER_CERT_PATH=/certs")
	if err != nil || c.Docker != (Docker{"tcp://d:2376", "/certs/ca.pem", "/certs/cert.pem", source.Secret("/certs/key.pem")}) {
		t.Errorf("%+v, %v", c.Docker, err)
	}
	_, warnings, err := load(t, "", map[string]string{"docker-ca": "/ca.pem"})
	if err != nil || len(warnings) != 1 {
		t.Errorf("TLS over a unix socket: %q, %v", warnings, err)
	}
}

func TestSecretsAreNotShown(t *testing.T) {
	_, _, err := load(t, "", nil, "BAKTAINER_DOCKER_KEY=se\ncret")
	if err == nil || strings.Contains(problem.Text(err), "cret") || !strings.Contains(problem.Text(err), "[hidden]") {
		t.Errorf("got %v", err)
	}
}

func TestLongSocketPath(t *testing.T) {
	_, _, err := load(t, "", map[string]string{"data-dir": "/" + strings.Repeat("d", 90)})
	if err == nil || !strings.Contains(problem.Text(err), "a unix socket's may have 100") {
		t.Errorf("got %v", err)
	}
}

func TestFlags(t *testing.T) {
	flags := pflag.NewFlagSet("x", pflag.ContinueOnError)
	AddFlags(flags, "", "socket")
	AddFlag(flags, "socket")
	if err := flags.Parse([]string{"--data-dir=/d", "--concurrency", "3"}); err != nil {
		t.Fatal(err)
	}
	c, _, err := load(t, "", Given(flags))
	if err != nil || c.DataDir != "/d" || c.Concurrency != 3 || c.Origins["schedule"] != "default" {
		t.Errorf("%+v, %v", c, err)
	}
	for _, s := range Settings() {
		f := flags.Lookup(s.Name)
		if f == nil {
			t.Fatalf("no flag for %s", s.Name)
		}
		if kind, _ := pflag.UnquoteUsage(f); kind != s.Kind {
			t.Errorf("--%s wants a %q, says the help", s.Name, kind)
		}
	}
}

func TestFlagsAreThoseOfTheCommand(t *testing.T) {
	for command, want := range map[string]string{
		"up":         "data-dir store concurrency docker-host agent-id listen name advertise memory",
		"controller": "data-dir store listen name advertise join join-token-file bootstrap-expect tls-key memory",
		"agent":      "data-dir concurrency docker-host agent-id controller token-file tls-key memory",
	} {
		flags := pflag.NewFlagSet(command, pflag.ContinueOnError)
		AddFlags(flags, command)
		for _, name := range []string{"data-dir", "store", "concurrency", "docker-host", "agent-id", "listen", "name", "advertise", "join", "join-token-file", "bootstrap-expect", "controller", "token-file", "tls-key", "memory"} {
			if theirs := slices.Contains(strings.Fields(want), name); theirs != (flags.Lookup(name) != nil) {
				t.Errorf("%s has --%s: %v", command, name, !theirs)
			}
		}
	}
	asking := pflag.NewFlagSet("status", pflag.ContinueOnError)
	AddAskingFlags(asking)
	for name, theirs := range map[string]bool{"controller": true, "tls-ca": true, "tls-cert": true, "tls-key": true, "listen": false, "token-file": false} {
		if theirs != (asking.Lookup(name) != nil) {
			t.Errorf("a command that asks has --%s: %v", name, !theirs)
		}
	}
	// A flag of another's that has the name of a setting is none of ours.
	flags := pflag.NewFlagSet("proxy", pflag.ContinueOnError)
	flags.String("listen", "", "")
	if err := flags.Parse([]string{"--listen", "unix:///x"}); err != nil || len(Given(flags)) != 0 {
		t.Errorf("%v, %v", Given(flags), err)
	}
}

func TestWhatACommandCannotDoWithout(t *testing.T) {
	for command, want := range map[string][]string{
		"": nil, "up": nil, "controller": nil,
		"agent": {"controller: is not set, and `baktainer agent` needs it: set --controller or BAKTAINER_CONTROLLER"},
	} {
		l := loader{env: map[string]string{}, defaultFile: "/nonexistent"}
		_, _, err := l.load(LoadOptions{Root: true, Command: command})
		if len(l.wrong) != len(want) || (err == nil) != (len(want) == 0) {
			t.Errorf("%s: %q, %v", command, l.wrong, err)
			continue
		}
		for i, w := range want {
			if !strings.Contains(l.wrong[i], w) {
				t.Errorf("%s: %q, want %q", command, l.wrong[i], w)
			}
		}
	}
	l := loader{env: environ([]string{"BAKTAINER_TLS_CA=/ca", "BAKTAINER_TLS_CERT=/c", "BAKTAINER_TLS_KEY=/k"}), defaultFile: "/nonexistent"}
	c, _, err := l.load(LoadOptions{Root: true, Command: "controller"})
	if err != nil || c.TLS != (TLS{"/ca", "/c", "/k"}) {
		t.Errorf("%+v, %v", c.TLS, err)
	}
}

func TestMemory(t *testing.T) {
	for text, want := range map[string]int64{
		"96MiB": 96 << 20, "1GiB": 1 << 30, "16384KiB": 16 << 20, "64 MiB": 64 << 20, "off": NoLimit, "OFF": NoLimit,
		"96": 0, "96MB": 0, "MiB": 0, "-1GiB": 0, "15MiB": 0, "9999999999999GiB": 0, "1.5GiB": 0,
	} {
		var c Config
		setMemory := setting(t, "memory").set
		if err := setMemory(&c, text); (err == nil) != (want != 0) || c.Memory != want {
			t.Errorf("%s: %d, %v, want %d", text, c.Memory, err, want)
		}
		again := c
		if shown := getMemory(&c); shown != "" && (setMemory(&again, shown) != nil || again.Memory != want) {
			t.Errorf("%s is shown as %s", text, shown)
		}
	}
}

func TestCache(t *testing.T) {
	s := setting(t, "cache")
	for text, want := range map[string]int64{"1GiB": 1 << 30, "200MiB": 200 << 20, "off": 0} {
		c := Config{Cache: -1}
		if err := s.set(&c, text); err != nil || c.Cache != want || s.get(&c) != text {
			t.Errorf("%s: %d, shown as %s, %v", text, c.Cache, s.get(&c), err)
		}
	}
	if err := s.set(&Config{}, "1MiB"); err == nil {
		t.Error("a cache smaller than a pack is accepted")
	}
}

func setting(t *testing.T, name string) *Setting {
	t.Helper()
	for _, s := range Settings() {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no setting %s", name)
	return nil
}

func TestDocumentationIsFresh(t *testing.T) {
	const name = "../../docs/configuration.md"
	if *update {
		if err := os.WriteFile(name, []byte(Markdown()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(name)
	if err != nil || string(got) != Markdown() {
		t.Errorf("docs/configuration.md is stale, run make docs (%v)", err)
	}
	for _, s := range Settings() {
		if shown := strings.Contains(Markdown(), "### "+s.Name+"\n"); shown == s.Hidden {
			t.Errorf("%s: in the documentation: %v", s.Name, shown)
		}
	}
}

func FuzzYAML(f *testing.F) {
	for _, seed := range []string{
		"", "---\n", "concurrency: 4\n", "a: b: c", "schedule: \"0 0 * * *\"\nstore: [a]\n", "&a data-dir: *a", "- x", "? {a: b}\n: c",
		"<<: {store: /x}", "store: !!binary aGk=", "--- a\n--- b", "docker-key: |\n  -----BEGIN X\n", "\x00", "store: &a\n  - *a\n", "!!set {a, b}",
		"schedules:\n  n:\n    cron: '@daily'\n    sources: [a, b/*]\n", "schedules: {n: {cron: x, splay: [1], sources: *a}}", "schedules: [&a {a: *a}]",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		values, schedules, wrong := parseYAML("b.yaml", text)
		for _, v := range values {
			if v.setting == nil || !slices.Contains(Settings(), v.setting) {
				t.Fatalf("a value for no setting: %+v", v)
			}
			var c Config
			if err := v.setting.set(&c, v.text); err == nil {
				_ = v.setting.Value(c)
			}
			_ = v.setting.shown(v.text)
		}
		for _, s := range schedules {
			if schedule.CheckName(s.Name) != nil || len(s.Sources) > schedule.MaxPatterns {
				t.Fatalf("%+v", s)
			}
		}
		for _, w := range wrong {
			if !strings.HasPrefix(w, "b.yaml:") {
				t.Errorf("%q does not say where", w)
			}
		}
	})
}

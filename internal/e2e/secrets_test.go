package e2e

import (
	"bytes"
	"encoding/base32"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// TestSecretsStaySecret gives every container passwords that are like nothing
// else, backs up, fails and restores, and looks for the passwords and the key in
// all that can be seen: command lines of the host, logs, pages, traces, files.
func TestSecretsStaySecret(t *testing.T) {
	needContainers(t)
	t.Parallel()
	otlp := newCollector(t)
	u := startUp(t, upOptions{env: otlp.environment(), flags: []string{"--log-level", "debug"}})

	secrets := &secrets{}
	watched := map[string]database{"postgres": postgres, "mariadb": mariadb, "mongo-auth": mongoAuth, "redis": redis, "etcd": etcd, "influxdb": influxdb, "victoriametrics": victoriametrics}
	running := map[string]*container{}
	wrong := map[string]*container{}
	for name, d := range watched {
		running[name] = d.start(t)
		d.seed(t, running[name], 0)
		secrets.of(running[name])
		pw := password()
		secrets.add(name+": wrong password in a label", pw)
		wrong[name] = d.start(t, "baktainer.db.password="+pw)
		secrets.of(wrong[name])
	}
	secrets.key(t, u.key())

	canary := password()
	secrets.add(canaryName, canary)
	argv := secrets.watchCommandLines()
	var seen strings.Builder // what the user reads
	say := func(r result) { seen.WriteString(r.stdout + r.stderr) }
	for name, d := range watched {
		c := running[name]
		s := u.backup(t, c)
		d.wreck(t, c)
		say(u.cli(t, "restore", s.ID, "--dry-run", "--overwrite"))
		say(u.cli(t, "restore", s.ID, "--overwrite"))
		u.sees(t, wrong[name], "ready")
		say(u.cli(t, "backup", wrong[name].source()))
	}
	argv.stop(t, canary)

	for _, what := range [][]string{
		{"source", "ls", "-v"}, {"source", "ls", "-o", "json"}, {"run", "ls", "-o", "json"}, {"snapshot", "ls", "-o", "json"},
		{"status", "-o", "json"}, {"config", "show", "--data-dir", u.dir},
	} {
		say(u.cli(t, what...))
	}
	for _, c := range append(values2(running), values2(wrong)...) {
		say(u.cli(t, "source", "show", c.source(), "-o", "json"))
		for _, r := range u.runs(t, c.source()) {
			say(u.cli(t, "run", "show", r.ID))
			say(u.cli(t, "run", "logs", r.ID))
		}
	}
	secrets.absent(t, "what the commands print", []byte(seen.String()))
	secrets.absent(t, "the log of up", []byte(u.log.String()))
	secrets.absent(t, "traces", otlp.bytes())
	for _, page := range []string{"/", "/status", "/metrics", "/healthz", "/readyz"} {
		_, body := u.get(t, page)
		secrets.absent(t, page, []byte(body))
	}
	u.stop(t)
	err := filepath.WalkDir(u.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == u.key() {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		secrets.absent(t, path, content)
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func values2(m map[string]*container) []*container {
	var all []*container
	for _, c := range m {
		all = append(all, c)
	}
	return all
}

// secrets are values that must show nowhere, each in the forms that it could take.
type secrets struct {
	known []secret
}

type secret struct {
	name  string
	forms [][]byte
}

func (s *secrets) add(name, value string) {
	quoted, _ := json.Marshal(value) // cannot fail for a string
	forms := [][]byte{
		[]byte(value), bytes.Trim(quoted, `"`), []byte(base64.StdEncoding.EncodeToString([]byte(value))),
		[]byte(url.QueryEscape(value)), []byte(url.PathEscape(value)),
		// The part that no quoting changes; long enough to be no chance.
		[]byte(value[len(value)-18:]),
	}
	s.known = append(s.known, secret{name, forms})
}

// of adds all passwords that a container was given.
func (s *secrets) of(c *container) {
	for name, value := range c.env {
		if strings.Contains(name, "PASSWORD") {
			s.add(c.name+" "+name, value)
		}
	}
	if i := slices.Index(c.args, "--requirepass"); i >= 0 {
		s.add(c.name+" requirepass", c.args[i+1])
	}
}

var keyLine = regexp.MustCompile(`BAKTAINER-KEY-1-([A-Z2-7]+)-`)

// key adds the key in a key file, as it is written there and as the bytes that it means.
func (s *secrets) key(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := keyLine.FindSubmatch(text)
	if found == nil {
		t.Fatal("no key was found in the key file: teach this test its form")
	}
	raw, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(string(found[1]))
	if err != nil || len(raw) < 32 {
		t.Fatalf("the key has %d bytes: %v", len(raw), err)
	}
	s.known = append(s.known, secret{"the repository key", [][]byte{
		found[1], raw, []byte(hex.EncodeToString(raw)), []byte(base64.StdEncoding.EncodeToString(raw)), []byte(base64.RawURLEncoding.EncodeToString(raw)),
	}})
}

func (s *secrets) in(text []byte) (string, bool) {
	for _, k := range s.known {
		for _, form := range k.forms {
			if bytes.Contains(text, form) {
				return k.name, true
			}
		}
	}
	return "", false
}

func (s *secrets) absent(t *testing.T, where string, text []byte) {
	t.Helper()
	if len(text) == 0 && !strings.Contains(where, "/") {
		t.Errorf("%s: there is nothing to look at", where)
	}
	if name, found := s.in(text); found {
		t.Errorf("%s: it holds %s", where, name)
	}
}

// argvWatch reads the command lines of all processes of the host, over and over.
type argvWatch struct {
	end   chan struct{}
	done  sync.WaitGroup
	found map[string]string // the program, by what its command line holds
}

func (s *secrets) watchCommandLines() *argvWatch {
	w := &argvWatch{end: make(chan struct{}), found: map[string]string{}}
	w.done.Go(func() {
		for {
			select {
			case <-w.end:
				return
			default:
			}
			files, _ := filepath.Glob("/proc/[0-9]*/cmdline")
			for _, file := range files {
				line, err := os.ReadFile(file)
				if err != nil {
					continue // it has ended
				}
				if name, found := s.in(line); found {
					w.found[name] = string(bytes.SplitN(line, []byte{0}, 2)[0])
				}
			}
		}
	})
	return w
}

// stop ends the watch, after it has shown with the canary that it sees at all.
func (w *argvWatch) stop(t *testing.T, canary string) {
	t.Helper()
	cmd := exec.Command("cat", "-", canary) // waits for its stdin
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ticker := time.NewTicker(2 * time.Second) // many rounds
	<-ticker.C
	ticker.Stop()
	close(w.end)
	w.done.Wait()
	stdin.Close()
	_ = cmd.Wait() // there is no file of that name
	if w.found[canaryName] == "" {
		t.Error("the watch did not see a command line with a secret that was there")
	}
	delete(w.found, canaryName)
	for name, program := range w.found {
		t.Errorf("a command line of %s holds %s", program, name)
	}
}

const canaryName = "the canary"

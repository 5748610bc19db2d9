package cli

import (
	"context"
	"errors"
	"os"
	"os/user"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// faraway keeps what the roof was asked for.
type faraway struct {
	login  LoginRequest
	remote *Remote
	hungUp int
	fails  error
}

// elsewhere is a roof with a controller on another host, and an empty folder for logins.
func elsewhere(t *testing.T) (Roof, *faraway) {
	t.Helper()
	t.Setenv("XDG_CONFIG_HOME", t.TempDir())
	t.Setenv("BAKTAINER_DATA_DIR", t.TempDir())
	socket, f := serve(t, &clustered{}), &faraway{}
	return Roof{
		Login: func(_ context.Context, r LoginRequest) (Login, error) {
			f.login = r
			if f.fails != nil {
				return Login{}, f.fails
			}
			return Login{"cl", "admin", r.Name, today.Add(7 * 24 * time.Hour), []string{"c1:8468", "c2:8468"}},
				os.WriteFile(filepath.Join(r.Dir, "key"), []byte(r.Name), 0o600)
		},
		DialController: func(_ context.Context, r Remote) (grpc.ClientConnInterface, func(), error) {
			f.remote = &r
			if f.fails != nil {
				return nil, nil, f.fails
			}
			conn, err := transport.DialUnix(socket)
			return conn, func() {
				f.hungUp++
				_ = conn.Close()
			}, err
		},
	}, f
}

func TestWhichControllerIsAsked(t *testing.T) {
	const loggedIn, socketThere = true, true
	tls := "BAKTAINER_TLS_CA=/ca BAKTAINER_TLS_CERT=/c BAKTAINER_TLS_KEY=/k"
	keys := config.TLS{CA: "/ca", Cert: "/c", Key: "/k"}
	login := "LOGIN" // stands for the folder
	for _, tc := range []struct {
		name         string
		flags, env   string
		file         string
		login, local bool
		want         *Remote // nil: the socket
	}{
		{"nothing", "", "", "", !loggedIn, !socketThere, nil},
		{"a socket", "", "", "", !loggedIn, socketThere, nil},
		{"a login", "", "", "", loggedIn, !socketThere, &Remote{Login: login}},
		{"both", "", "", "", loggedIn, socketThere, nil},
		{"a flag beside both", "--controller c:1", "", "", loggedIn, socketThere, &Remote{Controllers: []string{"c:1"}, Login: login}},
		{"a variable beside both", "", "BAKTAINER_CONTROLLER=c:1,dns+d:2", "", loggedIn, socketThere, &Remote{Controllers: []string{"c:1", "dns+d:2"}, Login: login}},
		{"the socket's flag wins", "--controller c:1 --socket SOCKET", "BAKTAINER_CONTROLLER=c:2", "", loggedIn, socketThere, nil},
		{"the socket's flag wins without one", "--socket SOCKET", "BAKTAINER_CONTROLLER=c:2", "", loggedIn, !socketThere, nil},
		{"a flag before a variable", "--controller c:1", "BAKTAINER_SOCKET=SOCKET", "", loggedIn, socketThere, &Remote{Controllers: []string{"c:1"}, Login: login}},
		{"the socket's variable wins", "", "BAKTAINER_SOCKET=SOCKET BAKTAINER_CONTROLLER=c:1", "", loggedIn, socketThere, nil},
		{"a file beside a socket", "", "", "controller: c:1", loggedIn, socketThere, nil},
		{"a file without a socket", "", "", "controller: c:1", loggedIn, !socketThere, &Remote{Controllers: []string{"c:1"}, Login: login}},
		{"keys instead of a login", "--controller c:1", tls, "", !loggedIn, socketThere, &Remote{Controllers: []string{"c:1"}, TLS: keys}},
		{"keys by variable before a login", "--controller c:1", tls, "", loggedIn, socketThere, &Remote{Controllers: []string{"c:1"}, TLS: keys}},
		{"keys by flag", "--controller c:1 --tls-ca /ca --tls-cert /c --tls-key /k", "", "", loggedIn, socketThere, &Remote{Controllers: []string{"c:1"}, TLS: keys}},
		{"an agent's keys in the file", "", "", "controller: c:1\ntls-ca: /ca\ntls-cert: /c\ntls-key: /k", loggedIn, !socketThere, &Remote{Controllers: []string{"c:1"}, Login: login}},
		{"keys in the file and no login", "", "", "controller: c:1\ntls-ca: /ca\ntls-cert: /c\ntls-key: /k", !loggedIn, !socketThere, &Remote{Controllers: []string{"c:1"}, TLS: keys}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			roof, f := elsewhere(t)
			dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "baktainer", "login")
			if tc.login {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
			}
			socket := filepath.Join(os.Getenv("BAKTAINER_DATA_DIR"), "baktainer.sock")
			if tc.local {
				here := serve(t, &clustered{})
				if err := os.Symlink(here, socket); err != nil {
					t.Fatal(err)
				}
			}
			file := filepath.Join(t.TempDir(), "b.yaml")
			write(t, file, tc.file)
			for kv := range strings.FieldsSeq(strings.ReplaceAll(tc.env, "SOCKET=SOCKET", "SOCKET="+socket)) {
				name, value, _ := strings.Cut(kv, "=")
				t.Setenv(name, value)
			}
			args := append([]string{"status", "-q", "--config", file}, strings.Fields(strings.ReplaceAll(tc.flags, "SOCKET", socket))...)
			r := cli(t, roof, "", args...)
			if tc.want != nil && tc.want.Login != "" {
				tc.want.Login = dir
			}
			if !reflect.DeepEqual(f.remote, tc.want) {
				t.Errorf("asked %+v, want %+v: %+v", f.remote, tc.want, r)
			}
			works := tc.want != nil || tc.local
			if (r.status == 0) != works || (tc.want != nil) != (f.hungUp == 1) {
				t.Errorf("status %d, hung up %d times: %s", r.status, f.hungUp, r.err)
			}
		})
	}
}

func TestNoControllerElsewhere(t *testing.T) {
	roof, f := elsewhere(t)
	for _, args := range []string{"source ls", "cluster status", "agent ls", "__complete agent show "} {
		r := cli(t, roof, "", append(strings.Fields(args), strings.Fields("--controller c1:8468,c2:8468")...)...)
		if complete := strings.HasPrefix(args, "__"); !complete && (r.status != 1 || !strings.Contains(r.err, "not logged in to the controller at c1:8468,c2:8468") ||
			!strings.Contains(r.err, "`baktainer login --controller c1:8468,c2:8468`")) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	if f.remote != nil {
		t.Errorf("asked %+v without a login", f.remote)
	}
	t.Setenv("BAKTAINER_TLS_CA", "/ca")
	t.Setenv("BAKTAINER_TLS_CERT", "/c")
	if r := cli(t, roof, "", "status", "--controller", "c:1"); r.status != 2 || !strings.Contains(r.err, "not set: tls-key") {
		t.Errorf("half a certificate: %+v", r)
	}
	t.Setenv("BAKTAINER_TLS_KEY", "/k")
	f.fails = problem.New(problem.InvalidInput, "there is no file /ca")
	if r := cli(t, roof, "", "status", "--controller", "c:1"); r.status != 2 || !strings.Contains(r.err, "no file /ca") {
		t.Errorf("%+v", r)
	}

	// A controller that does not answer, and what the connection says of it.
	roof.DialController = func(context.Context, Remote) (grpc.ClientConnInterface, func(), error) {
		return refusing{}, func() {}, nil
	}
	r := cli(t, roof, "", "status", "--controller", "c1:8468,c2:8468")
	if r.status != 1 || !strings.Contains(r.err, "no controller answers at c1:8468, c2:8468: dial tcp: connection refused") || !strings.Contains(r.err, "--listen") {
		t.Errorf("%+v", r)
	}
	if r := cli(t, roof, "", "cluster", "status", "--controller", "c1:8468"); r.status != 1 || strings.Contains(r.err, "baktainer.sock") {
		t.Errorf("%+v", r)
	}
}

// refusing is a connection to nobody.
type refusing struct{ grpc.ClientConnInterface }

func (refusing) Invoke(context.Context, string, any, any, ...grpc.CallOption) error {
	return problem.New(problem.Unavailable, "dial tcp: connection refused").WithReason(transport.ReasonNoAnswer)
}

func TestLogin(t *testing.T) {
	roof, f := elsewhere(t)
	dir := filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "baktainer", "login")
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, tokenText+"\n")
	kept := func(want string) {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, "key"))
		if string(text) != want || (err == nil) != (want != "") {
			t.Errorf("kept %q, %v, want %q", text, err, want)
		}
		for entry, mode := range map[string]os.FileMode{filepath.Dir(dir): 0o700, dir: 0o700} {
			if info, err := os.Stat(entry); want != "" && (err != nil || info.Mode().Perm() != mode) {
				t.Errorf("%s: %v, %v", entry, info, err)
			}
		}
		if others, err := filepath.Glob(filepath.Join(filepath.Dir(dir), ".*")); len(others) > 0 || err != nil {
			t.Errorf("left over: %v, %v", others, err)
		}
	}

	r := cli(t, roof, "", "login", "--controller", "c1:8468,c2:8468", "--token-file", token, "--name", "alice")
	if r.status != 0 || f.login.Token.Reveal() != tokenText || f.login.Name != "alice" || strings.Join(f.login.Controllers, " ") != "c1:8468 c2:8468" {
		t.Fatalf("%+v, asked for %+v", r, f.login)
	}
	if want := "logged in    admin/alice\ncluster      cl\ncontrollers  c1:8468, c2:8468\ncertificate  until 2026-03-11 12:00:00 UTC (1 week from now)\n"; r.out != want || r.err != "" {
		t.Errorf("%+v", r)
	}
	kept("alice")
	if r := cli(t, roof, "", "cluster", "members", "-q"); r.status != 0 || !reflect.DeepEqual(f.remote, &Remote{Login: dir}) || !strings.HasPrefix(r.out, "c1\n") {
		t.Errorf("%+v, asked %+v", r, f.remote)
	}

	// A new login takes the place of the old one, and one that fails does not.
	t.Setenv("BAKTAINER_TOKEN", tokenText)
	if r := cli(t, roof, "", "login", "--controller", "c1:8468", "--name", "bob", "-o", "json"); r.status != 0 || !strings.Contains(r.out, `"not_after": "2026-03-11T12:00:00Z"`) {
		t.Errorf("%+v", r)
	}
	kept("bob")
	if u, err := user.Current(); err == nil && pki.CheckName(u.Username) == nil {
		r := cli(t, roof, "", "login", "--controller", "c1:8468", "-q")
		if r.status != 0 || r.out != "admin/"+u.Username+"\n" {
			t.Errorf("without a name: %+v", r)
		}
		kept(u.Username)
	}
	cli(t, roof, "", "login", "--controller", "c1:8468", "--name", "bob")
	f.fails = problem.New(problem.Denied, "the token was used already")
	if r := cli(t, roof, "", "login", "--controller", "c1:8468", "--name", "carol"); r.status != 1 || !strings.Contains(r.err, "used already") || strings.Contains(r.err, "BKTN") {
		t.Errorf("%+v", r)
	}
	kept("bob")

	for range 2 { // the second finds nothing, which is what was asked for
		if r := cli(t, roof, "", "logout"); r.status != 0 {
			t.Errorf("%+v", r)
		}
		kept("")
	}
}

func TestLoginThatCannotBe(t *testing.T) {
	roof, f := elsewhere(t)
	token := filepath.Join(t.TempDir(), "token")
	write(t, token, tokenText)
	for args, want := range map[string]string{
		"login --token-file " + token:                                            "say where a controller is",
		"login --controller c1 --token-file " + token:                            "want HOST:PORT",
		"login --controller c1:1 --name alice":                                   "no terminal to ask for a token",
		"login --controller c1:1 --name alice --token-file /nonexistent":         "read the token",
		"login --controller c1:1 --name a/b --token-file " + token:               `the name "a/b"`,
		"login --controller c1:1 --name alice --ask-token --token-file " + token: "want one of them",
		"login --controller c1:1 " + tokenText:                                   "argument too many",
	} {
		if r := cli(t, roof, "", strings.Fields(args)...); r.status != 2 || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
	t.Setenv("BAKTAINER_TOKEN", "x")
	if r := cli(t, roof, "", "login", "--controller", "c1:1", "--token-file", token); r.status != 2 || !strings.Contains(r.err, "both hold a token") {
		t.Errorf("%+v", r)
	}
	if f.login.Token != "" {
		t.Errorf("asked for %+v", f.login)
	}
	if err := errors.Join(os.Chmod(os.Getenv("XDG_CONFIG_HOME"), 0o700), os.WriteFile(filepath.Join(os.Getenv("XDG_CONFIG_HOME"), "baktainer"), nil, 0o600)); err != nil {
		t.Fatal(err)
	}
	if r := cli(t, roof, "", "login", "--controller", "c1:1", "--name", "alice"); r.status != 1 || !strings.Contains(r.err, "make a folder for the login") {
		t.Errorf("%+v", r)
	}
}

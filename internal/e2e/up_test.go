package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// up is one `baktainer up` with a data folder of its own.
type up struct {
	dir    string
	http   string // host:port of its pages
	flags  []string
	env    []string
	log    logs
	cmd    *exec.Cmd
	ended  chan struct{}
	binary string
}

type upOptions struct {
	dir   string   // empty: a new one
	flags []string // beside those that give it a place of its own
	env   []string // NAME=value, beside a plain environment
	// bare: no flags of the harness at all, for what users set otherwise.
	bare bool
	http string // with bare: where the pages are
}

// start runs `baktainer up`, waits until it is ready and stops it when the test ends.
func startUp(t *testing.T, o upOptions) *up {
	t.Helper()
	u := newUp(t, o)
	u.start(t)
	u.ready(t)
	return u
}

func newUp(t *testing.T, o upOptions) *up {
	t.Helper()
	u := &up{dir: o.dir, http: o.http, binary: program(t)}
	if u.dir == "" {
		u.dir = tempDir(t)
	}
	if !o.bare {
		u.http = freeAddress(t)
		u.flags = []string{"--data-dir", u.dir, "--http-listen", u.http, "--schedule", "off", "--drill-schedule", "off", "--lease-duration", "5s"}
	}
	u.flags = append(u.flags, o.flags...)
	u.env = append(plainEnvironment(), o.env...)
	t.Cleanup(func() {
		u.signal(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("the end of what `baktainer up` logged:\n%s", tail(u.log.String()))
		}
	})
	return u
}

// plainEnvironment is ours without any setting of the program.
func plainEnvironment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "BAKTAINER_") || strings.HasPrefix(v, "BT_") || strings.HasPrefix(v, "OTEL_")
	})
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func (u *up) start(t *testing.T) {
	t.Helper()
	cmd := exec.Command(u.binary, append([]string{"up"}, u.flags...)...)
	cmd.Env = u.env
	if u.binary == program(t) { // the previous build does not know it yet
		cmd.Env = append(slices.Clone(u.env), "BAKTAINER_ONLY_LABELLED="+testLabel+"="+scope(t))
	}
	cmd.Stdout, cmd.Stderr = &u.log, &u.log
	// It does not outlive this process, whatever becomes of it.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	ended := make(chan struct{})
	started := make(chan error)
	go func() {
		// The thread that starts a child with Pdeathsig has to live as long as it.
		lockThread()
		started <- cmd.Start()
		_ = cmd.Wait() // how it ended is in ProcessState
		close(ended)
	}()
	if err := <-started; err != nil {
		t.Fatal(err)
	}
	u.cmd, u.ended = cmd, ended
}

// ready waits until the controller leads and its agent is connected.
func (u *up) ready(t *testing.T) {
	t.Helper()
	eventually(t, "baktainer up is ready", func() (bool, string) {
		select {
		case <-u.ended:
			t.Fatalf("baktainer up ended: %v\n%s", u.cmd.ProcessState, u.log.String())
		default:
		}
		r := u.cli(t, "status", "-o", "json")
		if r.stdout == "" { // with a problem, such as Docker away, it prints and fails
			return false, r.text()
		}
		s := decode[status](t, r.stdout)
		connected := slices.ContainsFunc(s.Agents, func(a agent) bool { return a.Connected })
		return s.Leader && connected, r.text()
	})
}

// signal sends a signal to the process, if it runs; after SIGKILL and SIGTERM it waits for its end.
func (u *up) signal(s syscall.Signal) {
	if u.cmd == nil {
		return
	}
	_ = u.cmd.Process.Signal(s) // it may have ended
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		<-u.ended
	}
}

func (u *up) kill9() { u.signal(syscall.SIGKILL) }

// stop ends it in order and expects exit status 0.
func (u *up) stop(t *testing.T) {
	t.Helper()
	u.signal(syscall.SIGTERM)
	if code := u.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("SIGTERM: exit status %d (%v), want 0\n%s", code, u.cmd.ProcessState, tail(u.log.String()))
	}
}

func (u *up) socket() string { return filepath.Join(u.dir, "baktainer.sock") }
func (u *up) key() string    { return filepath.Join(u.dir, "repository.key") }
func (u *up) store() string  { return filepath.Join(u.dir, "store") }

// cli runs one command of the user against this controller.
func (u *up) cli(t testing.TB, argv ...string) result {
	t.Helper()
	return command(t, nil, plainEnvironment(), append([]string{u.binary, "--socket", u.socket()}, argv...)...)
}

// ok runs a command that has to succeed and returns its stdout.
func (u *up) ok(t testing.TB, argv ...string) string {
	t.Helper()
	return must(t, u.cli(t, argv...), "baktainer "+strings.Join(argv, " "))
}

// get reads one of its pages.
func (u *up) get(t testing.TB, path string) (int, string) {
	t.Helper()
	resp, err := http.Get("http://" + u.http + path)
	if err != nil {
		return 0, err.Error()
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// logs gathers what a process prints.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func decode[T any](t testing.TB, text string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("read the JSON of the command line: %v\n%s", err, tail(text))
	}
	return v
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return !errors.Is(err, os.ErrNotExist)
}

func sprintJSON(v any) string {
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(b)
}

package around_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/around"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// host is a Docker host with containers, of which it writes down what is done.
type host struct {
	mu   sync.Mutex
	is   map[string]provider.Condition
	did  []string
	fail map[string]error // by what is done: "unpause app"
}

func newHost(running ...string) *host {
	h := &host{is: map[string]provider.Condition{}, fail: map[string]error{}}
	for _, id := range running {
		h.is[id] = provider.Running
	}
	return h
}

func (h *host) act(what, id string, next provider.Condition) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if err := h.fail[what+" "+id]; err != nil {
		return err
	}
	h.did = append(h.did, what+" "+id)
	if next != "" {
		h.is[id] = next
	}
	return nil
}

func (h *host) Condition(_ context.Context, id string) (provider.Condition, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if is, ok := h.is[id]; ok {
		return is, h.fail["look "+id]
	}
	return provider.Gone, h.fail["look "+id]
}
func (h *host) Pause(_ context.Context, id string) error { return h.act("pause", id, provider.Paused) }
func (h *host) Unpause(_ context.Context, id string) error {
	return h.act("unpause", id, provider.Running)
}
func (h *host) Stop(_ context.Context, id string) error  { return h.act("stop", id, provider.Stopped) }
func (h *host) Start(_ context.Context, id string) error { return h.act("start", id, provider.Running) }

func (h *host) log() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return strings.Join(h.did, ", ")
}

func (h *host) set(what string, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.fail[what] = err
}

// inside is a container in which hooks are run. The program "false" fails.
type inside struct {
	engine.Instance
	name string
	host *host
	env  []string
}

func (i *inside) Exec(ctx context.Context, c engine.Command) (engine.Process, error) {
	if is, _ := i.host.Condition(ctx, i.name); is == provider.Paused {
		return nil, errors.New("nothing can be run in a container that is paused")
	}
	_ = i.host.act(strings.Join(c.Argv, " ")+" in", i.name, "")
	i.env = c.Env
	return &process{ctx: ctx, program: c.Argv[0]}, nil
}

type process struct {
	ctx     context.Context
	program string
}

func (*process) Read([]byte) (int, error) { return 0, io.EOF }
func (*process) Kill()                    {}
func (p *process) Wait() (engine.Exit, error) {
	switch p.program {
	case "false":
		return engine.Exit{Status: 1, Stderr: "no"}, nil
	case "hangs":
		<-p.ctx.Done()
		return engine.Exit{}, p.ctx.Err()
	}
	return engine.Exit{}, nil
}

// bench is an Around over a host, with its folder and log.
type bench struct {
	*around.Around
	host *host
	dir  string
	log  *bytes.Buffer
	to   *slog.Logger // writes there
	stop func()
}

func newBench(t *testing.T, h *host, dir string) *bench {
	t.Helper()
	b := &bench{host: h, dir: dir, log: &bytes.Buffer{}}
	b.to = slog.New(slog.NewTextHandler(b.log, nil))
	b.Around = around.New(around.Options{Dir: dir, Switch: h, Clock: clock.System{}, Logger: b.to})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		b.Run(ctx)
	}()
	b.stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(b.stop)
	return b
}

func (b *bench) notes() int {
	files, _ := filepath.Glob(filepath.Join(b.dir, "*.json")) // the pattern is right
	return len(files)
}

func (b *bench) work(run string, own source.Hooks, companions ...around.Companion) around.Work {
	return around.Work{
		Run: run, Source: "shop", Own: around.Place{Name: "db", Instance: &inside{name: "db", host: b.host}, Hooks: own},
		Companions: companions, Logger: b.to, Phase: func(string) {},
	}
}

func (b *bench) companion(id, action string, hooks source.Hooks) around.Companion {
	return around.Companion{Place: around.Place{Name: id, Instance: &inside{name: id, host: b.host}, Hooks: hooks}, ID: id, Action: action}
}

func (b *bench) dump(context.Context) error { return b.host.act("dump", "db", "") }

func TestTheOrderOfThings(t *testing.T) {
	b := newBench(t, newHost("app", "web"), t.TempDir())
	hooks := func(name string) source.Hooks {
		return source.Hooks{Before: []string{name + "-before"}, After: []string{name + "-after"}}
	}
	w := b.work("r1", hooks("db"), b.companion("app", source.ActionPause, hooks("app")), b.companion("web", source.ActionStop, source.Hooks{}))
	var noted int
	if err := b.Backup(t.Context(), w, func(ctx context.Context) error {
		noted = b.notes()
		return b.dump(ctx)
	}); err != nil {
		t.Fatal(err)
	}
	want := "app-before in app, db-before in db, pause app, stop web, dump db, start web, unpause app, db-after in db, app-after in app"
	if got := b.host.log(); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if noted != 1 || b.notes() != 0 {
		t.Errorf("%d notes in the middle, %d in the end", noted, b.notes())
	}
	env := strings.Join(w.Own.Instance.(*inside).env, " ")
	if env != "BAKTAINER_EVENT=after-backup BAKTAINER_SOURCE=shop BAKTAINER_RUN=r1 BAKTAINER_OUTCOME=succeeded" {
		t.Errorf("the hook is told %q", env)
	}
}

func TestWhatFailsBeforeADump(t *testing.T) {
	for _, tc := range []struct {
		name   string
		own    source.Hooks
		action string
		fail   string
		reason problem.Reason
		did    string
	}{
		{"a hook", source.Hooks{Before: []string{"false"}, After: []string{"after"}}, source.ActionPause, "", around.ReasonHook, "false in db, after in db"},
		{"a hook, to be ignored", source.Hooks{Before: []string{"false"}, IgnoreFailure: true}, "", "", "", "false in db, dump db"},
		{"a hook after it", source.Hooks{After: []string{"false"}}, "", "", "", "dump db, false in db"},
		{"a companion", source.Hooks{}, source.ActionPause, "pause app", around.ReasonCompanion, ""},
		{"a look at a companion", source.Hooks{}, source.ActionPause, "look app", around.ReasonCompanion, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			b := newBench(t, newHost("app"), t.TempDir())
			if tc.fail != "" {
				b.host.set(tc.fail, errors.New("it breaks"))
			}
			err := b.Backup(t.Context(), b.work("r1", tc.own, b.companion("app", tc.action, source.Hooks{})), b.dump)
			if problem.ReasonOf(err) != tc.reason || (err == nil) != (tc.reason == "") || b.host.log() != tc.did {
				t.Errorf("%v; done: %s", err, b.host.log())
			}
		})
	}
}

func TestCompanionsThatSomebodyElsePausedStayAsTheyAre(t *testing.T) {
	h := newHost("app")
	h.is["app"], h.is["web"] = provider.Paused, provider.Stopped
	b := newBench(t, h, t.TempDir())
	w := b.work("r1", source.Hooks{}, b.companion("app", source.ActionPause, source.Hooks{}), b.companion("web", source.ActionStop, source.Hooks{}), b.companion("gone", source.ActionStop, source.Hooks{}))
	off := b.companion("web", source.ActionStop, source.Hooks{Before: []string{"before"}, After: []string{"after"}})
	off.Resting = true
	w.Companions = append(w.Companions, off)
	if err := b.Backup(t.Context(), w, b.dump); err != nil || h.log() != "dump db" {
		t.Errorf("%v; done: %s", err, h.log())
	}
}

// A container that two runs want to rest goes on after both.
func TestTwoRunsShareACompanion(t *testing.T) {
	for action, want := range map[string]string{
		source.ActionPause: "pause app, dump db, outer db, unpause app", source.ActionStop: "stop app, dump db, outer db, start app",
	} {
		b := newBench(t, newHost("app"), t.TempDir())
		app := b.companion("app", action, source.Hooks{})
		err := b.Backup(t.Context(), b.work("r1", source.Hooks{}, app), func(ctx context.Context) error {
			again := app
			again.Resting = action == source.ActionStop
			inner := b.Backup(ctx, b.work("r2", source.Hooks{}, again), b.dump)
			return errors.Join(inner, b.host.act("outer", "db", ""))
		})
		if err != nil || b.host.log() != want || b.notes() != 0 {
			t.Errorf("%v; done: %s, %d notes", err, b.host.log(), b.notes())
		}
	}
}

// Nothing can be run in a container that another run has paused: its hooks wait.
func TestTwoRunsShareACompanionWithHooks(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newHost("app"), dir)
		app := b.companion("app", source.ActionPause, source.Hooks{Before: []string{"before"}, After: []string{"after"}})
		end := make(chan struct{})
		var both sync.WaitGroup
		both.Go(func() {
			if err := b.Backup(t.Context(), b.work("r1", source.Hooks{}, app), func(ctx context.Context) error {
				<-end
				return b.dump(ctx)
			}); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		both.Go(func() {
			if err := b.Backup(t.Context(), b.work("r2", source.Hooks{}, app), b.dump); err != nil {
				t.Error(err)
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := b.Backup(ctx, b.work("r3", source.Hooks{}, app), b.dump); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a run that ends meanwhile: %v", err)
		}
		close(end)
		both.Wait()
		one := "before in app, pause app, dump db, unpause app, after in app"
		if want := one + ", " + one; b.host.log() != want {
			t.Errorf("done: %s", b.host.log())
		}
		b.stop()
	})
}

func TestABackupDoesNotWaitForEverForWhatACrashHasLeft(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "r1.json"), []byte(`{"run":"r1","containers":[{"id":"web","name":"web","action":"stop"}]}`), 0o600); err != nil {
		t.Fatal(err)
	}
	synctest.Test(t, func(t *testing.T) {
		h := newHost("app")
		h.is["web"] = provider.Stopped
		h.set("start web", errors.New("its port is taken"))
		b := newBench(t, h, dir)
		err := b.Backup(t.Context(), b.work("r2", source.Hooks{}, b.companion("app", source.ActionPause, source.Hooks{})), b.dump)
		if problem.ReasonOf(err) != around.ReasonCompanion || h.log() != "" {
			t.Errorf("%v; done: %s", err, h.log())
		}
		b.stop()
	})
}

func TestItGoesOnAfterACrash(t *testing.T) {
	dir := t.TempDir()
	h := newHost("app", "web")
	dead := newBench(t, h, dir)
	w := dead.work("r1", source.Hooks{}, dead.companion("app", source.ActionPause, source.Hooks{}), dead.companion("web", source.ActionStop, source.Hooks{}))
	_ = dead.Backup(t.Context(), w, func(context.Context) error { // the agent dies in the dump: what was noted is all that is left
		note, err := os.ReadFile(filepath.Join(dir, "r1.json"))
		if err != nil {
			t.Fatal(err)
		}
		next := t.TempDir()
		if err := os.WriteFile(filepath.Join(next, "r1.json"), note, 0o600); err != nil {
			t.Fatal(err)
		}
		for file, text := range map[string]string{"r2.json": "{", "r3.json": `{"run":"r9"}`, ".new-1": "x"} {
			if err := os.WriteFile(filepath.Join(next, file), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		again := newBench(t, h, next)
		// A backup waits for what a crash has left.
		web := again.companion("web", source.ActionStop, source.Hooks{Before: []string{"before"}})
		web.Resting = true
		if err := again.Backup(t.Context(), again.work("r4", source.Hooks{}, again.companion("app", source.ActionPause, source.Hooks{}), web), again.dump); err != nil {
			t.Error(err)
		}
		if want := "pause app, stop web, start web, unpause app, before in web, pause app, stop web, dump db, start web, unpause app"; h.log() != want {
			t.Errorf("done: %s", h.log())
		}
		if left := again.notes(); left != 2 { // those that are none
			t.Errorf("%d notes are left", left)
		}
		again.stop()
		if !strings.Contains(again.log.String(), "cannot be read") {
			t.Errorf("nothing is said of strange files:\n%s", again.log)
		}
		return nil
	})
}

func TestWhatDoesNotGoOnIsTriedAgain(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newHost("app"), dir)
		b.host.set("unpause app", errors.New("Docker is away"))
		if err := b.Backup(t.Context(), b.work("r1", source.Hooks{}, b.companion("app", source.ActionPause, source.Hooks{})), b.dump); err != nil {
			t.Error(err)
		}
		_ = clock.Sleep(t.Context(), 5*time.Minute) // its end is not the context's
		if b.notes() != 1 {
			t.Errorf("%d notes", b.notes())
		}
		b.host.set("unpause app", nil)
		_ = clock.Sleep(t.Context(), 2*time.Minute)
		synctest.Wait()
		if want := "pause app, dump db, unpause app"; b.host.log() != want || b.notes() != 0 {
			t.Errorf("done: %s, %d notes", b.host.log(), b.notes())
		}
		b.stop()
	})
}

func TestHooksAreBounded(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t, newHost(), dir)
		began := time.Now()
		err := b.Backup(t.Context(), b.work("r1", source.Hooks{Before: []string{"hangs"}}), b.dump)
		if problem.ReasonOf(err) != around.ReasonHook || !strings.Contains(err.Error(), "longer than 1m0s") || time.Since(began) != source.DefaultHookTimeout {
			t.Errorf("after %s: %v", time.Since(began), err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.Backup(ctx, b.work("r2", source.Hooks{Before: []string{"hangs"}, IgnoreFailure: true}), b.dump); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a run that ends meanwhile: %v", err)
		}
		b.stop()
	})
}

func TestURLs(t *testing.T) {
	var told []map[string]string
	var paths []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		event := map[string]string{}
		if err := json.NewDecoder(r.Body).Decode(&event); err != nil {
			t.Error(err)
		}
		told, paths = append(told, event), append(paths, r.Method+" "+r.URL.Path)
		switch r.URL.Path {
		case "/no":
			w.WriteHeader(http.StatusTeapot)
		case "/elsewhere":
			http.Redirect(w, r, "/landed", http.StatusTemporaryRedirect)
		}
	}))
	defer server.Close()
	b := newBench(t, newHost(), t.TempDir())
	target := func(path string) source.Secret { return source.Secret(server.URL + path + "?token=sesame") }
	if err := b.Backup(t.Context(), b.work("r1", source.Hooks{BeforeURL: target("/on"), AfterURL: target("/off")}), func(context.Context) error { return errors.New("no dump") }); err == nil {
		t.Error("the dump's failure is lost")
	}
	if fmt.Sprint(paths) != "[POST /on POST /off]" || told[0]["event"] != "before-backup" || told[0]["outcome"] != "" || told[1]["outcome"] != "failed" || told[1]["source"] != "shop" || told[1]["run"] != "r1" {
		t.Errorf("told %v at %v", told, paths)
	}
	for _, path := range []string{"/no", "/elsewhere"} {
		err := b.Backup(t.Context(), b.work("r2", source.Hooks{BeforeURL: target(path)}), b.dump)
		if problem.ReasonOf(err) != around.ReasonHook || strings.Contains(problem.Text(err), "sesame") {
			t.Errorf("%s: %v", path, err)
		}
	}
	paths = nil // a program that fails, and is not to matter, keeps no URL from being told
	err := b.Backup(t.Context(), b.work("r3", source.Hooks{Before: []string{"false"}, BeforeURL: target("/on"), After: []string{"false"}, AfterURL: target("/off"), IgnoreFailure: true}), b.dump)
	if err != nil || fmt.Sprint(paths) != "[POST /on POST /off]" {
		t.Errorf("%v, told %v", err, paths)
	}
	if slices.Contains(paths, "POST /landed") {
		t.Error("a redirect was followed")
	}
	server.Close()
	err = b.Backup(t.Context(), b.work("r4", source.Hooks{BeforeURL: target("/on")}), b.dump)
	if err == nil || strings.Contains(problem.Text(err), "sesame") || strings.Contains(b.log.String(), "sesame") {
		t.Errorf("nobody answers: %v\n%s", err, b.log)
	}
}

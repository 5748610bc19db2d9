package plugin

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// short are limits for plugins that are to reach them.
var short = limits{answer: 300 * time.Millisecond, stall: 300 * time.Millisecond, verdict: 300 * time.Millisecond}

const hello = `{"protocol": 1, "requests": ["inspect", "restore", "ask"]}`

// folder makes a folder of plugins, by their names, each with the body of a shell
// script. describe answers hello unless the script begins with "describe)".
func folder(t testing.TB, plugins map[string]string) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "plugins")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, body := range plugins {
		if !strings.HasPrefix(body, "describe)") {
			body = "describe) printf '%s' '" + hello + "' ;;\n" + body
		}
		write(t, filepath.Join(dir, prefix+name), "#!/bin/sh\ncase $1 in\n"+body+"\nesac\n", 0o755)
	}
	return dir
}

func write(t testing.TB, path, text string, mode os.FileMode) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask is
		t.Fatal(err)
	}
}

// one is the only plugin of a folder, which has no fault.
func one(t testing.TB, l limits, body string) engine.Engine {
	t.Helper()
	found, faults, err := find(t.Context(), folder(t, map[string]string{"one": body}), nil, usual)
	if err != nil || len(faults) > 0 || len(found) != 1 {
		t.Fatalf("%d plugins, %v, %v", len(found), faults, err)
	}
	e := found[0].(*pluginEngine)
	e.program.limits = l
	return e
}

func open(t testing.TB, e engine.Engine, inst engine.Instance, spec source.Spec) engine.Session {
	t.Helper()
	s, err := e.Open(t.Context(), inst, spec)
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return s
}

func TestFind(t *testing.T) {
	dir := folder(t, map[string]string{
		"good":     `describe) printf '%s' '{"protocol": 1, "aliases": ["fine"], "images": ["good*", "maker/thing"], "new": {"unknown": true}}' ;;`,
		"garbage":  `describe) echo 'Hello!' ;;`,
		"future":   `describe) printf '%s' '{"protocol": 2, "aliases": {"other": "shape"}}' ;;`,
		"fails":    `describe) echo "no tar here" >&2; exit 1 ;;`,
		"silent":   `describe) ;;`,
		"long":     `describe) head -c 3000000 /dev/zero; exec sleep 1000 ;;`,
		"leaves":   `describe) sleep 1000 & printf '%s' '{"protocol": 1}' ;;`,
		"killed":   `describe) kill -9 $$ ;;`,
		"thief":    `describe) printf '%s' '{"protocol": 1, "aliases": ["custom"]}' ;;`,
		"faulty":   `describe) printf '%s' '{"protocol": 1, "aliases": ["A"], "images": ["["], "variables": {"user": ["a-b"]}, "blank": {"volumes": ["x"], "env": {"=": ""}}, "failures": [{"reason": "magic"}]}' ;;`,
		"taken":    `describe) printf '%s' '{"protocol": 1}' ;;`,
		"BAD name": `describe) printf '%s' '{"protocol": 1}' ;;`,
		"open":     `describe) printf '%s' '{"protocol": 1}' ;;`,
		"plain":    `describe) printf '%s' '{"protocol": 1}' ;;`,
	})
	write(t, filepath.Join(dir, "README"), "not a plugin", 0o644)
	for name, mode := range map[string]os.FileMode{"open": 0o757, "plain": 0o644} {
		if err := os.Chmod(filepath.Join(dir, prefix+name), mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("/bin/true", filepath.Join(dir, prefix+"link")); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, prefix+"noshell"), "#!/no/such/shell\n", 0o755)
	known := []engine.Engine{other{name: "taken"}, other{name: "own", alias: "custom"}}
	found, faults, err := find(t.Context(), dir, known, usual)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range found {
		names = append(names, e.Name())
	}
	want := map[string]string{ // what is wrong with them
		"good": "", "garbage": "not the JSON", "future": "version 2", "fails": "no tar here", "silent": "it said nothing",
		"long": "more than 2097152 bytes", "leaves": "left a process behind", "killed": "killed", "thief": `"custom" means another engine`,
		"faulty": "failures: reason", "open": "others may write", "plain": "may not be executed", "link": "no regular file", "noshell": "start the plugin",
	}
	if len(names) != len(want) || len(faults) != len(want)-1+2 {
		t.Errorf("found %q, faults %v", names, faults)
	}
	for _, e := range found {
		list := e.Check(source.Spec{}, engine.Facts{})
		inst := enginetest.NewScript(engine.Facts{})
		_, openErr := e.Open(t.Context(), inst, source.Spec{})
		if want[e.Name()] == "" {
			if len(list) > 0 || openErr != nil {
				t.Errorf("%s: %v %v", e.Name(), list, openErr)
			}
			continue
		}
		if len(list) != 1 || list[0].Label != labelEngine || !strings.Contains(list[0].Reason, want[e.Name()]) {
			t.Errorf("%s: %+v", e.Name(), list)
		}
		if problem.ReasonOf(openErr) != engine.ReasonPluginFailed || len(e.Aliases()) > 0 || e.Detect(engine.Facts{Image: "good"}) {
			t.Errorf("%s: %v", e.Name(), openErr)
		}
	}
	said := ""
	for _, fault := range faults {
		said += problem.Text(fault) + "\n"
	}
	t.Log(said)
	for _, part := range []string{"BAD name", "the name taken is", "aliases: \"A\"", "images: \"[\"", "variables: \"a-b\"", "blank.volumes: \"x\"", "blank: env: \"=\"", "from 1 to 100 pieces"} {
		if !strings.Contains(said, part) {
			t.Errorf("nobody is told of %q", part)
		}
	}
	good := found[slices.Index(names, "good")]
	if !slices.Equal(good.Aliases(), []string{"fine"}) {
		t.Errorf("aliases %q", good.Aliases())
	}
	for image, is := range map[string]bool{
		"good": true, "registry:5000/x/goodness:1@sha256:0": true, "nogood": false, "maker/thing:2": true, "thing": false, "other/thing": false, "": false,
		"good-taken": false, // one of ours knows it
	} {
		if good.Detect(engine.Facts{Image: image}) != is {
			t.Errorf("detects %q: %v", image, !is)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := find(ctx, dir, nil, usual); err == nil {
		t.Error("it goes on although nobody waits")
	}
}

// A plugin that hangs ends, and what it has started.
func TestFindHanging(t *testing.T) {
	found, faults, err := find(t.Context(), folder(t, map[string]string{"hangs": `describe) sleep 1000; sleep 1000 ;;`}), nil, short)
	if err != nil || len(found) != 1 || len(faults) != 1 || !strings.Contains(problem.Text(faults[0]), "did not answer in time") {
		t.Errorf("%v %v %v", found, faults, err)
	}
}

// other is an engine of our own.
type other struct {
	engine.Engine
	name, alias string
}

func (o other) Name() string               { return o.name }
func (o other) Aliases() []string          { return []string{o.alias} }
func (o other) Detect(f engine.Facts) bool { return strings.HasSuffix(f.Image, "-"+o.name) }

func TestFolder(t *testing.T) {
	top := t.TempDir()
	make := func(path string, mode os.FileMode) string {
		path = filepath.Join(top, path)
		if err := os.MkdirAll(path, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	good := make("good", 0o755)
	link := filepath.Join(top, "link")
	if err := os.Symlink(good, link); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(top, "file"), "", 0o755)
	make("open", 0o777)
	make("sticky", 0o777|os.ModeSticky)
	theirs, want := make("theirs", 0o755|os.ModeSticky), "" // of somebody else, if we can make it so
	if os.Geteuid() == 0 {
		if err := os.Chown(theirs, 12345, -1); err != nil {
			t.Fatal(err)
		}
		want = "belongs to the user 12345"
	}
	for path, want := range map[string]string{
		make("theirs/below", 0o755): want,
		good:                        "", link: "",
		filepath.Join(top, "none"):  "no such file",
		filepath.Join(top, "file"):  "is no folder",
		make("mine/theirs", 0o775):  "others may write to",
		make("everyone", 0o757):     "others may write to",
		make("open/below", 0o755):   "others may write to",
		make("sticky/below", 0o755): "",
	} {
		found, faults, err := Find(t.Context(), path, nil)
		if len(found) > 0 || len(faults) > 0 || (err == nil) != (want == "") || err != nil && !strings.Contains(problem.Text(err), want) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestBlank(t *testing.T) {
	e := one(t, usual, `describe) printf '%s' '{"protocol": 1, "variables": {"password": ["PASS"]}, "blank": {"args": ["serve", "-x"], "env": {"QUICK": "1"}, "volumes": ["/data"]}}' ;;`)
	f := engine.Facts{Image: "x", Args: []string{"run", "/vol/x"}, Mounts: []string{"/vol"}, Env: map[string]string{"A": "b", "PASS_FILE": "/run/pass"}}
	b := e.Blank(f, source.Spec{}, "geheim")
	if b.Env["PASS"] != "geheim" || b.Env["A"] != "b" || b.Env["QUICK"] != "1" || !slices.Equal(b.Args, []string{"serve", "-x"}) || len(b.Notes) > 0 || !slices.Equal(b.Volumes, []string{"/data"}) {
		t.Errorf("%+v", b)
	}
	b = e.Blank(engine.Facts{Image: "x"}, source.Spec{Password: "of the source"}, "geheim")
	if b.Env["PASS"] != "geheim" || b.Spec.Password != "geheim" {
		t.Errorf("%+v", b)
	}
	b = one(t, usual, "").Blank(f, source.Spec{}, "geheim")
	if len(b.Args) > 0 || len(b.Notes) != 1 || b.Env["PASS_FILE"] == "" {
		t.Errorf("%+v", b)
	}
}

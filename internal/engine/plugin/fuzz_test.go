package plugin

import (
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
)

// What is accepted of an answer is within its bounds.
func FuzzAnswer(f *testing.F) {
	for _, seed := range []string{
		`{"problem": "x", "reason": "no-connection", "hint": "y"}`, `{"look": {"argv": ["a"], "may_fail": true}, "keep": "k"}`,
		`{"server": "s", "streams": [{"name": "a", "kind": "k", "format": "f", "database": "d", "dump": {"argv": ["x"], "env": {"A": "b"}, "user": "u", "password_env": "P"}}]}`,
		`{"complete": true, "objects": [{"kind": "k", "name": "n", "rows": 3}, {"kind": "k", "name": "m"}], "notes": ["x"]}`,
		`{"run": {"argv": ["x"]}, "ready": [{"argv": ["y"]}], "steps": ["s"], "replaces": []}`, `{}`, `null`, `[]`, ``, `{"streams": [null]}`, `{"run": null}`,
	} {
		for _, verb := range []string{"streams", "inspect", "restore", "ask"} {
			f.Add(verb, []byte(seed))
		}
	}
	f.Fuzz(func(t *testing.T, verb string, data []byte) {
		a, err := parseAnswer(verb, data)
		if err != nil {
			if len(err.Error()) > 100_000 {
				t.Errorf("a failure of %d bytes", len(err.Error()))
			}
			return
		}
		runnable := func(c command) {
			if len(c.Argv) == 0 || c.Argv[0] == "" || strings.ContainsRune(strings.Join(c.Argv, ""), 0) {
				t.Errorf("%q would be run", c.Argv)
			}
		}
		switch {
		case verb == "inspect":
			if a.Complete && a.Problem != "" || len(a.contents().Objects) > engine.MaxObjects {
				t.Errorf("%+v", a)
			}
		case a.Problem != "":
			if p := a.failure(engine.ReasonPluginFailed); p.Reason == "" || p.Code == "" {
				t.Errorf("%+v", p)
			}
		case a.Look != nil:
			runnable(*a.Look)
		case verb == "streams":
			names := map[string]bool{}
			for _, s := range a.Streams {
				if names[s.Name] || strings.ContainsAny(s.Name, "/\\\x00\n") || strings.HasPrefix(s.Name, ".") || s.Name == "" {
					t.Errorf("stream %q", s.Name)
				}
				names[s.Name] = true
				runnable(s.Dump)
			}
		default:
			runnable(*a.Run)
			for _, c := range a.Ready {
				runnable(c)
			}
		}
	})
}

func FuzzDescription(f *testing.F) {
	for _, seed := range []string{
		hello, `{"protocol": 2}`, `{"protocol": "1"}`, `{"protocol": 1, "aliases": ["a"], "images": ["x*", "["], "variables": {"user": ["A"]}}`,
		`{"protocol": 1, "blank": {"args": ["a"], "env": {"A": "b"}, "volumes": ["/x"]}, "failures": [{"any": ["x"], "reason": "tool-failed", "hint": "h"}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		d, err := parseDescription(data)
		if err != nil {
			return
		}
		e := &pluginEngine{name: "x", says: d}
		_ = e.Detect(engine.Facts{Image: "thing:1"})
		for _, p := range d.patterns() {
			if p.Reason == "" || p.Code == "" || len(p.Any) == 0 {
				t.Errorf("%+v", p)
			}
		}
		for _, alias := range e.Aliases() {
			if alias != strings.ToLower(alias) || alias == "" {
				t.Errorf("alias %q", alias)
			}
		}
	})
}

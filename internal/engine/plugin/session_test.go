package plugin

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const secret = "open sesame"

var two = engine.Stream{Name: "a.dump", Kind: "database", Database: "a b", Format: "x"}

// What a plugin is told, what of it runs where, and where the password goes.
func TestDump(t *testing.T) {
	told := filepath.Join(t.TempDir(), "told")
	e := one(t, usual, `describe) printf '%s' '{"protocol": 1, "variables": {"user": ["WHO"]}, "failures": [{"any": ["No Way"], "reason": "wrong-password", "hint": "Ask."}]}' ;;
streams) env >>`+told+`; echo; cat >>`+told+`
case $BAKTAINER_ROUND in
0) printf '%s' '{"look": {"argv": ["list", "$(id)"], "password_env": "PW"}, "keep": "3 \"x\""}' ;;
1) printf '%s' '{"look": {"argv": ["missing-maybe"], "may_fail": true}}' ;;
2) printf '{"server": "Thing 7", "streams": [{"name": "a.dump", "kind": "database", "database": "a b", "format": "x", "dump": {"argv": ["dump", "a b"], "env": {"B": "2", "A": "1"}, "user": "me", "password_env": "PW"}}]}' ;;
esac ;;`)
	inst := enginetest.NewScript(engine.Facts{Image: "thing:7", Mounts: []string{"/a", "/b c"}, Env: map[string]string{"WHO": "root", "SECRET": "x"}}).
		On("list", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: "one\ntwo\n"} }).
		On("missing-maybe", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Status: 3} }).
		On("dump", func(enginetest.Call) enginetest.Answer {
			return enginetest.Answer{Stdout: "bytes", Status: 1, Stderr: "no way: " + secret}
		})
	recorder := enginetest.Record(inst, secret)
	t.Setenv("BAKTAINER_PASSPHRASE", "of the agent")
	s := open(t, e, recorder, source.Spec{Name: "p/db", Password: secret, Database: "shop"})
	if s.Server() == "" {
		t.Error("nothing is known of it before it was asked")
	}
	streams, err := s.Streams(t.Context())
	if err != nil || !slices.Equal(streams, []engine.Stream{two}) || s.Server() != "Thing 7" {
		t.Fatalf("%+v %v", streams, err)
	}
	p, err := s.Dump(t.Context(), two)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, p)
	exit, _ := p.Wait()
	if why := s.Explain(exit); why.Reason != engine.ReasonWrongPassword || why.Code != problem.Denied || why.Hint != "Ask." || strings.Contains(problem.Text(why), secret) {
		t.Error(problem.Text(why))
	}
	calls := inst.Calls()
	last := calls[len(calls)-1]
	if !slices.Equal(last.Argv, []string{"dump", "a b"}) || !slices.Equal(last.Env, []string{"A=1", "B=2", "PW=" + secret}) || last.User != "me" {
		t.Errorf("%+v", last)
	}
	if !slices.Equal(calls[0].Argv, []string{"list", "$(id)"}) || len(recorder.Leaks()) > 0 {
		t.Errorf("%+v, leaks %v", calls[0], recorder.Leaks())
	}
	text, err := os.ReadFile(told)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"BAKTAINER_PROTOCOL=1\n", "BAKTAINER_SOURCE=p/db\n", "BAKTAINER_IMAGE=thing:7\n", "BAKTAINER_MOUNTS=/a\n/b c\n", "BAKTAINER_DATABASE=shop\n",
		"BAKTAINER_USER=root\n", "BAKTAINER_PASSWORD_FOUND=1\n", "BAKTAINER_ALL_DATABASES=\n", "BAKTAINER_KEPT=3 \"x\"\n", "BAKTAINER_STATUS=3\n", "one\ntwo\n",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("it is not told %q:\n%s", want, text)
		}
	}
	for _, not := range []string{secret, "of the agent", "SECRET"} {
		if strings.Contains(string(text), not) {
			t.Errorf("it is told %q", not)
		}
	}
	if _, err := s.Dump(t.Context(), engine.Stream{Name: "other"}); err == nil {
		t.Error("a stream that it did not name")
	}
}

// What plugins say that is wrong, all of it at once.
func TestStreamsRefused(t *testing.T) {
	ok := `{"name": "a", "kind": "k", "format": "f", "dump": {"argv": ["x"]}}`
	for name, tt := range map[string]struct {
		answer string
		want   []string
	}{
		"garbage":       {`echo 'Segmentation fault'`, []string{"not the JSON", "Segmentation"}},
		"two answers":   {`printf '%s' '{"streams": [` + ok + `]}{}'`, []string{"not the JSON"}},
		"a list":        {`printf '%s' '[]'`, []string{"not the JSON"}},
		"nothing":       {``, []string{"said nothing"}},
		"no streams":    {`printf '%s' '{}'`, []string{"streams: there are 0"}},
		"status 1":      {`printf '%s' '{"streams": [` + ok + `]}'; echo "oh dear open sesame" >&2; exit 1`, []string{"status 1", "oh dear [hidden]"}},
		"hangs":         {`sleep 1000`, []string{"did not answer in time"}},
		"two of a name": {`printf '%s' '{"streams": [` + ok + `, ` + ok + `]}'`, []string{"two of the name"}},
		"many faults": {
			`printf '%s' '{"server": "\u0007", "streams": [{"name": "../x", "kind": "", "format": "f", "dump": {}}, {"name": "b", "kind": "k", "format": "f\n", "dump": {"argv": ["a\u0000"], "env": {"1": "", "B": "\u0000"}, "user": "\u001b", "password_env": "A B"}}]}'`,
			[]string{`server: "\a"`, `name: "../x"`, "kind or format", "argv: the program", `format: "f\n"`, "zero byte", `env: "1"`, `env: "B"`, "user:", "password_env"},
		},
		"looks for ever": {`printf '%s' '{"look": {"argv": ["list"]}}'`, []string{"more than 7 times"}},
		"a bad look":     {`printf '%s' '{"look": {}}'`, []string{"look: argv"}},
		"a look fails":   {`printf '%s' '{"look": {"argv": ["fail"]}}'`, []string{"fail ended with status 2", "broken"}},
		"no tool":        {`printf '%s' '{"look": {"argv": ["gone"], "may_fail": true}}'`, []string{"gone"}},
		"a problem":      {`printf '%s' '{"problem": "the server sleeps", "reason": "no-connection", "hint": "Wake it."}'`, []string{"the server sleeps", "Wake it."}},
		"magic":          {`printf '%s' '{"problem": "x", "reason": "magic"}'`, []string{`reason: there is no "magic"`}},
	} {
		l := usual
		if name == "hangs" {
			l = short
		}
		inst := enginetest.NewScript(engine.Facts{}).
			On("list", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{} }).
			On("fail", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Status: 2, Stderr: "broken"} })
		s := open(t, one(t, l, "streams) "+tt.answer+" ;;"), inst, source.Spec{Password: secret})
		_, err := s.Streams(t.Context())
		if err == nil {
			t.Errorf("%s: it passes", name)
			continue
		}
		text := problem.Text(err)
		for _, want := range tt.want {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", name, want, text)
			}
		}
		reason := map[string]problem.Reason{"a problem": engine.ReasonNoConnection, "a look fails": engine.ReasonToolFailed, "no tool": engine.ReasonToolMissing}[name]
		if reason == "" {
			reason = engine.ReasonPluginFailed
		}
		if problem.ReasonOf(err) != reason {
			t.Errorf("%s: reason %q, want %q", name, problem.ReasonOf(err), reason)
		}
	}
}

func TestNoPassword(t *testing.T) {
	e := one(t, usual, `streams) printf '%s' '{"streams": [{"name": "a.dump", "kind": "k", "format": "f", "dump": {"argv": ["x"], "password_env": "P"}}]}' ;;`)
	s := open(t, e, enginetest.NewScript(engine.Facts{}), source.Spec{})
	if _, err := s.Streams(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Dump(t.Context(), two); problem.ReasonOf(err) != engine.ReasonNoCredentials {
		t.Error(err)
	}
	if _, err := e.Open(t.Context(), enginetest.NewScript(engine.Facts{}), source.Spec{PasswordEnv: "NONE"}); problem.ReasonOf(err) != engine.ReasonNoCredentials {
		t.Error(err)
	}
	if _, err := e.Open(t.Context(), enginetest.NewScript(engine.Facts{Mounts: []string{"/a\n/b"}}), source.Spec{}); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
	s = open(t, e, enginetest.NewScript(engine.Facts{Image: strings.Repeat("x", maxVariable+1)}), source.Spec{})
	if _, err := s.Streams(t.Context()); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
}

const inspects = `streams) printf '%s' '{"streams": [{"name": "a.dump", "kind": "k", "format": "f", "dump": {"argv": ["x"]}}]}' ;;
inspect) `

// Only a plugin that read everything, ended well and said so makes a dump whole.
func TestInspect(t *testing.T) {
	const whole = `printf '%s' '{"complete": true}'`
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<16)
	for name, tt := range map[string]struct {
		script string
		want   problem.Reason
		says   string
	}{
		"whole":                      {`n=$(wc -c); printf '%s' '{"complete": true, "objects": [{"kind": "table", "name": "t\nu", "rows": '$n'}, {"kind": "k", "name": "x"}], "notes": ["'$BAKTAINER_STREAM'"], "more": 1}'`, "", ""},
		"not whole":                  {`cat >/dev/null; printf '%s' '{"complete": false}'`, engine.ReasonTruncated, "not whole"},
		"not whole, with a reason":   {`cat >/dev/null; printf '%s' '{"problem": "a stray line", "reason": "dump-malformed", "hint": "Look."}'`, engine.ReasonMalformed, "a stray line"},
		"says nothing of it":         {`cat >/dev/null; printf '%s' '{"objects": []}'`, engine.ReasonTruncated, "not whole"},
		"both":                       {`cat >/dev/null; printf '%s' '{"complete": true, "problem": "x"}'`, engine.ReasonPluginFailed, "and yet"},
		"garbage":                    {`cat >/dev/null; echo complete`, engine.ReasonPluginFailed, "not the JSON"},
		"nothing":                    {`cat >/dev/null`, engine.ReasonPluginFailed, "said nothing"},
		"whole, status 1":            {`cat >/dev/null; ` + whole + `; echo "lost my way" >&2; exit 1`, engine.ReasonPluginFailed, "lost my way"},
		"whole, and killed":          {`cat >/dev/null; ` + whole + `; kill -9 $$`, engine.ReasonPluginFailed, "killed"},
		"dies in the middle":         {`head -c 1000 >/dev/null; echo "out of memory" >&2; exit 3`, engine.ReasonPluginFailed, "out of memory"},
		"ends in the middle":         {`head -c 1000 >/dev/null; ` + whole, engine.ReasonPluginFailed, "before it had read"},
		"reads nothing of a little":  {whole, engine.ReasonPluginFailed, "before it had read"},
		"leaves some of a little":    {`head -c 10 >/dev/null; ` + whole, engine.ReasonPluginFailed, "before it had read"},
		"reads nothing":              {whole, engine.ReasonPluginFailed, "before it had read"},
		"hangs at the end":           {`cat >/dev/null; sleep 1000`, engine.ReasonPluginFailed, "did not answer in time"},
		"hangs in the middle":        {`head -c 1000 >/dev/null; sleep 1000`, engine.ReasonPluginFailed, "unread for too long"},
		"hangs with a child reading": {`head -c 1000 >/dev/null; sleep 1000 & sleep 1000`, engine.ReasonPluginFailed, "unread for too long"},
		"leaves a child":             {`cat >/dev/null; ` + whole + `; sleep 1000 &`, engine.ReasonPluginFailed, "left a process"},
		"says too much":              {`head -c 1000 >/dev/null; head -c 3000000 /dev/zero`, engine.ReasonPluginFailed, "more than"},
		"negative rows":              {`cat >/dev/null; printf '%s' '{"complete": true, "objects": [{"kind": "t", "name": "x", "rows": -5}, {"name": "y"}], "notes": ["\u001b"]}'`, engine.ReasonPluginFailed, "-5"},
	} {
		l := usual
		switch {
		case name == "hangs at the end":
			l.verdict = short.verdict
		case strings.HasPrefix(name, "hangs"):
			l.stall = short.stall
		}
		s := open(t, one(t, l, inspects+tt.script+" ;;"), enginetest.NewScript(engine.Facts{}), source.Spec{Password: secret})
		i := s.Inspect(two)
		data := large
		if strings.HasSuffix(name, "a little") {
			data = large[:100]
		}
		for rest := data; len(rest) > 0; rest = rest[min(len(rest), 300_001):] {
			if n, err := i.Write(rest[:min(len(rest), 300_001)]); err != nil || n != min(len(rest), 300_001) {
				t.Errorf("%s: Write: %d %v", name, n, err)
			}
		}
		contents, err := i.Finish()
		if err != nil {
			if text := problem.Text(err); problem.ReasonOf(err) != tt.want || !strings.Contains(text, tt.says) || strings.Contains(text, secret) {
				t.Errorf("%s: %s (%s)", name, text, problem.ReasonOf(err))
			}
			continue
		}
		if tt.want != "" || (len(contents.Objects) != 2 || contents.Objects[0].Rows != int64(len(large)) || contents.Objects[1].Rows != -1 || !slices.Equal(contents.Notes, []string{"a.dump"})) {
			t.Errorf("%s: %+v", name, contents)
		}
	}
}

func TestInspectNothing(t *testing.T) {
	for _, e := range []engine.Engine{one(t, usual, inspects+"printf '%s' '{\"complete\": true}' ;;"), one(t, usual, `describe) printf '%s' '{"protocol": 1}' ;;`)} {
		s := open(t, e, enginetest.NewScript(engine.Facts{}), source.Spec{})
		i := s.Inspect(two)
		_, _ = i.Write(nil)
		if _, err := i.Finish(); problem.ReasonOf(err) != engine.ReasonEmpty {
			t.Error(err)
		}
		if e.(*pluginEngine).says.answers("inspect") {
			continue
		}
		i = s.Inspect(two)
		_, _ = i.Write([]byte("x"))
		contents, err := i.Finish()
		if err != nil || len(contents.Notes) != 1 || len(contents.Objects) != 1 {
			t.Errorf("%+v %v", contents, err)
		}
	}
}

// A run that is given up takes the inspector with it, also one that reads nothing.
func TestInspectGivenUp(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("somebody gave up")
	s, err := one(t, usual, inspects+"sleep 1000 ;;").Open(ctx, enginetest.NewScript(engine.Facts{}), source.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	left, stuck := s.Inspect(two).(*inspector), s.Inspect(two).(*inspector)
	_, _ = left.Write([]byte("x")) // and never finished
	_, _ = stuck.Write([]byte("x"))
	done := make(chan struct{})
	go func() {
		_, _ = stuck.Write(make([]byte, 1<<20))
		close(done)
	}()
	cancel(gone)
	<-done
	if _, err := stuck.Finish(); !errors.Is(err, gone) {
		t.Error(err)
	}
	if err := <-left.ended; err == nil {
		t.Error("it ended well")
	}
}

func TestRestore(t *testing.T) {
	input, status := "", 0
	inst := enginetest.NewScript(engine.Facts{}).
		On("make", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{} }).
		On("load", func(c enginetest.Call) enginetest.Answer {
			input = c.Input
			return enginetest.Answer{Status: status, Stderr: "full"}
		})
	over := engine.RestoreOptions{Overwrite: true}
	for name, tt := range map[string]struct {
		script   string
		o        engine.RestoreOptions
		want     problem.Reason
		steps    int
		replaces int
	}{
		"nothing there":    {`printf '%s' '{"replaces": [], "ready": [{"argv": ["make"]}], "run": {"argv": ["load", "'"$BAKTAINER_STREAM_DATABASE"'"]}}'`, engine.RestoreOptions{}, "", 1, 0},
		"something there":  {`printf '%s' '{"steps": ["x", "y"], "replaces": ["a", "b"], "run": {"argv": ["load"]}}'`, engine.RestoreOptions{}, engine.ReasonTargetNotEmpty, 2, 2},
		"permitted":        {`printf '%s' '{"replaces": ["a", "b"], "run": {"argv": ["load"]}}'`, over, "", 1, 2},
		"nothing is known": {`printf '%s' '{"run": {"argv": ["load"]}}'`, engine.RestoreOptions{DryRun: true}, engine.ReasonTargetNotEmpty, 1, 1},
		"no command":       {`printf '%s' '{"ready": [{}], "replaces": ["\u0000"]}'`, over, engine.ReasonPluginFailed, 0, 0},
		"a problem":        {`printf '%s' '{"problem": "too old", "reason": "unsupported"}'`, over, engine.ReasonUnsupported, 0, 0},
		"not ready":        {`printf '%s' '{"replaces": [], "ready": [{"argv": ["none"]}], "run": {"argv": ["load"]}}'`, over, engine.ReasonToolMissing, 1, 0},
	} {
		s := open(t, one(t, usual, "restore) "+tt.script+" ;;"), inst, source.Spec{})
		plan, err := s.Prepare(t.Context(), []engine.Stream{two}, tt.o)
		if problem.ReasonOf(err) != tt.want || len(plan.Steps) != tt.steps || len(plan.Replaces) != tt.replaces {
			t.Errorf("%s: %+v %v", name, plan, err)
		}
	}
	e := one(t, usual, `restore) printf '%s' '{"replaces": [], "ready": [{"argv": ["make"]}], "run": {"argv": ["load", "'"$BAKTAINER_STREAM_DATABASE"'"]}}' ;;`)
	for _, prepared := range []bool{false, true} {
		s := open(t, e, inst, source.Spec{})
		before := len(inst.Calls())
		if _, err := s.Prepare(t.Context(), []engine.Stream{two}, engine.RestoreOptions{DryRun: !prepared}); err != nil {
			t.Fatal(err)
		}
		if made := len(inst.Calls()) > before; made != prepared {
			t.Errorf("made ready: %v", made)
		}
		if err := s.Restore(t.Context(), two, strings.NewReader("all"), over); err != nil || input != "all" {
			t.Errorf("%q %v", input, err)
		}
		calls := inst.Calls()
		if got := calls[len(calls)-1].Argv; !slices.Equal(got, []string{"load", "a b"}) {
			t.Errorf("%q", got)
		}
	}
	s := open(t, e, inst, source.Spec{})
	broken := errors.New("the store went away")
	if err := s.Restore(t.Context(), two, iotest.ErrReader(broken), over); !errors.Is(err, broken) {
		t.Error(err)
	}
	status = 1
	if err := s.Restore(t.Context(), two, strings.NewReader(""), over); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Error(err)
	}
	s = open(t, one(t, usual, `describe) printf '%s' '{"protocol": 1}' ;;`), inst, source.Spec{})
	if _, err := s.Prepare(t.Context(), []engine.Stream{two}, over); problem.ReasonOf(err) != engine.ReasonUnsupported {
		t.Error(err)
	}
	if _, can := s.(engine.Asker); can {
		t.Error("it can be asked, and says that it cannot")
	}
}

func TestAsk(t *testing.T) {
	status := 0
	inst := enginetest.NewScript(engine.Facts{}).On("query", func(c enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Stdout: c.Args(), Status: status}
	})
	s := open(t, one(t, usual, `ask) case $BAKTAINER_QUERY in bad) printf '%s' '{}' ;; *) printf '%s' '{"run": {"argv": ["query", "'"$BAKTAINER_QUERY"'", "'"$BAKTAINER_DATABASE"'"]}}' ;; esac ;;`),
		inst, source.Spec{Database: "own"}).(engine.Asker)
	for database, want := range map[string]string{"": "query count x own", "other": "query count x other"} {
		if got, err := s.Ask(t.Context(), database, "count x"); got != want || err != nil {
			t.Errorf("%q %v", got, err)
		}
	}
	if _, err := s.Ask(t.Context(), "", "bad"); problem.ReasonOf(err) != engine.ReasonPluginFailed {
		t.Error(err)
	}
	status = 1
	if _, err := s.Ask(t.Context(), "", "x"); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Error(err)
	}
}

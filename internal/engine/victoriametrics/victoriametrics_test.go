package victoriametrics

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/helper"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/line"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

func TestDetect(t *testing.T) {
	for image, want := range map[string]bool{
		"victoriametrics/victoria-metrics": true, "victoriametrics/victoria-metrics:v1.93.4": true, "registry.example/x/victoria-metrics@sha256:1": true,
		"victoriametrics/vmagent": false, "victoriametrics/vmalert": false, "victoriametrics/vmauth": false, "victoriametrics/vmbackup": false,
		"victoriametrics/vmstorage:v1.93.4-cluster": false, "victoriametrics/victoria-logs": false, "prom/prometheus": false,
	} {
		if got := New().Detect(engine.Facts{Image: image}); got != want {
			t.Errorf("%s: %v", image, got)
		}
	}
	if !New().Detect(engine.Facts{Image: "our/metrics", Args: []string{"/usr/bin/victoria-metrics", "-x"}}) {
		t.Error("an image of people's own is not recognised")
	}
}

func TestCheck(t *testing.T) {
	if list := New().Check(source.Spec{}, engine.Facts{}); len(list) != 0 {
		t.Errorf("%+v", list)
	}
	if list := New().Check(source.Spec{Database: "x", Tools: source.Tools{Image: "y"}}, engine.Facts{}); len(list) != 2 {
		t.Errorf("%+v", list)
	}
}

func TestSettings(t *testing.T) {
	env := map[string]string{"VM_httpAuth_username": "eva", "VM_retentionPeriod": "2y", "PW": "p%w"}
	for name, tc := range map[string]struct {
		args      string
		user, pw  string
		url       string
		retention time.Duration
	}{
		"nothing":          {"", "", "", "http://127.0.0.1:8428", 31 * 24 * time.Hour},
		"flags":            {"-httpAuth.username=a --httpAuth.password b -httpListenAddr=:9000 -retentionPeriod 10d", "a", "b", "http://127.0.0.1:9000", 240 * time.Hour},
		"the last counts":  {"-httpAuth.username=a -httpAuth.username=b", "b", "", "http://127.0.0.1:8428", 31 * 24 * time.Hour},
		"from variables":   {"-envflag.enable -envflag.prefix=VM_ -httpAuth.password=%{PW}", "eva", "p%w", "http://127.0.0.1:8428", 2 * 365 * 24 * time.Hour},
		"not enabled":      {"-envflag.enable=false -envflag.prefix=VM_", "", "", "http://127.0.0.1:8428", 31 * 24 * time.Hour},
		"another address":  {"-httpListenAddr=10.0.0.3:80 -http.pathPrefix=/vm/ -tls -retentionPeriod=1.5w", "", "", "https://10.0.0.3:80/vm", 252 * time.Hour},
		"any address":      {"-httpListenAddr=[::]:8429,:1 -tls=false -retentionPeriod=36h", "", "", "http://127.0.0.1:8429", 36 * time.Hour},
		"for ever":         {"-retentionPeriod=10000y", "", "", "http://127.0.0.1:8428", 200 * 365 * 24 * time.Hour},
		"of several parts": {"-retentionPeriod=1Y26w1.5h", "", "", "http://127.0.0.1:8428", (365+182)*24*time.Hour + 90*time.Minute},
		"in months":        {"-retentionPeriod=6M", "", "", "http://127.0.0.1:8428", 6 * 31 * 24 * time.Hour},
		"in seconds":       {"-retentionPeriod=86400s", "", "", "http://127.0.0.1:8428", 24 * time.Hour},
		"no address":       {"-httpListenAddr=nonsense", "", "", "http://127.0.0.1:8428", 31 * 24 * time.Hour},
		"secret in a file": {"-httpAuth.password=file:///run/pw", "", "filed", "http://127.0.0.1:8428", 31 * 24 * time.Hour},
	} {
		facts := engine.Facts{Args: append([]string{"/victoria-metrics-prod"}, strings.Fields(tc.args)...), Env: env}
		s := settingsOf(facts)
		pw, err := s.secret(t.Context(), enginetest.NewScript(facts).File("/run/pw", "filed\n"), "httpAuth.password")
		retention, rerr := s.retention()
		if s.get("httpAuth.username") != tc.user || pw != tc.pw || s.url() != tc.url || retention != tc.retention || err != nil || rerr != nil {
			t.Errorf("%s: %q %q %s %s %v", name, s.get("httpAuth.username"), pw, s.url(), retention, errors.Join(err, rerr))
		}
	}
	for _, text := range []string{"soon", "1d soon", "d", "0", "-1", "nan", "1d-"} {
		if got, err := settingsOf(engine.Facts{Args: []string{"-retentionPeriod=" + text}}).retention(); err == nil {
			t.Errorf("%s is taken for %s", text, got)
		}
	}
}

// script is an instance whose helper answers.
func script(state helper.State, args ...string) *enginetest.Script {
	return enginetest.NewScript(engine.Facts{Args: append([]string{server}, args...)}).On("helper", func(c enginetest.Call) enginetest.Answer {
		if c.Argv[1] == helper.LookCommand {
			out, _ := json.Marshal(state)
			return enginetest.Answer{Stdout: string(out)}
		}
		return enginetest.Answer{Stdout: "answer\n"}
	})
}

func TestSecretsGoByStdin(t *testing.T) {
	inst := script(helper.State{Version: "1.93"}, "-httpAuth.username=u", "-httpAuth.password=first", "-deleteAuthKey=second")
	s, err := New().Open(t.Context(), inst, source.Spec{Password: "third"})
	if err != nil || s.Server() != "VictoriaMetrics 1.93" {
		t.Fatalf("%v, %v", s, err)
	}
	if _, err := s.(engine.Asker).Ask(t.Context(), "", "up"); err != nil {
		t.Fatal(err)
	}
	for _, c := range inst.Calls() {
		if !c.Helper || !c.Network || len(c.Env) > 0 || strings.Contains(c.Args(), "third") || !slices.Equal(c.Secrets, []string{"third", "second"}) {
			t.Errorf("%+v", c)
		}
		how, _, _ := strings.Cut(c.Input, "\n")
		var a helper.Access
		if json.Unmarshal([]byte(how), &a) != nil || a.Password != "third" || a.User != "u" || a.DeleteKey != "second" || a.URL != "http://127.0.0.1:8428" {
			t.Errorf("%s", how)
		}
	}
	inst.On("helper", func(enginetest.Call) enginetest.Answer {
		return enginetest.Answer{Stdout: strings.Repeat("x", engine.AnswerLimit+1)}
	})
	if out, err := s.(engine.Asker).Ask(t.Context(), "", "up"); problem.ReasonOf(err) != engine.ReasonMalformed {
		t.Errorf("a part of an answer passes for all of it: %d bytes, %v", len(out), err)
	}
	if _, err := s.(engine.Asker).Ask(t.Context(), "db", "up"); err == nil {
		t.Error("there is a database")
	}
	if _, err := New().Open(t.Context(), inst, source.Spec{Database: "x"}); err == nil {
		t.Error("a wrong label is no failure")
	}
}

func TestPrepare(t *testing.T) {
	streams := []engine.Stream{{Name: "series.jsonl", Format: format}}
	for name, tc := range map[string]struct {
		state   helper.State
		options engine.RestoreOptions
		streams []engine.Stream
		reason  problem.Reason
		cleared bool
	}{
		"empty":             {},
		"not empty":         {state: helper.State{Metrics: []string{"up"}}, reason: engine.ReasonTargetNotEmpty},
		"overwrite":         {state: helper.State{Metrics: []string{"up"}}, options: engine.RestoreOptions{Overwrite: true}, cleared: true},
		"dry run":           {state: helper.State{Metrics: []string{"up"}}, options: engine.RestoreOptions{Overwrite: true, DryRun: true}},
		"of another engine": {streams: []engine.Stream{{Format: "rdb"}}, reason: engine.ReasonUnsupported},
	} {
		t.Run(name, func(t *testing.T) {
			inst := script(tc.state)
			s, err := New().Open(t.Context(), inst, source.Spec{})
			if err != nil {
				t.Fatal(err)
			}
			if tc.streams == nil {
				tc.streams = streams
			}
			plan, err := s.Prepare(t.Context(), tc.streams, tc.options)
			cleared := slices.ContainsFunc(inst.Calls(), func(c enginetest.Call) bool { return c.Argv[1] == helper.ClearCommand })
			if problem.ReasonOf(err) != tc.reason || cleared != tc.cleared {
				t.Errorf("cleared %v, %v", cleared, err)
			}
			// A month is what a server keeps by itself.
			if err == nil && !strings.Contains(strings.Join(plan.Steps, "\n"), "older than 31 days") {
				t.Errorf("%q", plan.Steps)
			}
		})
	}
}

func TestBlank(t *testing.T) {
	f := engine.Facts{Args: []string{"/usr/bin/victoria-metrics", "-retentionPeriod=1", "-promscrape.config=/etc/x", "-maxLabelsPerTimeseries=50", "-httpAuth.password=x", "-futureRetention=1y"}}
	b := New().Blank(f, source.Spec{User: "u", Password: "p", Database: ""}, "secret")
	if want := []string{"/usr/bin/victoria-metrics", "-retentionPeriod=100y", "-httpListenAddr=127.0.0.1:8428", "-maxLabelsPerTimeseries=50", "-futureRetention=1y"}; !slices.Equal(b.Args, want) || b.Spec.Password != "" || len(b.Env) > 0 {
		t.Errorf("%+v", b)
	}
	if b := New().Blank(engine.Facts{}, source.Spec{}, "secret"); b.Args[0] != server {
		t.Errorf("%+v", b)
	}
}

const (
	one = `{"metric":{"__name__":"up","a":"b"},"values":[1,null],"timestamps":[1000,2000]}` + "\n"
	two = `{"metric":{"job":"x"},"values":[1],"timestamps":[3000]}` + "\n"
)

func TestInspect(t *testing.T) {
	mark := func(lines, samples int64) string { return string(line.Tally{Lines: lines, Samples: samples}.Last()) }
	long := strings.Replace(two, `"job":"x"`, `"__name__":"x`+strings.Repeat("ü", 10_000)+`"`, 1)
	for text, want := range map[string]string{
		one + two + one + mark(3, 5):    "up 4, {} 1",
		long + mark(1, 1):               "x" + strings.Repeat("ü", 127) + "? 1",
		mark(0, 0):                      "",
		"":                              string(engine.ReasonEmpty),
		one:                             string(engine.ReasonTruncated),
		one + mark(1, 2)[:20]:           string(engine.ReasonTruncated),
		strings.TrimSpace(one):          string(engine.ReasonTruncated),
		one + mark(2, 2):                string(engine.ReasonMalformed),
		one + mark(1, 3):                string(engine.ReasonMalformed),
		one + mark(1, 2) + two:          string(engine.ReasonMalformed),
		"warning: x\n" + mark(0, 0):     string(engine.ReasonMalformed),
		strings.Repeat("x", line.Max+1): string(engine.ReasonMalformed),
	} {
		for _, piece := range []int{len(text) + 1, 7} {
			i := newInspector()
			for at := 0; at < len(text); at += piece {
				_, _ = i.Write([]byte(text[at:min(len(text), at+piece)]))
				if len(text) > line.Max && piece < len(text) {
					break // all in one piece is enough
				}
			}
			c, err := i.Finish()
			got := string(problem.ReasonOf(err))
			if err == nil {
				var parts []string
				for _, o := range c.Objects {
					parts = append(parts, fmt.Sprint(o.Name, " ", o.Rows))
				}
				got = strings.Join(parts, ", ")
			}
			if got != want && (len(text) <= line.Max || piece > len(text)) {
				t.Errorf("%.60q in pieces of %d: %q, want %q (%v)", text, piece, got, want, err)
			}
		}
	}
}

func TestMoreMetricsThanAreKept(t *testing.T) {
	i := newInspector()
	for n := range engine.MaxObjects + 5 {
		fmt.Fprintf(i, `{"metric":{"__name__":"m%d"},"values":[1],"timestamps":[1]}`+"\n", n)
	}
	_, _ = i.Write(line.Tally{Lines: engine.MaxObjects + 5, Samples: engine.MaxObjects + 5}.Last())
	c, err := i.Finish()
	if err != nil || len(c.Objects) != engine.MaxObjects || len(c.Notes) != 2 || !strings.HasPrefix(c.Notes[1], "5 of them") {
		t.Errorf("%d objects, %q, %v", len(c.Objects), c.Notes, err)
	}
}

func FuzzInspect(f *testing.F) {
	f.Add([]byte(one+two+string(line.Tally{Lines: 2, Samples: 3}.Last())), uint8(5))
	f.Fuzz(func(t *testing.T, dump []byte, at uint8) {
		whole, cut := newInspector(), newInspector()
		_, _ = whole.Write(dump)
		n := min(int(at), len(dump))
		_, _ = cut.Write(dump[:n])
		_, _ = cut.Write(dump[n:])
		a, errA := whole.Finish()
		b, errB := cut.Finish()
		if problem.ReasonOf(errA) != problem.ReasonOf(errB) || len(a.Objects) != len(b.Objects) {
			t.Errorf("%q: %v, in two pieces %v", dump, errA, errB)
		}
	})
}

func BenchmarkInspect(b *testing.B) {
	var dump []byte
	var tally line.Tally
	for i := 0; len(dump) < 32<<20; i++ {
		values, times := make([]string, 2000), make([]string, 2000)
		for n := range values {
			values[n], times[n] = fmt.Sprintf("%d.%d", (n*7919+i)%100_003, i%97), fmt.Sprint(1_700_000_000_000+int64(n)*15_000)
		}
		dump = fmt.Appendf(dump, `{"metric":{"__name__":"requests_total","host":"h%d","job":"api"},"values":[%s],"timestamps":[%s]}`+"\n", i, strings.Join(values, ","), strings.Join(times, ","))
		tally.Lines++
		tally.Samples += 2000
	}
	enginetest.BenchmarkInspector(b, append(dump, tally.Last()...), func() engine.Inspector { return newInspector() })
}

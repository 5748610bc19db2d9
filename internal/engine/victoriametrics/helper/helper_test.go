package helper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/klauspost/compress/snappy"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/victoriametrics/line"
	"github.com/baktainer/baktainer/internal/problem"
)

const password = "s3cret"

// fake is a server of VictoriaMetrics as far as the helper knows one.
type fake struct {
	*httptest.Server
	export func(http.ResponseWriter) // what /api/v1/export answers

	closed bool // /metrics

	mu      sync.Mutex
	asked   []string // paths with their forms
	written []string // samples, as labels value@time
}

func newFake(t *testing.T) *fake {
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(f.serve))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) serve(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, pw, _ := r.BasicAuth(); pw != password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if r.URL.Path != "/api/v1/write" {
		_ = r.ParseForm()
	}
	f.asked = append(f.asked, r.URL.Path+"?"+r.PostForm.Encode())
	switch r.URL.Path {
	case "/metrics":
		if f.closed {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		fmt.Fprint(w, "up 1\nvm_app_version{version=\"x\", short_version=\"v1.93.1\"} 1\n")
	case "/api/v1/export":
		f.export(w)
	case "/api/v1/write":
		body, _ := io.ReadAll(r.Body)
		f.written = append(f.written, decode(body)...)
		w.WriteHeader(http.StatusNoContent)
	case "/api/v1/query":
		if r.PostForm.Get("query") == "wrong" {
			http.Error(w, "cannot parse it", http.StatusUnprocessableEntity)
			return
		}
		fmt.Fprint(w, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,"2"]},{"metric":{"b":"x","a":"\""},"value":[1,"NaN"]}]}}`)
	}
}

// decode reads a request of remote write.
func decode(body []byte) (samples []string) {
	message, err := snappy.Decode(nil, body)
	if err != nil {
		return []string{err.Error()}
	}
	for _, series := range fields(message)[1] {
		parts := fields(series)
		var labels []string
		for _, l := range parts[1] {
			pair := fields(l)
			labels = append(labels, string(pair[1][0])+"="+string(pair[2][0]))
		}
		for _, s := range parts[2] {
			_, _, n := protowire.ConsumeTag(s)
			bits, m := protowire.ConsumeFixed64(s[n:])
			_, _, k := protowire.ConsumeTag(s[n+m:])
			at, _ := protowire.ConsumeVarint(s[n+m+k:])
			samples = append(samples, fmt.Sprintf("%s %g@%d", strings.Join(labels, ","), math.Float64frombits(bits), int64(at)))
		}
	}
	return samples
}

// fields are those of a message that hold bytes.
func fields(message []byte) map[protowire.Number][][]byte {
	all := map[protowire.Number][][]byte{}
	for len(message) > 0 {
		number, kind, n := protowire.ConsumeTag(message)
		message = message[n:]
		if kind == protowire.BytesType {
			value, m := protowire.ConsumeBytes(message)
			all[number] = append(all[number], value)
			message = message[m:]
			continue
		}
		message = message[protowire.ConsumeFieldValue(number, kind, message):]
	}
	return all
}

func (f *fake) run(t *testing.T, command, input string, change ...func(*Access)) (string, *problem.Problem) {
	t.Helper()
	a := Access{URL: f.URL, User: "u", Password: password}
	for _, c := range change {
		c(&a)
	}
	how, err := json.Marshal(a)
	if err != nil {
		t.Fatal(err)
	}
	var out, said bytes.Buffer
	status := Main(t.Context(), []string{command}, strings.NewReader(string(how)+"\n"+input), &out, &said)
	if strings.Contains(said.String(), password) {
		t.Errorf("the password is told: %s", said.String())
	}
	if status == 0 {
		return out.String(), nil
	}
	return out.String(), engine.HelperFailure(engine.Exit{Status: status, Stderr: said.String()})
}

const (
	one = `{"metric":{"__name__":"up","a":"b"},"values":[1,null],"timestamps":[1000,2000]}` + "\n"
	two = `{"metric":{"job":"x"},"values":[+Inf],"timestamps":[3000]}` + "\n"
)

func TestDump(t *testing.T) {
	last := string(line.Tally{Lines: 2, Samples: 3}.Last())
	for name, tc := range map[string]struct {
		answer func(http.ResponseWriter)
		out    string
		reason problem.Reason
		words  string
	}{
		"whole":                   {func(w http.ResponseWriter) { fmt.Fprint(w, one+two) }, one + two + last, "", ""},
		"nothing":                 {func(http.ResponseWriter) {}, string(line.Tally{}.Last()), "", ""},
		"a failure between lines": {func(w http.ResponseWriter) { fmt.Fprint(w, one+"cannot read block\n"+two) }, "", engine.ReasonToolFailed, "cannot read block"},
		"a failure at the end":    {func(w http.ResponseWriter) { fmt.Fprint(w, one+"out of time") }, "", engine.ReasonToolFailed, "out of time"},
		"a line without its end":  {func(w http.ResponseWriter) { fmt.Fprint(w, one+strings.TrimSpace(two)) }, "", engine.ReasonToolFailed, "did not export everything"},
		"broken off": {func(w http.ResponseWriter) {
			fmt.Fprint(w, one)
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		}, "", engine.ReasonStreamLost, "broke off"},
		"refused":               {func(w http.ResponseWriter) { http.Error(w, "too many series", http.StatusBadRequest) }, "", engine.ReasonToolFailed, "400 Bad Request too many series"},
		"a line without bounds": {func(w http.ResponseWriter) { fmt.Fprint(w, strings.Repeat("x", line.Max+1)) }, "", engine.ReasonStreamLost, "longer than"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.export = tc.answer
			out, p := f.run(t, DumpCommand, "")
			if p == nil && (out != tc.out || tc.reason != "") {
				t.Errorf("it succeeded with %q", out)
			}
			if p != nil && (p.Reason != tc.reason || !strings.Contains(problem.Text(p), tc.words)) {
				t.Errorf("%s: %s", p.Reason, problem.Text(p))
			}
			if p != nil && strings.Contains(out, "baktainer") {
				t.Errorf("a dump that failed has its last line: %q", out)
			}
		})
	}
}

func TestRestore(t *testing.T) {
	now := fmt.Sprint(time.Now().UnixMilli())
	fresh := `{"metric":{"__name__":"fresh"},"values":[5],"timestamps":[` + now + "]}\n"
	mark := func(lines, samples int64) string { return string(line.Tally{Lines: lines, Samples: samples}.Last()) }
	month := func(a *Access) { a.Retention = 31 * 24 * time.Hour }
	for name, tc := range map[string]struct {
		dump, there string
		change      []func(*Access)
		written     []string
		reason      problem.Reason
		words       string
	}{
		"comes back":               {dump: one + two + mark(2, 3), there: two + one, written: []string{"__name__=up,a=b 1@1000", "__name__=up,a=b NaN@2000", "job=x +Inf@3000"}},
		"others write":             {dump: two + mark(1, 1), there: two + one, written: []string{"job=x +Inf@3000"}},
		"nothing":                  {dump: mark(0, 0)},
		"left out":                 {dump: one + two + mark(2, 3), there: one, written: []string{"__name__=up,a=b 1@1000", "__name__=up,a=b NaN@2000", "job=x +Inf@3000"}, reason: engine.ReasonToolFailed, words: "left out 1 samples"},
		"with fewer labels":        {dump: one + mark(1, 2), there: strings.Replace(one, `,"a":"b"`, "", 1), written: []string{"__name__=up,a=b 1@1000", "__name__=up,a=b NaN@2000"}, reason: engine.ReasonToolFailed, words: "left out 2 samples, or changed"},
		"bytes that are no UTF-8":  {dump: "{\"metric\":{\"a\":\"\xff\"},\"values\":[1],\"timestamps\":[1]}\n" + mark(1, 1), there: "{\"metric\":{\"a\":\"\xff\"},\"values\":[1],\"timestamps\":[1]}\n", written: []string{"a=\xff 1@1"}},
		"too old for the server":   {dump: one + mark(1, 2), change: []func(*Access){month}, written: []string{"__name__=up,a=b 1@1000", "__name__=up,a=b NaN@2000"}},
		"not too old, but missing": {dump: fresh + mark(1, 1), change: []func(*Access){month}, written: []string{"__name__=fresh 5@" + now}, reason: engine.ReasonToolFailed, words: "left out 1 samples"},
		"cut":                      {dump: one, reason: engine.ReasonMalformed, words: "unexpected EOF"},
		"cut within a line":        {dump: one + two[:20], reason: engine.ReasonMalformed, words: "unexpected EOF"},
		"another count":            {dump: one + mark(1, 3), reason: engine.ReasonMalformed, words: "says 3"},
		"it goes on":               {dump: one + mark(1, 2) + two, reason: engine.ReasonMalformed, words: "behind its last line"},
		"no line":                  {dump: "what?\n" + mark(0, 0), reason: engine.ReasonMalformed, words: "no line"},
		"no number":                {dump: `{"metric":{"a":"b"},"values":[1-],"timestamps":[1]}` + "\n" + mark(1, 1), reason: engine.ReasonMalformed, words: "read a value"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake(t)
			f.export = func(w http.ResponseWriter) { fmt.Fprint(w, tc.there) }
			_, p := f.run(t, RestoreCommand, tc.dump, tc.change...)
			if (p == nil) != (tc.reason == "") || p != nil && (p.Reason != tc.reason || !strings.Contains(problem.Text(p), tc.words)) {
				t.Errorf("%v", p)
			}
			if !slices.Equal(f.written, tc.written) {
				t.Errorf("written: %q", f.written)
			}
		})
	}
}

func TestRestoreWritesInBatches(t *testing.T) {
	f := newFake(t)
	var dump strings.Builder
	const n = 3 * batchSamples / 2
	for i := range n {
		fmt.Fprintf(&dump, `{"metric":{"__name__":"m%d"},"values":[%d],"timestamps":[%d]}`+"\n", i%7, i, i)
	}
	there := dump.String()
	f.export = func(w http.ResponseWriter) { fmt.Fprint(w, there) }
	if _, p := f.run(t, RestoreCommand, there+string(line.Tally{Lines: n, Samples: n}.Last())); p != nil {
		t.Fatal(p)
	}
	requests := 0
	for _, a := range f.asked {
		if strings.HasPrefix(a, "/api/v1/write") {
			requests++
		}
	}
	if len(f.written) != n || requests != 2 {
		t.Errorf("%d samples with %d requests", len(f.written), requests)
	}
}

func TestLookClearAndQuery(t *testing.T) {
	f := newFake(t)
	f.export = func(w http.ResponseWriter) { fmt.Fprint(w, one+one+two) }
	out, p := f.run(t, LookCommand, "")
	if want := `{"version":"1.93.1","metrics":["up","{}"],"more":false}` + "\n"; p != nil || out != want {
		t.Errorf("%q, %v", out, p)
	}
	f.closed = true
	if out, p := f.run(t, LookCommand, ""); p != nil || !strings.HasPrefix(out, `{"version":"",`) {
		t.Errorf("without the metrics of the server: %q, %v", out, p)
	}
	f.export = func(w http.ResponseWriter) {
		for i := range 10_000 {
			fmt.Fprintf(w, `{"metric":{"__name__":"m%d"},"values":[1],"timestamps":[1]}`+"\n", i)
		}
	}
	var state State
	if out, p = f.run(t, LookCommand, ""); p != nil || json.Unmarshal([]byte(out), &state) != nil || len(state.Metrics) != maxMetrics || !state.More {
		t.Errorf("%q, %v", out, p)
	}
	if _, p := f.run(t, ClearCommand, "", func(a *Access) { a.DeleteKey = "k" }); p != nil {
		t.Error(p)
	}
	if got := f.asked[len(f.asked)-1]; got != "/api/v1/admin/tsdb/delete_series?authKey=k&match%5B%5D=%7B__name__%21%3D%22%22%7D&match%5B%5D=%7B__name__%3D%22%22%7D" {
		t.Errorf("it asked for %s", got)
	}
	out, p = f.run(t, QueryCommand, "sum(up)\n")
	if want := "2\n{a=\"\\\"\",b=\"x\"}\tNaN\n"; p != nil || out != want {
		t.Errorf("%q, %v", out, p)
	}
	if _, p := f.run(t, QueryCommand, "wrong"); p == nil || !strings.Contains(problem.Text(p), "cannot parse it") {
		t.Errorf("a wrong query: %v", p)
	}
}

func TestWhoMayNot(t *testing.T) {
	f := newFake(t)
	for _, command := range []string{DumpCommand, RestoreCommand, LookCommand, ClearCommand, QueryCommand} {
		_, p := f.run(t, command, one+string(line.Tally{Lines: 1, Samples: 2}.Last()), func(a *Access) { a.Password = "other" })
		if p == nil || p.Reason != engine.ReasonWrongPassword {
			t.Errorf("%s: %v", command, p)
		}
	}
	f.Close()
	if _, p := f.run(t, LookCommand, ""); p == nil || p.Reason != engine.ReasonNoConnection {
		t.Errorf("no server: %v", p)
	}
	for _, input := range []string{"", "{}\n", "no json " + password + "\n", strings.Repeat("x", accessLimit+1)} {
		var said bytes.Buffer
		if status := Main(t.Context(), []string{LookCommand}, strings.NewReader(input), io.Discard, &said); status != 1 || strings.Contains(said.String(), password) {
			t.Errorf("%.20q: status %d, %s", input, status, said.String())
		}
	}
	if status := Main(t.Context(), []string{"victoriametrics-nonsense"}, nil, io.Discard, io.Discard); status != 2 {
		t.Errorf("status %d", status)
	}
}

func FuzzAnswer(f *testing.F) {
	f.Add([]byte(`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"value":[1,"2"]}]}}`))
	f.Add([]byte(`{"status":"success","data":{"resultType":"scalar","result":[1,"2"]}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if text, err := answer(body); err != nil && text != "" {
			t.Errorf("%q fails and says %q", body, text)
		}
	})
}

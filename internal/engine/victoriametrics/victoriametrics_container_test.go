package victoriametrics

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/engine/enginetest/dockercli"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	user, pw = "admin", `p$w'"\% s3cret`
	// The dump must not depend on when the test is run.
	at = int64(1_700_000_000_000)
)

// victoriaServer is a container with a server in it, as seen from outside.
type victoriaServer struct {
	*dockercli.Instance
	url string
}

func startServer(t testing.TB, name string, flags ...string) victoriaServer {
	t.Helper()
	flags = append([]string{"-retentionPeriod=100y", "-httpAuth.username=" + user, "-httpAuth.password=" + pw}, flags...)
	v := victoriaServer{Instance: dockercli.Start(t, name, "victoriametrics", nil, flags...)}
	v.HelperBinary = filepath.Join(t.TempDir(), "helper")
	cmd := exec.Command("go", "build", "-o", v.HelperBinary, "./testdata/helper")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build the helper: %v\n%s", err, out)
	}
	address, err := exec.Command("docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", v.ID()).Output()
	if err != nil {
		t.Fatal(err)
	}
	v.url = "http://" + strings.TrimSpace(string(address)) + ":8428"
	v.Ready(t, nil, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/8428")
	return v
}

// ask posts to the server and returns its answer.
func (v victoriaServer) ask(t testing.TB, path, contentType, body string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, v.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.SetBasicAuth(user, pw)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		t.Fatalf("%s: %s, %v: %.300s", path, resp.Status, err, text)
	}
	return string(text)
}

func (v victoriaServer) form(t testing.TB, path string, form url.Values) string {
	t.Helper()
	return v.ask(t, path, "application/x-www-form-urlencoded", form.Encode())
}

func (v victoriaServer) put(t testing.TB, lines string) {
	t.Helper()
	v.ask(t, "/api/v1/import", "application/json", lines)
	v.form(t, "/internal/force_flush", nil)
}

var all = []string{`{__name__!=""}`, `{__name__=""}`}

// fingerprint is a hash of all samples, whose order is the server's affair.
func (v victoriaServer) fingerprint(t testing.TB) string {
	t.Helper()
	v.form(t, "/internal/force_flush", nil)
	out := strings.Split(v.form(t, "/api/v1/export", url.Values{"match[]": all, "start": {"0"}, "end": {"4102444800"}}), "\n")
	slices.Sort(out)
	return fmt.Sprintf("%d series, %x", len(out)-1, sha256.Sum256([]byte(strings.Join(out, "\n"))))
}

func (v victoriaServer) wreck(t testing.TB) {
	t.Helper()
	v.form(t, "/api/v1/admin/tsdb/delete_series", url.Values{"match[]": all})
	v.put(t, fmt.Sprintf(`{"metric":{"__name__":"unrelated_to_all"},"values":[1],"timestamps":[%d]}`, at))
	v.form(t, "/api/v1/admin/tsdb/delete_series", url.Values{"match[]": all})
}

func series(labels string, samples int, value func(int) string) string {
	values, times := make([]string, samples), make([]string, samples)
	for i := range samples {
		values[i], times[i] = value(i), fmt.Sprint(at+int64(i)*15_000)
	}
	return fmt.Sprintf(`{"metric":{%s},"values":[%s],"timestamps":[%s]}`+"\n", labels, strings.Join(values, ","), strings.Join(times, ","))
}

func (v victoriaServer) seed(t testing.TB) {
	t.Helper()
	var b strings.Builder
	for i := range 50 {
		b.WriteString(series(fmt.Sprintf(`"__name__":"requests_total","host":"h%d","path":"/a\"b\\c\n{},:Zoë 東京"`, i), 300, func(n int) string { return fmt.Sprint(n * i) }))
	}
	b.WriteString(series(`"__name__":"long"`, 9000, func(n int) string { return fmt.Sprintf("%d.25", n) }))
	b.WriteString(series(`"__name__":"edges"`, 3, func(n int) string { return []string{"+Inf", "-Inf", "-1.5e-7"}[n] }))
	b.WriteString(series(`"job":"without a name"`, 2, func(int) string { return "1" }))
	b.WriteString(series(`"__name__":"we{ird\" ü"`, 2, func(int) string { return "0" }))
	v.put(t, b.String())
	// Staleness markers come by the protocol of Prometheus alone, so a restore of ours makes them.
	session, err := New().Open(t.Context(), v.Instance, source.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	dump := series(`"__name__":"stale","a":"b"`, 3, func(n int) string { return []string{"1", "null", "3"}[n] }) +
		`{"baktainer":"victoriametrics-1","lines":1,"samples":3}` + "\n"
	if err := session.Restore(t.Context(), engine.Stream{Format: format}, strings.NewReader(dump), engine.RestoreOptions{}); err != nil {
		t.Fatal(err)
	}
	if got := v.form(t, "/api/v1/export", url.Values{"match[]": {"stale"}, "start": {"0"}}); !strings.Contains(got, "[1,null,3]") {
		t.Fatalf("staleness markers: %s", got)
	}
}

func TestContainer(t *testing.T) {
	t.Parallel()
	dockercli.Need(t)
	v := startServer(t, "victoriametrics")
	enginetest.Run(t, enginetest.Fixture{
		Engine: New(), Instance: v.Instance, Secrets: []string{pw}, KeepsHalf: true,
		Seed: v.seed,
		Bulk: func(t testing.TB) {
			var b strings.Builder
			for i := range 60 {
				b.WriteString(series(fmt.Sprintf(`"__name__":"bulk","n":"%d"`, i), 40_000, func(n int) string { return fmt.Sprintf("%d.%d", n*7919%100_003, i) }))
			}
			v.put(t, b.String())
		},
		Fingerprint: v.fingerprint,
		Wreck:       v.wreck,
		WrongPassword: func(testing.TB) (engine.Instance, source.Spec) {
			return v.Instance, source.Spec{Password: "not it at all"}
		},
	})
}

// TestWhatAServerLeavesOut restores samples that the target does not take.
func TestWhatAServerLeavesOut(t *testing.T) {
	t.Parallel()
	dockercli.Need(t)
	v := startServer(t, "victoriametrics-short", "-retentionPeriod=1", "-maxLabelsPerTimeseries=2")
	session, err := New().Open(t.Context(), v.Instance, source.Spec{})
	if err != nil {
		t.Fatal(err)
	}
	restore := func(labels string) error {
		dump := series(labels, 3, func(int) string { return "1" }) + `{"baktainer":"victoriametrics-1","lines":1,"samples":3}` + "\n"
		return session.Restore(t.Context(), engine.Stream{Format: format}, strings.NewReader(dump), engine.RestoreOptions{})
	}
	// What is older than its retention it would forget at once.
	if err := restore(`"__name__":"old"`); err != nil {
		t.Errorf("samples that are too old: %v", err)
	}
	soon := `{"metric":{"__name__":"future"},"values":[1],"timestamps":[4102444700000]}` + "\n" + `{"baktainer":"victoriametrics-1","lines":1,"samples":1}` + "\n"
	err = session.Restore(t.Context(), engine.Stream{Format: format}, strings.NewReader(soon), engine.RestoreOptions{})
	if problem.ReasonOf(err) != engine.ReasonToolFailed || !strings.Contains(err.Error(), "left out 1 samples") {
		t.Errorf("samples from the future: %v", err)
	}
	answer, err := session.(engine.Asker).Ask(t.Context(), "", "1 + 1")
	if answer != "2\n" || err != nil {
		t.Errorf("1 + 1 is %q, %v", answer, err)
	}
	if _, err := session.(engine.Asker).Ask(t.Context(), "", "sum(("); problem.ReasonOf(err) != engine.ReasonToolFailed {
		t.Errorf("a wrong query: %v", err)
	}
}

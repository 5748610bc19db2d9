package e2e

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const victoriaUser = "keeper"

var victoriametrics = database{
	engine: "victoriametrics",
	fresh: func() *container {
		return &container{
			image: samplePrefix + "victoriametrics", labels: labelsOf(),
			// What a flag says everybody on the host could read.
			args: []string{"-envflag.enable", "-envflag.prefix=VM_", "-retentionPeriod=100y"},
			env:  map[string]string{"VM_httpAuth_username": victoriaUser, "VM_httpAuth_password": password()},
		}
	},
	ready: func(t testing.TB, c *container) result {
		return victoria(t, c, "/api/v1/query", "application/x-www-form-urlencoded", "query=1")
	},
	seed: func(t testing.TB, c *container, bulk int) {
		var b strings.Builder
		for i := range 40 {
			victoriaSeries(&b, fmt.Sprintf(`"__name__":"orders","shop":"Zoë \"%d\" 東京\\\n"`, i), 500, func(n int) string { return fmt.Sprintf("%d.5", n*i) })
		}
		victoriaSeries(&b, `"__name__":"edges"`, 2, func(n int) string { return []string{"+Inf", "-Inf"}[n] })
		victoriaSeries(&b, `"job":"no name"`, 3, func(int) string { return "7" })
		victoriaPut(t, c, b.String())
		for i := range bulk * 2 {
			b.Reset()
			victoriaSeries(&b, fmt.Sprintf(`"__name__":"bulk","n":"%d"`, i), 15_000, func(n int) string { return fmt.Sprintf("%d.%d", n*7919%100_003, i) })
			victoriaPut(t, c, b.String())
		}
	},
	fingerprint: func(t testing.TB, c *container) string {
		all := strings.Split(victoriaForm(t, c, "/api/v1/export", url.Values{"match[]": everySeries, "start": {"0"}, "end": {"4102444800"}}), "\n")
		slices.Sort(all) // the server gives them in any order
		return fmt.Sprint(len(all)-1, " series ", hash(all...))
	},
	wreck: func(t testing.TB, c *container) {
		victoriaForm(t, c, "/api/v1/admin/tsdb/delete_series", url.Values{"match[]": {`orders{shop=~".*7.*"}`, "edges"}})
		var b strings.Builder
		victoriaSeries(&b, `"__name__":"stray"`, 2, func(int) string { return "1" })
		victoriaPut(t, c, b.String())
	},
}

var everySeries = []string{`{__name__!=""}`, `{__name__=""}`}

// victoria posts to the server, whose image has nothing to do that with.
func victoria(t testing.TB, c *container, path, contentType, body string) result {
	t.Helper()
	address := command(t, nil, nil, "docker", "inspect", "-f", "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}", c.id)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+strings.TrimSpace(address.stdout)+":8428"+path, strings.NewReader(body))
	if err != nil {
		return result{status: 1, stderr: err.Error()}
	}
	req.Header.Set("Content-Type", contentType)
	req.SetBasicAuth(victoriaUser, c.env["VM_httpAuth_password"])
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return result{status: 1, stderr: err.Error()}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode/100 != 2 {
		return result{status: 1, stdout: string(text), stderr: fmt.Sprint(resp.Status, err)}
	}
	return result{stdout: string(text)}
}

func victoriaForm(t testing.TB, c *container, path string, form url.Values) string {
	t.Helper()
	return must(t, victoria(t, c, path, "application/x-www-form-urlencoded", form.Encode()), path)
}

func victoriaPut(t testing.TB, c *container, lines string) {
	t.Helper()
	must(t, victoria(t, c, "/api/v1/import", "application/json", lines), "import")
	victoriaForm(t, c, "/internal/force_flush", nil)
}

func victoriaSeries(b *strings.Builder, labels string, samples int, value func(int) string) {
	values, times := make([]string, samples), make([]string, samples)
	for i := range samples {
		values[i], times[i] = value(i), fmt.Sprint(1_700_000_000_000+int64(i)*15_000)
	}
	fmt.Fprintf(b, `{"metric":{%s},"values":[%s],"timestamps":[%s]}`+"\n", labels, strings.Join(values, ","), strings.Join(times, ","))
}

// networkOf is the network that the container is in, as the host names it.
func (c *container) networkOf(t testing.TB) string {
	t.Helper()
	for {
		if name, err := os.Readlink(fmt.Sprintf("/proc/%d/ns/net", c.pid)); c.pid > 0 && err == nil {
			return name
		}
		if _, err := fmt.Sscan(docker(t, "inspect", "-f", "{{.State.Pid}}", c.id), &c.pid); err != nil || c.pid == 0 {
			return "" // it does not run
		}
	}
}

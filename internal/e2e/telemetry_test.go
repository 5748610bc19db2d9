package e2e

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestTelemetry looks at a run through the windows that operators have: traces,
// metrics, health, and gRPC itself.
func TestTelemetry(t *testing.T) {
	needContainers(t)
	t.Parallel()
	otlp := newCollector(t)
	u := startUp(t, upOptions{env: otlp.environment()})
	c := sqlite.start(t)
	sqlite.seed(t, c, 0)
	s := u.backup(t, c)
	u.ok(t, "restore", s.ID, "--overwrite")
	run := u.runs(t, c.source())[1] // the backup; the newer one is the restore
	t.Run("one trace", func(t *testing.T) { oneTrace(t, otlp, run) })
	t.Run("metrics", func(t *testing.T) { metrics(t, u, c) })
	t.Run("health", func(t *testing.T) {
		for _, path := range []string{"/healthz", "/readyz"} {
			if code, body := u.get(t, path); code != 200 {
				t.Errorf("%s: %d %s", path, code, body)
			}
		}
		if code, body := u.get(t, "/"); code != 200 || !strings.Contains(body, c.source()) {
			t.Errorf("the status page: %d, and the source is not on it:\n%s", code, tail(body))
		}
	})
	t.Run("grpcurl", func(t *testing.T) { grpcurl(t, u, c) })
}

func oneTrace(t *testing.T, otlp *collector, r run) {
	var trace []span
	eventually(t, "the spans of run "+r.ID+" arrive, from controller and agent", func() (bool, string) {
		trace = nil
		all := otlp.all()
		i := slices.IndexFunc(all, func(s span) bool { return slices.Contains(values(s.attributes), r.ID) })
		if i < 0 {
			return false, story(all)
		}
		for _, s := range all {
			if s.trace == all[i].trace {
				trace = append(trace, s)
			}
		}
		return hasSpan(trace, "dump") && hasSpan(trace, "commit"), story(trace)
	})
	t.Logf("the trace of one backup:\n%s", story(trace))
	roots := 0
	for _, s := range trace {
		if !slices.ContainsFunc(trace, func(p span) bool { return p.id == s.parent }) {
			roots++
		}
	}
	if roots != 1 {
		t.Errorf("%d spans have no parent in the trace, want one root", roots)
	}
}

func hasSpan(spans []span, word string) bool {
	return slices.ContainsFunc(spans, func(s span) bool { return strings.Contains(strings.ToLower(s.name), word) })
}

func values(m map[string]string) []string {
	var all []string
	for _, v := range m {
		all = append(all, v)
	}
	return all
}

func story(spans []span) string {
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&b, "%s %s ← %-16s %s %v\n", s.trace[:min(8, len(s.trace))], s.id, s.parent, s.name, s.attributes)
	}
	return b.String()
}

func metrics(t *testing.T, u *up, c *container) {
	code, body := u.get(t, "/metrics")
	if code != 200 {
		t.Fatalf("/metrics: %d %s", code, body)
	}
	var ours strings.Builder
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line, "baktainer_") {
			ours.WriteString(line)
		}
	}
	t.Logf("\n%s", tail(ours.String()))
	if !strings.Contains(ours.String(), c.source()) {
		t.Error("no metric speaks of the source")
	}
	for _, part := range []string{"run", "source", "snapshot"} {
		if !strings.Contains(ours.String(), part) {
			t.Errorf("no metric of %ss", part)
		}
	}
}

func grpcurl(t *testing.T, u *up, c *container) {
	tool, err := filepath.Abs(filepath.Join(moduleRoot, ".tools", "grpcurl"))
	if err != nil {
		t.Fatal(err)
	}
	if !exists(tool) {
		t.Fatalf("%s is not there: make test builds it", tool)
	}
	call := func(args ...string) string {
		return must(t, command(t, nil, nil, append([]string{tool, "-plaintext", "-unix", u.socket()}, args...)...), "grpcurl")
	}
	services := call("list")
	t.Logf("grpcurl list:\n%s", services)
	for _, want := range []string{"baktainer.v1.AdminService", "grpc.health.v1.Health"} {
		if !strings.Contains(services, want) {
			t.Errorf("%s is not listed", want)
		}
	}
	if sources := call("baktainer.v1.AdminService/ListSources"); !strings.Contains(sources, c.source()) {
		t.Errorf("ListSources lacks %s:\n%s", c.source(), sources)
	}
	if health := call("grpc.health.v1.Health/Check"); !strings.Contains(health, "SERVING") || strings.Contains(health, "NOT_SERVING") {
		t.Errorf("health: %s", health)
	}
	for _, method := range []string{"GetStatus", "ListRuns", "ListSnapshots", "StartBackup", "DumpSnapshot"} {
		if !strings.Contains(call("describe", "baktainer.v1.AdminService"), method) {
			t.Errorf("reflection does not describe %s", method)
		}
	}
}

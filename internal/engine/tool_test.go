package engine_test

import (
	"errors"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/problem"
)

func says(stdout string) func(enginetest.Call) enginetest.Answer {
	return func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Stdout: stdout} }
}

func TestFirstTool(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{}).On("second", says("second 2.0\nmore\n")).
		On("broken", func(enginetest.Call) enginetest.Answer { return enginetest.Answer{Status: 127} }).
		On("lost", func(enginetest.Call) enginetest.Answer {
			return enginetest.Answer{WaitErr: problem.New(problem.Unavailable, "lost").WithReason(engine.ReasonStreamLost)}
		})
	tool, version, err := engine.FirstTool(t.Context(), inst, "first", "broken", "second")
	if tool != "second" || version != "second 2.0" || err != nil {
		t.Errorf("%q %q %v", tool, version, err)
	}
	if _, _, err := engine.FirstTool(t.Context(), inst, "first", "broken"); problem.ReasonOf(err) != engine.ReasonToolMissing {
		t.Errorf("none there: %v", err)
	}
	if _, _, err := engine.FirstTool(t.Context(), inst, "lost", "second"); problem.ReasonOf(err) != engine.ReasonStreamLost {
		t.Errorf("a lost stream: %v, want it told and not passed over", err)
	}
}

func TestOutputIsBounded(t *testing.T) {
	inst := enginetest.NewScript(engine.Facts{}).On("tool", says(strings.Repeat("x", 100)))
	if out, _, err := engine.Output(t.Context(), inst, engine.Command{Argv: []string{"tool"}}, 100); len(out) != 100 || err != nil {
		t.Errorf("%d bytes, %v", len(out), err)
	}
	if _, _, err := engine.Output(t.Context(), inst, engine.Command{Argv: []string{"tool"}}, 99); problem.ReasonOf(err) != engine.ReasonMalformed {
		t.Errorf("one byte too many: %v", err)
	}
}

func TestFeedTellsTheReadersError(t *testing.T) {
	boom := errors.New("boom")
	inst := enginetest.NewScript(engine.Facts{}).On("tool", says(""))
	if _, err := engine.Feed(t.Context(), inst, engine.Command{Argv: []string{"tool"}, Stdin: iotest.ErrReader(boom)}); !errors.Is(err, boom) {
		t.Errorf("%v, want the reader's error", err)
	}
}

func TestFileName(t *testing.T) {
	for name, want := range map[string]string{
		"shop": "shop", "Shop_2.old-x": "Shop_2.old-x", ".hidden": "%2Ehidden", "-x": "%2Dx", "a/b\\c\n": "a%2Fb%5Cc%0A",
		"ü": "%C3%BC", "100%": "100%25", "globals": "%67lobals", "..": "%2E.", "": "",
	} {
		if got := engine.FileName(name, "globals"); got != want {
			t.Errorf("%q: %q, want %q", name, got, want)
		}
	}
	long1, long2 := engine.FileName(strings.Repeat("ü", 64)+"1"), engine.FileName(strings.Repeat("ü", 64)+"2")
	if len(long1) > 200 || long1 == long2 {
		t.Errorf("%q and %q", long1, long2)
	}
}

func TestImages(t *testing.T) {
	for image, want := range map[string]string{
		"postgres": "postgres", "postgres:16-alpine": "postgres", "bitnami/postgresql:16": "bitnami/postgresql",
		"registry.example:5000/a/Postgres@sha256:abc": "a/postgres", "localhost/x:1": "x", "docker.io/library/mysql:8": "library/mysql",
	} {
		if got, _ := engine.ImagePath(image); got != want {
			t.Errorf("%s: %q, want %q", image, got, want)
		}
	}
	for image, want := range map[string]bool{
		"prometheuscommunity/postgres-exporter:v0.15": true, "prodrigestivill/postgres-backup-local": true, "postgres": false, "bitnami/pgpool": true,
		"mongo-express": true, "mysql/mysql-router": true, "phpmyadmin/phpmyadmin": false, "percona/percona-xtrabackup": true,
	} {
		if got := engine.IsToolImage(image); got != want {
			t.Errorf("%s: %v", image, got)
		}
	}
}

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
)

func TestWhatIsWrongWithNotificationsIsToldAtOnce(t *testing.T) {
	template := filepath.Join(t.TempDir(), "t")
	if err := os.WriteFile(template, []byte("{{define \"body\"}}{{.Nothing}}{{end}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := config.Notify{Text: "ntfy://ntfy.sh/topic webhook+https://example.com/", Secret: "0123456789abcdef"}
	if err := checkSettings(config.Config{Notify: good}); err != nil {
		t.Error(problem.Text(err))
	}
	for want, n := range map[string]config.Notify{
		"BAKTAINER_NOTIFY:2: slack":    {Text: "ntfy://ntfy.sh/topic\nslack://hunter2"},
		"notify-file: ":                {File: template + "x"},
		"notify-secret-file: ":         {SecretFile: template + "x"},
		"can't evaluate field Nothing": {Template: template},
		"several things are wrong":     {Text: "slack://hunter2", Secret: "hunter2", SecretFile: template + "x", Template: template},
	} {
		err := checkSettings(config.Config{Notify: n})
		if problem.ExitStatus(err) != 2 || !strings.Contains(problem.Text(err), want) || strings.Contains(problem.Text(err), "hunter2") {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

package measure

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	cpu, err := parseCPU("12 (a ) b (c) S 1 2 3 4 5 6 7 8 9 10 150 50 99 98 20 0")
	if err != nil || cpu != 2 {
		t.Errorf("got %v s (%v), want 2", cpu, err)
	}
	if _, err := parseCPU("12 (x) S 1 2"); err == nil {
		t.Error("a line that is too short is read")
	}
	rss, err := parsePeak("Name:\tx\nVmHWM:\t    2048 kB\nVmRSS:\t 1 kB\n")
	if err != nil || rss != 2<<20 {
		t.Errorf("got %d bytes (%v), want 2 MiB", rss, err)
	}
	if _, err := parsePeak("Name:\tzombie\n"); err == nil {
		t.Error("a process without memory has a peak")
	}
}

// TestRun: input goes through the pipe, output is counted or kept, failure is
// told with what the command said.
func TestRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "in")
	if err := os.WriteFile(file, []byte(strings.Repeat("line\n", 50_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := Run(t.Context(), Command{Args: []string{"cat"}, Input: file})
	if err != nil || u.Printed != 250_000 || u.Output != "" || u.Wall <= 0 {
		t.Errorf("got %+v (%v), want 250,000 bytes counted", u, err)
	}
	u, err = Run(t.Context(), Command{Args: []string{"sh", "-c", "echo $WORD"}, Env: []string{"WORD=hello"}, Keep: true})
	if err != nil || u.Output != "hello\n" {
		t.Errorf("got %q (%v), want hello", u.Output, err)
	}
	if _, err = Run(t.Context(), Command{Args: []string{"sh", "-c", "echo why >&2; exit 3"}}); err == nil || !strings.Contains(err.Error(), "why") {
		t.Errorf("got %v, want the reason", err)
	}
	if _, err = Run(t.Context(), Command{Args: []string{"/nowhere"}, Input: file}); err == nil {
		t.Error("a command that does not exist runs")
	}
	// One that does not read its input to the end must not leave us waiting.
	if _, err = Run(t.Context(), Command{Args: []string{"true"}, Input: file}); err == nil {
		t.Error("half-read input is not noticed")
	}
}

func TestProcess(t *testing.T) {
	log := filepath.Join(t.TempDir(), "log")
	p, err := Start("shell", log, nil, "sh", "-c", "trap 'exit 0' TERM; echo ready; while :; do read x < /dev/zero; done")
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Mark(); err != nil {
		t.Fatal(err)
	}
	if _, rss, err := p.Since(); err != nil || rss <= 0 {
		t.Errorf("peak of %d bytes (%v), want some", rss, err)
	}
	_ = p.cmd.Process.Kill()
	<-p.ended
	if _, _, err := p.Since(); err == nil {
		t.Error("a process that ended has figures")
	}
}

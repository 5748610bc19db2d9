package report

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/chaos/figures"
	"github.com/baktainer/baktainer/internal/chaos/history"
	"github.com/baktainer/baktainer/internal/scale"
)

func TestFill(t *testing.T) {
	t.Parallel()
	tables := map[string]string{"a": "| A |\n", "b": "| B |"}
	text := "Words.\n<!-- table: a -->\nold\n<!-- end of table -->\nMore.\n<!-- table: b -->\n<!-- end of table -->\nEnd.\n"
	got, err := fill(text, tables)
	want := "Words.\n<!-- table: a -->\n\n| A |\n\n<!-- end of table -->\nMore.\n<!-- table: b -->\n\n| B |\n\n<!-- end of table -->\nEnd.\n"
	if err != nil || got != want {
		t.Errorf("got %q, %v", got, err)
	}
	if again, err := fill(got, tables); err != nil || again != got {
		t.Errorf("filled again it is %q, %v", again, err)
	}
	for name, bad := range map[string]string{
		"unknown":   "<!-- table: c -->\n<!-- end of table -->\n",
		"open":      "<!-- table: a -->\n",
		"nested":    "<!-- table: a -->\n<!-- table: b -->\n<!-- end of table -->\n",
		"not begun": "<!-- end of table -->\n",
		"no place":  "<!-- table: a -->\n<!-- end of table -->\n",
	} {
		if _, err := fill(bad, tables); err == nil {
			t.Errorf("%s: it is filled", name)
		}
	}
}

func some() []*figures.Figures {
	f := &figures.Figures{
		Made: "2026-01-02", Version: "v2", Seed: 7, Took: 3661, Snapshots: 1234, Verified: 1300, Writes: 5,
		History:  &history.Verdict{Operations: 99, Runs: 9, Stale: 4, Unknown: 2},
		Settings: figures.Settings{Store: "shared"},
	}
	for n := range 4 {
		f.Faults = append(f.Faults, figures.Fault{N: n, Kind: "kill-leader", Phase: "commit", Hit: n > 0, NextCommit: float64(n + 1), Ended: "succeeded", Dumps: 1 + n%2, Settled: 3})
	}
	f.Faults = append(f.Faults,
		figures.Fault{Kind: "hand-over", Phase: "commit", Gap: 0.05, Ended: "succeeded", Settled: 1},
		figures.Fault{Kind: "stop-agent", Phase: "commit", Stale: true, Ended: "failed", Settled: 2, Wrong: []string{"stale: x", "lost: y"}},
		figures.Fault{Kind: "kill-agent", Phase: "granted", Hit: true, Ended: "succeeded", Dumps: 2})
	return []*figures.Figures{f}
}

func TestTables(t *testing.T) {
	t.Parallel()
	got := tables(some(), nil)
	for name, wants := range map[string][]string{
		"runs":         {"| 2026-01-02 | v2 | 7 | shared | 7 | 1h1m1s | 5 | 2 |"},
		"totals":       {"| snapshots that anybody was told of | 1,234 |", "| of these lost | 1 |", "| runs with two commits | 0 |", "last | 1,300 |"},
		"kills":        {"| kill-leader | commit | 4 | 3 | 2 | 2 | 0 | 0 |", "| kill-agent | granted | 1 | 1 | 0 | 1 | 0 | 0 |"},
		"failover":     {"| kill -9 of the leader, to the next commit | 4 | 2.00 s | 4.00 s | 4.00 s |", "without a commit | 1 | 50 ms | 50 ms | 50 ms |"},
		"disturbances": {"| kill-leader | 4 | 3.00 s | 3.00 s | 4 | 0 | 0 |", "| stop-agent | 1 | 2.00 s | 2.00 s | 0 | 1 | 2 |"},
		"stale":        {"| 1 | 1 | 1 |"},
		"history":      {"| 99 | 9 | 2 | 4 | 0 | 0 | 0 |"},
		"scale":        {nothing},
	} {
		for _, want := range wants {
			if !strings.Contains(got[name], want) {
				t.Errorf("%s lacks %q:\n%s", name, want, got[name])
			}
		}
	}
	if at := strings.Index(got["kills"], "kill-agent"); at < strings.Index(got["kills"], "kill-leader") {
		t.Error("faults are not in the plan's order")
	}
	for name, text := range tables(nil, nil) {
		if text != nothing {
			t.Errorf("without figures, %s is %q", name, text)
		}
	}
}

func TestScaleTables(t *testing.T) {
	t.Parallel()
	got := scaleTables(&scale.Figures{
		Made: "2026-01-02", Version: "v2", Agents: 1000, Sources: 10000, Memory: "512MiB", Machine: scale.Machine{Cores: 2, CPU: "A CPU"},
		Stages: []scale.Stage{{Name: "at rest", Wall: 60, CPU: 3, RSS: 200 << 20, Beats: measure.Spread{N: 9, P50: 0.001, P99: 0.5, Max: 1}}},
		Ledger: &scale.Ledger{Snapshots: 200000, Heap: 300 << 20, Raft: 65_500_000, Write: 0.2, Read: 3, Process: &scale.LedgerProcess{
			RSS: 400 << 20, Lists: []scale.List{{What: "newest 20", Rows: 20, Took: measure.Spread{N: 50, P50: 0.002, P99: 0.2}}},
		}},
	})
	for name, want := range map[string]string{
		"scale":         "| at rest | 60.0 s | 3.00 s | 5 % | 200 MiB | 1 ms, 0.50 s | 0 | –, –, – | –, – | –, – | 0 |",
		"scale-machine": "1,000 agents with 10,000 sources. Made on 2026-01-02 with version v2: 2 cores (A CPU)",
		"ledger":        "| raft snapshot | 65.5 MB |",
		"listings":      "| newest 20 | 20 | 2 ms | 0.20 s |",
	} {
		if !strings.Contains(got[name], want) {
			t.Errorf("%s lacks %q:\n%s", name, want, got[name])
		}
	}
}

func TestNumbers(t *testing.T) {
	t.Parallel()
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := count(n); got != want {
			t.Errorf("%d is written %s", n, got)
		}
	}
	for s, want := range map[float64]string{0: "–", 0.0123: "12 ms", 1.5: "1.50 s", 75: "75.0 s"} {
		if got := seconds(s); got != want {
			t.Errorf("%g s is written %s", s, got)
		}
	}
}

// The document in the tree has a place for every table.
func TestDocument(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/reliability.md")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fill(string(text), tables(nil, nil)); err != nil {
		t.Error(err)
	}
}

func TestWrite(t *testing.T) {
	t.Parallel()
	docs := t.TempDir()
	dir := filepath.Join(docs, "reliability")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for name := range tables(nil, nil) {
		text.WriteString(opens + name + " -->\n" + closes + "\n")
	}
	document := filepath.Join(docs, "reliability.md")
	if err := os.WriteFile(document, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := some()[0].Save(filepath.Join(dir, "chaos-7.json")); err != nil {
		t.Fatal(err)
	}
	if err := (&scale.Figures{Agents: 1000}).Save(filepath.Join(dir, "scale.json")); err != nil {
		t.Fatal(err)
	}
	if err := Write(docs); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(document)
	if err != nil || !strings.Contains(string(got), "1,234") || !strings.Contains(string(got), "1,000 agents") {
		t.Errorf("got %s, %v", got, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "chaos-8.json"), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(docs); err == nil {
		t.Error("damaged figures are written up")
	}
	if err := Write(t.TempDir()); err == nil {
		t.Error("a document that is not there is filled")
	}
}

package report

import (
	"encoding/xml"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/bench/figures"
)

var update = flag.Bool("update", false, "write the golden files")

// known are figures whose bars can be worked out by hand: three rounds that
// differ, a gap, and a peer that is better than the other one in each history.
func known() *figures.Figures {
	f := &figures.Figures{
		Made:     "2025-02-03",
		Settings: figures.Settings{Rounds: 3, Scale: 1, Big: 1, Apart: true},
		Machine:  figures.Machine{CPU: "A Processor", Cores: 2, Memory: 8e9, Kernel: "6.1", System: "Debian", Disk: "ext4"},
		Versions: []figures.Version{{Tool: "restic", Version: "restic 0.14"}},
		Tables:   []figures.Table{{Name: "events", Holds: "numbers", Rows: 3_500_000, Changed: 10_500, Appended: 5_250}},
		Dumps:    []figures.Dump{{Day: 0, Bytes: 1e9}, {History: "uniform", Day: 1, Bytes: 1.01e9}},
		Commands: []figures.Command{{Tool: "restic", Step: "backup", Line: "cat data/day0.sql | restic backup --stdin"}},
	}
	add := func(s figures.Sample) {
		for round, shift := range []float64{0.9, 1, 1.3} { // the median is what was said
			s.Round = round + 1
			s2 := s
			s2.Wall, s2.CPU = s.Wall*shift, s.CPU*shift
			f.Samples = append(f.Samples, s2)
		}
	}
	backup := func(tool, history string, cpu, day0, daily float64) {
		total := 0.0
		for day := range 4 {
			size := daily
			if day == 0 {
				size = day0
			}
			total += size
			s := figures.Sample{Tool: tool, History: history, Step: fmt.Sprintf("day%d", day), Wall: cpu, CPU: cpu, RSS: 90 << 20, New: int64(size * 1e6), Stored: int64(total * 1e6)}
			if tool == "baktainer" {
				s.Parts = []figures.Part{{Name: "agent", CPU: cpu * 0.75, RSS: int64(90+day) << 20}, {Name: "controller", CPU: cpu / 4, RSS: 140 << 20}}
			}
			add(s)
		}
	}
	backup("restic", "uniform", 8, 240, 200)
	backup("borg", "uniform", 6, 220, 180) // the better: 760 in all, 540 in three days
	backup("baktainer", "uniform", 2, 230, 27)
	backup("restic", "local", 8, 240, 80) // the better: 480 and 240
	backup("borg", "local", 6, 220, 100)
	backup("baktainer", "local", 4.4, 230, 30)
	backup("zstd", "uniform", 4, 250, 250)
	for _, h := range []string{"uniform", "local"} {
		add(figures.Sample{Tool: "restic", History: h, Step: "restore", Wall: 5, CPU: 6})
		add(figures.Sample{Tool: "baktainer", History: h, Step: "restore", Wall: 4, CPU: 4.5})
	}
	add(figures.Sample{Tool: "pg_dump", History: "live", Step: "inside", Wall: 10})
	add(figures.Sample{Tool: "baktainer", History: "live", Step: "first", Wall: 12.1})
	add(figures.Sample{Tool: "baktainer", History: "live", Step: "again", Wall: 10.5})
	add(figures.Sample{Tool: "restic", History: "uniform", Step: "prune", Wall: 1, CPU: 1, New: -5e8, Stored: 3e8})
	f.Samples = append(f.Samples,
		figures.Sample{Tool: "baktainer", History: "uniform", Step: "prune", Round: 1, Gap: "cannot prune | yet"},
		figures.Sample{Tool: "baktainer", History: "limited", Step: "backup", Round: 1, Wall: 120, CPU: 99, Bytes: 20e9, Stored: 5e9, RSS: 180 << 20},
	)
	return f
}

// TestBars: each bar against what a person works out.
func TestBars(t *testing.T) {
	want := []struct{ what, got, verdict string }{
		{"stored after four days, uniform", "0.41 ×", "met"},                                 // 311 of 760
		{"stored after four days, local", "0.67 ×", "**missed by 33 %**"},                    // 320 of 480
		{"new bytes of days 1 to 3, uniform", "0.15 ×", "**missed by 50 %**"},                // 81 of 540
		{"new bytes of days 1 to 3, local", "0.38 ×", "**missed by 275 %**"},                 // 90 of 240
		{"CPU of day 1, uniform", "0.25 ×", "met"},                                           // 2 of 8
		{"CPU of day 1, local", "0.55 ×", "**missed by 10 %**"},                              // 4.4 of 8
		{"CPU of day 0", "0.25 ×", "met"},                                                    // 2 of 8
		{"wall time of the first backup of a live database", "1.21 ×", "**missed by 10 %**"}, // 12.1 of 10
		{"wall time of a later backup of it", "1.05 ×", "met"},
		{"wall time of a restore, uniform", "0.80 ×", "met"},
		{"wall time of a restore, local", "0.80 ×", "met"},
		{"CPU of a restore, uniform", "0.75 ×", "missed by 50 % (a wish)"},
		{"CPU of a restore, local", "0.75 ×", "missed by 50 % (a wish)"},
		{"peak RSS of agent, backup, restore and verify of the dumps", "93 MiB", "met"}, // the largest, not the median
		{"peak RSS of controller, backup, restore and verify of the dumps", "140 MiB", "**missed by 9 %**"},
		{"peak RSS of agent, stream of unknown length", gap, "not measured"},
		{"peak RSS of controller, stream of unknown length", gap, "not measured"},
		{"a stream of 20 GB in 256 MiB (cgroup)", "completes, not found right", "not measured"},
	}
	got := Bars(known())
	if len(got) != len(want) {
		t.Fatalf("%d bars, want %d", len(got), len(want))
	}
	for i, w := range want {
		if b := got[i]; b.What != w.what || b.Got != w.got || b.Verdict() != w.verdict {
			t.Errorf("got %q %q %q, want %q %q %q", b.What, b.Got, b.Verdict(), w.what, w.got, w.verdict)
		}
	}
}

// TestBarsOfNothing: where nothing was measured nothing is met, and nothing is
// a zero.
func TestBarsOfNothing(t *testing.T) {
	for _, b := range Bars(&figures.Figures{}) {
		if b.Met() || b.Got != gap {
			t.Errorf("%s: %s, %s", b.What, b.Got, b.Verdict())
		}
	}
	if text := Document(&figures.Figures{}, ""); strings.Contains(text, "NaN") || strings.Contains(text, "Inf") {
		t.Error("the document of nothing has numbers that are none")
	}
}

// TestGolden renders everything from known figures.
func TestGolden(t *testing.T) {
	docs := t.TempDir()
	if err := os.MkdirAll(filepath.Join(docs, "benchmarks"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(docs, "benchmarks", "notes.md"), []byte("## Notes\n\nWords of a person.\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Write(docs, known()); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"benchmarks.md", "benchmarks/cpu.svg", "benchmarks/new.svg", "benchmarks/stored.svg", "benchmarks/wall.svg", "benchmarks/figures.json"} {
		got, err := os.ReadFile(filepath.Join(docs, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, ".svg") {
			wellFormed(t, name, string(got))
		}
		if strings.HasSuffix(name, ".json") {
			if again, err := figures.Load(filepath.Join(docs, name)); err != nil || len(again.Samples) != len(known().Samples) {
				t.Errorf("the figures cannot be read again: %v", err)
			}
			continue
		}
		golden := filepath.Join("testdata", filepath.Base(name))
		if *update {
			if err := os.WriteFile(golden, got, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("%s differs from %s; if that is right: go test ./internal/bench/report -update", name, golden)
		}
	}
}

func wellFormed(t *testing.T, name, text string) {
	t.Helper()
	d := xml.NewDecoder(strings.NewReader(text))
	for {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Fatalf("%s is not XML: %v", name, err)
		}
	}
}

func TestFormat(t *testing.T) {
	for _, tt := range []struct {
		v    float64
		want string
	}{{0, "0"}, {0.0123, "0.012"}, {1.234, "1.23"}, {12.34, "12.3"}, {123.4, "123"}, {-45.67, "-45.7"}} {
		if got := seconds(exactly(tt.v)); got != tt.want {
			t.Errorf("%v is written %s, want %s", tt.v, got, tt.want)
		}
	}
	if got := seconds(figures.Value{}); got != gap {
		t.Errorf("nothing is written %s", got)
	}
	if got := thousands(1234567); got != "1,234,567" {
		t.Errorf("got %s", got)
	}
}

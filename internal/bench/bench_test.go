package bench

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/workload"
	"github.com/baktainer/baktainer/internal/clock"
)

func newBench(t *testing.T) *Bench {
	dir := t.TempDir()
	return &Bench{
		Options: Options{Dir: dir, Out: io.Discard, Scale: 0.001}, set: workload.Set{Seed: 1, Scale: 0.001},
		fig: &figures.Figures{}, partial: filepath.Join(dir, "figures.json"), began: clock.System{}.Now(),
	}
}

// TestStep: figures of a step that went well, a gap for one that did not, and
// both are on the disk at once.
func TestStep(t *testing.T) {
	b := newBench(t)
	size := int64(100)
	grow := func(context.Context) (cost, error) { size += 50; return cost{wall: 2, cpu: 3, rss: 4, bytes: 5}, nil }
	measured := func() (int64, error) { return size, nil }
	key := figures.Key{Tool: "restic", History: "uniform", Step: "day1"}
	b.step(t.Context(), key, 1, measured, grow)
	b.step(t.Context(), key, 2, measured, func(context.Context) (cost, error) {
		return cost{wall: 99}, errors.New("no room in " + b.Dir + "/run/restic")
	})
	b.step(t.Context(), key, 3, func() (int64, error) { return 0, errors.New("the repository is gone") }, grow)
	b.step(t.Context(), key, 4, nil, func(context.Context) (cost, error) { return cost{kept: 7}, nil })
	want := []figures.Sample{
		{Round: 1, Wall: 2, CPU: 3, RSS: 4, Bytes: 5, New: 50, Stored: 150},
		{Round: 2, Gap: "no room in run/restic"},
		{Round: 3, Gap: "the repository is gone"},
		{Round: 4, New: 7},
	}
	saved, err := figures.Load(b.partial)
	if err != nil || len(saved.Samples) != len(want) {
		t.Fatalf("%d samples on the disk (%v), want %d", len(saved.Samples), err, len(want))
	}
	for i, w := range want {
		w.Tool, w.History, w.Step = key.Tool, key.History, key.Step
		if got := saved.Samples[i]; got.Gap != w.Gap || got.Wall != w.Wall || got.New != w.New || got.Stored != w.Stored || got.Round != w.Round || got.RSS != w.RSS {
			t.Errorf("got %+v, want %+v", got, w)
		}
	}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	b.step(stopped, key, 5, measured, grow)
	if len(b.fig.Samples) != len(want) {
		t.Error("a run that was stopped goes on")
	}
}

func TestCost(t *testing.T) {
	a := cost{wall: 1, cpu: 2, rss: 30, bytes: 4, parts: []figures.Part{{Name: "agent", CPU: 1, RSS: 30}}}
	b := cost{wall: 10, cpu: 20, rss: 3, bytes: 40, parts: []figures.Part{{Name: "agent", CPU: 10, RSS: 3}, {Name: "command", CPU: 5, RSS: 1}}}
	got := a.and(b)
	want := []figures.Part{{Name: "agent", CPU: 11, RSS: 30}, {Name: "command", CPU: 5, RSS: 1}}
	if got.wall != 11 || got.cpu != 22 || got.rss != 30 || got.bytes != 44 || !slices.Equal(got.parts, want) {
		t.Errorf("got %+v", got)
	}
}

// TestScripts: what is fed to psql has every row once, and ends each COPY.
func TestScripts(t *testing.T) {
	b := newBench(t)
	var fill, day strings.Builder
	if err := b.fill(&fill); err != nil {
		t.Fatal(err)
	}
	if err := b.day(&day, workload.Local, 1); err != nil {
		t.Fatal(err)
	}
	rows := 0
	for _, table := range workload.Tables() {
		rows += table.Rows(b.Scale)
	}
	if got := strings.Count(fill.String(), "\n") - strings.Count(fill.String(), ";\n") - strings.Count(fill.String(), "\\.\n"); got != rows {
		t.Errorf("%d rows are loaded, want %d", got, rows)
	}
	for _, script := range []string{fill.String(), day.String()} {
		if copies, ends := strings.Count(script, "FROM stdin;\n"), strings.Count(script, "\n\\.\n"); copies == 0 || copies != ends {
			t.Errorf("%d COPY, %d ends", copies, ends)
		}
	}
}

func TestCommandLines(t *testing.T) {
	b := newBench(t)
	ours := &baktainer{b: b, source: dumpSource, socket: "/tmp/xyz/s"}
	ours.remember("verify", []string{"snapshot", "verify", "01M87S51VZZRS3EYF8SV65EDK2", "01M87S4Z796EP24HZQ58YGBHR8", "--socket", "/tmp/xyz/s", "--listen", "127.0.0.1:4711"})
	b.command("restic", "backup", []string{"cat", b.Dir + "/data/day0.sql", "|", "restic", "backup"})
	b.command("restic", "backup", []string{"another time"})
	want := []string{"baktainer snapshot verify ID --socket SOCKET --listen 127.0.0.1:PORT", "cat data/day0.sql | restic backup"}
	for i, c := range b.fig.Commands {
		if i >= len(want) || c.Line != want[i] {
			t.Errorf("got %q, want %q", c.Line, want)
		}
	}
}

func TestMachine(t *testing.T) {
	m, err := machine(t.TempDir())
	if err != nil || m.Cores < 1 || m.Memory < 1<<20 || m.Kernel == "" || m.Disk == "" {
		t.Errorf("got %+v (%v)", m, err)
	}
	if got := field("a : 1\nMemTotal:  12 kB\n", "MemTotal", ":"); got != "12 kB" {
		t.Errorf("got %q", got)
	}
}

func TestSizeOf(t *testing.T) {
	dir := t.TempDir()
	for name, size := range map[string]int{"a": 10, "sub/b": 5} {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, make([]byte, size), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := sizeOf(dir); err != nil || got != 15 {
		t.Errorf("%d bytes (%v), want 15", got, err)
	}
	if got, err := sizeOf(filepath.Join(dir, "none")); err != nil || got != 0 {
		t.Errorf("%d bytes of a folder that is not there (%v), want 0", got, err)
	}
}

// TestCertificates: each half's certificate is one of the authority, and the
// agent's names the agent.
func TestCertificates(t *testing.T) {
	dir := t.TempDir()
	if err := certificates(dir); err != nil {
		t.Fatal(err)
	}
	authority, err := os.ReadFile(filepath.Join(dir, "ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	for name, host := range map[string]string{"controller": "127.0.0.1", "agent": ""} {
		pair, err := tls.LoadX509KeyPair(filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if name == "agent" && (len(pair.Leaf.URIs) != 1 || pair.Leaf.URIs[0].String() != "spiffe://bench/agent/bench") {
			t.Errorf("the agent's certificate names %v", pair.Leaf.URIs)
		}
	}
}

package chaos_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/chaos"
	"github.com/baktainer/baktainer/internal/chaos/plan"
)

// TestShort breaks a cluster on purpose for less than a minute: a few faults, whose
// phases are those of a seed, which BAKTAINER_CHAOS_SEED chooses. What `make chaos`
// does for hours is the same.
func TestShort(t *testing.T) {
	switch {
	case os.Getenv("BAKTAINER_E2E") != "1":
		t.Skip("needs containers and network namespaces: set BAKTAINER_E2E=1")
	case os.Getuid() != 0:
		t.Skip("the fault rig needs root: it makes network namespaces and mounts disks")
	}
	seed, budget := uint64(7), 40*time.Second
	if text := os.Getenv("BAKTAINER_CHAOS_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	program, err := filepath.Abs("../../baktainer")
	if err == nil {
		_, err = os.Stat(program)
	}
	if err != nil {
		t.Fatalf("run make build first: %v", err)
	}
	dir := t.TempDir()
	rig := filepath.Join(dir, "rig")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", rig, "./cmd").CombinedOutput(); err != nil {
		t.Fatalf("build the rig: %v\n%s", err, out)
	}
	figures, err := chaos.Run(t.Context(), chaos.Options{
		Seed: seed, Plan: plan.Short(seed), Budget: budget, Binary: program, Logs: filepath.Join(dir, "logs"),
		Store: chaos.Shared, DumpBytes: 12_000_000, Clients: 4, ClientCommand: []string{rig, "sims"}, Out: t.Output(),
	})
	if err != nil {
		t.Fatalf("seed %d: %v", seed, err)
	}
	for _, wrong := range figures.AllWrong() {
		t.Errorf("seed %d: %s", seed, wrong)
	}
	const few = 2
	if len(figures.Faults) < few || figures.Verified == 0 {
		t.Errorf("seed %d: %d faults, %d snapshots read again: there was no time", seed, len(figures.Faults), figures.Verified)
	}
	t.Logf("seed %d: %d faults, %d snapshots, %d read again", seed, len(figures.Faults), figures.Snapshots, figures.Verified)
}

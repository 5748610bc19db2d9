package figures

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/chaos/history"
)

func TestSaveAndLoad(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "chaos.json")
	f := &Figures{Seed: 1 << 63, Faults: []Fault{{N: 1, Kind: "kill-leader", Phase: "commit", Hit: true, NextCommit: 1.5}}, History: &history.Verdict{Runs: 3}}
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v, %v", got, err)
	}
	if err := os.WriteFile(path, []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("damaged figures are read")
	}
}

func TestAllWrong(t *testing.T) {
	t.Parallel()
	f := &Figures{Faults: []Fault{{N: 1, Kind: "a", Phase: "b"}, {N: 2, Kind: "kill-leader", Phase: "commit"}}, History: &history.Verdict{Wrong: []string{"run x"}, StaleDone: 2}, Wrong: []string{"left over"}}
	f.Faults[0].Note("nothing of note")
	f.Faults[1].Blame("lost: %s", "s1")
	want := []string{"fault 2, kill-leader/commit: lost: s1", "history: run x", "history: 2 stale writes were granted", "left over"}
	if got := f.AllWrong(); !reflect.DeepEqual(got, want) {
		t.Errorf("got %s", strings.Join(got, "\n"))
	}
	if got := (&Figures{}).AllWrong(); len(got) > 0 {
		t.Errorf("nothing was wrong, and yet: %v", got)
	}
}

package restore_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
)

func TestWhatIsFedIsWhatWasStored(t *testing.T) {
	for name, tc := range map[string]struct {
		options engine.RestoreOptions
		names   []string
		want    []int // of the sample
	}{
		"all":             {want: []int{0, 1, 2}},
		"over data":       {options: engine.RestoreOptions{Overwrite: true, NoOwner: true}, want: []int{0, 1, 2}},
		"by stream":       {names: []string{"zoo.sql"}, want: []int{2}},
		"by database":     {names: []string{"shop"}, want: []int{1}},
		"stored order":    {names: []string{"zoo", "globals.sql"}, want: []int{0, 2}},
		"named two times": {names: []string{"zoo", "zoo.sql", "zoo"}, want: []int{2}},
	} {
		t.Run(name, func(t *testing.T) {
			st, ref := stored(t)
			d := &target{plan: engine.RestorePlan{Steps: []string{"Create database shop."}, Replaces: []string{"table zoo.ape"}}}
			lines, rep, err := run(t, d, st, ref, tc.options, tc.names...)
			if err != nil {
				t.Fatal(err)
			}
			var names []string
			var metas []engine.Stream
			var total int64
			report := []string{"Create database shop.", "Replaces: table zoo.ape"}
			for _, i := range tc.want {
				s := sample[i]
				names, metas = append(names, s.Name), append(metas, s.Stream)
				total += int64(len(s.data))
				report = append(report, fmt.Sprintf("Restored %s: %d bytes, SHA-256 %x.", s.Name, len(s.data), sha256.Sum256(s.data)))
				if !bytes.Equal(d.fed[s.Name], s.data) {
					t.Errorf("%s: %d bytes were fed, not the %d that were stored", s.Name, len(d.fed[s.Name]), len(s.data))
				}
			}
			if !slices.Equal(d.order, names) || !slices.Equal(d.metas, metas) {
				t.Errorf("fed %q, prepared for %+v, want %q", d.order, d.metas, names)
			}
			if !slices.Equal(lines, report) {
				t.Errorf("report %q, want %q", lines, report)
			}
			if len(d.prepared) != 1 || !reflect.DeepEqual(d.prepared[0], tc.options) || !reflect.DeepEqual(d.options[0], tc.options) {
				t.Errorf("options were %+v and %+v, want %+v", d.prepared, d.options, tc.options)
			}
			if done, all := rep.watch(); done != total || all != total {
				t.Errorf("progress at the end: %d of %d, want %d", done, all, total)
			}
			if checked := slices.Contains(rep.phases, "checking the snapshot"); checked != tc.options.Overwrite {
				t.Errorf("phases %q", rep.phases)
			}
		})
	}
}

func TestAnUnknownNameTouchesNothing(t *testing.T) {
	st, ref := stored(t)
	d := &target{}
	_, _, err := run(t, d, st, ref, engine.RestoreOptions{}, "zoo", "bar", "")
	if problem.CodeOf(err) != problem.InvalidInput || !strings.Contains(err.Error(), `"bar", ""`) || strings.Contains(err.Error(), `"zoo"`) {
		t.Errorf("error %v, want the names that are unknown", err)
	}
	if text := problem.Text(err); !strings.Contains(text, "globals.sql, shop.sql, zoo.sql") {
		t.Errorf("the text does not say what there is:\n%s", text)
	}
	if len(d.prepared) > 0 || d.fed != nil {
		t.Error("the target was touched")
	}
}

func TestSelectOfNothingIsAll(t *testing.T) {
	all := []repo.StreamInfo{{StreamMeta: engine.Stream{Name: "globals.sql"}}, {StreamMeta: engine.Stream{Name: "a", Database: "b"}}, {StreamMeta: engine.Stream{Name: "b", Database: "c"}}}
	if got, err := restore.Select(all, nil); err != nil || len(got) != 3 {
		t.Errorf("%+v, %v", got, err)
	}
	// A name may be one stream's name and another's database.
	if got, err := restore.Select(all, []string{"b"}); err != nil || len(got) != 2 {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestADryRunTouchesNothing(t *testing.T) {
	st, ref := stored(t)
	d := &target{plan: engine.RestorePlan{Steps: []string{"Drop it all."}, Replaces: []string{"database shop"}}}
	damage(t, st) // and reads no more than it must
	lines, _, err := run(t, d, st, ref, engine.RestoreOptions{DryRun: true, Overwrite: true})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(lines, []string{"Drop it all.", "Replaces: database shop"}) {
		t.Errorf("report %q", lines)
	}
	if d.fed != nil || len(d.prepared) != 1 || !d.prepared[0].DryRun {
		t.Errorf("prepared with %+v, fed %v", d.prepared, d.order)
	}
}

// TestWhatABackupIsWithoutIsTold: in the report, and to the engine, which knows what
// becomes of it.
func TestWhatABackupIsWithoutIsTold(t *testing.T) {
	st, ref := storedWith(t, engine.Contents{Objects: []engine.Object{{Kind: engine.KindLeftOut, Name: "sessions", Rows: -1}, {Kind: engine.KindRowsLeftOut, Name: "log", Rows: -1}, {Kind: "table", Name: "log"}}})
	d := &target{plan: engine.RestorePlan{Steps: []string{"Drop it all."}}}
	lines, _, err := run(t, d, st, ref, engine.RestoreOptions{DryRun: true}, "zoo")
	want := []string{"Drop it all.", "Not in this backup (zoo.sql), since its labels left it out: sessions, the rows of log"}
	if err != nil || !slices.Equal(lines, want) {
		t.Errorf("report %q, %v", lines, err)
	}
	if got := d.prepared[0].LeftOut; len(got) != 1 || !slices.Equal(got["zoo.sql"], []string{"sessions", "the rows of log"}) {
		t.Errorf("the engine is told %q", got)
	}
}

func TestFailures(t *testing.T) {
	refused := problem.New(problem.Conflict, "the target is not empty").WithReason(engine.ReasonTargetNotEmpty)
	down := problem.New(problem.Unavailable, "the server does not answer").WithReason(engine.ReasonNoConnection)
	for name, tc := range map[string]struct {
		target target
		is     error
		text   string
		lines  int // of the report
	}{
		"target does not open": {target{openErr: down}, down, "open fake", 0},
		"engine refuses":       {target{prepareErr: refused}, refused, "prepare the target", 0},
		"tool fails":           {target{restoreErr: down, plan: engine.RestorePlan{Steps: []string{"Create it."}}}, down, "restore globals.sql", 2},
	} {
		st, ref := stored(t)
		lines, _, err := run(t, &tc.target, st, ref, engine.RestoreOptions{})
		if !errors.Is(err, tc.is) || !strings.Contains(err.Error(), tc.text) {
			t.Errorf("%s: error %v", name, err)
		}
		if len(lines) != tc.lines {
			t.Errorf("%s: report %q, want %d lines", name, lines, tc.lines)
		}
		if len(tc.target.order) > 0 {
			t.Errorf("%s: %q were fed", name, tc.target.order)
		}
	}
}

func TestAToolThatStopsEarlyDidNotSucceed(t *testing.T) {
	st, ref := stored(t)
	d := &target{reads: 1 << 20}
	lines, _, err := run(t, d, st, ref, engine.RestoreOptions{})
	if problem.ReasonOf(err) != engine.ReasonToolFailed || !strings.Contains(err.Error(), "restore shop.sql") {
		t.Errorf("error %v", err)
	}
	if len(lines) != 2 || lines[1] != "shop.sql was not restored to its end." || len(d.order) != 2 {
		t.Errorf("report %q, fed %q", lines, d.order)
	}
}

func TestADamagedSnapshotNeverReplacesWhatIsThere(t *testing.T) {
	st, ref := stored(t)
	damage(t, st)
	d := &target{}
	_, _, err := run(t, d, st, ref, engine.RestoreOptions{Overwrite: true})
	if problem.CodeOf(err) != problem.Corrupt || !strings.Contains(err.Error(), "before anything is overwritten") {
		t.Errorf("error %v, want that the snapshot is corrupt", err)
	}
	if len(d.prepared) > 0 || d.fed != nil {
		t.Errorf("the target was touched: prepared %+v, fed %q", d.prepared, d.order)
	}
	// What is asked for is whole: the damage elsewhere does not matter.
	if _, _, err := run(t, d, st, ref, engine.RestoreOptions{Overwrite: true}, "globals.sql"); err != nil || string(d.fed["globals.sql"]) != string(sample[0].data) {
		t.Errorf("error %v, fed %q", err, d.order)
	}
}

func TestADamagedStreamFailsBeforeItsEnd(t *testing.T) {
	st, ref := stored(t)
	damage(t, st)
	d := &target{plan: engine.RestorePlan{Steps: []string{"Create it."}}}
	lines, rep, err := run(t, d, st, ref, engine.RestoreOptions{})
	if problem.CodeOf(err) != problem.Corrupt || !strings.Contains(err.Error(), "restore shop.sql") {
		t.Errorf("error %v, want that shop.sql is corrupt", err)
	}
	want, got := sample[1].data, d.fed["shop.sql"]
	if problem.CodeOf(d.fedErr) != problem.Corrupt || len(got) == 0 || len(got) >= len(want) || !bytes.Equal(got, want[:len(got)]) {
		t.Errorf("the engine got %d of %d bytes and then %v", len(got), len(want), d.fedErr)
	}
	if _, fed := d.fed["zoo.sql"]; fed {
		t.Error("it went on after the failure")
	}
	if len(lines) != 3 || !strings.HasPrefix(lines[1], "Restored globals.sql") {
		t.Errorf("report %q, want what was done before", lines)
	}
	if done, total := rep.watch(); done != int64(len(sample[0].data)+len(got)) || done >= total {
		t.Errorf("progress: %d of %d", done, total)
	}
}

func TestASnapshotThatCannotBeOpenedTouchesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(*repo.Ref)
		reason problem.Reason
	}{
		"gone":       {func(r *repo.Ref) { r.Snapshot = "01JZ0000000000000000000009" }, repo.ReasonMissingObject},
		"other hash": {func(r *repo.Ref) { r.Manifest[0] ^= 1 }, repo.ReasonCorrupt},
	} {
		st, ref := stored(t)
		tc.change(&ref)
		d := &target{}
		lines, _, err := run(t, d, st, ref, engine.RestoreOptions{})
		if problem.CodeOf(err) != problem.Corrupt || problem.ReasonOf(err) != tc.reason || !strings.Contains(err.Error(), "open snapshot") {
			t.Errorf("%s: error %v", name, err)
		}
		if len(d.prepared) > 0 || d.fed != nil || lines != nil {
			t.Errorf("%s: the target was touched", name)
		}
	}
}

package restore_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// surveyor is a target that says what it lacks.
type surveyor struct {
	target
	found  engine.Survey
	err    error
	dumped []engine.Dumped
}

func (s *surveyor) Open(ctx context.Context, i engine.Instance, spec source.Spec) (engine.Session, error) {
	_, err := s.target.Open(ctx, i, spec)
	return s, err
}

func (s *surveyor) Survey(_ context.Context, dumped []engine.Dumped, _ engine.RestoreOptions) (engine.Survey, error) {
	s.dumped = dumped
	return s.found, s.err
}

func TestWhatTheTargetLacksIsSaidBeforeItIsTouched(t *testing.T) {
	full := problem.New(problem.Conflict, "the target is not empty").WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting.")
	for name, tc := range map[string]struct {
		target   surveyor
		options  engine.RestoreOptions
		reason   problem.Reason
		words    []string
		warnings []string
	}{
		"nothing":           {},
		"warnings":          {target: surveyor{found: engine.Survey{Warnings: []string{"older", "a", "older"}}}, warnings: []string{"a", "older"}},
		"a role":            {target: surveyor{found: engine.Survey{Missing: []string{"no role app"}, Warnings: []string{"w"}}}, reason: engine.ReasonTargetUnfit, words: []string{"no role app", "nothing was touched"}, warnings: []string{"w"}},
		"over data":         {target: surveyor{found: engine.Survey{Missing: []string{"no role app"}}}, options: engine.RestoreOptions{Overwrite: true}, reason: engine.ReasonTargetUnfit, words: []string{"no role app"}},
		"all at once":       {target: surveyor{found: engine.Survey{Missing: []string{"no role app", "no postgis"}}, target: target{prepareErr: full}}, reason: engine.ReasonTargetUnfit, words: []string{"no role app", "no postgis", "Besides, the target is not empty", "Permit overwriting."}},
		"cannot be told":    {target: surveyor{err: errors.New("no rights")}, warnings: []string{"It was not found out whether the target lacks anything: no rights"}},
		"a dry run as well": {target: surveyor{found: engine.Survey{Missing: []string{"no role app"}}}, options: engine.RestoreOptions{DryRun: true}, reason: engine.ReasonTargetUnfit, words: []string{"no role app"}},
	} {
		st, ref := stored(t)
		d := &tc.target
		done, err := restore.Run(t.Context(), restore.Work{Snapshot: ref, Key: key, Options: tc.options, Engine: d}, st, &report{}, slog.New(slog.DiscardHandler))
		if problem.ReasonOf(err) != tc.reason || (err == nil) != (tc.reason == "") {
			t.Errorf("%s: %v", name, err)
		}
		for _, w := range tc.words {
			if !strings.Contains(problem.Text(err), w) {
				t.Errorf("%s: the text lacks %q:\n%s", name, w, problem.Text(err))
			}
		}
		if !slices.Equal(done.Warnings, tc.warnings) {
			t.Errorf("%s: warnings %q, want %q", name, done.Warnings, tc.warnings)
		}
		for _, o := range d.prepared {
			if err != nil && !o.DryRun {
				t.Errorf("%s: the target was made ready for what is refused", name)
			}
		}
		if (len(d.order) == len(sample)) != (err == nil && !tc.options.DryRun) {
			t.Errorf("%s: %q were fed", name, d.order)
		}
		if len(d.dumped) != len(sample) || d.dumped[1].Size != int64(len(sample[1].data)) || d.dumped[1].Database != "shop" {
			t.Errorf("%s: it was asked of %+v", name, d.dumped)
		}
	}
}

package problem_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
)

func TestTextGivesEverythingAUserNeeds(t *testing.T) {
	cause := problem.Wrap(problem.Denied, errors.New("status 1"), "run pg_dump").
		WithReason("wrong-password").WithHint("Check the password.").WithDetails("FATAL: no")
	err := fmt.Errorf("attempt 1: %w", problem.Wrap(problem.Failed, cause, "dump database x").WithSource("shop"))

	want := "attempt 1: shop: dump database x: run pg_dump: status 1\n    FATAL: no\n  → Check the password."
	if got := problem.Text(err); got != want {
		t.Errorf("Text:\n%s\nwant:\n%s", got, want)
	}
	if got := problem.CodeOf(err); got != problem.Failed {
		t.Errorf("CodeOf = %q, want the outermost, %q", got, problem.Failed)
	}
	if got := problem.ReasonOf(err); got != "wrong-password" {
		t.Errorf("ReasonOf = %q", got)
	}
}

func TestExitStatus(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want int
	}{
		{nil, 0},
		{errors.New("plain"), 1},
		{problem.New(problem.Failed, "x"), 1},
		{problem.New(problem.InvalidInput, "x"), 2},
		{fmt.Errorf("wrapped: %w", problem.New(problem.InvalidInput, "x")), 2},
		{problem.New(problem.PartlyFailed, "x"), 3},
	} {
		if got := problem.ExitStatus(tc.err); got != tc.want {
			t.Errorf("ExitStatus(%v) = %d, want %d", tc.err, got, tc.want)
		}
	}
}

package transport_test

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func full(code problem.Code) *problem.Problem {
	return problem.New(code, "dump database shop").WithReason("wrong-password").WithSource("web/db").
		WithHint("Check the password.").WithDetails("FATAL: no", "second line")
}

func TestAProblemSurvivesTheWire(t *testing.T) {
	for _, code := range []problem.Code{
		problem.Internal, problem.InvalidInput, problem.NotFound, problem.Conflict, problem.Unavailable,
		problem.Failed, problem.Denied, problem.Corrupt, problem.Cancelled, problem.PartlyFailed,
	} {
		sent := full(code)
		got, ok := errors.AsType[*problem.Problem](transport.FromStatus(transport.ToStatus(sent)))
		if !ok || !reflect.DeepEqual(got, sent) {
			t.Errorf("%s: got %#v, want %#v", code, got, sent)
		}
	}
}

func TestTheTextOfAnErrorSurvivesTheWire(t *testing.T) {
	inner := full(problem.Denied)
	for name, err := range map[string]error{
		"problem":             inner,
		"cause":               problem.Wrap(problem.Failed, errors.New("exit status 1"), "run pg_dump").WithSource("a"),
		"a problem's problem": problem.Wrap(problem.PartlyFailed, inner, "back up 2 sources").WithDetails("first"),
		"context":             problem.Wrap(problem.Cancelled, context.Canceled, "wait for the run").WithSource("a"),
		"plain":               errors.New("open /x: no such file"),
		"cancelled":           context.Canceled,
	} {
		if got, want := problem.Text(transport.FromStatus(transport.ToStatus(err))), problem.Text(err); got != want {
			t.Errorf("%s: got\n%s\nwant\n%s", name, got, want)
		}
	}
	// Wrapped by others, the source's name moves to the front and nothing else changes.
	got := problem.Text(transport.FromStatus(transport.ToStatus(fmt.Errorf("attempt 1: %w", full(problem.Denied)))))
	if want := "web/db: attempt 1: dump database shop\n    FATAL: no\n    second line\n  → Check the password."; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestToStatusCodes(t *testing.T) {
	for _, tc := range []struct {
		err  error
		want codes.Code
	}{
		{nil, codes.OK},
		{problem.New(problem.Conflict, "x"), codes.FailedPrecondition},
		{fmt.Errorf("wrapped: %w", problem.New(problem.NotFound, "x")), codes.NotFound},
		{problem.New("made up", "x"), codes.Internal},
		{fmt.Errorf("read: %w", context.Canceled), codes.Canceled},
		{fmt.Errorf("read: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{errors.New("x"), codes.Internal},
		{fmt.Errorf("ask: %w", status.Error(codes.ResourceExhausted, "x")), codes.ResourceExhausted},
	} {
		if got := status.Code(transport.ToStatus(tc.err)); got != tc.want {
			t.Errorf("ToStatus(%v) = %v, want %v", tc.err, got, tc.want)
		}
	}
}

func TestFromStatusOfOthers(t *testing.T) {
	plain := errors.New("no status")
	if got := transport.FromStatus(plain); !errors.Is(got, plain) {
		t.Errorf("an error that is no status became %v", got)
	}
	for _, tc := range []struct {
		code   codes.Code
		want   problem.Code
		reason problem.Reason
		is     error
	}{
		{codes.Unavailable, problem.Unavailable, transport.ReasonNoAnswer, nil},
		{codes.DeadlineExceeded, problem.Unavailable, transport.ReasonTimeout, context.DeadlineExceeded},
		{codes.Canceled, problem.Cancelled, "", context.Canceled},
		{codes.Unimplemented, problem.Failed, transport.ReasonUnsupported, nil},
		{codes.Unauthenticated, problem.Denied, "", nil},
		{codes.Unknown, problem.Internal, "", nil},
	} {
		err := transport.FromStatus(status.Error(tc.code, "text"))
		if got := problem.CodeOf(err); got != tc.want {
			t.Errorf("%v: code %q, want %q", tc.code, got, tc.want)
		}
		if got := problem.ReasonOf(err); got != tc.reason {
			t.Errorf("%v: reason %q, want %q", tc.code, got, tc.reason)
		}
		if tc.is != nil && !errors.Is(err, tc.is) {
			t.Errorf("%v: errors.Is does not find %v", tc.code, tc.is)
		}
		if !strings.HasPrefix(err.Error(), "text") {
			t.Errorf("%v: %q lost its text", tc.code, err)
		}
	}
}

func TestContextErrorsAreFoundOnTheOtherEnd(t *testing.T) {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		for _, err := range []error{cause, fmt.Errorf("read: %w", cause), problem.Wrap(problem.Failed, cause, "dump")} {
			if got := transport.FromStatus(transport.ToStatus(err)); !errors.Is(got, cause) || got.Error() != err.Error() {
				t.Errorf("%v became %v", err, got)
			}
		}
	}
}

func TestFromFailureOfNothing(t *testing.T) {
	if err := transport.FromFailure(nil); err != nil {
		t.Errorf("nil became %v", err)
	}
	if got := problem.CodeOf(transport.FromFailure(&pb.Failure{Message: "x"})); got != problem.Internal {
		t.Errorf("a failure without a code has %q", got)
	}
}

// Whatever text an error holds, it can be sent, and a second trip changes nothing.
func FuzzFailure(f *testing.F) {
	f.Add("dump shop", "web/db", "Check it.", "FATAL: \xff")
	f.Add("web/db: x", "web/db", "", "")
	f.Add("context canceled", "", "\x00", ": ")
	f.Add(": context canceled", "a", "", "")
	f.Fuzz(func(t *testing.T, what, source, hint, detail string) {
		err := problem.New(problem.Failed, "%s", what).WithSource(source).WithHint("%s", hint).WithDetails(detail)
		first := transport.ToFailure(transport.FromStatus(transport.ToStatus(err)))
		if _, err := proto.Marshal(first); err != nil {
			t.Fatalf("cannot be sent: %v", err)
		}
		if first.GetCode() != string(problem.Failed) {
			t.Errorf("code %q", first.GetCode())
		}
		second := transport.ToFailure(transport.FromFailure(first))
		if !proto.Equal(first, second) {
			t.Errorf("a second trip changes\n%v\nto\n%v", first, second)
		}
	})
}

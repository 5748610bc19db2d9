package transport

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Reasons that come from the wire itself rather than from the other end.
const (
	ReasonNoAnswer    problem.Reason = "no-answer"     // nobody listens, or the connection broke
	ReasonTimeout     problem.Reason = "timeout"       // the answer took longer than the caller would wait
	ReasonUnsupported problem.Reason = "not-supported" // the other end is of a version that lacks the call
	reasonPanic       problem.Reason = "panic"         // a defect of ours
)

// onWire gives each class of problem its gRPC code, for clients that are not
// ours. Our own read the detail.
var onWire = map[problem.Code]codes.Code{
	problem.Internal:     codes.Internal,
	problem.InvalidInput: codes.InvalidArgument,
	problem.NotFound:     codes.NotFound,
	problem.Conflict:     codes.FailedPrecondition,
	problem.Unavailable:  codes.Unavailable,
	problem.Failed:       codes.Aborted,
	problem.Denied:       codes.PermissionDenied,
	problem.Corrupt:      codes.DataLoss,
	problem.Cancelled:    codes.Canceled,
	problem.PartlyFailed: codes.Aborted,
}

// offWire classes statuses that carry no problem: those of gRPC itself and of
// servers that are not ours.
var offWire = map[codes.Code]problem.Code{
	codes.Canceled:           problem.Cancelled,
	codes.InvalidArgument:    problem.InvalidInput,
	codes.OutOfRange:         problem.InvalidInput,
	codes.DeadlineExceeded:   problem.Unavailable,
	codes.Unavailable:        problem.Unavailable,
	codes.ResourceExhausted:  problem.Unavailable,
	codes.NotFound:           problem.NotFound,
	codes.AlreadyExists:      problem.Conflict,
	codes.FailedPrecondition: problem.Conflict,
	codes.Aborted:            problem.Conflict,
	codes.PermissionDenied:   problem.Denied,
	codes.Unauthenticated:    problem.Denied,
	codes.DataLoss:           problem.Corrupt,
	codes.Unimplemented:      problem.Failed,
}

// ToStatus makes err a gRPC status. A problem in its chain travels as a
// pb.Failure with all that a user reads; the ends of contexts keep their
// codes; a status stays what it is; everything else is a defect of ours.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	p, isProblem := errors.AsType[*problem.Problem](err)
	if st, ok := status.FromError(err); ok && !isProblem {
		return st.Err()
	}
	code := codes.Internal
	switch {
	case isProblem:
		if c, ok := onWire[p.Code]; ok {
			code = c
		}
		if p.Code == problem.Unavailable && errors.Is(err, context.DeadlineExceeded) {
			code = codes.DeadlineExceeded
		}
	case errors.Is(err, context.Canceled):
		code = codes.Canceled
	case errors.Is(err, context.DeadlineExceeded):
		code = codes.DeadlineExceeded
	}
	st := status.New(code, valid(err.Error()))
	if detailed, detailErr := st.WithDetails(ToFailure(err)); detailErr == nil {
		st = detailed
	}
	return st.Err()
}

// FromStatus is the inverse of ToStatus: the result is a *problem.Problem, and
// errors.Is finds the context's error in it where the other end met one. An
// error that is no status is returned as it is.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*problem.Problem](err); ok {
		return err
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		if f, ok := d.(*pb.Failure); ok {
			return FromFailure(f)
		}
	}
	code, known := offWire[st.Code()]
	if !known {
		code = problem.Internal
	}
	p := withCause(problem.New(code, "%s", st.Message()))
	switch st.Code() {
	case codes.Unavailable:
		p.Reason = ReasonNoAnswer
	case codes.DeadlineExceeded:
		p.Reason, p.Err = ReasonTimeout, context.DeadlineExceeded
	case codes.Canceled:
		p.Err = context.Canceled
	case codes.Unimplemented:
		p.Reason = ReasonUnsupported
		p.Hint = "The other end runs another version of Baktainer; `baktainer version` and `baktainer status` show both."
	}
	return p
}

// ToFailure gives a problem, or any error, the form in which it is sent and
// recorded. Nothing is lost that problem.Text shows.
func ToFailure(err error) *pb.Failure {
	f := &pb.Failure{Code: string(problem.Internal), Reason: string(problem.ReasonOf(err))}
	switch {
	case errors.Is(err, context.Canceled):
		f.Code = string(problem.Cancelled)
	case errors.Is(err, context.DeadlineExceeded):
		f.Code = string(problem.Unavailable)
		if f.Reason == "" {
			f.Reason = string(ReasonTimeout)
		}
	}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		f.Code, f.Source = string(p.Code), valid(p.Source)
	}
	for p := range problems(err) {
		for _, d := range p.Details {
			f.Details = append(f.Details, valid(d))
		}
		if f.Hint == "" {
			f.Hint = valid(p.Hint)
		}
	}
	f.Message = withoutSource(valid(err.Error()), f.Source)
	return f
}

// FromFailure is the inverse of ToFailure; nil gives nil.
func FromFailure(f *pb.Failure) error {
	if f == nil {
		return nil
	}
	code := problem.Code(f.GetCode())
	if code == "" {
		code = problem.Internal
	}
	return withCause(&problem.Problem{
		Code: code, Reason: problem.Reason(f.GetReason()), Source: f.GetSource(),
		What: f.GetMessage(), Hint: f.GetHint(), Details: f.GetDetails(),
	})
}

// withCause takes the error of a context off the end of p's line and makes it
// p's cause, so that errors.Is finds it and the line reads as before.
func withCause(p *problem.Problem) *problem.Problem {
	for _, cause := range []error{context.Canceled, context.DeadlineExceeded} {
		if what, ok := strings.CutSuffix(p.What, cause.Error()); ok && (what == "" || strings.HasSuffix(what, ": ")) {
			p.What, p.Err = strings.TrimSuffix(what, ": "), cause
		}
	}
	return p
}

// withoutSource takes the source's name, which travels on its own, off the line
// in which Problem.Error put it.
func withoutSource(line, source string) string {
	if source == "" {
		return line
	}
	if rest, ok := strings.CutPrefix(line, source+": "); ok {
		return rest
	}
	return strings.Replace(line, ": "+source+": ", ": ", 1)
}

// valid makes s fit for the wire, which refuses bytes that are not UTF-8; the
// output of tools may hold any.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

// problems goes through the problems in err's chain, outermost first.
func problems(err error) func(yield func(*problem.Problem) bool) {
	return func(yield func(*problem.Problem) bool) {
		for err != nil {
			p, ok := errors.AsType[*problem.Problem](err)
			if !ok || !yield(p) {
				return
			}
			err = p.Err
		}
	}
}

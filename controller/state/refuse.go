package state

import (
	"errors"
	"regexp"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var (
	idPattern       = regexp.MustCompile(`^[A-Za-z0-9_.-]{1,64}$`)
	snapshotPattern = regexp.MustCompile(`^[0-9A-Z]{26}$`)
)

// bad refuses a command that no honest proposer sends.
func bad(format string, args ...any) error {
	return problem.New(problem.InvalidInput, format, args...).WithReason(ReasonBadCommand)
}

func refuse(reason problem.Reason, format string, args ...any) *problem.Problem {
	return problem.New(problem.Conflict, format, args...).WithReason(reason)
}

// together makes one refusal of several; one alone stays as it is.
func together(wrong []error) error {
	switch len(wrong) {
	case 0:
		return nil
	case 1:
		return wrong[0]
	}
	all := problem.New(problem.CodeOf(wrong[0]), "%d things stand against it", len(wrong)).WithReason(problem.ReasonOf(wrong[0]))
	for _, err := range wrong {
		all = all.WithDetails(strings.Split(problem.Text(err), "\n")...)
	}
	return all
}

// valid says whether a time is set and within the years that can be encoded.
func valid(t *timestamp) bool { return t != nil && t.IsValid() }

// maxDetails bounds the details of a refusal that are remembered, in bytes.
const maxDetails = 16 << 10

// failureOf is a refusal in the form in which it is remembered; nil for success.
// It is of a bounded size, whatever the command named: a raft snapshot has room
// for it.
func failureOf(err error) *pb.Failure {
	if err == nil {
		return nil
	}
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok {
		return &pb.Failure{Code: string(problem.Internal), Message: cut(err.Error(), maxFailure)}
	}
	what := p.What
	if p.Err != nil {
		what += ": " + p.Err.Error()
	}
	f := &pb.Failure{
		Code: string(p.Code), Reason: string(p.Reason), Message: cut(what, maxFailure), Hint: cut(p.Hint, maxFailure), Source: cut(p.Source, maxFailure),
	}
	left := maxDetails
	for _, d := range p.Details {
		d = cut(d, maxFailure)
		if left -= len(d); left < 0 {
			f.Details = append(f.Details, "…")
			break
		}
		f.Details = append(f.Details, d)
	}
	return f
}

// problemOf is the inverse of failureOf.
func problemOf(f *pb.Failure) error {
	if f == nil {
		return nil
	}
	return &problem.Problem{
		Code: problem.Code(f.GetCode()), Reason: problem.Reason(f.GetReason()),
		What: f.GetMessage(), Hint: f.GetHint(), Details: f.GetDetails(), Source: f.GetSource(),
	}
}

package member

import (
	"context"
	"errors"
	"fmt"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
)

// Reasons that tell the errors of a store apart on the wire.
const (
	ReasonNoObject   problem.Reason = "no-object"
	ReasonRange      problem.Reason = "range-beyond-end"
	ReasonNoSpace    problem.Reason = "no-space"
	ReasonObjectName problem.Reason = "object-name"
	// ReasonNotHere says that the controller does not reach the store by itself.
	ReasonNotHere problem.Reason = "store-not-here"
	// ReasonUnreached says that no controller that reaches the store answers.
	ReasonUnreached problem.Reason = "store-not-reached"
	// ReasonCut says that an object was cut short on its way, and has to be sent again.
	ReasonCut problem.Reason = "cut-short"
)

// storeErrors are the errors that callers of a store tell apart, as problems.
var storeErrors = []struct {
	err    error
	code   problem.Code
	reason problem.Reason
}{
	{store.ErrNotExist, problem.NotFound, ReasonNoObject},
	{store.ErrRange, problem.InvalidInput, ReasonRange},
	{store.ErrNoSpace, problem.Failed, ReasonNoSpace},
}

// toWire makes a store's error one that means the same at the other end.
func toWire(err error) error {
	for _, e := range storeErrors {
		if errors.Is(err, e.err) {
			return problem.Wrap(e.code, err, "").WithReason(e.reason)
		}
	}
	return err
}

// fromWire is the inverse of toWire. ctx is the caller's: when it has ended, that
// is what went wrong.
func fromWire(ctx context.Context, verb, name string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s %s: %w", verb, name, context.Cause(ctx))
	}
	err = transport.FromStatus(err)
	for _, e := range storeErrors {
		if problem.ReasonOf(err) == e.reason {
			return fmt.Errorf("%s %s: %w", verb, name, e.err)
		}
	}
	return fmt.Errorf("%s %s: %w", verb, name, err)
}

// settled says whether err is the last word: the store's own, which no other
// controller could say otherwise, or that it is too late to ask one.
func settled(err error) bool {
	for _, e := range storeErrors {
		if errors.Is(err, e.err) || problem.ReasonOf(err) == e.reason {
			return true
		}
	}
	c := problem.CodeOf(err)
	return c == problem.InvalidInput || c == problem.Corrupt || problem.ReasonOf(err) == ReasonCut
}

// unanswered says whether err is a controller's silence, rather than an answer.
func unanswered(err error) bool {
	return problem.CodeOf(err) == problem.Unavailable || problem.ReasonOf(err) == ReasonNotHere
}

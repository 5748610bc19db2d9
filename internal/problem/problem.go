// Package problem holds the one error type that users read: what failed, on
// which source, why, and what to do about it. Everything else in the program
// wraps errors with %w; at the edge a Problem becomes text, an exit status or a
// status on the wire.
package problem

import (
	"errors"
	"fmt"
	"strings"
)

// Code is the broad class of a problem. It decides the exit status of the
// command line and the status code on the wire.
type Code string

// The classes.
const (
	Internal     Code = "internal"      // a defect of ours
	InvalidInput Code = "invalid"       // a flag, label, file or argument is wrong
	NotFound     Code = "not-found"     // the named thing does not exist
	Conflict     Code = "conflict"      // the state forbids it, for example a target that is not empty
	Unavailable  Code = "unavailable"   // a part that is needed does not answer; trying again may help
	Failed       Code = "failed"        // the work was tried and did not succeed
	Denied       Code = "denied"        // a key, credential or right is missing or wrong
	Corrupt      Code = "corrupt"       // stored bytes are not what was stored
	Cancelled    Code = "cancelled"     // somebody asked to stop
	PartlyFailed Code = "partly-failed" // some of several things failed
)

// Reason is a stable slug for the precise cause, meant for scripts and
// metrics: "wrong-password", "dump-truncated" … Empty when Code says it all.
type Reason string

// Problem is an error with what a user needs to act on it.
type Problem struct {
	Code   Code
	Reason Reason
	// Source names the source concerned, empty when there is none.
	Source string
	// What says what failed, as a phrase without a full stop: "dump database shop".
	What string
	// Hint says what to do about it, as a sentence. Optional.
	Hint string
	// Details are further lines: the tail of a tool's stderr, or one line for
	// each wrong setting. They never hold secrets.
	Details []string
	// Err is the cause, may be nil.
	Err error
}

// New returns a Problem without a cause.
func New(code Code, format string, args ...any) *Problem {
	return &Problem{Code: code, What: fmt.Sprintf(format, args...)}
}

// Wrap returns a Problem caused by err.
func Wrap(code Code, err error, format string, args ...any) *Problem {
	return &Problem{Code: code, What: fmt.Sprintf(format, args...), Err: err}
}

// WithHint sets the hint and returns p.
func (p *Problem) WithHint(format string, args ...any) *Problem {
	p.Hint = fmt.Sprintf(format, args...)
	return p
}

// WithReason sets the reason and returns p.
func (p *Problem) WithReason(r Reason) *Problem { p.Reason = r; return p }

// WithSource sets the source and returns p.
func (p *Problem) WithSource(s string) *Problem { p.Source = s; return p }

// WithDetails adds lines and returns p.
func (p *Problem) WithDetails(lines ...string) *Problem {
	p.Details = append(p.Details, lines...)
	return p
}

// Error gives source, what and cause on one line. Hint and details are for Text.
func (p *Problem) Error() string {
	var b strings.Builder
	if p.Source != "" {
		b.WriteString(p.Source + ": ")
	}
	b.WriteString(p.What)
	if p.Err != nil {
		if p.What != "" {
			b.WriteString(": ")
		}
		b.WriteString(p.Err.Error())
	}
	return b.String()
}

// Unwrap gives the cause to errors.Is and errors.As.
func (p *Problem) Unwrap() error { return p.Err }

// Text is the whole of an error for a person: the line of Error, then the
// details, indented, then the hint of the outermost Problem that has one.
func Text(err error) string {
	var b strings.Builder
	b.WriteString(err.Error())
	hint := ""
	for _, p := range chain(err) {
		for _, d := range p.Details {
			b.WriteString("\n    " + d)
		}
		if hint == "" {
			hint = p.Hint
		}
	}
	if hint != "" {
		b.WriteString("\n  → " + hint)
	}
	return b.String()
}

// CodeOf returns the code of the outermost Problem in err's chain, Internal if
// there is none.
func CodeOf(err error) Code {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Code
	}
	return Internal
}

// ReasonOf returns the first reason in err's chain, empty if there is none.
func ReasonOf(err error) Reason {
	for _, p := range chain(err) {
		if p.Reason != "" {
			return p.Reason
		}
	}
	return ""
}

// ExitStatus maps an error to the status that the program ends with:
// 0 fine, 1 failed, 2 bad input, 3 partly failed.
func ExitStatus(err error) int {
	switch {
	case err == nil:
		return 0
	case CodeOf(err) == InvalidInput:
		return 2
	case CodeOf(err) == PartlyFailed:
		return 3
	}
	return 1
}

// chain lists the Problems in err's chain, outermost first.
func chain(err error) []*Problem {
	var ps []*Problem
	for {
		p, ok := errors.AsType[*Problem](err)
		if !ok {
			return ps
		}
		ps = append(ps, p)
		err = p.Err
		if err == nil {
			return ps
		}
	}
}

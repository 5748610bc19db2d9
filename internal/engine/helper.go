package engine

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
)

// failureMark begins the line in which our own program, in a helper container,
// says why it failed.
const failureMark = "baktainer-helper: "

// failure is why it failed, as it travels over stderr.
type failure struct {
	Code   problem.Code   `json:"code"`
	Reason problem.Reason `json:"reason"`
	What   string         `json:"what"`
	Hint   string         `json:"hint,omitempty"`
}

// TellFailure writes to stderr why a subcommand of a helper failed, as its last
// line, so that HelperFailure gives the same error.
func TellFailure(stderr io.Writer, err error) {
	f := failure{Code: problem.Failed, Reason: ReasonToolFailed, What: err.Error()}
	if p, ok := errors.AsType[*problem.Problem](err); ok {
		f = failure{Code: p.Code, Reason: problem.ReasonOf(p), What: p.Error(), Hint: p.Hint}
		if f.Reason == "" {
			f.Reason = ReasonToolFailed
		}
	}
	text, err := json.Marshal(f)
	if err != nil {
		text = []byte(`{"code":"internal","what":"the failure cannot be told"}`)
	}
	fmt.Fprintf(stderr, "%s%s\n", failureMark, text)
}

// HelperFailure is why a helper ended with a status other than 0.
func HelperFailure(e Exit) *problem.Problem {
	if i := strings.LastIndex(e.Stderr, failureMark); i >= 0 {
		line, _, _ := strings.Cut(e.Stderr[i+len(failureMark):], "\n")
		var f failure
		if json.Unmarshal([]byte(line), &f) == nil && f.Code != "" && f.What != "" {
			return &problem.Problem{Code: f.Code, Reason: f.Reason, What: f.What, Hint: f.Hint}
		}
	}
	return ToolFailure("baktainer helper", e)
}

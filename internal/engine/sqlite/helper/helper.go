// Package helper is the part of the sqlite engine that runs beside the database
// file: in a throw-away container that shares the source's volumes. It reads and
// writes the file through an embedded SQLite, so that the source's image needs
// no tool, and takes the locks that SQLite's own clients take.
//
// It is called as a hidden subcommand: sqlite-dump PATH writes a consistent image
// of the database to stdout, sqlite-restore PATH reads one from stdin,
// sqlite-probe PATH describes what is there, and sqlite-query PATH answers the
// query on stdin. A failure is the last line of stderr, in a form that
// ParseFailure understands.
package helper

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// The subcommands.
const (
	DumpCommand    = "sqlite-dump"
	RestoreCommand = "sqlite-restore"
	ProbeCommand   = "sqlite-probe"
	QueryCommand   = "sqlite-query"
)

// Main carries out one subcommand and returns the exit status: 0 fine, 1 failed,
// 2 called wrongly.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if len(args) != 2 {
		fmt.Fprintf(stderr, "want one of %s, %s, %s, %s and a path\n", DumpCommand, RestoreCommand, ProbeCommand, QueryCommand)
		return 2
	}
	var err error
	switch command, path := args[0], args[1]; command {
	case DumpCommand:
		err = dump(ctx, path, stdout)
	case RestoreCommand:
		err = restore(ctx, path, stdin)
	case ProbeCommand:
		err = probe(ctx, path, stdout)
	case QueryCommand:
		err = query(ctx, path, stdin, stdout)
	default:
		fmt.Fprintf(stderr, "unknown command %q\n", command)
		return 2
	}
	if err == nil {
		return 0
	}
	fmt.Fprintln(stderr, failureOf(err).line())
	return 1
}

const failureMark = "baktainer-helper: "

// Failure is why a subcommand failed, as it travels over stderr.
type Failure struct {
	Code   problem.Code   `json:"code"`
	Reason problem.Reason `json:"reason"`
	What   string         `json:"what"`
	Hint   string         `json:"hint,omitempty"`
}

// Problem is the failure as an error for the user.
func (f Failure) Problem() *problem.Problem {
	return &problem.Problem{Code: f.Code, Reason: f.Reason, What: f.What, Hint: f.Hint}
}

func (f Failure) line() string {
	text, err := json.Marshal(f)
	if err != nil {
		return failureMark + `{"code":"internal","what":"the failure cannot be told"}`
	}
	return failureMark + string(text)
}

// ParseFailure finds the failure in what a subcommand wrote to stderr.
func ParseFailure(stderr string) (Failure, bool) {
	i := strings.LastIndex(stderr, failureMark)
	if i < 0 {
		return Failure{}, false
	}
	line, _, _ := strings.Cut(stderr[i+len(failureMark):], "\n")
	var f Failure
	if json.Unmarshal([]byte(line), &f) != nil || f.Code == "" || f.What == "" {
		return Failure{}, false
	}
	return f, true
}

func failureOf(err error) Failure {
	p, ok := errors.AsType[*problem.Problem](err)
	if !ok {
		return Failure{Code: problem.Failed, Reason: engine.ReasonToolFailed, What: err.Error()}
	}
	f := Failure{Code: p.Code, Reason: problem.ReasonOf(p), What: p.Error(), Hint: p.Hint}
	if f.Reason == "" {
		f.Reason = engine.ReasonToolFailed
	}
	return f
}

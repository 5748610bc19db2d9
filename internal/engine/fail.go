package engine

import (
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
)

// detailLines is how many lines of a tool's stderr a failure shows.
const detailLines = 20

// Pattern tells what a tool's stderr means. Engines keep tables of them.
type Pattern struct {
	// Any: the pattern matches when stderr holds one of these, whatever their
	// case. Keep clear of words that are likely passwords ("password", "root"):
	// stderr is masked before it is looked at.
	Any    []string
	Reason problem.Reason
	Code   problem.Code
	Hint   string
}

// ToolFailure is the failure of a tool that ended with a status other than 0,
// with the last lines of its stderr as details.
func ToolFailure(tool string, e Exit) *problem.Problem {
	p := problem.New(problem.Failed, "%s ended with status %d", tool, e.Status).WithReason(ReasonToolFailed)
	switch e.Status {
	case 126, 127:
		p.WithReason(ReasonToolMissing).WithHint("The container has no working %s.", tool)
	case 128 + 9:
		p.WithHint("It was killed from outside, most likely for lack of memory. See the memory limit of the container.")
	case 128 + 15:
		p.WithHint("It was told to stop, most likely because the container was stopped.")
	}
	lines := strings.Split(strings.TrimSpace(e.Stderr), "\n")
	lines = lines[max(0, len(lines)-detailLines):]
	for _, line := range lines {
		if line = strings.TrimRight(line, " \t\r"); line != "" {
			p.WithDetails(line)
		}
	}
	return p
}

// Explain is ToolFailure with code, reason and hint of the first pattern that
// matches stderr.
func Explain(tool string, e Exit, patterns []Pattern) *problem.Problem {
	p := ToolFailure(tool, e)
	said := strings.ToLower(e.Stderr)
	for _, pattern := range patterns {
		for _, text := range pattern.Any {
			if !strings.Contains(said, strings.ToLower(text)) {
				continue
			}
			p.Code, p.Reason = pattern.Code, pattern.Reason
			if pattern.Hint != "" {
				p.Hint = pattern.Hint
			}
			return p
		}
	}
	return p
}

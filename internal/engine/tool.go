package engine

import (
	"context"
	"fmt"
	"io"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
)

// Output runs a small tool to its end and returns its stdout. More than limit
// bytes of it is an error, and the tool is killed. An error means that it is
// not known how the tool ended; a status other than 0 is for the caller to judge.
func Output(ctx context.Context, inst Instance, cmd Command, limit int64) ([]byte, Exit, error) {
	p, err := inst.Exec(ctx, cmd)
	if err != nil {
		return nil, Exit{}, err
	}
	out, readErr := io.ReadAll(io.LimitReader(p, limit+1))
	tooMuch := int64(len(out)) > limit
	if readErr != nil || tooMuch {
		p.Kill()
	}
	exit, err := p.Wait()
	switch {
	case tooMuch:
		return nil, exit, problem.New(problem.Failed, "%s wrote more than %d bytes", cmd.Argv[0], limit).WithReason(ReasonMalformed)
	case err != nil:
		return nil, exit, err
	case readErr != nil:
		return nil, exit, problem.Wrap(problem.Unavailable, readErr, "read the output of %s", cmd.Argv[0]).WithReason(ReasonStreamLost)
	}
	return out, exit, nil
}

// Feed runs a tool that reads cmd.Stdin, discards its stdout and says how it ended.
func Feed(ctx context.Context, inst Instance, cmd Command) (Exit, error) {
	p, err := inst.Exec(ctx, cmd)
	if err != nil {
		return Exit{}, err
	}
	_, _ = io.Copy(io.Discard, p) // Wait tells what went wrong
	return p.Wait()
}

// FirstTool returns the first of names that the instance has, and the first
// line of what it says to --version. When it has none the error has
// ReasonToolMissing.
func FirstTool(ctx context.Context, inst Instance, names ...string) (tool, version string, err error) {
	const limit = 64 << 10
	for _, name := range names {
		out, exit, err := Output(ctx, inst, Command{Argv: []string{name, "--version"}}, limit)
		if problem.ReasonOf(err) == ReasonToolMissing || err == nil && (exit.Status == 126 || exit.Status == 127) {
			continue
		}
		if err != nil {
			return "", "", fmt.Errorf("ask %s for its version: %w", name, err)
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		return name, strings.TrimSpace(line), nil
	}
	none := "none of " + strings.Join(names, ", ")
	if len(names) == 1 {
		none = "no " + names[0]
	}
	return "", "", problem.New(problem.Failed, "%s %s", toolsOf(inst), none).WithReason(ReasonToolMissing).
		WithHint("Use an image of the database that comes with its own tools, or name one that has them in baktainer.tools.image.")
}

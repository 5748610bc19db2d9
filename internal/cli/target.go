package cli

import (
	"path/filepath"
	"strings"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// target is what --to means. At most one of its fields is set; none: the source
// that the snapshot is of.
type target struct {
	source, container string
	made              string // the name of a container to make
	// file is a path, "-" for stdout.
	file string
}

// parseTarget reads SOURCE, container:NAME, new:NAME, file:PATH or -.
func parseTarget(text string) (target, error) {
	wrong := func(reason string) (target, error) {
		return target{}, problem.New(problem.InvalidInput, "--to %.80q: %s", text, reason).
			WithHint("Want SOURCE, container:NAME, new:NAME, file:PATH, or - for stdout.")
	}
	kind, rest, _ := strings.Cut(text, ":")
	switch {
	case text == "":
		return target{}, nil
	case text == "-":
		return target{file: "-"}, nil
	case (kind == "container" || kind == "file" || kind == "new") && rest == "":
		return wrong("the name is missing")
	case kind == "container":
		return target{container: rest}, nil
	case kind == "new":
		if err := source.CheckContainer(rest); err != nil {
			return wrong(err.Error())
		}
		return target{made: rest}, nil
	case kind == "file":
		return target{file: filepath.Clean(rest)}, nil
	}
	if err := source.CheckName(text); err != nil {
		return wrong("this is not a source: " + err.Error())
	}
	return target{source: text}, nil
}

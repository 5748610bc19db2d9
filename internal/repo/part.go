package repo

import (
	"slices"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// FindPart picks, of the streams that are chosen by their names or databases, or of
// all, the one that has all the objects that the names mean, and tells what makes a
// dump of them alone. It fails with engine.ReasonNoPart when none has them, or
// several have.
func FindPart(streams []StreamInfo, chosen, names []string) (StreamInfo, engine.Part, error) {
	var stream StreamInfo
	var part engine.Part
	var found []string
	var why error // of the stream that comes nearest
	for _, s := range streams {
		if len(chosen) > 0 && !slices.ContainsFunc(chosen, s.Called) {
			continue
		}
		p, err := s.Contents.Part(names...)
		switch {
		case err == nil:
			stream, part, found = s, p, append(found, s.Name)
		case why == nil, len(s.Contents.Common) > 0 && problem.CodeOf(why) == problem.InvalidInput:
			why = err
		}
	}
	switch {
	case len(found) > 1:
		return StreamInfo{}, engine.Part{}, problem.New(problem.InvalidInput, "%d dumps of the snapshot have what is to be restored", len(found)).
			WithReason(engine.ReasonNoPart).WithDetails(found...).WithHint("Name the database with --select.")
	case why == nil && len(found) == 0:
		return StreamInfo{}, engine.Part{}, problem.New(problem.NotFound, "the snapshot has no stream or database %q", chosen).WithReason(engine.ReasonNoPart)
	case len(found) == 0:
		return StreamInfo{}, engine.Part{}, why
	}
	return stream, part, nil
}

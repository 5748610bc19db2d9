package mongodb

import (
	"errors"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/mongodb/archive"
	"github.com/baktainer/baktainer/internal/problem"
)

// fromNote begins the note that tells the server's version.
const fromNote = "dumped from server version "

type inspector struct {
	parser   *archive.Parser
	database string
	user     string // who dumps, if the server asks for that
	contents engine.Contents
	sections engine.Sections
	seen     int // collections
}

func newInspector(stream engine.Stream) *inspector {
	i := &inspector{parser: archive.New(), database: stream.Database}
	i.parser.Ended = func(c archive.Collection) {
		i.seen++
		if len(i.contents.Objects) < engine.MaxObjects {
			i.contents.Objects = append(i.contents.Objects, engine.Object{Kind: "collection", Name: c.Database + "." + c.Name, Rows: c.Documents})
		}
	}
	i.parser.Piece = func(database, name string, from, to int64) {
		switch {
		case database == "" && name == "":
			i.sections.Common(from, to)
		case !ofServer(database, name): // users are not restored one by one
			i.sections.Add(database+"."+name, from, to)
		}
	}
	return i
}

func (i *inspector) Write(p []byte) (int, error) { return i.parser.Write(p) }

func (i *inspector) Finish() (engine.Contents, error) {
	if err := i.parser.Finish(); err != nil {
		p := problem.Wrap(problem.Failed, err, "check the archive").WithReason(engine.ReasonMalformed)
		switch {
		case errors.Is(err, archive.ErrEmpty):
			p.Reason = engine.ReasonEmpty
		case errors.Is(err, archive.ErrTruncated):
			p.Reason = engine.ReasonTruncated
		}
		return engine.Contents{}, p
	}
	if i.database != "" && i.seen == 0 {
		// mongodump says success when there is no such database.
		return engine.Contents{}, problem.New(problem.NotFound, "the database %s does not exist, or has no collections", i.database).
			WithReason(engine.ReasonNoDatabase).WithHint("See the label baktainer.db.name.")
	}
	if i.user != "" && i.seen == 0 {
		// It says so, too, to a user who may read nothing; there is that user at least.
		return engine.Contents{}, problem.New(problem.Denied, "the user %q sees no collections", i.user).
			WithReason(engine.ReasonNoDatabase).WithHint("Give it the role backup, or name another one in baktainer.db.user with its password.")
	}
	if i.parser.Server != "" {
		i.contents.Notes = append(i.contents.Notes, fromNote+i.parser.Server)
	}
	if i.parser.Tool != "" {
		i.contents.Notes = append(i.contents.Notes, "dumped by mongodump version "+i.parser.Tool)
	}
	i.sections.Settle(&i.contents)
	return i.contents, nil
}

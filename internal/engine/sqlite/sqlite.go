// Package sqlite is the engine for SQLite: one source is one database file, whose
// path in the container the label baktainer.db.name gives.
//
// The file is never simply copied. A file on a volume is read and written by our
// own binary in a throw-away container that shares the volumes (see package
// helper), so the source's image needs no tool. A file that is not on a volume
// can only be reached from inside: there the container's own sqlite3 dumps it,
// page by page as well, and a restore is refused, because a file that is not on
// a volume is lost with its container anyway.
//
// In both cases the stream is a plain database file.
package sqlite

import (
	"context"
	"fmt"
	"path"
	"strings"
	"unicode"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/helper"
	"github.com/baktainer/baktainer/internal/source"
)

const labelName = "baktainer.db.name"

type sqliteEngine struct{}

// New returns the engine.
func New() engine.Engine { return sqliteEngine{} }

func (sqliteEngine) Name() string      { return "sqlite" }
func (sqliteEngine) Aliases() []string { return []string{"sqlite3"} }

// Detect knows images that are named after SQLite. Applications that keep a
// SQLite file cannot be told from outside: they need the label.
func (sqliteEngine) Detect(f engine.Facts) bool {
	_, last := engine.ImagePath(f.Image)
	return strings.HasPrefix(last, "sqlite") && !engine.IsToolImage(f.Image)
}

func (sqliteEngine) Check(s source.Spec, _ engine.Facts) []engine.Complaint {
	var list []engine.Complaint
	complain := func(label, reason, suggestion string) {
		list = append(list, engine.Complaint{Label: label, Reason: reason, Suggestion: suggestion})
	}
	switch p := s.Database; {
	case p == "":
		complain(labelName, "the sqlite engine needs the path of the database file", "give the path inside the container, for example /data/app.db")
	case strings.ContainsFunc(p, unicode.IsControl):
		complain(labelName, "the path holds a control character", "give the path of the database file")
	case !path.IsAbs(p):
		complain(labelName, fmt.Sprintf("%q is not an absolute path", p), fmt.Sprintf("give the path from the root of the container: %q", path.Join("/", "data", p)))
	case strings.HasSuffix(p, "/"):
		complain(labelName, fmt.Sprintf("%q is a directory", p), "give the path of the database file")
	}
	if s.AllDatabases {
		complain("baktainer.db.all", "the sqlite engine backs up one file for each source", "leave the label out")
	}
	return append(list, engine.NoSidecar(s, "it is a file on a volume, which needs no tool, or inside of the container, where no other can reach it")...)
}

// Blank needs no server, only a volume where the file goes.
func (sqliteEngine) Blank(_ engine.Facts, spec source.Spec, _ source.Secret) engine.Blank {
	return engine.Blank{Idle: true, Volumes: []string{path.Dir(path.Clean(spec.Database))}, Spec: spec}
}

func (e sqliteEngine) Open(_ context.Context, inst engine.Instance, s source.Spec) (engine.Session, error) {
	facts := inst.Facts()
	if list := e.Check(s, facts); len(list) > 0 {
		return nil, invalid(list)
	}
	file := path.Clean(s.Database)
	return &session{inst: inst, file: file, onVolume: onVolume(file, facts.Mounts)}, nil
}

// onVolume says whether the directory of file is inside a mount. A mount of the
// file alone does not count: SQLite keeps files beside it that would be missing.
func onVolume(file string, mounts []string) bool {
	dir := path.Dir(file)
	for _, m := range mounts {
		m = path.Clean(m)
		if dir == m || strings.HasPrefix(dir, strings.TrimSuffix(m, "/")+"/") {
			return true
		}
	}
	return false
}

func (s *session) Server() string {
	if s.onVolume {
		return "SQLite " + helper.Version
	}
	return "SQLite, the container's own sqlite3"
}

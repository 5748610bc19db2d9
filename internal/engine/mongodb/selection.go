package mongodb

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/mongodb/archive"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// choose finds out what the labels mean on this server, and whether anything is
// left out. mongodump can name collections of one database to leave out, and takes a
// name that nothing has without a word: so those to keep are kept by leaving out the
// others. Of all databases it can leave out none: see sift.
func (s *session) choose(ctx context.Context) error {
	type namespace struct{ database, name string }
	var all []namespace
	err := s.announced(ctx, s.database, func(db, collection string) {
		if !ofServer(db, collection) {
			all = append(all, namespace{db, collection})
		}
	})
	if err != nil {
		return fmt.Errorf("list the collections: %w", err)
	}
	slices.SortFunc(all, func(a, b namespace) int {
		return cmp.Or(strings.Compare(a.database, b.database), strings.Compare(a.name, b.name))
	})
	c := engine.NewChooser(namespaces(s.dump))
	var choice engine.Choice
	away := map[string]bool{} // databases
	s.away = map[string]bool{}
	for i, n := range all {
		if (i == 0 || all[i-1].database != n.database) && !c.Database(n.database) {
			away[n.database] = true
			choice.Omission.Add(engine.KindDatabaseLeftOut, n.database)
		}
		if !away[n.database] && c.Table([]string{n.database, n.name}) {
			continue
		}
		s.away[n.database+"."+n.name] = true
		choice.Omission.Add(engine.KindLeftOut, n.database+"."+n.name)
		if s.database != "" {
			choice.Args = append(choice.Args, "--excludeCollection="+value(n.name))
		}
	}
	if s.chosen.Warnings, err = c.Settle(); err != nil {
		return err
	}
	const maxArgs = 512 << 10 // bytes: systems bound all arguments
	switch {
	case len(s.away) == len(all) && len(all) > 0 && s.database == "":
		return engine.NoDatabaseLeft()
	case len(s.away) == len(all) && len(all) > 0:
		return engine.NothingLeft(s.database)
	case len(strings.Join(choice.Args, " ")) > maxArgs:
		return problem.New(problem.InvalidInput, "the labels leave out %d collections, more than mongodump can be told", len(choice.Args)).
			WithReason(engine.ReasonSelection).WithHint("Keep more of them.")
	}
	s.chosen.Of = map[string]engine.Choice{s.database: choice}
	return nil
}

// sifted is a dump of all databases without some collections: they are read, and
// dropped on the way.
type sifted struct {
	engine.Process
	archive *archive.Filter
}

func (s *session) sift(p engine.Process) engine.Process {
	return &sifted{p, archive.NewFilter(p, func(db, collection string) bool {
		return s.away[db+"."+strings.TrimPrefix(collection, "system.buckets.")] // of a time series
	})}
}

// Read implements engine.Process.
func (s *sifted) Read(p []byte) (int, error) { return s.archive.Read(p) }

// namespaces reads patterns as those of collections, whose names may hold points.
func namespaces(d source.Dump) source.Dump {
	as := func(list []source.Pattern) (all []source.Pattern) {
		for _, p := range list {
			all = append(all, p.Namespace())
		}
		return all
	}
	d.Tables = source.Selection{Include: as(d.Tables.Include), Exclude: as(d.Tables.Exclude)}
	return d
}

// value writes the value of an option: the tools take quotes off one that begins
// with them.
func value(name string) string {
	if strings.HasPrefix(name, `"`) {
		return strconv.Quote(name)
	}
	return name
}

// DumpOptions implements engine.Selector. A collection's rows are not left out
// alone: mongodump has no such option.
func (mongoEngine) DumpOptions() engine.DumpOptions {
	const anyPoints = 1 << 10
	return engine.DumpOptions{Databases: true, Tables: anyPoints, Args: []engine.Arg{{Name: "--forceTableScan", Example: "--forceTableScan"}}}
}

// Warnings implements engine.Warner.
func (s *session) Warnings() []string { return s.chosen.Warnings }

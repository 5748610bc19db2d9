package mongodb

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

// choose finds out what the labels mean for the database. mongodump can name
// collections to leave out, and takes a name that nothing has without a word: so
// those to keep are kept by leaving out the others.
func (s *session) choose(ctx context.Context) error {
	var names []string
	err := s.announced(ctx, s.database, func(db, collection string) {
		if !ofServer(db, collection) {
			names = append(names, collection)
		}
	})
	if err != nil {
		return fmt.Errorf("list the collections of the database %s: %w", s.database, err)
	}
	slices.Sort(names)
	c := engine.NewChooser(namespaces(s.dump))
	var choice engine.Choice
	for _, name := range names {
		if !c.Table([]string{s.database, name}) {
			choice.Args = append(choice.Args, "--excludeCollection="+value(name))
			choice.Omission.Add(engine.KindLeftOut, s.database+"."+name)
		}
	}
	if s.chosen.Warnings, err = c.Settle(); err != nil {
		return err
	}
	const maxArgs = 512 << 10 // bytes: systems bound all arguments
	switch {
	case len(choice.Args) == len(names) && len(names) > 0:
		return engine.NothingLeft(s.database)
	case len(strings.Join(choice.Args, " ")) > maxArgs:
		return problem.New(problem.InvalidInput, "the labels leave out %d collections, more than mongodump can be told", len(choice.Args)).
			WithReason(engine.ReasonSelection).WithHint("Keep more of them.")
	}
	s.chosen.Of = map[string]engine.Choice{s.database: choice}
	return nil
}

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
	return engine.DumpOptions{Tables: anyPoints, Args: []engine.Arg{{Name: "--forceTableScan", Example: "--forceTableScan"}}}
}

// Warnings implements engine.Warner.
func (s *session) Warnings() []string { return s.chosen.Warnings }

package mongodb

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/mongodb/archive"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	kindDatabase = "database"
	kindServer   = "server"
	format       = "mongodump-archive"
)

type session struct {
	inst     engine.Instance
	tools    string
	port     string // empty: the usual one
	user     string // empty: without authentication
	password source.Secret
	database string // empty: all

	dump   source.Dump     // what is to be dumped
	chosen engine.Chosen   // what that means here, known after Streams
	away   map[string]bool // namespaces that are left out, likewise
}

func (s *session) Server() string { return s.tools }

// command is a tool with what it needs to log in. The password is the first line
// of its stdin; a tool that was not told a user would take rest for it.
func (s *session) command(tool string, rest io.Reader, args ...string) engine.Command {
	argv := []string{tool}
	if s.port != "" {
		argv = append(argv, "--port="+s.port)
	}
	cmd := engine.Command{Stdin: rest}
	if s.user != "" {
		argv = append(argv, "--username="+s.user, "--authenticationDatabase=admin")
		line := io.Reader(strings.NewReader(s.password.Reveal() + "\n"))
		if rest != nil {
			line = io.MultiReader(line, rest)
		}
		cmd.Stdin = line
		if s.password != "" {
			cmd.Secrets = []string{s.password.Reveal()}
		}
	}
	cmd.Argv = append(argv, args...)
	return cmd
}

func (s *session) Streams(ctx context.Context) ([]engine.Stream, error) {
	if s.dump.Selects() {
		if err := s.choose(ctx); err != nil {
			return nil, err
		}
	}
	streams := []engine.Stream{{Name: "all.archive", Kind: kindServer, Format: format}}
	if s.database != "" {
		streams[0] = engine.Stream{Name: engine.FileName(s.database) + ".archive", Kind: kindDatabase, Database: s.database, Format: format}
	}
	s.chosen.Begins(streams)
	return streams, nil
}

// Dump writes one collection after the other: several at a time would be
// interleaved differently each time, which spoils deduplication.
func (s *session) Dump(ctx context.Context, stream engine.Stream) (engine.Process, error) {
	args := []string{"--archive", "--numParallelCollections=1"}
	if stream.Database != "" {
		args = append(args, "--db="+stream.Database)
	}
	args = slices.Concat(args, s.chosen.Of[stream.Database].Args, s.dump.Args)
	p, err := s.inst.Exec(ctx, s.command("mongodump", nil, args...))
	if err != nil {
		return nil, fmt.Errorf("start mongodump: %w", err)
	}
	if stream.Database == "" && len(s.away) > 0 {
		return s.sift(p), nil
	}
	return p, nil
}

func (s *session) Explain(e engine.Exit) *problem.Problem { return s.explain("mongodump", e) }

func (s *session) Inspect(stream engine.Stream) engine.Inspector {
	i := newInspector(stream)
	i.user = s.user
	s.chosen.WriteDown(stream, nil, s.dump.Args, &i.contents)
	return i
}

func (s *session) Prepare(ctx context.Context, streams []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	var plan engine.RestorePlan
	if len(streams) != 1 || streams[0].Format != format {
		return plan, problem.New(problem.InvalidInput, "a MongoDB server is restored from exactly one stream of the format %q", format).
			WithReason(engine.ReasonUnsupported).WithHint("This snapshot was taken by another engine.")
	}
	only := s.only(streams[0])
	among := o.Only
	if o.As != "" {
		if ofServer(o.As, "") {
			return plan, problem.New(problem.InvalidInput, "%q is a database of the server's own", o.As).WithReason(engine.ReasonUnsupported).
				WithHint("Give another name: nothing is restored into that one.")
		}
		among = nil
		for _, name := range o.Only {
			among = append(among, o.As+strings.TrimPrefix(name, only))
		}
		only = o.As
	}
	var stays []string // since the snapshot is without it
	if o.As == "" {
		stays = o.LeftOut[streams[0].Name]
	}
	held, err := s.holds(ctx, only, among, stays)
	if err != nil {
		return plan, err
	}
	what := "all databases of the snapshot (and its users, where it holds them)"
	switch {
	case len(o.Only) > 0:
		what = strings.Join(among, ", ")
	case only != "":
		what = "the database " + only
	}
	if len(held) > 0 {
		plan.Replaces = held
		plan.Steps = append(plan.Steps, "drop each collection that the snapshot holds just before it is restored; other collections stay")
	}
	plan.Steps = append(plan.Steps, "restore "+what+" with mongorestore")
	if len(held) > 0 && !o.Overwrite {
		return plan, problem.New(problem.Conflict, "the target is not empty: it has %s", strings.Join(held, ", ")).
			WithReason(engine.ReasonTargetNotEmpty).WithHint("Permit overwriting (--overwrite): then each collection of the snapshot replaces the one of the same name.")
	}
	return plan, nil
}

// MayRename implements engine.Renamer.
func (s *session) MayRename(stream engine.Stream) error {
	if stream.Database == "" {
		return problem.New(problem.InvalidInput, "%s holds all databases, and only a backup of one can have another name", stream.Name).WithReason(engine.ReasonUnsupported).
			WithHint("Back up one database (baktainer.db.name) to be able to; this one restore into another container.")
	}
	return nil
}

// only is the one database to restore, empty for all.
func (s *session) only(stream engine.Stream) string {
	if stream.Database != "" {
		return stream.Database
	}
	return s.database
}

// ofServer says that a collection is the server's own.
func ofServer(db, collection string) bool {
	return db == "admin" || db == "config" || db == "local" || db == "" || strings.HasPrefix(collection, "system.")
}

// holds lists the collections of the target, a few of them by name, or those of a
// list that it has, but for some.
func (s *session) holds(ctx context.Context, database string, among, but []string) ([]string, error) {
	const named = 20
	var held []string
	more := 0
	err := s.announced(ctx, database, func(db, collection string) {
		switch {
		case ofServer(db, collection) || slices.Contains(but, db+"."+collection):
		case len(among) > 0 && !slices.Contains(among, db+"."+collection):
		case len(held) < named:
			held = append(held, db+"."+collection)
		default:
			more++
		}
	})
	if err != nil {
		return nil, fmt.Errorf("look at what the target holds: %w", err)
	}
	slices.Sort(held)
	if more > 0 {
		held = append(held, fmt.Sprintf("%d more", more))
	}
	return held, nil
}

// announced tells the collections of a database, or of all. The tools have no
// listing, but a dump begins with one.
func (s *session) announced(ctx context.Context, database string, tell func(db, collection string)) error {
	parser := archive.New()
	parser.Announced = tell
	listed, err := s.beginning(ctx, engine.Stream{Database: database}, parser)
	if err == nil && !listed {
		err = problem.New(problem.Failed, "mongodump gave no list of collections").WithReason(engine.ReasonMalformed)
	}
	return err
}

// beginning has a dump begun and read as far as its list of collections, and says
// whether there was one.
func (s *session) beginning(ctx context.Context, stream engine.Stream, parser *archive.Parser) (listed bool, err error) {
	p, err := s.Dump(ctx, stream)
	if err != nil {
		return false, err
	}
	buffer := make([]byte, 32<<10)
	for err == nil && !parser.PreludeRead() {
		var n int
		n, err = p.Read(buffer)
		_, _ = parser.Write(buffer[:n]) // never fails
	}
	if listed = parser.PreludeRead(); listed {
		p.Kill()
	}
	exit, err := p.Wait()
	switch {
	case ctx.Err() != nil:
		return false, ctx.Err()
	case listed:
		return true, nil
	case err != nil:
		return false, err
	case exit.Status != 0:
		return false, s.Explain(exit)
	}
	return false, nil
}

// Survey implements engine.Surveyor. The tools ask a server for its version when
// they dump it, and say it where the dump begins.
func (s *session) Survey(ctx context.Context, dumps []engine.Dumped, _ engine.RestoreOptions) (found engine.Survey, err error) {
	parser := archive.New()
	if _, err := s.beginning(ctx, engine.Stream{}, parser); err != nil {
		return found, fmt.Errorf("look at the target: %w", err)
	}
	const parts = 2 // from one to the next of these, features come that older servers do not know
	for _, d := range dumps {
		found.WarnOlder("MongoDB", parser.Server, d.Contents.Noted(fromNote), parts)
	}
	found.WarnRoom(ctx, s.inst, dataFolder(s.inst.Facts().Args), dumps)
	return found, nil
}

// dataFolder is where a server with these arguments keeps its data.
func dataFolder(args []string) string {
	for i, arg := range args {
		if dir, ok := strings.CutPrefix(arg, "--dbpath="); ok {
			return dir
		}
		if arg == "--dbpath" && i+1 < len(args) {
			return args[i+1]
		}
	}
	return "/data/db"
}

func (s *session) Restore(ctx context.Context, stream engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if stream.Format != format {
		return problem.New(problem.InvalidInput, "the stream %s is not a MongoDB archive", stream.Name).WithReason(engine.ReasonUnsupported)
	}
	whole, users, err := peek(r)
	if err != nil {
		return err
	}
	args := []string{"--archive", "--stopOnError", "--nsExclude=config.*", "--nsExclude=local.*"}
	if o.Overwrite {
		args = append(args, "--drop")
	}
	if only := s.only(stream); only != "" {
		args = append(args, "--nsInclude="+escapePattern(only)+".*")
		if o.As != "" {
			args = append(args, "--nsFrom="+escapePattern(only)+".*", "--nsTo="+escapePattern(o.As)+".*")
		}
	} else if !users {
		args = append(args, "--nsExclude=admin.*")
	}
	exit, err := engine.Feed(ctx, s.inst, s.command("mongorestore", whole, args...))
	if err != nil {
		return fmt.Errorf("restore with mongorestore; the target may hold a part of the snapshot: %w", err)
	}
	if exit.Status != 0 {
		return fmt.Errorf("restore with mongorestore; the target may hold a part of the snapshot: %w", s.explain("mongorestore", exit))
	}
	return nil
}

// maxPeek bounds what is read ahead of an archive, in bytes.
const maxPeek = 32 << 20

// peek reads the archive's list of collections and gives back a reader of the
// whole. users: it holds what mongorestore needs to restore users, which dumps
// of other servers with the same protocol lack.
func peek(r io.Reader) (whole io.Reader, users bool, err error) {
	var read []byte
	parser := archive.New()
	parser.Announced = func(db, collection string) {
		users = users || db == "admin" && collection == "system.version"
	}
	buffer := make([]byte, 32<<10)
	for !parser.PreludeRead() && len(read) < maxPeek {
		n, err := r.Read(buffer)
		read = append(read, buffer[:n]...)
		_, _ = parser.Write(buffer[:n]) // never fails
		if errors.Is(err, io.EOF) {
			break // mongorestore will say what it thinks of it
		}
		if err != nil {
			return nil, false, fmt.Errorf("read the beginning of the archive: %w", err)
		}
	}
	return io.MultiReader(bytes.NewReader(read), r), users, nil
}

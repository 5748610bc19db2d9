// Package backup carries out one backup run on the host of its source: it
// starts the engine's dump tool, shows every byte to the engine's inspector,
// writes it into the repository through the controller, and asks for the commit
// only when all of that went well.
package backup

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
)

// Work is one backup to make.
type Work struct {
	Source   string
	Snapshot string
	Key      repo.SourceKey
	Base     []repo.Ref
	// Avoid are packs (ids) that are not to be built upon.
	Avoid []string
	// Manifest is the version of the manifest to write; 0: the newest.
	Manifest byte
	// Cache, if any, keeps packs at hand for the next backup.
	Cache    Cache
	Engine   engine.Engine
	Instance engine.Instance
	Spec     source.Spec
}

// Result is a snapshot whose bytes are all stored and that waits for its commit.
type Result struct {
	Server  string
	Summary repo.Summary
	// Strange says what looks like an accident beside the snapshot before: what is
	// gone, and what has lost most of its rows.
	Strange []string
}

// Cache keeps packs that were stored, as far as it can.
type Cache interface {
	repo.ObjectReader
	Put(name string, data []byte)
}

// Objects is where packs and manifest go, and where the base is read from.
type Objects interface {
	repo.Sink
	repo.ObjectReader
}

// Reporter hears how the run goes. Its methods must not block.
type Reporter interface {
	// Phase says what the run is at, for people.
	Phase(what string)
	// Watch gives the function that tells plaintext bytes read and bytes sent so far.
	Watch(progress func() (raw, sent int64))
}

// tee is a sink that keeps in a cache what was stored.
type tee struct {
	repo.Sink
	cache Cache
}

func (t tee) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	if err := t.Sink.Put(ctx, name, data, sum); err != nil {
		return err
	}
	t.cache.Put(name, data)
	return nil
}

// copyBuffer is how much of a dump is handed on at a time.
const copyBuffer = 256 << 10

var tracer = otel.Tracer("github.com/baktainer/baktainer/agent/backup")

// Run makes the backup. Whatever goes wrong, nothing of it can be mistaken for
// a snapshot: there is none before the controller's commit, which is the
// caller's to ask for with the Result.
func Run(ctx context.Context, w Work, objects Objects, report Reporter, log *slog.Logger) (Result, error) {
	report.Phase("connecting")
	inst, release, err := engine.Equip(ctx, w.Instance, w.Spec)
	if err != nil {
		return Result{}, fmt.Errorf("find the tools: %w", err)
	}
	defer release()
	session, err := w.Engine.Open(ctx, inst, w.Spec)
	if err != nil {
		return Result{}, fmt.Errorf("open %s: %w", w.Engine.Name(), err)
	}
	streams, err := session.Streams(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("list what to dump: %w", err)
	}
	if len(streams) == 0 {
		return Result{}, problem.New(problem.Failed, "there is nothing to dump").WithReason(engine.ReasonEmpty)
	}
	if w, ok := session.(engine.Warner); ok {
		for _, what := range w.Warnings() {
			log.Warn("look at the labels", "what", what)
		}
	}
	log.Info("dumping", "server", session.Server(), "streams", len(streams))

	o := repo.WriterOptions{
		Source: w.Source, Snapshot: w.Snapshot, Key: w.Key, Base: loadBase(ctx, w, objects, report, log), Compress: w.Spec.Compress,
		Manifest: w.Manifest,
	}
	var sink repo.Sink = objects
	if w.Cache != nil {
		o.Near, sink = w.Cache, tee{objects, w.Cache}
	}
	writer, err := repo.NewWriter(ctx, o, sink)
	if err != nil {
		return Result{}, fmt.Errorf("begin snapshot: %w", err)
	}
	defer writer.Abort() // does nothing after Finish
	report.Watch(writer.Progress)

	buf := make([]byte, copyBuffer)
	now := map[string]engine.Contents{}
	for _, s := range streams {
		report.Phase("dumping " + s.Name)
		done, seen, err := dump(ctx, session, s, writer, buf, log)
		if err != nil {
			return Result{}, fmt.Errorf("dump %s: %w", s.Name, err)
		}
		log.Info("dumped", "stream", done.Name, "bytes", done.Size)
		now[s.Name] = seen
	}
	report.Phase("storing")
	summary, err := writer.Finish(ctx)
	if err != nil {
		return Result{}, fmt.Errorf("store snapshot: %w", err)
	}
	result := Result{Server: session.Server(), Summary: summary}
	if o.Base != nil {
		result.Strange = strange(o.Base.Streams(), now)
	}
	for _, what := range result.Strange {
		log.Warn("this looks like an accident", "what", what)
	}
	return result, nil
}

// mostStrange is how many strange things are told one by one.
const mostStrange = 10

// strange compares what was dumped with the snapshot before. What is left out now
// is no accident: somebody has written a label, and the snapshot says so.
func strange(before []repo.StreamInfo, now map[string]engine.Contents) (list []string) {
	var was, is []contents.Object
	leftOut := chosenAway(now)
	for _, s := range before {
		seen, there := now[s.Name]
		if !there {
			if !leftOut(s.Name, "", s.Database) {
				list = append(list, "all of "+s.Name+" is gone")
			}
			continue
		}
		was, is = append(was, s.Contents.In(s.Name)...), append(is, seen.In(s.Name)...)
	}
	changes, _ := contents.Compare(was, is, engine.MaxObjects)
	for _, c := range contents.Strange(changes) {
		if c.Object != engine.KindExpiring && !leftOut(c.Stream, c.Name, "") {
			list = append(list, c.Stream+": "+c.String())
		}
	}
	if n := len(list) - mostStrange; n > 0 {
		list = append(list[:mostStrange], fmt.Sprintf("and %d more", n))
	}
	return list
}

// chosenAway tells what the labels left out: an object of a stream, or a database.
func chosenAway(now map[string]engine.Contents) func(stream, name, database string) bool {
	type key struct{ stream, name, database string }
	all := map[key]bool{}
	for stream, c := range now {
		for _, o := range c.Objects {
			switch {
			case o.Kind == engine.KindDatabaseLeftOut:
				all[key{database: o.Name}] = true
			case engine.IsLeftOut(o.Kind):
				all[key{stream: stream, name: o.Name}] = true
			}
		}
	}
	return func(stream, name, database string) bool {
		return database != "" && all[key{database: database}] || all[key{stream: stream, name: name}]
	}
}

// loadBase reads what is known of the source already. A base that cannot be
// read costs deduplication, never the backup.
func loadBase(ctx context.Context, w Work, objects Objects, report Reporter, log *slog.Logger) *repo.Base {
	if len(w.Base) == 0 {
		return nil
	}
	report.Phase("reading what is stored already")
	base, err := repo.LoadBase(ctx, objects, w.Key, w.Base, w.Avoid...)
	if ctx.Err() != nil {
		return nil // nothing is wrong with the base; the run ends presently
	}
	if err != nil {
		log.Warn("earlier snapshots cannot be read: everything is stored anew; run `baktainer snapshot verify`", "error", err)
		return nil
	}
	for _, what := range base.Damaged() {
		log.Warn("part of what is stored cannot be read and is stored anew; run `baktainer snapshot verify`", "damaged", what)
	}
	for _, what := range base.Omitted() {
		log.Debug("not built upon", "what", what)
	}
	return base
}

// dump brings one stream from the tool into the repository.
func dump(ctx context.Context, session engine.Session, s engine.Stream, w *repo.Writer, buf []byte, log *slog.Logger) (_ ledger.Stream, seen engine.Contents, err error) {
	ctx, span := tracer.Start(ctx, "dump stream")
	span.SetAttributes(attribute.String("baktainer.stream", s.Name))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	out, err := w.Stream(s)
	if err != nil {
		return ledger.Stream{}, seen, fmt.Errorf("begin stream: %w", err)
	}
	proc, err := session.Dump(ctx, s)
	if err != nil {
		return ledger.Stream{}, seen, err
	}
	inspector := session.Inspect(s)
	size, copyErr := pump(proc, inspector, out, buf)
	if copyErr != nil && copyErr.onWrite {
		proc.Kill() // nobody takes its output any more
	}
	exit, waitErr := proc.Wait()
	log.Debug("the dump tool ended", "stream", s.Name, "bytes", size)
	if err := verdict(ctx, copyErr, waitErr, exit, session.Explain); err != nil {
		return ledger.Stream{}, seen, err
	}
	if seen, err = inspector.Finish(); err != nil {
		return ledger.Stream{}, seen, err
	}
	if size == 0 {
		// Every engine's inspector says so itself; this holds should one forget.
		return ledger.Stream{}, seen, problem.New(problem.Failed, "the tool reported success and wrote nothing").WithReason(engine.ReasonEmpty)
	}
	done, err := out.Close(seen)
	if err != nil {
		return ledger.Stream{}, seen, fmt.Errorf("store stream: %w", err)
	}
	span.SetAttributes(attribute.Int64("baktainer.bytes", done.Size))
	return done, seen, nil
}

// copyError says on which side a copy failed.
type copyError struct {
	err     error
	onWrite bool
}

// pump copies the tool's output to the inspector and the repository.
func pump(from io.Reader, inspector io.Writer, to io.Writer, buf []byte) (int64, *copyError) {
	var total int64
	for {
		n, err := from.Read(buf)
		if n > 0 {
			total += int64(n)
			if _, werr := inspector.Write(buf[:n]); werr != nil {
				return total, &copyError{fmt.Errorf("inspect dump: %w", werr), true}
			}
			if _, werr := to.Write(buf[:n]); werr != nil {
				return total, &copyError{fmt.Errorf("store dump: %w", werr), true}
			}
		}
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, &copyError{fmt.Errorf("read dump: %w", err), false}
		}
	}
}

// verdict says whether the tool's part went well. What is nearest to the cause
// comes first: a cancelled run kills the tool, a store that fails kills the
// tool, a tool that fails cuts its output; the user should read of the former.
func verdict(ctx context.Context, copyErr *copyError, waitErr error, exit engine.Exit, explain func(engine.Exit) *problem.Problem) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case copyErr != nil && copyErr.onWrite:
		return copyErr.err
	case waitErr != nil:
		return waitErr
	case exit.Status != 0:
		return explain(exit)
	case copyErr != nil:
		return problem.Wrap(problem.Failed, copyErr.err, "the output of the dump tool was cut").WithReason(engine.ReasonStreamLost)
	}
	return nil
}

// Package restore carries out one restore run next to its target: it opens a
// snapshot, lets the engine say what stands in the way, and feeds the streams to
// the engine. Every chunk is checked before the engine sees it, and the last
// one only after the whole stream's hash was found right.
package restore

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
)

// Work is one restore to carry out.
type Work struct {
	Snapshot repo.Ref
	Key      repo.SourceKey
	// Select names streams or databases; empty means all.
	Select  []string
	Options engine.RestoreOptions
	// Scratch says that nothing in the target is worth keeping: the snapshot is then
	// not read as a whole before anything is overwritten.
	Scratch  bool
	Engine   engine.Engine
	Instance engine.Instance
	Spec     source.Spec
}

// Reporter hears how the run goes. Its methods must not block.
type Reporter interface {
	Phase(what string)
	// Watch gives the function that tells plaintext bytes restored so far, and in all.
	Watch(progress func() (done, total int64))
}

var tracer = otel.Tracer("github.com/baktainer/baktainer/agent/restore")

// Run restores and returns what was done, or with DryRun what would be, in
// sentences. The report is there also when it fails half-way.
func Run(ctx context.Context, w Work, objects repo.ObjectReader, report Reporter, log *slog.Logger) ([]string, error) {
	report.Phase("opening snapshot")
	snapshot, err := repo.OpenSnapshot(ctx, objects, w.Key, w.Snapshot)
	if err != nil {
		return nil, fmt.Errorf("open snapshot %s: %w", w.Snapshot.Snapshot, err)
	}
	streams, err := Select(snapshot.Streams(), w.Select)
	if err != nil {
		return nil, err
	}
	report.Phase("looking at the target")
	session, err := w.Engine.Open(ctx, w.Instance, w.Spec)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", w.Engine.Name(), err)
	}
	var metas []engine.Stream
	var total int64
	for _, s := range streams {
		metas = append(metas, engine.Stream{Name: s.Name, Kind: s.Kind, Database: s.Database, Format: s.Format})
		total += s.Size
	}
	if w.Options.Overwrite && !w.Options.DryRun && !w.Scratch {
		// Prepare may drop what is there: not before it is certain that the whole of
		// what shall take its place can be read.
		report.Phase("checking the snapshot")
		if err := check(ctx, snapshot, streams); err != nil {
			return nil, fmt.Errorf("check the snapshot before anything is overwritten: %w", err)
		}
	}
	plan, err := session.Prepare(ctx, metas, w.Options)
	if err != nil {
		return nil, fmt.Errorf("prepare the target: %w", err)
	}
	lines := describe(plan)
	if w.Options.DryRun {
		return lines, nil
	}
	var done atomic.Int64
	report.Watch(func() (int64, int64) { return done.Load(), total })
	for i, s := range streams {
		report.Phase("restoring " + s.Name)
		if err := feed(ctx, session, metas[i], snapshot, s.Size, w.Options, &done); err != nil {
			return lines, fmt.Errorf("restore %s: %w", s.Name, err)
		}
		log.Info("restored", "stream", s.Name, "bytes", s.Size)
		lines = append(lines, fmt.Sprintf("Restored %s: %d bytes, SHA-256 %s.", s.Name, s.Size, s.SHA256))
	}
	return lines, nil
}

// check reads streams to their ends, which checks every chunk and every hash.
func check(ctx context.Context, snapshot *repo.Snapshot, streams []repo.StreamInfo) error {
	for _, s := range streams {
		r, err := snapshot.Open(ctx, s.Name)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", s.Name, err)
		}
	}
	return nil
}

func feed(ctx context.Context, session engine.Session, meta engine.Stream, snapshot *repo.Snapshot, size int64, options engine.RestoreOptions, done *atomic.Int64) (err error) {
	ctx, span := tracer.Start(ctx, "restore stream")
	span.SetAttributes(attribute.String("baktainer.stream", meta.Name))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	r, err := snapshot.Open(ctx, meta.Name)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer r.Close()
	before := done.Load()
	if err := session.Restore(ctx, meta, &counted{r, done}, options); err != nil {
		return err
	}
	if fed := done.Load() - before; fed != size {
		return problem.New(problem.Failed, "the tool reported success after %d of %d bytes", fed, size).WithReason(engine.ReasonToolFailed).
			WithHint("The target holds only a part of the snapshot; find out why the tool ended early and restore again.")
	}
	return nil
}

// Select picks the streams whose name or database is among the names, in the
// snapshot's order; no names mean all. Every name must match something.
func Select(all []repo.StreamInfo, names []string) ([]repo.StreamInfo, error) {
	if len(names) == 0 {
		return all, nil
	}
	matches := func(s repo.StreamInfo, name string) bool {
		return s.Name == name || s.Database != "" && s.Database == name
	}
	var unknown []string
	for _, n := range names {
		if !slices.ContainsFunc(all, func(s repo.StreamInfo) bool { return matches(s, n) }) {
			unknown = append(unknown, fmt.Sprintf("%q", n))
		}
	}
	if len(unknown) > 0 {
		var have []string
		for _, s := range all {
			have = append(have, s.Name)
		}
		return nil, problem.New(problem.InvalidInput, "the snapshot has no stream or database %s", strings.Join(unknown, ", ")).
			WithHint("It has: %s.", strings.Join(have, ", "))
	}
	var out []repo.StreamInfo
	for _, s := range all {
		if slices.ContainsFunc(names, func(n string) bool { return matches(s, n) }) {
			out = append(out, s)
		}
	}
	return out, nil
}

func describe(p engine.RestorePlan) []string {
	lines := slices.Clone(p.Steps)
	for _, r := range p.Replaces {
		lines = append(lines, "Replaces: "+r)
	}
	return lines
}

// counted counts what is read from it.
type counted struct {
	io.Reader
	n *atomic.Int64
}

func (c *counted) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n.Add(int64(n))
	return n, err
}

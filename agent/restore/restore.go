// Package restore carries out one restore run next to its target: it opens a
// snapshot, lets the engine say what stands in the way, and feeds the streams to
// the engine. Every chunk is checked before the engine sees it, and the last
// one only after the whole stream's hash was found right.
package restore

import (
	"context"
	"errors"
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
	Select []string
	// Tables name tables or collections of one of these; empty means whole streams.
	Tables []string
	// As is another name for the one database that is restored; empty: its own.
	As      string
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

// Result is what came of a restore, in sentences.
type Result struct {
	// Report is what was done, or with DryRun would be.
	Report []string
	// Warnings tell what may be other than it was, found out before anything was touched.
	Warnings []string
}

// Run restores. The result is there also when it fails half-way.
func Run(ctx context.Context, w Work, objects repo.ObjectReader, report Reporter, log *slog.Logger) (r Result, err error) {
	report.Phase("opening snapshot")
	read := &meter{ObjectReader: objects}
	objects = read
	snapshot, err := repo.OpenSnapshot(ctx, objects, w.Key, w.Snapshot)
	if err != nil {
		return r, fmt.Errorf("open snapshot %s: %w", w.Snapshot.Snapshot, err)
	}
	streams, err := Select(snapshot.Streams(), w.Select)
	if err != nil {
		return r, err
	}
	report.Phase("looking at the target")
	inst, release, err := engine.Equip(ctx, w.Instance, w.Spec)
	if err != nil {
		return r, fmt.Errorf("find the tools: %w", err)
	}
	defer release()
	session, err := w.Engine.Open(ctx, inst, w.Spec)
	if err != nil {
		return r, fmt.Errorf("open %s: %w", w.Engine.Name(), err)
	}
	var part engine.Part
	if len(w.Tables) > 0 {
		if streams, part, err = onePart(streams, w.Tables); err != nil {
			return r, err
		}
		for _, o := range part.Objects {
			w.Options.Only = append(w.Options.Only, o.Name)
		}
	}
	if w.As != "" {
		if err := mayRename(session, w.Engine.Name(), streams, w.As); err != nil {
			return r, err
		}
		w.Options.As = w.As
	}
	var without []string
	if len(part.Objects) == 0 {
		w.Options.LeftOut, without = leftOut(streams)
	}
	var dumps []dump
	var metas []engine.Stream
	var dumped []engine.Dumped
	var total int64
	for _, s := range streams {
		d := dump{snapshot, session, s.StreamMeta, s.Size, part}
		if len(part.Objects) > 0 {
			d.size = part.Bytes
		}
		dumps, metas, total = append(dumps, d), append(metas, d.meta), total+d.size
		dumped = append(dumped, engine.Dumped{Stream: d.meta, Size: d.size, Contents: s.Contents})
	}
	survey, err := look(ctx, session, dumped, w.Options)
	if err != nil {
		return r, err
	}
	r.Warnings = survey.Warnings
	for _, line := range survey.Warnings {
		log.Warn("the target differs", "what", line)
	}
	if len(survey.Missing) > 0 {
		return r, unfit(ctx, session, metas, w.Options, survey.Missing)
	}
	if w.Options.Overwrite && !w.Options.DryRun && !w.Scratch {
		// Prepare may drop what is there: not before it is certain that the whole of
		// what shall take its place can be read.
		report.Phase("checking the snapshot")
		if err := check(ctx, dumps); err != nil {
			return r, fmt.Errorf("check the snapshot before anything is overwritten: %w", err)
		}
	}
	plan, err := session.Prepare(ctx, metas, w.Options)
	if err != nil {
		return r, fmt.Errorf("prepare the target: %w", err)
	}
	r.Report = append(describe(plan), without...)
	if w.Options.DryRun {
		return r, nil
	}
	var done atomic.Int64
	report.Watch(func() (int64, int64) { return done.Load(), total })
	for i, d := range dumps {
		report.Phase("restoring " + d.meta.Name)
		if err := d.feed(ctx, w.Options, &done); err != nil {
			r.Report = append(r.Report, d.meta.Name+" was not restored to its end.") // whoever cancels reads no more than this
			return r, fmt.Errorf("restore %s: %w", d.meta.Name, err)
		}
		log.Info("restored", "stream", d.meta.Name, "bytes", d.size, "tables", len(part.Objects))
		if len(part.Objects) == 0 {
			r.Report = append(r.Report, fmt.Sprintf("Restored %s: %d bytes, SHA-256 %s.", d.meta.Name, d.size, streams[i].SHA256))
		}
	}
	for _, o := range part.Objects {
		counted := "." // the tool may write rows so that they cannot be told apart
		if o.Rows >= 0 {
			counted = fmt.Sprintf(", %d rows, as many as were seen in the backup.", o.Rows)
		}
		r.Report = append(r.Report, fmt.Sprintf("Restored %s %s: %d bytes%s", o.Kind, o.Name, o.Bytes(), counted))
	}
	if len(part.Objects) > 0 {
		r.Report = append(r.Report, fmt.Sprintf("Of the store %d bytes were read for it, of a dump of %d bytes.", read.n.Load(), streams[0].Size))
	}
	return r, nil
}

// look has the session say what the target lacks, if it can.
func look(ctx context.Context, session engine.Session, dumped []engine.Dumped, o engine.RestoreOptions) (engine.Survey, error) {
	surveyor, can := session.(engine.Surveyor)
	if !can {
		return engine.Survey{}, nil
	}
	found, err := surveyor.Survey(ctx, dumped, o)
	if err != nil && ctx.Err() != nil {
		return found, ctx.Err()
	}
	if err != nil { // a restore may do all the same
		found.Warn("It was not found out whether the target lacks anything: %s", err)
	}
	slices.Sort(found.Warnings)
	found.Warnings = slices.Compact(found.Warnings) // several streams may tell the same
	return found, nil
}

// unfit is the failure for want of something, with whatever else stands in the way.
func unfit(ctx context.Context, session engine.Session, metas []engine.Stream, o engine.RestoreOptions, missing []string) error {
	o.DryRun = true
	if _, err := session.Prepare(ctx, metas, o); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		missing = append(missing, "Besides, "+strings.Join(strings.Fields(problem.Text(err)), " "))
	}
	p := problem.New(problem.Conflict, "the snapshot cannot be restored there as things are, and nothing was touched").WithReason(engine.ReasonTargetUnfit)
	return p.WithDetails(missing...)
}

// leftOut tells what the backups in streams are without: by stream, and in sentences.
func leftOut(streams []repo.StreamInfo) (by map[string][]string, sentences []string) {
	for _, s := range streams {
		all := engine.LeftOut(s.Contents.Objects)
		if len(all) == 0 {
			continue
		}
		if by == nil {
			by = map[string][]string{}
		}
		by[s.Name] = all
		sentences = append(sentences, engine.SayLeftOut(s.Name, s.Contents.Objects))
	}
	return by, sentences
}

// mayRename says why what is restored cannot have another name, if so.
func mayRename(session engine.Session, engineName string, streams []repo.StreamInfo, name string) error {
	if err := engine.CheckNewName(name); err != nil {
		return err
	}
	if len(streams) != 1 {
		p := problem.New(problem.InvalidInput, "one database is restored under another name, and %d streams are chosen", len(streams)).WithHint("Choose it with --select.")
		for _, s := range streams {
			p.WithDetails(s.Name)
		}
		return p
	}
	renamer, ok := session.(engine.Renamer)
	if !ok {
		return problem.New(problem.InvalidInput, "%s restores nothing under another name", engineName).WithReason(engine.ReasonUnsupported).
			WithHint("Restore into another container, or write the dump to a file.")
	}
	return renamer.MayRename(streams[0].StreamMeta)
}

// meter counts what is read of a store.
type meter struct {
	repo.ObjectReader
	n atomic.Int64
}

func (m *meter) Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error) {
	rc, err := m.ObjectReader.Get(ctx, name, offset, length)
	if err != nil {
		return nil, err //nolint:wrapcheck // it is the store's
	}
	return struct {
		io.Reader
		io.Closer
	}{&counted{rc, &m.n}, rc}, nil
}

// onePart gives the one of the streams that has all of the tables.
func onePart(streams []repo.StreamInfo, tables []string) ([]repo.StreamInfo, engine.Part, error) {
	stream, part, err := repo.FindPart(streams, nil, tables)
	return []repo.StreamInfo{stream}, part, err
}

// dump is a stream to be restored, or the part of one that some tables are.
type dump struct {
	snapshot *repo.Snapshot
	session  engine.Session
	meta     engine.Stream
	size     int64
	part     engine.Part // without objects: all of the stream
}

// open reads the dump. Its end comes only when all of it was found right: by the
// hash of a stream; of a part, by what is in it.
func (d dump) open(ctx context.Context) (io.ReadCloser, error) {
	if len(d.part.Objects) == 0 {
		return d.snapshot.Open(ctx, d.meta.Name)
	}
	r, err := d.snapshot.OpenSections(ctx, d.meta.Name, d.part.Sections)
	if err != nil {
		return nil, err
	}
	return &proven{ReadCloser: r, inspector: d.session.Inspect(d.meta), want: d.part.Objects}, nil
}

// check reads dumps to their ends, which checks every chunk and every hash.
func check(ctx context.Context, dumps []dump) error {
	for _, d := range dumps {
		r, err := d.open(ctx)
		if err == nil {
			_, err = io.Copy(io.Discard, r)
			_ = r.Close()
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", d.meta.Name, err)
		}
	}
	return nil
}

func (d dump) feed(ctx context.Context, options engine.RestoreOptions, done *atomic.Int64) (err error) {
	ctx, span := tracer.Start(ctx, "restore stream")
	span.SetAttributes(attribute.String("baktainer.stream", d.meta.Name))
	defer func() {
		if err != nil {
			span.SetStatus(codes.Error, err.Error())
		}
		span.End()
	}()
	r, err := d.open(ctx)
	if err != nil {
		return fmt.Errorf("open stream: %w", err)
	}
	defer r.Close()
	before := done.Load()
	if err := d.session.Restore(ctx, d.meta, &counted{r, done}, options); err != nil {
		return err
	}
	if fed := done.Load() - before; fed != d.size {
		return problem.New(problem.Failed, "the tool reported success after %d of %d bytes", fed, d.size).WithReason(engine.ReasonToolFailed).
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
	var unknown []string
	for _, n := range names {
		if !slices.ContainsFunc(all, func(s repo.StreamInfo) bool { return s.Called(n) }) {
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
		if slices.ContainsFunc(names, s.Called) {
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

// proven reads a part of a dump, and fails instead of ending when it does not hold
// what was seen while the whole was dumped.
type proven struct {
	io.ReadCloser
	inspector engine.Inspector
	want      []engine.Object
	err       error // after the end: what was found of it
}

func (p *proven) Read(b []byte) (int, error) {
	if p.err != nil {
		return 0, p.err
	}
	n, err := p.ReadCloser.Read(b)
	_, _ = p.inspector.Write(b[:n]) // never fails
	if errors.Is(err, io.EOF) {
		if err = p.holds(); err == nil {
			err = io.EOF
		}
		p.err = err
	}
	return n, err
}

// holds says what is wrong with what was read.
func (p *proven) holds() error {
	seen, err := p.inspector.Finish()
	if err != nil {
		return fmt.Errorf("check what is to be restored: %w", err)
	}
	same := func(a, b engine.Object) bool { return a.Kind == b.Kind && a.Name == b.Name && a.Rows == b.Rows }
	if !slices.EqualFunc(seen.Objects, p.want, same) {
		return problem.New(problem.Corrupt, "the backup holds other rows there than were seen when it was made").WithReason(engine.ReasonMalformed).
			WithHint("Restore the whole database into another container, and take from there what you need.")
	}
	return nil
}

// Package drill carries out one drill: it restores a snapshot into a throwaway
// container, counts what is there against what was seen while it was dumped, asks
// what the source wants to be asked, and removes the container.
package drill

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/baktainer/baktainer/agent/fresh"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
)

// Reasons for which a drill fails, beside those of engines and of its container.
const (
	ReasonMismatch  problem.Reason = "drill-mismatch"   // not everything was there after the restore
	ReasonAssertion problem.Reason = "assertion-failed" // an answer was not the one expected
)

// shown is how many differences are told one by one.
const shown = 20

// Work is one drill to carry out.
type Work struct {
	Run      string
	Snapshot repo.Ref
	Key      repo.SourceKey
	Engine   engine.Engine
	// Spec and Facts are those of the source, as far as they are known.
	Spec  source.Spec
	Facts engine.Facts
	// Unknown says that what the labels of the source say is not known here.
	Unknown bool
	// Images are tried in turn; those from the place Other on are not what the
	// snapshot was taken from.
	Images []string
	Other  int
	// Pause is as in fresh.Work.
	Pause time.Duration
}

// Result is what came of a drill.
type Result struct {
	// Verdict says that it is known whether the snapshot can be restored.
	Verdict bool
	// Ready is how long the server needed to start, Restored the restore after that.
	Ready, Restored time.Duration
	// Objects and Rows were counted after the restore and are as they were dumped.
	Objects, Rows int64
	// Assertions that hold.
	Assertions int
	Image      string
	// Report is what was done, in sentences.
	Report []string
}

var tracer = otel.Tracer("github.com/baktainer/baktainer/agent/drill")

// Run carries out a drill. The result is there also when it fails: a failure with
// a verdict says that the snapshot cannot be restored, one without that this
// could not be found out.
func Run(ctx context.Context, w Work, rooms provider.Sandboxes, objects repo.ObjectReader, report restore.Reporter, c clock.Clock, log *slog.Logger) (Result, error) {
	ctx, span := tracer.Start(ctx, "drill")
	defer span.End()
	d := &drill{Work: w, objects: objects, report: report, clock: c, log: log}
	err := d.run(ctx, rooms)
	if d.room != nil {
		d.result.Report = d.room.Report
	}
	switch {
	case err == nil:
		d.result.Verdict = true
	case ctx.Err() != nil:
		err = context.Cause(ctx)
		d.result.Verdict = false
	}
	return d.result, err
}

type drill struct {
	Work
	objects repo.ObjectReader
	report  restore.Reporter
	clock   clock.Clock
	log     *slog.Logger
	room    *fresh.Container
	result  Result
}

func (d *drill) run(ctx context.Context, rooms provider.Sandboxes) error {
	d.report.Phase("opening snapshot")
	snapshot, err := repo.OpenSnapshot(ctx, d.objects, d.Key, d.Snapshot)
	if err != nil {
		d.result.Verdict = problem.CodeOf(err) == problem.Corrupt
		return fmt.Errorf("open snapshot %s: %w", d.Snapshot.Snapshot, err)
	}
	streams := snapshot.Streams()
	if d.Spec.Database == "" && len(streams) == 1 {
		d.Spec.Database = streams[0].Database
	}
	d.report.Phase("making a throwaway container")
	if err := d.makeRoom(ctx, rooms); err != nil {
		return err
	}
	defer d.room.Clear(ctx)
	var dumps int64
	for _, s := range streams {
		dumps += s.Size
	}
	guarded, stop, err := d.guard(ctx, dumps)
	if err != nil {
		return err
	}
	defer stop()
	err = d.proceed(guarded, streams, dumps)
	if err != nil && ctx.Err() == nil && guarded.Err() != nil {
		d.result.Verdict = false
		return context.Cause(guarded)
	}
	return err
}

// proceed does what is done in the container.
func (d *drill) proceed(ctx context.Context, streams []repo.StreamInfo, dumps int64) error {
	began := d.clock.Now()
	release, err := d.room.Equip(ctx)
	if err != nil {
		return err
	}
	defer release()
	d.report.Phase("waiting for its server")
	if err := d.room.Ready(ctx); err != nil {
		return err
	}
	d.result.Ready = d.clock.Now().Sub(began)
	d.room.Say("Its server was ready after %s.", seconds(d.result.Ready))
	began = d.clock.Now()
	if err := d.restore(ctx); err != nil {
		return err
	}
	d.result.Restored = d.clock.Now().Sub(began)
	d.room.Say("Restored %d bytes in %s.", dumps, seconds(d.result.Restored))
	session, err := d.room.Open(ctx)
	if err != nil {
		d.result.Verdict = verdict(err)
		return fmt.Errorf("look at what was restored: %w", err)
	}
	if err := d.count(ctx, session, streams); err != nil {
		return err
	}
	return d.ask(ctx, session)
}

func (d *drill) makeRoom(ctx context.Context, rooms provider.Sandboxes) error {
	room, err := fresh.Make(ctx, fresh.Work{
		Run: d.Run, Engine: d.Engine, Spec: d.Spec, Facts: d.Facts, Images: d.Images, Other: d.Other, Pause: d.Pause,
		Memory: cmp.Or(d.Spec.Drill.Memory, source.DefaultDrillMemory),
	}, rooms, false, d.clock, d.log)
	if err != nil {
		return err
	}
	d.room, d.result.Image = room, room.Image
	if d.Unknown {
		d.room.Say("The source is not on this host, or its labels are wrong: its assertions are not known, and not asked.")
	}
	return nil
}

// restore restores the snapshot; that this fails is a verdict, unless it is the
// container that failed.
func (d *drill) restore(ctx context.Context) error {
	done, err := d.room.Restore(ctx, restore.Work{Snapshot: d.Snapshot, Key: d.Key}, d.objects, d.report)
	for _, line := range done.Warnings {
		d.room.Say("%s", line)
	}
	if err != nil && ctx.Err() == nil && problem.ReasonOf(err) != fresh.ReasonNotReady {
		d.result.Verdict = verdict(err)
	}
	return err
}

// verdict says whether a restore that failed tells of the snapshot: not of a store
// that cannot be reached, nor of what this engine never does.
func verdict(err error) bool {
	return problem.CodeOf(err) != problem.Unavailable && problem.CodeOf(err) != problem.Denied && problem.ReasonOf(err) != engine.ReasonUnsupported
}

// count compares what is there with what was dumped.
func (d *drill) count(ctx context.Context, session engine.Session, streams []repo.StreamInfo) error {
	there, err := session.Streams(ctx)
	if err != nil {
		d.result.Verdict = verdict(err)
		return fmt.Errorf("look at what was restored: %w", err)
	}
	var before, after []contents.Object
	var missing []string
	for _, s := range streams {
		i := slices.IndexFunc(there, func(t engine.Stream) bool { return t.Name == s.Name })
		if i < 0 {
			missing = append(missing, s.Name+": nothing of it is there")
			continue
		}
		before = append(before, s.Contents.In(s.Name)...)
		d.report.Phase("counting " + s.Name)
		found, err := inspect(ctx, session, there[i])
		if err != nil {
			d.result.Verdict = verdict(err)
			return fmt.Errorf("count what was restored of %s: %w", s.Name, err)
		}
		after = append(after, found.In(s.Name)...)
	}
	wrong, objects, rows := Judge(before, after)
	wrong = append(missing, wrong...)
	if len(wrong) > 0 {
		d.result.Verdict = true
		p := problem.New(problem.Failed, "the restored data is not what was dumped: %s", wrong[0]).WithReason(ReasonMismatch).
			WithHint("Restore the snapshot into a container of your own and look. If data is missing, an older snapshot may have it.")
		if len(wrong) > 1 {
			p.What = fmt.Sprintf("the restored data is not what was dumped, in %d places", len(wrong))
			p.WithDetails(wrong[:min(len(wrong), shown)]...)
		}
		return p
	}
	d.result.Objects, d.result.Rows = objects, rows
	d.room.Say("Counted %d objects with %d rows, as many as were dumped.", objects, rows)
	return nil
}

// inspect dumps a stream to nowhere and says what was in it.
func inspect(ctx context.Context, session engine.Session, s engine.Stream) (engine.Contents, error) {
	proc, err := session.Dump(ctx, s)
	if err != nil {
		return engine.Contents{}, err
	}
	inspector := session.Inspect(s)
	_, copyErr := io.Copy(inspector, proc)
	exit, err := proc.Wait()
	switch {
	case err != nil:
		return engine.Contents{}, err
	case exit.Status != 0:
		return engine.Contents{}, session.Explain(exit)
	case copyErr != nil:
		return engine.Contents{}, problem.Wrap(problem.Unavailable, copyErr, "read the dump").WithReason(engine.ReasonStreamLost)
	}
	return inspector.Finish()
}

// ask asks what the source wants to be asked.
func (d *drill) ask(ctx context.Context, session engine.Session) error {
	if len(d.Spec.Drill.Assertions) == 0 {
		return nil
	}
	asker, can := session.(engine.Asker)
	if !can {
		return problem.New(problem.InvalidInput, "the engine %s cannot be asked anything", d.Engine.Name()).WithReason(engine.ReasonUnsupported).
			WithHint("Remove the labels baktainer.drill.assert.*: what was counted is compared all the same.")
	}
	d.report.Phase("asking its assertions")
	var wrong []string
	for _, a := range d.Spec.Drill.Assertions {
		answer, err := asker.Ask(ctx, a.Database, a.Query)
		answer = strings.TrimSpace(answer)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case problem.CodeOf(err) == problem.Unavailable: // no answer says nothing of the data
			return fmt.Errorf("ask the assertion %s: %w", a.Name, err)
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %s", a.Name, problem.Text(err)))
		case !a.Holds(answer):
			wrong = append(wrong, fmt.Sprintf("%s: the answer is %q, and %q is expected", a.Name, cut(answer), cut(cmp.Or(a.Want, "true"))))
		default:
			d.result.Assertions++
			d.room.Say("The assertion %s holds.", a.Name)
		}
	}
	if len(wrong) == 0 {
		return nil
	}
	d.result.Verdict = true
	p := problem.New(problem.Failed, "an assertion does not hold of the restored data: %s", wrong[0]).WithReason(ReasonAssertion).
		WithHint("Ask the same of the source. If it holds there, an older snapshot may be right; else change the label baktainer.drill.assert.NAME.")
	if len(wrong) > 1 {
		p.What = fmt.Sprintf("%d assertions do not hold of the restored data", len(wrong))
		p.WithDetails(wrong...)
	}
	return p
}

// Judge compares what was counted after a restore with what was counted while
// dumping: it says what is missing or has other numbers of rows, and how many
// objects and rows there were. Objects that only the restored database has are
// its own. Rows that end by themselves may have ended: as many are missing of all
// then as of those.
func Judge(before, after []contents.Object) (wrong []string, objects, rows int64) {
	type name struct{ stream, name string }
	ended := map[name]int64{}
	before = slices.DeleteFunc(slices.Clone(before), func(o contents.Object) bool { return engine.IsLeftOut(o.Kind) })
	for _, o := range before {
		if o.Kind == engine.KindExpiring {
			ended[name{o.Stream, o.Name}] += o.Rows
		} else {
			objects++
			rows += max(o.Rows, 0)
		}
	}
	for _, o := range after {
		if o.Kind == engine.KindExpiring {
			ended[name{o.Stream, o.Name}] -= o.Rows
		}
	}
	changes, _ := contents.Compare(before, after, engine.MaxObjects)
	missing := map[name]bool{}
	for _, c := range changes {
		if c.Object != engine.KindExpiring && c.Kind != contents.New {
			missing[name{c.Stream, c.Name}] = true
		}
	}
	for _, c := range changes {
		of := name{c.Stream, c.Name}
		switch {
		case c.Object == engine.KindExpiring && c.Kind != contents.New && !missing[of] && ended[of] > 0:
			wrong = append(wrong, fmt.Sprintf("%s: %d of the rows of %s ended by themselves, and do not any more", c.Stream, ended[of], c.Name))
		case c.Kind == contents.New, c.Object == engine.KindExpiring:
		case c.Before > c.After && c.Before-c.After == ended[of]:
			rows -= c.Before - c.After
		case c.Kind == contents.Gone:
			wrong = append(wrong, fmt.Sprintf("%s: the %s %s is missing", c.Stream, c.Object, c.Name))
		default:
			wrong = append(wrong, fmt.Sprintf("%s: the %s %s has %d rows, and had %d", c.Stream, c.Object, c.Name, c.After, c.Before))
		}
	}
	return wrong, objects, rows
}

func cut(s string) string {
	const most = 200
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// Package drill carries out one drill: it restores a snapshot into a throwaway
// container, counts what is there against what was seen while it was dumped, asks
// what the source wants to be asked, and removes the container.
package drill

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"go.opentelemetry.io/otel"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/contents"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
)

// Reasons for which a drill fails, beside those of engines.
const (
	ReasonNotReady  problem.Reason = "drill-not-ready"  // the server did not start
	ReasonMismatch  problem.Reason = "drill-mismatch"   // not everything was there after the restore
	ReasonAssertion problem.Reason = "assertion-failed" // an answer was not the one expected
)

const (
	// startLimit bounds the wait for the server of a throwaway container.
	startLimit = 3 * time.Minute
	// A server has to answer so often, with such pauses, before it counts as ready:
	// those of the official images answer while they set themselves up, and restart
	// once after that.
	answers = 3
	// removal bounds the removal of the container, when nobody waits any more.
	removal   = time.Minute
	startHint = "Can its image be started by itself, without its volumes? The labels baktainer.drill.image and baktainer.drill.memory change what is started."
	// shown is how many differences are told one by one.
	shown = 20
)

// pause is the time between two looks at whether a server answers. Only tests
// change it.
var pause = time.Second

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

func (r *Result) say(format string, args ...any) {
	r.Report = append(r.Report, fmt.Sprintf(format, args...))
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
	room    *provider.Room
	inst    engine.Instance // the room, with the tools that the source has
	spec    source.Spec     // for the throwaway container
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
	d.Spec.Dump = engine.Whole(d.Engine, d.Spec.Dump) // all that was restored is counted, whatever the labels leave out now
	if d.Spec.Database == "" && len(streams) == 1 {
		d.Spec.Database = streams[0].Database
	}
	d.report.Phase("making a throwaway container")
	if err := d.makeRoom(ctx, rooms); err != nil {
		return err
	}
	defer d.clear(ctx)
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
	release, err := d.equip(ctx)
	if err != nil {
		return err
	}
	defer release()
	d.report.Phase("waiting for its server")
	if err := d.ready(ctx); err != nil {
		return err
	}
	d.result.Ready = d.clock.Now().Sub(began)
	d.result.say("Its server was ready after %s.", seconds(d.result.Ready))
	began = d.clock.Now()
	if err := d.restore(ctx); err != nil {
		return err
	}
	d.result.Restored = d.clock.Now().Sub(began)
	d.result.say("Restored %d bytes in %s.", dumps, seconds(d.result.Restored))
	session, err := d.Engine.Open(ctx, d.inst, d.spec)
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
	blank := d.Engine.Blank(d.Facts, d.Spec, source.Secret(rand.Text()))
	memory := cmp.Or(d.Spec.Drill.Memory, source.DefaultDrillMemory)
	room, err := rooms.Sandbox(ctx, provider.Sandbox{Run: d.Run, Images: d.Images, Blank: blank, Memory: memory})
	if errors.Is(err, provider.ErrNoImage) {
		return problem.New(problem.NotFound, "there is no image to make the throwaway container from").WithReason(engine.ReasonNoImage).
			WithDetails("looked for: " + strings.Join(d.Images, ", ")).
			WithHint("Pull the image on this host, or name another one with the label baktainer.drill.image.")
	}
	if err != nil {
		p := problem.Wrap(problem.CodeOf(err), err, "make the throwaway container from %s", strings.Join(d.Images, ", ")).WithReason(problem.ReasonOf(err))
		if p.Code == problem.Failed && p.Reason == "" {
			p = p.WithReason(ReasonNotReady).WithHint(startHint)
		}
		return p
	}
	d.room, d.spec, d.result.Image = room, blank.Spec, room.Image
	d.result.say("Made a container from the image %s, without network, with %d MiB of memory.", room.Image, memory>>20)
	if i := slices.Index(d.Images, room.Image); i >= d.Other {
		d.result.say("This is not the image that the snapshot was taken from, which is not on this host any more.")
	}
	d.result.Report = append(d.result.Report, blank.Notes...)
	if d.Unknown {
		d.result.say("The source is not on this host, or its labels are wrong: its assertions are not known, and not asked.")
	}
	return nil
}

// equip finds the tools to work in the container with.
func (d *drill) equip(ctx context.Context) (release func(), err error) {
	if d.inst, release, err = engine.Equip(ctx, d.room, d.spec); err != nil {
		if failed := d.room.Failed(ctx); failed != nil && ctx.Err() == nil {
			return nil, d.notReady(ctx, "the throwaway container does not run", failed)
		}
		return nil, fmt.Errorf("find the tools: %w", err)
	}
	if d.inst != engine.Instance(d.room) {
		d.result.say("The tools are those of the image %s.", d.spec.Tools.Image)
	}
	return release, nil
}

// clear removes the container, whoever has given up meanwhile.
func (d *drill) clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	if err := d.room.Remove(ctx); err != nil {
		d.log.Warn("the throwaway container could not be removed; that is tried again", "error", err)
	}
}

// ready waits until the server in the container answers, and goes on to.
func (d *drill) ready(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var last error
	for good := 0; ; {
		if err := d.answer(within); err == nil {
			if good++; good == answers {
				return nil
			}
		} else if good = 0; within.Err() == nil {
			last = err
		}
		if failed := d.room.Failed(within); failed != nil && within.Err() == nil {
			return d.notReady(ctx, "the throwaway container does not run", failed)
		}
		if clock.Sleep(within, pause) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return d.notReady(ctx, fmt.Sprintf("the server in the throwaway container does not answer within %s", startLimit), last)
		}
	}
}

// answer says whether a backup could be made of what is in the container.
func (d *drill) answer(ctx context.Context) error {
	session, err := d.Engine.Open(ctx, d.inst, d.spec)
	if err != nil {
		return err
	}
	_, err = session.Streams(ctx)
	if problem.ReasonOf(err) == engine.ReasonNoDatabase {
		return nil // not yet
	}
	return err
}

func (d *drill) notReady(ctx context.Context, what string, cause error) error {
	p := problem.Wrap(problem.Failed, cause, "%s", what).WithReason(ReasonNotReady).WithHint(startHint)
	if lines := d.room.Log(ctx); len(lines) > 0 {
		p.WithDetails("the end of its log:").WithDetails(lines...)
	}
	return p
}

// restore restores the snapshot, a second time when the server went away under
// the first.
func (d *drill) restore(ctx context.Context) error {
	for again := false; ; again = true {
		_, err := restore.Run(ctx, restore.Work{
			Snapshot: d.Snapshot, Key: d.Key, Options: engine.RestoreOptions{Overwrite: true}, Scratch: true,
			Engine: d.Engine, Instance: d.inst, Spec: d.spec,
		}, d.objects, d.report, d.log)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed := d.room.Failed(ctx); failed != nil { // it says nothing of the snapshot
			return d.notReady(ctx, "the throwaway container ended during the restore", errors.Join(failed, err))
		}
		if again || problem.CodeOf(err) == problem.Corrupt {
			d.result.Verdict = verdict(err)
			return fmt.Errorf("restore into the throwaway container: %w", err)
		}
		if gone := d.ready(ctx); gone != nil {
			return errors.Join(fmt.Errorf("restore into the throwaway container: %w", err), gone)
		}
		d.log.Warn("the restore failed, and is tried once more", "error", err)
		d.result.say("A first restore failed, perhaps since the server was not ready yet: %s", problem.Text(err))
	}
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
	d.result.say("Counted %d objects with %d rows, as many as were dumped.", objects, rows)
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
		case err != nil:
			wrong = append(wrong, fmt.Sprintf("%s: %s", a.Name, problem.Text(err)))
		case !a.Holds(answer):
			wrong = append(wrong, fmt.Sprintf("%s: the answer is %q, and %q is expected", a.Name, cut(answer), cut(cmp.Or(a.Want, "true"))))
		default:
			d.result.Assertions++
			d.result.say("The assertion %s holds.", a.Name)
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

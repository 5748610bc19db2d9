// Package fresh restores a snapshot into a container that it makes from the
// snapshot's own image: a throwaway one, for a drill, or one that stays.
package fresh

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
)

// ReasonNotReady is, beside those of engines, the reason when there is no container
// to restore into: its server did not start.
const ReasonNotReady problem.Reason = "drill-not-ready"

const (
	// startLimit bounds the wait for the server of a container.
	startLimit = 3 * time.Minute
	// A server has to answer so often, with such pauses, before it counts as ready:
	// those of the official images answer while they set themselves up, and restart
	// once after that.
	answers = 3
	pause   = time.Second
	// removal bounds the removal of the container, when nobody waits any more.
	removal = time.Minute
)

// Work says what is restored into what.
type Work struct {
	Run    string
	Engine engine.Engine
	// Spec and Facts are those of the source, as far as they are known.
	Spec  source.Spec
	Facts engine.Facts
	// Images are tried in turn; those from the place Other on are not what the
	// snapshot was taken from.
	Images []string
	Other  int
	// Memory is how many bytes the container may use; 0: as many as there are.
	Memory int64
	// Keep is the name that the container gets for good; empty: it is thrown away.
	Keep string
	// Pause is the time between two looks at whether its server answers; 0: a second.
	Pause time.Duration
}

// Container is a container that was made for a snapshot.
type Container struct {
	*provider.Room
	// Spec is what to open a session on it with.
	Spec source.Spec
	// Report is what was done so far, in sentences.
	Report []string

	work      Work
	inst      engine.Instance // the room, with the tools that the source has
	secretive []string        // its variables that have the password
	clock     clock.Clock
	log       *slog.Logger
}

func (w Work) what() string {
	if w.Keep != "" {
		return "container " + w.Keep
	}
	return "throwaway container"
}

func (w Work) hint() string {
	if w.Keep != "" {
		return "Can its image be started by itself, without the volumes of the source? Another one is named with --image."
	}
	return "Can its image be started by itself, without its volumes? The labels baktainer.drill.image and baktainer.drill.memory change what is started."
}

// Say adds a sentence to the report.
func (c *Container) Say(format string, args ...any) {
	c.Report = append(c.Report, fmt.Sprintf(format, args...))
}

// Make makes the container and starts it. With look it only finds out whether it
// could.
func Make(ctx context.Context, w Work, rooms provider.Sandboxes, look bool, clk clock.Clock, log *slog.Logger) (*Container, error) {
	w.Spec.Dump = engine.Whole(w.Engine, w.Spec.Dump) // all that is restored counts, whatever the labels leave out now
	secret := source.Secret(rand.Text())
	blank := w.Engine.Blank(w.Facts, w.Spec, secret)
	if w.Keep != "" && (blank.Idle || blank.Fleeting) {
		return nil, problem.New(problem.InvalidInput, "no container to keep is made for a snapshot of %s", w.Engine.Name()).WithReason(engine.ReasonUnsupported).
			WithHint("Start a container as you want it, and restore with --to container:NAME, or to a file.")
	}
	c := &Container{Spec: blank.Spec, work: w, clock: clk, log: log}
	for _, name := range slices.Sorted(maps.Keys(blank.Env)) {
		if blank.Env[name] == secret.Reveal() {
			c.secretive = append(c.secretive, name)
		}
	}
	room, err := rooms.Sandbox(ctx, provider.Sandbox{Run: w.Run, Images: w.Images, Blank: blank, Memory: w.Memory, Keep: w.Keep, Look: look})
	if errors.Is(err, provider.ErrNoImage) {
		p := problem.New(problem.NotFound, "there is no image to make the %s from", w.what()).WithReason(engine.ReasonNoImage).
			WithDetails("looked for: " + strings.Join(w.Images, ", "))
		if w.Keep != "" {
			return nil, p.WithHint("Pull the image on that host, or name another one with --image.")
		}
		return nil, p.WithHint("Pull the image on this host, or name another one with the label baktainer.drill.image.")
	}
	if err != nil {
		p := problem.Wrap(problem.CodeOf(err), err, "make the %s from %s", w.what(), strings.Join(w.Images, ", ")).WithReason(problem.ReasonOf(err))
		if p.Code == problem.Failed && p.Reason == "" {
			p = p.WithReason(ReasonNotReady).WithHint("%s", w.hint())
		}
		return nil, p
	}
	c.Room, c.inst = room, room
	switch {
	case w.Keep != "" && look:
		c.Say("make container %s from the image %s, on Docker's default network, with no port published", w.Keep, room.Image)
	case w.Keep != "":
		c.Say("Made container %s from the image %s, on Docker's default network, with no port published.", w.Keep, room.Image)
	default:
		c.Say("Made a container from the image %s, without network, with %d MiB of memory.", room.Image, w.Memory>>20)
	}
	if i := slices.Index(w.Images, room.Image); i >= w.Other {
		c.Say("This is not the image that the snapshot was taken from, which is not on this host any more.")
	}
	c.Report = append(c.Report, blank.Notes...)
	return c, nil
}

// Clear removes the container, whoever has given up meanwhile.
func (c *Container) Clear(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), removal)
	defer cancel()
	if err := c.Remove(ctx); err != nil {
		c.log.Warn("the "+c.work.what()+" could not be removed; that is tried again", "error", err)
	}
}

// Equip finds the tools to work in the container with. release has to be called
// when nobody does any more.
func (c *Container) Equip(ctx context.Context) (release func(), err error) {
	inst, release, err := engine.Equip(ctx, c.Room, c.Spec)
	if err != nil {
		if failed := c.Failed(ctx); failed != nil && ctx.Err() == nil {
			return nil, c.notReady(ctx, fmt.Sprintf("the %s does not run", c.work.what()), failed)
		}
		return nil, fmt.Errorf("find the tools: %w", err)
	}
	if inst != engine.Instance(c.Room) {
		c.Say("The tools are those of the image %s.", c.Spec.Tools.Image)
	}
	c.inst = inst
	return release, nil
}

// Open opens a session on the database in the container.
func (c *Container) Open(ctx context.Context) (engine.Session, error) {
	return c.work.Engine.Open(ctx, c.inst, c.Spec)
}

// Ready waits until the server in the container answers, and goes on to.
func (c *Container) Ready(ctx context.Context) error {
	within, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	var last error
	for good := 0; ; {
		if err := c.answer(within); err == nil {
			if good++; good == answers {
				return nil
			}
		} else if good = 0; within.Err() == nil {
			last = err
		}
		if failed := c.Failed(within); failed != nil && within.Err() == nil {
			return c.notReady(ctx, fmt.Sprintf("the %s does not run", c.work.what()), failed)
		}
		if clock.Sleep(within, cmp.Or(c.work.Pause, pause)) != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return c.notReady(ctx, fmt.Sprintf("the server in the %s does not answer within %s", c.work.what(), startLimit), last)
		}
	}
}

// answer says whether a backup could be made of what is in the container.
func (c *Container) answer(ctx context.Context) error {
	session, err := c.Open(ctx)
	if err != nil {
		return err
	}
	_, err = session.Streams(ctx)
	if problem.ReasonOf(err) == engine.ReasonNoDatabase {
		return nil // not yet
	}
	return err
}

func (c *Container) notReady(ctx context.Context, what string, cause error) error {
	p := problem.Wrap(problem.Failed, cause, "%s", what).WithReason(ReasonNotReady).WithHint("%s", c.work.hint())
	if lines := c.Log(ctx); len(lines) > 0 {
		p.WithDetails("the end of its log:").WithDetails(lines...)
	}
	return p
}

// Restore restores into the container, a second time when the server went away
// under the first. A failure with ReasonNotReady says nothing of the snapshot.
func (c *Container) Restore(ctx context.Context, w restore.Work, objects repo.ObjectReader, report restore.Reporter) (restore.Result, error) {
	w.Engine, w.Instance, w.Spec = c.work.Engine, c.inst, c.Spec
	w.Options.Overwrite, w.Scratch = true, true // of what the image has made for a start
	for again := false; ; again = true {
		r, err := restore.Run(ctx, w, objects, report, c.log)
		if err == nil {
			return r, nil
		}
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		if failed := c.Failed(ctx); failed != nil { // it says nothing of the snapshot
			return r, c.notReady(ctx, fmt.Sprintf("the %s ended during the restore", c.work.what()), errors.Join(failed, err))
		}
		if again || problem.CodeOf(err) == problem.Corrupt || problem.ReasonOf(err) == engine.ReasonTargetUnfit {
			return r, fmt.Errorf("restore into the %s: %w", c.work.what(), err)
		}
		if gone := c.Ready(ctx); gone != nil {
			return r, errors.Join(gone, fmt.Errorf("restore into the %s: %w", c.work.what(), err))
		}
		c.log.Warn("the restore failed, and is tried once more", "error", err)
		c.Say("A first restore failed, perhaps since the server was not ready yet: %s", problem.Text(err))
	}
}

// login says how to log in to a container that stays.
func (c *Container) login() string {
	if len(c.secretive) == 0 {
		return "Its passwords are those that its command and variables give, as in the source; accounts that came back with the snapshot have those of the backup."
	}
	return fmt.Sprintf("Its password was made up, and is nowhere but in its own variables: `docker exec %s printenv %s`. Accounts that came back with the snapshot have those of the backup.", c.work.Keep, strings.Join(c.secretive, " "))
}

// Into restores into a container that stays, under the name Keep. When anything
// goes wrong before that is so, nothing of it is left.
func Into(ctx context.Context, w Work, r restore.Work, rooms provider.Sandboxes, objects repo.ObjectReader, report restore.Reporter, clk clock.Clock, log *slog.Logger) (done restore.Result, err error) {
	dry := r.Options.DryRun
	if !dry {
		report.Phase("making container " + w.Keep)
	}
	c, err := Make(ctx, w, rooms, dry, clk, log)
	if err != nil {
		return done, err
	}
	if dry {
		c.Say("wait until its server answers, and restore the snapshot into it")
		c.Say("if that fails, remove the container with its volumes; if not, give it its name: %s", w.Keep)
		return restore.Result{Report: c.Report}, nil
	}
	defer func() {
		if err != nil {
			c.Clear(ctx)
		}
	}()
	release, err := c.Equip(ctx)
	if err != nil {
		return restore.Result{Report: c.Report}, err
	}
	defer release()
	report.Phase("waiting for its server")
	if err := c.Ready(ctx); err != nil {
		return restore.Result{Report: c.Report}, err
	}
	done, err = c.Restore(ctx, r, objects, report)
	done.Report = append(c.Report, done.Report...)
	if err != nil {
		return done, err
	}
	if err := c.Settle(ctx); err != nil {
		return done, fmt.Errorf("give the container its name: %w", err)
	}
	done.Report = append(done.Report,
		c.login(),
		fmt.Sprintf("It has no label, and is not backed up; it does not start by itself after a restart of Docker (`docker update --restart unless-stopped %s`); its data is in anonymous volumes, which go with `docker rm -v`.", w.Keep))
	return done, nil
}

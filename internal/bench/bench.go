// Package bench measures Baktainer beside restic, borg, gzip and zstd on the
// dumps of a real database, all in one run. It prepares the data, runs the
// tools one after the other, and leaves figures; what they mean is written by
// the package report.
package bench

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/workload"
	"github.com/baktainer/baktainer/internal/clock"
)

// patience bounds one step. A step that takes this long has failed.
const patience = time.Hour

// lastDay is the last of the daily dumps; the first is day 0.
const lastDay = 3

// Options are what a run is asked for.
type Options struct {
	Dir    string // where data is kept between runs, and repositories during one
	Binary string // the program that is measured
	Rounds int
	Scale  float64
	Big    float64
	Out    io.Writer // progress
}

// Bench is one run.
type Bench struct {
	Options
	set     workload.Set
	fig     *figures.Figures
	partial string // where the figures are saved after each step
	began   time.Time
}

// Run does everything and returns the figures, those of a run that was broken
// off too.
func Run(ctx context.Context, o Options) (*figures.Figures, error) {
	dir, err := filepath.Abs(o.Dir)
	if err != nil {
		return nil, fmt.Errorf("place the folder: %w", err)
	}
	o.Dir = dir
	if err := os.MkdirAll(filepath.Join(dir, "run"), 0o750); err != nil {
		return nil, fmt.Errorf("make the folder: %w", err)
	}
	now := clock.System{}.Now()
	b := &Bench{
		Options: o, set: workload.Set{Seed: 1, Scale: o.Scale}, partial: filepath.Join(dir, "figures.json"), began: now,
		fig: &figures.Figures{Made: now.UTC().Format(time.DateOnly), Settings: figures.Settings{Rounds: o.Rounds, Scale: o.Scale, Big: o.Big}},
	}
	if b.Binary, err = b.copyBinary(ctx); err != nil {
		return nil, err
	}
	b.removeContainers(context.WithoutCancel(ctx))
	defer b.removeContainers(context.WithoutCancel(ctx))
	if b.fig.Machine, err = machine(b.Dir); err != nil {
		return nil, err
	}
	if b.fig.Versions, err = b.versions(ctx); err != nil {
		return nil, err
	}
	if err := b.prepare(ctx); err != nil {
		return nil, err
	}
	b.fig.Settings.Apart = knows(ctx, b.Binary, "agent")
	for round := 1; round <= b.Rounds && ctx.Err() == nil; round++ {
		for _, history := range workload.Histories() {
			b.history(ctx, history, round)
		}
		b.compressors(ctx, round)
		b.live(ctx, round)
	}
	b.big(ctx)
	return b.fig, ctx.Err()
}

// copyBinary puts the program, and the maker of streams, where containers see
// them and where no build replaces them.
func (b *Bench) copyBinary(ctx context.Context) (string, error) {
	bin := filepath.Join(b.Dir, "bin")
	if err := os.MkdirAll(bin, 0o750); err != nil {
		return "", fmt.Errorf("make the folder of programs: %w", err)
	}
	content, err := os.ReadFile(b.Binary)
	if err != nil {
		return "", fmt.Errorf("read the program: %w", err)
	}
	target := filepath.Join(bin, "baktainer")
	if err := os.WriteFile(target, content, 0o600); err != nil {
		return "", fmt.Errorf("copy the program: %w", err)
	}
	if err := os.Chmod(target, 0o700); err != nil { //nolint:gosec // a program, for its owner
		return "", fmt.Errorf("copy the program: %w", err)
	}
	_, err = run(ctx, "env", "CGO_ENABLED=0", "go", "build", "-trimpath", "-o", filepath.Join(bin, "stream"), "github.com/baktainer/baktainer/internal/bench/stream")
	return target, err
}

// say prints a line of progress.
func (b *Bench) say(format string, args ...any) {
	passed := clock.System{}.Now().Sub(b.began).Round(time.Second)
	fmt.Fprintf(b.Out, "%7s  %s\n", passed, fmt.Sprintf(format, args...))
}

// cost is what a step took.
type cost struct {
	wall, cpu float64
	rss       int64
	parts     []figures.Part
	bytes     int64
	kept      int64 // the size of a file that the step left, where there is no repository
}

// and is the cost of one thing after another.
func (c cost) and(d cost) cost {
	c.wall += d.wall
	c.cpu += d.cpu
	c.rss = max(c.rss, d.rss)
	c.bytes += d.bytes
	for i, p := range d.parts {
		if i >= len(c.parts) {
			c.parts = append(c.parts, p)
			continue
		}
		c.parts[i].CPU += p.CPU
		c.parts[i].RSS = max(c.parts[i].RSS, p.RSS)
	}
	return c
}

// step carries out one step and keeps its figures, or why there are none.
// size is that of the repository, nil where there is none.
func (b *Bench) step(ctx context.Context, k figures.Key, round int, size func() (int64, error), do func(context.Context) (cost, error)) {
	if ctx.Err() != nil {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	s := figures.Sample{Tool: k.Tool, History: k.History, Step: k.Step, Round: round}
	err := func() error {
		var before int64
		var err error
		if size != nil {
			if before, err = size(); err != nil {
				return err
			}
		}
		c, err := do(ctx)
		if err != nil {
			return err
		}
		s.Wall, s.CPU, s.RSS, s.Parts, s.Bytes, s.New = c.wall, c.cpu, c.rss, c.parts, c.bytes, c.kept
		if size != nil {
			if s.Stored, err = size(); err != nil {
				return err
			}
			s.New = s.Stored - before
		}
		return nil
	}()
	if err != nil {
		s = figures.Sample{Tool: k.Tool, History: k.History, Step: k.Step, Round: round, Gap: b.plain(err.Error())}
		b.say("round %d  %-10s %-9s %-16s GAP: %s", round, k.History, k.Step, k.Tool, s.Gap)
	} else {
		b.say("round %d  %-10s %-9s %-16s %7.2f s  CPU %7.2f s  RSS %4d MiB  new %8.2f MB", round, k.History, k.Step, k.Tool, s.Wall, s.CPU, s.RSS>>20, float64(s.New)/1e6)
	}
	b.fig.Samples = append(b.fig.Samples, s)
	if err := b.fig.Save(b.partial); err != nil {
		b.say("%v", err)
	}
}

// command remembers a command line for the document, once.
func (b *Bench) command(tool, step string, args []string) {
	for _, c := range b.fig.Commands {
		if c.Tool == tool && c.Step == step {
			return
		}
	}
	var words []string
	for _, a := range args {
		if strings.ContainsAny(a, " >") && len(a) > 1 {
			a = "'" + a + "'"
		}
		words = append(words, a)
	}
	b.fig.Commands = append(b.fig.Commands, figures.Command{Tool: tool, Step: step, Line: b.plain(strings.Join(words, " "))})
}

// plain takes the folder of this machine out of a text.
func (b *Bench) plain(text string) string {
	text = strings.ReplaceAll(text, filepath.Join(b.Dir, "bin")+"/", "")
	return strings.ReplaceAll(text, b.Dir+"/", "")
}

// runDir is an empty folder for a repository.
func (b *Bench) runDir(name string) (string, error) {
	dir := filepath.Join(b.Dir, "run", name)
	if err := os.RemoveAll(dir); err != nil {
		return "", fmt.Errorf("empty a folder: %w", err)
	}
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return "", fmt.Errorf("make a folder: %w", err)
	}
	return dir, nil
}

// sizeOf adds up the sizes of the files in a folder.
func sizeOf(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return gone(err)
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return gone(err)
	})
	if err != nil {
		return 0, fmt.Errorf("measure a repository: %w", err)
	}
	return total, nil
}

// gone forgives that a file went away while it was looked at.
func gone(err error) error {
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/bench/workload"
)

// history takes every tool through the days of one history, one tool after the
// other in each step, beginning with another one each round.
func (b *Bench) history(ctx context.Context, history string, round int) {
	ours := &baktainer{b: b, source: dumpSource}
	tools := []tool{b.restic(), b.borg(), ours}
	for range (round - 1) % len(tools) {
		tools = append(tools[1:], tools[0])
	}
	failed := map[string]error{}
	if err := b.startCustom(ctx, dumpContainer, dumpSource, "cat /bench/current.sql"); err != nil {
		failed[ours.name()] = err
	}
	for _, t := range tools {
		if failed[t.name()] == nil {
			failed[t.name()] = t.open(ctx)
		}
		// A step that is cut off must not leave the processes behind.
		defer func() {
			if err := t.close(); err != nil {
				b.say("%s does not end well: %v", t.name(), err)
			}
		}()
	}
	each := func(step string, do func(context.Context, tool) (cost, error)) {
		for _, t := range tools {
			b.step(ctx, figures.Key{Tool: t.name(), History: history, Step: step}, round, t.size, func(ctx context.Context) (cost, error) {
				if err := failed[t.name()]; err != nil {
					return cost{}, fmt.Errorf("no repository: %w", err)
				}
				return do(ctx, t)
			})
		}
	}
	for day := range lastDay + 1 {
		label := fmt.Sprintf("day%d", day)
		each(label, func(ctx context.Context, t tool) (cost, error) { return t.backup(ctx, b.dumpFile(history, day), label) })
	}
	each("unchanged", func(ctx context.Context, t tool) (cost, error) {
		return t.backup(ctx, b.dumpFile(history, lastDay), "unchanged")
	})
	size, _ := b.dumpSize(history, lastDay)
	whole := func(c cost, err error) (cost, error) {
		if err == nil && c.bytes != size {
			err = fmt.Errorf("restored %d bytes of %d", c.bytes, size)
		}
		return c, err
	}
	each("restore", func(ctx context.Context, t tool) (cost, error) { return whole(t.restore(ctx)) })
	b.step(ctx, figures.Key{Tool: "baktainer rescue", History: history, Step: "restore"}, round, nil, func(ctx context.Context) (cost, error) {
		if err := failed[ours.name()]; err != nil {
			return cost{}, fmt.Errorf("no repository: %w", err)
		}
		return whole(ours.rescue(ctx))
	})
	each("verify", func(ctx context.Context, t tool) (cost, error) { return t.verify(ctx) })
	each("prune", func(ctx context.Context, t tool) (cost, error) { return t.prune(ctx) })
}

// dumpSize is that of the dump of a day.
func (b *Bench) dumpSize(history string, day int) (int64, error) {
	for _, d := range b.fig.Dumps {
		if d.Day == day && (d.History == history || day == 0) {
			return d.Bytes, nil
		}
	}
	return 0, errors.New("there is no such dump")
}

// startCustom starts a container whose label says how it is dumped.
func (b *Bench) startCustom(ctx context.Context, container, source, command string) error {
	_, _ = docker(ctx, "rm", "-f", "-v", container)
	args := []string{
		"run", "-d", "--init", "--name", container, "-v", b.Dir + "/data:/bench:ro", "-v", b.Dir + "/bin:/bench-bin:ro",
		"--label", "baktainer.backup=true", "--label", "baktainer.name=" + source,
		"--label", "baktainer.db.engine=custom", "--label", "baktainer.command=" + command,
		"--entrypoint", "sleep", postgresImage, "infinity",
	}
	b.command("docker", source, append([]string{"docker"}, args...))
	_, err := docker(ctx, args...)
	return err
}

// compressors compresses each day by itself. Every day is as much work as any
// other and gzip is slow: after the first round, day 0 does.
func (b *Bench) compressors(ctx context.Context, round int) {
	for _, history := range workload.Histories() {
		for day := range lastDay + 1 {
			if day > 0 && round > 1 || day == 0 && history != workload.Uniform {
				continue
			}
			for _, args := range [][]string{{"gzip", "-6"}, {"zstd", "-3", "-q", "-c"}} {
				k := figures.Key{Tool: args[0], History: history, Step: fmt.Sprintf("day%d", day)}
				b.step(ctx, k, round, nil, func(ctx context.Context) (cost, error) {
					return b.compress(ctx, b.dumpFile(history, day), args...)
				})
			}
		}
	}
}

// live measures a dump tool alone, and beside it what we add to it.
func (b *Bench) live(ctx context.Context, round int) {
	ours := &baktainer{b: b, source: postgresSource}
	openErr := ours.open(ctx)
	defer func() {
		if err := ours.close(); err != nil {
			b.say("baktainer does not end well: %v", err)
		}
	}()
	dumpTool := func(step string, args ...string) func(context.Context) (cost, error) {
		return func(ctx context.Context) (cost, error) {
			b.command("pg_dump", step, args)
			u, err := measure.Run(ctx, measure.Command{Args: args})
			return cost{wall: u.Wall, bytes: u.Printed}, err // its processor time is the server's
		}
	}
	backup := func(ctx context.Context) (cost, error) {
		if openErr != nil {
			return cost{}, fmt.Errorf("no repository: %w", openErr)
		}
		return ours.ask(ctx, "backup", "backup", postgresSource)
	}
	type part struct {
		tool, step string
		size       func() (int64, error)
		do         func(context.Context) (cost, error)
	}
	if round == 1 { // so that no one is the first to read the tables
		if _, err := docker(ctx, "exec", postgresContainer, "sh", "-c", "pg_dump -U postgres "+database+" > /dev/null"); err != nil {
			b.say("%v", err)
		}
	}
	parts := []part{
		{"pg_dump", "inside", nil, dumpTool("inside", "docker", "exec", postgresContainer, "sh", "-c", "pg_dump -U postgres "+database+" > /dev/null")},
		{"pg_dump", "outside", nil, dumpTool("outside", "docker", "exec", postgresContainer, "pg_dump", "-U", "postgres", database)},
		{"baktainer", "first", ours.size, backup},
		{"baktainer", "again", ours.size, backup},
	}
	if round%2 == 0 { // the other way round, but the first backup before the second
		slices.Reverse(parts[:2])
		parts = append(parts[2:], parts[:2]...)
	}
	for _, p := range parts {
		b.step(ctx, figures.Key{Tool: p.tool, History: "live", Step: p.step}, round, p.size, p.do)
	}
}

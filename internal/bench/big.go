package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/measure"
)

// Sizes of the big streams at Big 1, and the memory of the second.
const (
	bigStream     = 10e9
	limitedStream = 20e9
	memoryLimit   = "256m"
)

// big backs up streams that are much bigger than the memory may be.
func (b *Bench) big(ctx context.Context) {
	if b.Big <= 0 {
		return
	}
	b.stream(ctx)
	b.limited(ctx)
}

func streamCommand(bytes float64, seed int) string {
	return fmt.Sprintf("/bench-bin/stream -bytes %d -seed %d", int64(bytes), seed)
}

// stream measures both halves while a big stream passes.
func (b *Bench) stream(ctx context.Context) {
	ours := &baktainer{b: b, source: streamSource}
	err := b.startCustom(ctx, streamContainer, streamSource, streamCommand(bigStream*b.Big, 1))
	if err == nil {
		err = ours.open(ctx)
	}
	b.step(ctx, figures.Key{Tool: "baktainer", History: "stream", Step: "backup"}, 1, ours.size, func(ctx context.Context) (cost, error) {
		if err != nil {
			return cost{}, err
		}
		c, err := ours.ask(ctx, "backup", "backup", streamSource)
		c.bytes = int64(bigStream * b.Big)
		return c, err
	})
	if err := ours.close(); err != nil {
		b.say("baktainer does not end well: %v", err)
	}
	_, _ = docker(context.WithoutCancel(ctx), "rm", "-f", "-v", streamContainer)
}

// limited runs both halves in one process in a container with little memory.
func (b *Bench) limited(ctx context.Context) {
	dir, err := b.runDir("limited")
	if err == nil {
		err = b.startCustom(ctx, streamContainer, limitedSource, streamCommand(limitedStream*b.Big, 2))
	}
	var process *measure.Process
	if err == nil {
		process, err = b.startLimited(ctx, dir)
	}
	inside := func(ctx context.Context, step string, args ...string) (cost, error) {
		if err != nil {
			return cost{}, err
		}
		command := append([]string{"docker", "exec", limitedContainer, "/bench-bin/baktainer"}, args...)
		b.command("baktainer in "+memoryLimit, step, command)
		if err := process.Mark(); err != nil {
			return cost{}, err
		}
		u, err := measure.Run(ctx, measure.Command{Args: command})
		if err != nil {
			state, _ := docker(ctx, "inspect", "-f", "out of memory: {{.State.OOMKilled}}, exit status {{.State.ExitCode}}", limitedContainer)
			return cost{}, fmt.Errorf("%w (%s)", err, state)
		}
		cpu, rss, err := process.Since()
		return cost{wall: u.Wall, cpu: cpu, rss: rss, bytes: int64(limitedStream * b.Big)}, err
	}
	size := func() (int64, error) { return sizeOf(filepath.Join(dir, "store")) }
	b.step(ctx, figures.Key{Tool: "baktainer", History: "limited", Step: "backup"}, 1, size, func(ctx context.Context) (cost, error) {
		return inside(ctx, "backup", "backup", limitedSource)
	})
	b.step(ctx, figures.Key{Tool: "baktainer", History: "limited", Step: "verify"}, 1, size, func(ctx context.Context) (cost, error) {
		return inside(ctx, "verify", "snapshot", "verify", limitedSource)
	})
	after := context.WithoutCancel(ctx)
	_, _ = docker(after, "rm", "-f", "-v", limitedContainer, streamContainer)
	if _, err := b.runDir("limited"); err != nil {
		b.say("%v", err)
	}
}

// startLimited starts `baktainer up` in a container of its own, with the
// machine's Docker, and waits until it sees the source.
func (b *Bench) startLimited(ctx context.Context, dir string) (*measure.Process, error) {
	args := []string{
		"run", "-d", "--name", limitedContainer, "--memory", memoryLimit, "--memory-swap", memoryLimit,
		"-v", "/var/run/docker.sock:/var/run/docker.sock", "-v", b.Dir + "/bin:/bench-bin:ro", "-v", dir + ":/var/lib/baktainer",
		"--entrypoint", "/bench-bin/baktainer", postgresImage, "up", "--http-listen", "off", "--schedule", "off",
	}
	b.command("baktainer in "+memoryLimit, "up", append([]string{"docker"}, args...))
	if _, err := docker(ctx, args...); err != nil {
		return nil, err
	}
	err := until(ctx, "baktainer in "+memoryLimit+" is ready", func() error {
		said, err := docker(ctx, "exec", limitedContainer, "/bench-bin/baktainer", "source", "show", limitedSource, "-o", "json")
		if err == nil && !strings.Contains(said, `"ready"`) {
			err = errors.New("the source is not ready")
		}
		return err
	})
	if err != nil {
		logs, _ := docker(ctx, "logs", "--tail", "3", limitedContainer)
		return nil, fmt.Errorf("%w: %s", err, logs)
	}
	said, err := docker(ctx, "inspect", "-f", "{{.State.Pid}}", limitedContainer)
	if err != nil {
		return nil, err
	}
	pid, err := strconv.Atoi(said)
	if err != nil {
		return nil, fmt.Errorf("find the process: %w", err)
	}
	if _, err := os.Stat(fmt.Sprintf("/proc/%d", pid)); err != nil {
		return nil, fmt.Errorf("find the process (is Docker on this machine?): %w", err)
	}
	return measure.Watch("up", pid), nil
}

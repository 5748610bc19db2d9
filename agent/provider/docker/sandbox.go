package docker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"
	"github.com/docker/docker/api/types/filters"
	"github.com/docker/docker/pkg/stdcopy"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
)

// Limits on throwaway containers, beside their memory.
const (
	sandboxPids   = 4096
	sandboxShared = 256 << 20 // of memory that processes share: PostgreSQL wants some
	// sandboxAge is when one is removed whoever has made it: no drill takes as long.
	sandboxAge = 7 * 24 * time.Hour
	// unheardOf is when one of ours is removed that we know nothing of: the Engine made
	// it, and its answer was lost.
	unheardOf = 10 * time.Minute
	// What is shown of its log.
	logLines, logLine = 12, 300
)

var _ provider.Sandboxes = (*Provider)(nil)

// Sandbox implements provider.Sandboxes.
func (p *Provider) Sandbox(ctx context.Context, s provider.Sandbox) (*provider.Room, error) {
	room := &provider.Room{}
	if s.Keep != "" {
		if err := p.nameIsFree(ctx, s.Keep, s.Keep+label.Unfinished); err != nil {
			return nil, err
		}
	}
	config, err := p.sandboxConfig(ctx, s, room)
	if err != nil || s.Look {
		return room, err
	}
	host, name := bounded(s), ""
	if s.Keep != "" {
		config.Labels[label.KeyHelper] = label.KeepMark + p.owner + " " + s.Run
		config.Healthcheck = nil // the image's own
		host, name = &container.HostConfig{NetworkMode: "default"}, s.Keep+label.Unfinished
	}
	created, err := p.client.ContainerCreate(ctx, config, host, nil, nil, name)
	if err != nil {
		return nil, failure(err, "make a container")
	}
	b := &sandbox{p: p, id: created.ID, idle: s.Blank.Idle, memory: s.Memory, keep: s.Keep}
	p.mu.Lock()
	p.rooms[b.id] = true
	p.mu.Unlock()
	room.Instance, room.Failed, room.Log, room.Settle, room.Remove = p.Instance(b.id), b.failed, b.log, b.settle, b.remove
	if s.Blank.Idle {
		return room, nil // its volumes are there from now on
	}
	if err := p.client.ContainerStart(ctx, b.id, container.StartOptions{}); err != nil {
		rest, cancel := context.WithTimeout(context.WithoutCancel(ctx), callPatience)
		defer cancel()
		return nil, errors.Join(startFailure(err, "start the container"), b.remove(rest))
	}
	return room, nil
}

// nameIsFree looks whether no container has one of the names.
func (p *Provider) nameIsFree(ctx context.Context, names ...string) error {
	all, err := p.client.ContainerList(ctx, container.ListOptions{All: true})
	if err != nil {
		return failure(err, "list containers")
	}
	for _, c := range all {
		if slices.ContainsFunc(c.Names, func(n string) bool { return slices.Contains(names, strings.TrimPrefix(n, "/")) }) {
			return problem.New(problem.Conflict, "there is a container %s already", strings.TrimPrefix(c.Names[0], "/")).
				WithHint("Choose another name, or remove that container yourself. One that ends in %s is of a restore that is at work, or has just broken off and is being removed.", label.Unfinished)
		}
	}
	return nil
}

// bounded is how a throwaway container is kept.
func bounded(s provider.Sandbox) *container.HostConfig {
	pids := int64(sandboxPids)
	return &container.HostConfig{
		// It has a loopback then, and knows its own name: servers want both.
		NetworkMode: "none", SecurityOpt: []string{"no-new-privileges"}, CapDrop: []string{"NET_RAW", "MKNOD"},
		LogConfig: container.LogConfig{Type: "json-file", Config: map[string]string{"max-size": "1m", "max-file": "1"}},
		ShmSize:   min(sandboxShared, s.Memory/2),
		Resources: container.Resources{Memory: s.Memory, MemorySwap: s.Memory, PidsLimit: &pids},
	}
}

func (p *Provider) sandboxConfig(ctx context.Context, s provider.Sandbox, room *provider.Room) (*container.Config, error) {
	config := &container.Config{
		Labels:      map[string]string{label.KeyHelper: label.DrillMark + p.owner + " " + s.Run},
		Healthcheck: &container.HealthConfig{Test: []string{"NONE"}},
	}
	for _, name := range slices.Sorted(maps.Keys(s.Blank.Env)) {
		config.Env = append(config.Env, name+"="+s.Blank.Env[name])
	}
	if len(s.Blank.Volumes) > 0 {
		config.Volumes = map[string]struct{}{}
		for _, v := range s.Blank.Volumes {
			config.Volumes[v] = struct{}{}
		}
	}
	if s.Blank.Idle {
		image, err := p.helper.ensure(ctx)
		room.Image, room.ID, config.Image = image, image, image
		return config, err
	}
	if len(s.Blank.Args) > 0 {
		config.Entrypoint, config.Cmd = s.Blank.Args[:1], s.Blank.Args[1:]
	}
	for _, name := range s.Images {
		found, err := p.client.ImageInspect(ctx, name)
		switch {
		case err == nil:
			room.Image, room.ID, config.Image = name, found.ID, found.ID
			return config, nil
		case !errdefs.IsNotFound(err) && !errdefs.IsInvalidArgument(err):
			return nil, failure(err, "look for the image %s", name)
		}
	}
	return nil, provider.ErrNoImage
}

// sandbox is a throwaway container.
type sandbox struct {
	p      *Provider
	id     string
	idle   bool
	memory int64
	keep   string
}

func (b *sandbox) settle(ctx context.Context) error {
	if err := b.p.client.ContainerRename(ctx, b.id, b.keep); err != nil {
		return failure(err, "name the container %s", b.keep)
	}
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	delete(b.p.rooms, b.id)
	return nil
}

func (b *sandbox) failed(ctx context.Context) error {
	c, err := b.p.client.ContainerInspect(ctx, b.id)
	switch {
	case errdefs.IsNotFound(err):
		return problem.New(problem.Failed, "somebody has removed it").WithReason(engine.ReasonNotRunning)
	case err != nil:
		return failure(err, "look at the container")
	case b.idle || c.State.Running:
		return nil
	case c.State.OOMKilled && b.memory == 0:
		return problem.New(problem.Failed, "the kernel has killed it for want of memory").WithReason(engine.ReasonNotRunning)
	case c.State.OOMKilled:
		return problem.New(problem.Failed, "it needed more than %d MiB of memory", b.memory>>20).WithReason(engine.ReasonNotRunning).
			WithHint("Give it more with the label baktainer.drill.memory.")
	}
	return problem.New(problem.Failed, "it has ended with status %d", c.State.ExitCode).WithReason(engine.ReasonNotRunning)
}

func (b *sandbox) log(ctx context.Context) []string {
	if b.idle {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	r, err := b.p.client.ContainerLogs(ctx, b.id, container.LogsOptions{ShowStdout: true, ShowStderr: true, Tail: fmt.Sprint(logLines)})
	if err != nil {
		return nil
	}
	defer r.Close()
	var text bytes.Buffer
	_, _ = stdcopy.StdCopy(&text, &text, io.LimitReader(r, 1<<20)) // what could be read is shown
	var lines []string
	for line := range strings.Lines(text.String()) {
		if line = strings.TrimSpace(strings.ToValidUTF8(line, "?")); line != "" {
			lines = append(lines, strings.ToValidUTF8(line[:min(len(line), logLine)], ""))
		}
	}
	return lines[max(0, len(lines)-logLines):]
}

func (b *sandbox) remove(ctx context.Context) error {
	err := b.p.client.ContainerRemove(ctx, b.id, container.RemoveOptions{Force: true, RemoveVolumes: true})
	b.p.mu.Lock()
	defer b.p.mu.Unlock()
	if err != nil && !errdefs.IsNotFound(err) {
		b.p.rooms[b.id] = false
		return failure(err, "remove the container %.12s", b.id)
	}
	delete(b.p.rooms, b.id)
	return nil
}

// removeRooms removes throwaway containers that a crash of ours left behind, or
// that could not be removed before, or whose making we were not told of, and very
// old ones of anybody's.
func (p *Provider) removeRooms(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, callPatience)
	defer cancel()
	// One that gets its name meanwhile is listed under the one before.
	p.mu.Lock()
	before := maps.Clone(p.rooms)
	p.mu.Unlock()
	all, err := p.client.ContainerList(ctx, container.ListOptions{All: true, Filters: filters.NewArgs(filters.Arg("label", label.KeyHelper))})
	if err != nil {
		p.log.Warn("could not look for left-over throwaway containers", "error", err)
		return
	}
	for _, c := range all {
		owner, run, is := roomMark(c)
		made := time.Unix(c.Created, 0)
		p.mu.Lock()
		used, known := p.rooms[c.ID]
		p.mu.Unlock()
		age := p.clock.Now().Sub(made)
		left := known || owner == p.owner && (made.Before(p.began) || age > unheardOf) || age > sandboxAge
		if !is || used || before[c.ID] || !left {
			continue
		}
		// The Engine keeps volumes that its helpers have, too, for ever.
		for _, h := range all {
			if _, _, room := roomMark(h); !room && shareVolume(h, c) {
				(&helper{p: p, id: h.ID}).close(ctx)
			}
		}
		if err := (&sandbox{p: p, id: c.ID}).remove(ctx); err != nil {
			p.log.Warn("a left-over throwaway container could not be removed", "container", c.ID, "error", err)
			continue
		}
		p.log.Info("removed the container of a drill or a restore that broke off", "run", run)
	}
}

// shareVolume says whether two containers use one volume.
func shareVolume(a, b container.Summary) bool {
	return slices.ContainsFunc(a.Mounts, func(m container.MountPoint) bool {
		return m.Name != "" && slices.ContainsFunc(b.Mounts, func(n container.MountPoint) bool { return n.Name == m.Name })
	})
}

// roomMark says whose container one of ours for drills and restores is, and for
// which run. One that was made to stay is none any more once it has its name.
func roomMark(c container.Summary) (owner, run string, is bool) {
	value := label.Of(c.Labels, nameOf(c))[label.KeyHelper]
	for _, begin := range []string{label.DrillMark, label.KeepMark} {
		if mark, ok := strings.CutPrefix(value, begin); ok {
			owner, run, _ = strings.Cut(mark, " ")
			return owner, run, true
		}
	}
	return "", "", false
}

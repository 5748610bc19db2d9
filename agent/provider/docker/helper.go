package docker

import (
	"context"
	"errors"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
)

// Limits on helper containers, and on side-cars: the tools of a database may have
// many threads.
const (
	helperMemory = 512 << 20
	helperPids   = 64
	sidecarPids  = 1024
	scratchSize  = "64m" // in memory
)

// Helper implements engine.Instance.
func (i *instance) Helper(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	if err := checkCommand(cmd); err != nil {
		return nil, err
	}
	f := helperFor{argv: cmd.Argv, env: cmd.Env, volumesOf: i.id, stdin: cmd.Stdin != nil}
	if cmd.Network {
		f.volumesOf, f.networkOf = "", i.id
	}
	h, err := i.p.createHelper(ctx, f)
	if err != nil {
		return nil, err
	}
	conn, err := attach(ctx, func(ctx context.Context) (types.HijackedResponse, error) {
		return i.p.client.ContainerAttach(ctx, h.id, container.AttachOptions{Stream: true, Stdin: cmd.Stdin != nil, Stdout: true, Stderr: true})
	})
	if err != nil {
		h.discard(ctx)
		return nil, failure(err, "run a helper")
	}
	if err := i.p.client.ContainerStart(ctx, h.id, container.StartOptions{}); err != nil {
		conn.Close()
		h.discard(ctx)
		return nil, i.cannotJoin(ctx, err, "run a helper")
	}
	return newProcess(ctx, h, conn, cmd, i.p.log), nil
}

// helperFor says what a helper container is for.
type helperFor struct {
	argv, env []string
	volumesOf string // the container whose volumes it sees
	pidOf     string // the container whose processes it sees
	networkOf string // the container whose network it is in; empty: it has none
	stdin     bool
	// image has the program instead of our own image: it is a side-car then, which
	// may use so much memory, and has the scratch folders to write to.
	image   string
	memory  int64
	scratch []string
}

// helper is a throw-away container that runs our own program, or is a side-car.
type helper struct {
	p  *Provider
	id string
}

// createHelper makes the container, not yet running: with nothing to write to but
// the volumes, and no more network and rights than its purpose needs.
func (p *Provider) createHelper(ctx context.Context, f helperFor) (*helper, error) {
	pids := int64(helperPids)
	config := &container.Config{
		Cmd: f.argv, Env: f.env, User: "0:0", Labels: map[string]string{label.KeyHelper: "1"},
		AttachStdin: f.stdin, OpenStdin: f.stdin, StdinOnce: f.stdin, AttachStdout: true, AttachStderr: true,
		NetworkDisabled: f.networkOf == "",
	}
	host := &container.HostConfig{
		NetworkMode: "none", ReadonlyRootfs: true, SecurityOpt: []string{"no-new-privileges"}, CapDrop: []string{"ALL"},
		// The Engine would otherwise write every dump to its log.
		LogConfig: container.LogConfig{Type: "none"},
		Resources: container.Resources{Memory: helperMemory, MemorySwap: helperMemory, PidsLimit: &pids},
	}
	if f.networkOf != "" {
		host.NetworkMode = container.NetworkMode("container:" + f.networkOf)
	}
	if f.image != "" {
		pids = sidecarPids
		config.Labels[label.KeyHelper] = label.ToolsMark
		config.Image, config.User, config.Entrypoint, config.Cmd = f.image, "", f.argv, nil
		host.Memory, host.MemorySwap = f.memory, f.memory
		host.AutoRemove = true
		host.Tmpfs = map[string]string{}
		for _, folder := range f.scratch {
			host.Tmpfs[folder] = "size=" + scratchSize
		}
	}
	if f.volumesOf != "" {
		host.VolumesFrom = []string{f.volumesOf}
		host.CapAdd = []string{"DAC_OVERRIDE", "CHOWN", "FOWNER"}
	}
	if f.pidOf != "" {
		host.PidMode = container.PidMode("container:" + f.pidOf)
		// To read what other users' processes carry, and to end them.
		host.CapAdd = []string{"KILL", "SYS_PTRACE", "DAC_OVERRIDE"}
	}
	// The image may be swept away at any moment, so making it is tried twice.
	var err error
	for range 2 {
		if f.image == "" {
			if config.Image, err = p.helper.ensure(ctx); err != nil {
				return nil, err
			}
		}
		var created container.CreateResponse
		created, err = p.client.ContainerCreate(ctx, config, host, nil, nil, "")
		if err == nil {
			return &helper{p: p, id: created.ID}, nil
		}
		if !errdefs.IsNotFound(err) {
			break
		}
	}
	return nil, startFailure(err, "make a helper container")
}

// ended implements program.
func (h *helper) ended(ctx context.Context, _ []byte) (int, error) {
	var c container.InspectResponse
	var err error
	known := eventually(ctx, h.p.patience.settle, func() bool {
		c, err = h.p.client.ContainerInspect(ctx, h.id)
		return err == nil && !c.State.Running || errdefs.IsNotFound(err)
	})
	switch {
	case err != nil:
		return 0, h.lost(ctx, err)
	case !known:
		return 0, h.lost(ctx, errors.New("its output ended before the helper did"))
	case c.State.OOMKilled:
		return c.State.ExitCode, h.lost(ctx, fmt.Errorf("the helper needed more than %d MiB of memory", helperMemory>>20))
	}
	return c.State.ExitCode, nil
}

// lost implements program.
func (h *helper) lost(_ context.Context, cause error) error { return streamLost(cause, "run a helper") }

// kill implements program.
func (h *helper) kill(ctx context.Context) error {
	err := h.p.client.ContainerKill(ctx, h.id, "KILL")
	if errdefs.IsNotFound(err) || errdefs.IsConflict(err) {
		return nil // it has ended
	}
	return err
}

// wait waits for a helper whose output nobody reads.
func (h *helper) wait(ctx context.Context) (status int, err error) {
	ended, failed := h.p.client.ContainerWait(ctx, h.id, container.WaitConditionNotRunning)
	select {
	case end := <-ended:
		if end.Error != nil {
			return 0, fmt.Errorf("wait for a helper: %s", end.Error.Message)
		}
		return int(end.StatusCode), nil
	case err := <-failed:
		return 0, failure(err, "wait for a helper")
	}
}

// close implements program.
func (h *helper) close(ctx context.Context) {
	err := h.p.client.ContainerRemove(ctx, h.id, container.RemoveOptions{Force: true})
	if err != nil && !errdefs.IsNotFound(err) && !errdefs.IsConflict(err) { // a conflict: it is being removed
		h.p.log.Warn("a helper container could not be removed, and will be at the next start", "container", h.id, "error", err)
	}
}

// discard is close for when ctx may have ended.
func (h *helper) discard(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callPatience)
	defer cancel()
	h.close(ctx)
}

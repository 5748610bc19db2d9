package docker

import (
	"context"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/problem"
)

var _ provider.Switch = (*Provider)(nil)

// Condition implements provider.Switch.
func (p *Provider) Condition(ctx context.Context, id string) (provider.Condition, error) {
	c, err := p.client.ContainerInspect(ctx, id)
	switch {
	case errdefs.IsNotFound(err):
		return provider.Gone, nil
	case err != nil:
		return "", failure(err, "look at container %q", id)
	case c.State == nil || !c.State.Running:
		return provider.Stopped, nil
	case c.State.Paused:
		return provider.Paused, nil
	}
	return provider.Running, nil
}

// Pause implements provider.Switch.
func (p *Provider) Pause(ctx context.Context, id string) error {
	if err := p.client.ContainerPause(ctx, id); err != nil {
		return failure(err, "pause container %q", id)
	}
	return nil
}

// Unpause implements provider.Switch.
func (p *Provider) Unpause(ctx context.Context, id string) error {
	if err := p.client.ContainerUnpause(ctx, id); err != nil {
		return failure(err, "unpause container %q", id)
	}
	return nil
}

// Stop implements provider.Switch. The container has as long to end as it was
// created with. One that the Engine removes when it ends could not go on.
func (p *Provider) Stop(ctx context.Context, id string) error {
	c, err := p.client.ContainerInspect(ctx, id)
	switch {
	case err != nil:
		return failure(err, "look at container %q", id)
	case c.HostConfig != nil && c.HostConfig.AutoRemove:
		return problem.New(problem.Conflict, "it would be gone with its volumes (--rm), and is not stopped: it can only be paused")
	}
	if err := p.client.ContainerStop(ctx, id, container.StopOptions{}); err != nil {
		return failure(err, "stop container %q", id)
	}
	return nil
}

// Start implements provider.Switch.
func (p *Provider) Start(ctx context.Context, id string) error {
	if err := p.client.ContainerStart(ctx, id, container.StartOptions{}); err != nil {
		return failure(err, "start container %q", id)
	}
	return nil
}

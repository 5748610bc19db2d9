package docker

import (
	"context"
	"strings"

	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/label"
)

// maxDigests bounds the cache of digests.
const maxDigests = 4096

// inspect reads what there is to know of one container.
func (p *Provider) inspect(ctx context.Context, nameOrID string) (provider.Container, error) {
	c, err := p.client.ContainerInspect(ctx, nameOrID)
	if err != nil {
		return provider.Container{}, err
	}
	facts := factsOf(c)
	facts.ImageDigest = p.digest(ctx, c.Image)
	return provider.Container{
		ID: c.ID, Name: strings.TrimPrefix(c.Name, "/"), Labels: label.Of(c.Config.Labels, c.Name), Facts: facts,
	}, nil
}

func factsOf(c container.InspectResponse) engine.Facts {
	f := engine.Facts{
		Image: c.Config.Image,
		Args:  append([]string{c.Path}, c.Args...),
		Env:   make(map[string]string, len(c.Config.Env)),
		// Between two lives of a container that keeps crashing, the Engine has it running.
		Running: c.State != nil && c.State.Running && !c.State.Restarting,
	}
	for _, v := range c.Config.Env {
		if name, value, ok := strings.Cut(v, "="); ok {
			f.Env[name] = value
		}
	}
	for _, m := range c.Mounts {
		f.Mounts = append(f.Mounts, m.Destination)
	}
	return f
}

// digest is what the registry calls the image, or the image's own id when it
// never was in one.
func (p *Provider) digest(ctx context.Context, imageID string) string {
	p.mu.Lock()
	digest, known := p.images[imageID]
	p.mu.Unlock()
	if known {
		return digest
	}
	i, err := p.client.ImageInspect(ctx, imageID)
	if err != nil {
		return imageID // the image was removed under the container, or will be found next time
	}
	digest = i.ID
	for _, d := range i.RepoDigests {
		if _, sum, ok := strings.Cut(d, "@"); ok {
			digest = sum
			break
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.images) >= maxDigests {
		clear(p.images)
	}
	p.images[imageID] = digest
	return digest
}

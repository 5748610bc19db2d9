package docker

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types"
	"github.com/docker/docker/api/types/container"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// idle is what a side-car runs between the tools. It ends with its stdin, which
// the Engine closes when we are no more; the Engine then removes the container.
const idle = "cat"

// Sidecar implements engine.Instance. The tools are run in it with exec, as in the
// container itself: what they are given by their environment, passwords for
// example, is then nowhere in the configuration of a container.
func (i *instance) Sidecar(ctx context.Context, image string, memory int64) (engine.Sidecar, error) {
	found, err := i.p.client.ImageInspect(ctx, image)
	switch {
	case errdefs.IsNotFound(err), errdefs.IsInvalidArgument(err):
		return nil, problem.New(problem.NotFound, "the image %s, which has the tools, is not on this host", image).WithReason(engine.ReasonNoImage).
			WithHint("Nothing is pulled by itself. Run `docker pull %s` there, or name another image in baktainer.tools.image.", image)
	case err != nil:
		return nil, failure(err, "look for the image %s", image)
	}
	var env []string
	scratch := []string{"/tmp"}
	if found.Config != nil {
		env = found.Config.Env
		// Volumes that its image declares would be made on disk.
		scratch = slices.AppendSeq(scratch, maps.Keys(found.Config.Volumes))
	}
	h, err := i.p.createHelper(ctx, helperFor{argv: []string{idle}, networkOf: i.id, stdin: true, image: found.ID, memory: memory, scratch: scratch})
	if err != nil {
		return nil, err
	}
	conn, err := attach(ctx, func(ctx context.Context) (types.HijackedResponse, error) {
		return i.p.client.ContainerAttach(ctx, h.id, container.AttachOptions{Stream: true, Stdin: true})
	})
	if err != nil {
		h.discard(ctx)
		return nil, failure(err, "start the tools of %s", image)
	}
	if err := i.p.client.ContainerStart(ctx, h.id, container.StartOptions{}); err != nil {
		conn.Close()
		h.discard(ctx)
		if neverStarted.MatchString(err.Error()) {
			return nil, problem.Wrap(problem.Failed, err, "start the tools of %s", image).WithReason(engine.ReasonToolMissing).
				WithHint("The image needs a program `%s` besides the tools. Name another one in baktainer.tools.image.", idle)
		}
		return nil, i.cannotJoin(ctx, err, "start the tools of "+image)
	}
	return &sidecar{
		container: h, ctx: ctx, image: image, conn: conn, inside: &instance{p: i.p, id: h.id}, env: inherited(i.Facts().Env, env),
	}, nil
}

// cannotJoin says why a helper, which may be in the container's network, does not start.
func (i *instance) cannotJoin(ctx context.Context, cause error, what string) error {
	if c, err := i.p.client.ContainerInspect(ctx, i.id); errdefs.IsNotFound(err) || err == nil && !c.State.Running {
		return notRunning(cause, what)
	}
	return failure(cause, "%s", what)
}

// inherited is the environment of tools in a side-car: that of the container beside
// which it is, as they would have it in there, but for what their own image says,
// and for what is about the files of a container.
func inherited(of map[string]string, image []string) (env []string) {
	own := map[string]bool{"PATH": true, "HOME": true, "HOSTNAME": true}
	for _, v := range image {
		name, _, _ := strings.Cut(v, "=")
		own[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(of)) {
		if !own[name] && !strings.HasPrefix(name, "LD_") {
			env = append(env, name+"="+of[name])
		}
	}
	return env
}

// sidecar is an engine.Sidecar.
type sidecar struct {
	container *helper
	ctx       context.Context // that it was made under
	image     string
	conn      types.HijackedResponse // its stdin
	inside    *instance
	env       []string
}

// Exec implements engine.Sidecar.
func (s *sidecar) Exec(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	// Of two variables of one name a program may see either.
	given := map[string]bool{}
	for _, v := range cmd.Env {
		name, _, _ := strings.Cut(v, "=")
		given[name] = true
	}
	env := slices.DeleteFunc(slices.Clone(s.env), func(v string) bool {
		name, _, _ := strings.Cut(v, "=")
		return given[name]
	})
	cmd.Env = append(env, cmd.Env...)
	p, err := s.inside.Exec(ctx, cmd)
	if err != nil {
		return nil, s.ended(err)
	}
	return &borrowed{p, s}, nil
}

// Close implements engine.Sidecar.
func (s *sidecar) Close() {
	s.conn.Close()
	s.container.discard(s.ctx)
}

// ended tells a side-car that is no more from a container that does not run: this
// one nobody can start.
func (s *sidecar) ended(err error) error {
	if problem.ReasonOf(err) != engine.ReasonNotRunning {
		return err
	}
	return problem.Wrap(problem.Unavailable, err, "the helper container with the tools of %s has ended", s.image).WithReason(engine.ReasonStreamLost).
		WithHint("Somebody stopped or removed it, or it had too little memory (baktainer.tools.memory). Try again.")
}

// borrowed is a program in a side-car.
type borrowed struct {
	engine.Process
	of *sidecar
}

// Wait implements engine.Process.
func (b *borrowed) Wait() (engine.Exit, error) {
	exit, err := b.Process.Wait()
	return exit, b.of.ended(err)
}

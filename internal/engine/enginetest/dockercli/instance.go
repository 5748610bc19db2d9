// Package dockercli gives tests an engine.Instance by means of the docker
// command, and containers to go with it. It is for tests alone: the real one is
// the Docker provider. It needs a local engine and root, since Kill looks for
// the program among the processes of this machine.
package dockercli

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"strings"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// Instance is one container.
type Instance struct {
	id    string
	facts engine.Facts
	// HelperBinary is the path of a static binary on this machine, for Helper.
	HelperBinary string
}

// Open looks a container up.
func Open(ctx context.Context, id string) (*Instance, error) {
	out, err := exec.CommandContext(ctx, "docker", "inspect", "--type=container", id).Output()
	if err != nil {
		return nil, fmt.Errorf("inspect container %s: %w", id, err)
	}
	var found []struct {
		ID, Image string
		Path      string
		Args      []string
		State     struct{ Running bool }
		Config    struct {
			Image string
			Env   []string
		}
		Mounts []struct{ Destination string }
	}
	if err := json.Unmarshal(out, &found); err != nil || len(found) != 1 {
		return nil, fmt.Errorf("inspect container %s: %d found: %w", id, len(found), err)
	}
	c := found[0]
	facts := engine.Facts{
		Image: c.Config.Image, ImageDigest: c.Image, Env: map[string]string{},
		Args: append([]string{c.Path}, c.Args...), Running: c.State.Running,
	}
	for _, v := range c.Config.Env {
		name, value, _ := strings.Cut(v, "=")
		facts.Env[name] = value
	}
	for _, m := range c.Mounts {
		facts.Mounts = append(facts.Mounts, m.Destination)
	}
	return &Instance{id: c.ID, facts: facts}, nil
}

// ID is the container's id.
func (i *Instance) ID() string { return i.id }

// Facts implements engine.Instance.
func (i *Instance) Facts() engine.Facts { return i.facts }

// Exec implements engine.Instance.
func (i *Instance) Exec(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	args := []string{"exec", "-i"}
	if cmd.User != "" {
		args = append(args, "-u", cmd.User)
	}
	return start(ctx, args, []string{i.id}, cmd)
}

// Helper implements engine.Instance.
func (i *Instance) Helper(ctx context.Context, cmd engine.Command) (engine.Process, error) {
	if i.HelperBinary == "" {
		return nil, problem.New(problem.Failed, "no helper binary").WithReason(engine.ReasonToolMissing)
	}
	sees := []string{"--network=none", "--volumes-from=" + i.id}
	if cmd.Network {
		sees = []string{"--network=container:" + i.id}
	}
	args := append([]string{
		"run", "-i", "--rm", "--label=" + Label, "--user=0", "--volume=" + i.HelperBinary + ":/baktainer:ro", "--entrypoint=/baktainer",
	}, sees...)
	return start(ctx, args, []string{i.facts.ImageDigest}, cmd)
}

// Sidecar implements engine.Instance, and has none: how engines fare with one does
// not depend on their tools.
func (i *Instance) Sidecar(_ context.Context, image string, _ int64) (engine.Sidecar, error) {
	return nil, problem.New(problem.NotFound, "no side-car of %s is made here", image).WithReason(engine.ReasonNoImage)
}

// ReadFile implements engine.Instance.
func (i *Instance) ReadFile(ctx context.Context, path string, limit int64) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "docker", "cp", "-L", i.id+":"+path, "-")
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.Output()
	if err != nil {
		if strings.Contains(said.String(), "no such file") || strings.Contains(said.String(), "Could not find the file") {
			err = fs.ErrNotExist
		}
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	archive := tar.NewReader(bytes.NewReader(out))
	header, err := archive.Next()
	switch {
	case err != nil:
		return nil, fmt.Errorf("read %s: %w", path, err)
	case header.Typeflag != tar.TypeReg:
		return nil, fmt.Errorf("read %s: not a regular file", path)
	case header.Size > limit:
		return nil, fmt.Errorf("read %s: larger than %d bytes", path, limit)
	}
	return io.ReadAll(archive)
}

// start runs docker ARGS [-e NAME…] TAIL ARGV. Values of variables travel in the
// environment of the docker command, which passes them on by name.
func start(ctx context.Context, args, tail []string, cmd engine.Command) (engine.Process, error) {
	p := &process{ctx: ctx, mark: newMark(), tail: engine.NewTail(engine.StderrLimit, cmd.Secrets)}
	variables := append([]string{p.mark}, cmd.Env...)
	for _, v := range variables {
		name, _, _ := strings.Cut(v, "=")
		args = append(args, "-e", name)
	}
	p.cmd = exec.Command("docker", append(append(args, tail...), cmd.Argv...)...)
	p.cmd.Env = append(os.Environ(), variables...)
	p.cmd.Stderr = p.tail
	var err error
	if p.stdout, err = p.cmd.StdoutPipe(); err != nil {
		return nil, err
	}
	var stdin io.WriteCloser
	if cmd.Stdin != nil {
		if stdin, err = p.cmd.StdinPipe(); err != nil {
			return nil, err
		}
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start docker: %w", err)
	}
	if stdin != nil {
		go p.feed(stdin, cmd.Stdin)
	}
	p.stop = context.AfterFunc(ctx, p.Kill)
	return p, nil
}

package docker

import (
	"context"
	"errors"

	"github.com/docker/docker/api/types"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

// instance is an engine.Instance over one container.
type instance struct {
	p  *Provider
	id string
}

// Facts implements engine.Instance. They are what was last seen; a container
// never seen before is looked up, and has no facts when that fails.
func (i *instance) Facts() engine.Facts {
	i.p.mu.Lock()
	c, ok := i.p.known[i.id]
	i.p.mu.Unlock()
	if ok {
		return c.Facts
	}
	ctx, cancel := context.WithTimeout(context.Background(), callPatience)
	defer cancel()
	c, err := i.p.Find(ctx, i.id)
	if err != nil {
		i.p.log.Warn("a container's facts could not be read", "container", i.id, "error", err)
	}
	return c.Facts
}

// attach runs a call that opens a stream, which heeds ctx only in part.
func attach(ctx context.Context, open func(context.Context) (types.HijackedResponse, error)) (types.HijackedResponse, error) {
	type answer struct {
		conn types.HijackedResponse
		err  error
	}
	answered := make(chan answer, 1)
	go func() {
		conn, err := open(ctx)
		answered <- answer{conn, err}
	}()
	select {
	case a := <-answered:
		return a.conn, a.err
	case <-ctx.Done():
		go func() {
			if a := <-answered; a.err == nil {
				a.conn.Close()
			}
		}()
		return types.HijackedResponse{}, ctx.Err()
	}
}

func checkCommand(cmd engine.Command) error {
	if len(cmd.Argv) == 0 || cmd.Argv[0] == "" {
		return problem.Wrap(problem.Internal, errors.New("no program is named"), "start a program in a container")
	}
	return nil
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// formLimit bounds the forming of the cluster.
	formLimit = 2 * time.Minute
	askPause  = 50 * time.Millisecond
	// askOnce bounds one call to one controller: a follower waits 5 s for a leader.
	askOnce = 8 * time.Second
	// askLimit bounds a question, whoever answers it in the end.
	askLimit = 30 * time.Second
)

// tokenFile is the file of the token for a role.
func (r *Rig) tokenFile(role string) string { return filepath.Join(r.dir, role+".token") }

// startCluster forms the cluster and starts the agents.
func (r *Rig) startCluster(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, formLimit)
	defer cancel()
	form := r.joinOneByOne
	if r.Expect {
		form = r.formTogether
	}
	if err := form(ctx); err != nil {
		return err
	}
	if err := r.token(ctx, pb.Role_ROLE_AGENT, "agent", 1000); err != nil {
		return err
	}
	for _, name := range agentNames {
		a, err := r.newAgent(ctx, name, name)
		if err != nil {
			return err
		}
		r.agents = append(r.agents, a)
		if err := a.proc.Start(); err != nil {
			return err
		}
	}
	return nil
}

// joinOneByOne has the first controller make a cluster, and the others join it.
func (r *Rig) joinOneByOne(ctx context.Context) error {
	for i, name := range controllerNames {
		var flags []string
		if i > 0 {
			flags = []string{"--join", fmt.Sprintf("%s:%d", controllerNames[0], port), "--join-token-file", r.tokenFile("controller")}
		}
		c, err := r.newController(ctx, name, flags...)
		if err != nil {
			return err
		}
		r.controllers = append(r.controllers, c)
		if err := c.start(); err != nil {
			return err
		}
		if i == 0 {
			if err := r.token(ctx, pb.Role_ROLE_CONTROLLER, "controller", 10); err != nil {
				return err
			}
		}
	}
	return nil
}

// formTogether has all controllers start at once, with the same token.
func (r *Rig) formTogether(ctx context.Context) error {
	token, err := command(ctx, r.Binary, "token", "generate", "--quiet")
	if err != nil {
		return err
	}
	if err := os.WriteFile(r.tokenFile("controller"), []byte(token), 0o600); err != nil {
		return fmt.Errorf("write a token: %w", err)
	}
	for _, name := range controllerNames {
		c, err := r.newController(ctx, name, "--bootstrap-expect", fmt.Sprint(len(controllerNames)), "--join", addresses(), "--join-token-file", r.tokenFile("controller"))
		if err != nil {
			return err
		}
		r.controllers = append(r.controllers, c)
		if err := c.start(); err != nil {
			return err
		}
	}
	return nil
}

// token makes a token and writes it into its file.
func (r *Rig) token(ctx context.Context, role pb.Role, file string, uses int32) error {
	return r.askWithin(ctx, formLimit, func(ctx context.Context, a apis) error {
		t, err := a.cluster.CreateToken(ctx, &pb.CreateTokenRequest{Role: role, Uses: uses, Ttl: durationpb.New(24 * time.Hour)})
		if err != nil {
			return fmt.Errorf("make a token: %w", err)
		}
		if err := os.WriteFile(r.tokenFile(file), []byte(t.GetToken()+"\n"), 0o600); err != nil {
			return fmt.Errorf("write a token: %w", err)
		}
		return nil
	})
}

// controllerOf finds a controller by its name.
func (r *Rig) controllerOf(name string) *controller {
	for _, c := range r.controllers {
		if c.name == name {
			return c
		}
	}
	return nil
}

// ask asks one controller after the other until one answers.
func (r *Rig) ask(ctx context.Context, f func(context.Context, apis) error) error {
	return r.askWithin(ctx, askLimit, f)
}

func (r *Rig) askWithin(ctx context.Context, limit time.Duration, f func(context.Context, apis) error) error {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	err := errors.New("there is no controller to ask")
	for {
		for _, c := range r.controllers {
			if !c.present() || !c.proc.Running() {
				continue
			}
			if err = r.askOne(ctx, c, f); err == nil {
				return nil
			}
		}
		if clock.Sleep(ctx, askPause) != nil {
			return err // the last answer tells more than that time is up
		}
	}
}

// askOne asks one controller.
func (r *Rig) askOne(ctx context.Context, c *controller, f func(context.Context, apis) error) error {
	a, err := c.apis()
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, askOnce)
	defer cancel()
	if err := f(ctx, a); err != nil {
		return fmt.Errorf("ask %s: %w", c.name, err)
	}
	return nil
}

// leader is who leads, as a controller says that is not away.
func (r *Rig) leader(ctx context.Context) (*controller, error) {
	var found *controller
	err := r.ask(ctx, func(ctx context.Context, a apis) error {
		resp, err := a.cluster.GetCluster(ctx, &pb.GetClusterRequest{})
		if err != nil {
			return err
		}
		if found = r.controllerOf(resp.GetNode()); found == nil {
			return fmt.Errorf("%q leads, which is none of ours", resp.GetNode())
		}
		return nil
	})
	return found, err
}

// othersThan are the controllers but one.
func (r *Rig) othersThan(c *controller) []*controller {
	var all []*controller
	for _, o := range r.controllers {
		if o != c {
			all = append(all, o)
		}
	}
	return all
}

package chaos

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/baktainer/baktainer/internal/chaos/clocks"
	"github.com/baktainer/baktainer/internal/chaos/hosts"
	"github.com/baktainer/baktainer/internal/chaos/procs"
)

// agent is one agent of the rig.
type agent struct {
	name  string
	proc  *procs.Process
	proxy *hosts.Proxy
	clock *clocks.Clock // nil: it has the machine's
}

// newAgent prepares the agent of that name for the containers of a host.
func (r *Rig) newAgent(ctx context.Context, name, host string) (*agent, error) {
	a := &agent{name: name}
	var err error
	socket := filepath.Join(r.dir, name+".docker")
	if a.proxy, err = hosts.Listen(ctx, socket, hosts.Docker, host); err != nil {
		return nil, err
	}
	binary, env := r.Binary, environment()
	if r.Clocked != "" {
		if a.clock, err = clocks.New(filepath.Join(r.dir, name+".clock")); err != nil {
			return nil, err
		}
		binary, env = r.Clocked, append(env, a.clock.Env())
	}
	argv := append(r.net.Exec(name), binary, "agent", "--agent-id", name, "--controller", addresses(),
		"--token-file", r.tokenFile("agent"), "--data-dir", filepath.Join(r.dir, name), "--docker-host", "unix://"+socket,
		"--cache", "128MiB", "--log-level", "debug", "--log-format", "json")
	a.proc = procs.New(procs.Spec{Name: name, Argv: argv, Env: env, Log: filepath.Join(r.Logs, name+".log"), Kept: true}, r.journal)
	return a, nil
}

// addresses are those of all controllers.
func addresses() string {
	var all []string
	for _, name := range controllerNames {
		all = append(all, fmt.Sprintf("%s:%d", name, port))
	}
	return strings.Join(all, ",")
}

// close ends it for good.
func (a *agent) close() error {
	a.proc.Kill()
	return a.proxy.Close()
}

// allAgents are the agents, and the twin while there is one.
func (r *Rig) allAgents() []*agent {
	if r.twin == nil {
		return r.agents
	}
	return append(r.agents[:len(r.agents):len(r.agents)], r.twin)
}

// agentOf is the agent of a host.
func (r *Rig) agentOf(name string) *agent {
	for _, a := range r.allAgents() {
		if a.name == name {
			return a
		}
	}
	return nil
}

// startTwin starts a second agent on the host of another, to which runs can be
// given when that is lost.
func (r *Rig) startTwin(ctx context.Context, host string) error {
	twin, err := r.newAgent(ctx, twinName, host)
	if err != nil {
		return err
	}
	r.twin = twin
	mark := r.journal.Mark()
	if err := twin.proc.Start(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	_, err = r.journal.Next(ctx, mark, func(e procs.Entry) bool { return e.Message == "agent connected" && e.Attrs["agent"] == twinName })
	return err
}

// stopTwin ends it.
func (r *Rig) stopTwin() error {
	if r.twin == nil {
		return nil
	}
	err := r.twin.close()
	r.twin = nil
	return err
}

package cli

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/spf13/cobra"
	"google.golang.org/grpc"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
)

// healthView is what `health -o json` prints.
type healthView struct {
	Controller string   `json:"controller" doc:"ready or not-ready; empty: no controller runs here"`
	Agent      string   `json:"agent" doc:"connected or alone, for an agent that is a process of its own; empty: none runs here"`
	Problems   []string `json:"problems" doc:"what keeps the controller from being ready"`
}

func (a *app) healthCommand() *cobra.Command {
	return &cobra.Command{
		Use: "health", Short: "Tell whether the Baktainer of this data folder is well, for health checks of containers",
		Long: "Tell whether the Baktainer of this data folder is well, for health checks of containers. It asks what runs here, whatever controller " +
			"the settings name.\n\nA controller is well when `baktainer status` finds no problem. An agent is well when it runs, even while no controller " +
			"answers: it goes on trying, and its dumps go on meanwhile.\n\nExit status: 0 well, 1 not, or nothing runs here.",
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, _, err := a.settings(cmd)
			if err != nil {
				return err
			}
			v := healthView{Problems: []string{}}
			if err := errors.Join(v.askController(cmd.Context(), c), v.askAgent(cmd.Context(), c)); err != nil {
				return err
			}
			if err := a.print(v, nil, func() { a.facts("controller", v.Controller, "agent", v.Agent) }); err != nil {
				return err
			}
			switch {
			case len(v.Problems) > 0:
				return problem.New(problem.Unavailable, "the controller is not ready").WithDetails(v.Problems...)
			case v.Controller == "" && v.Agent == "":
				return problem.New(problem.Unavailable, "nothing runs here: nobody answers at %s or %s", c.Socket, c.AgentSocket()).WithReason(transport.ReasonNoAnswer).
					WithHint("Start it with `baktainer up`, `baktainer controller` or `baktainer agent`. If it runs with other settings, name its folder with --data-dir.")
			}
			return nil
		},
	}
}

func (v *healthView) askController(ctx context.Context, c config.Config) error {
	return askLocal(ctx, c.Socket, func(conn grpc.ClientConnInterface) error {
		s, err := status(ctx, conn)
		if err != nil {
			return err
		}
		v.Controller = "ready"
		if v.Problems = s.Problems; len(v.Problems) > 0 {
			v.Controller = "not-ready"
		}
		return nil
	})
}

func (v *healthView) askAgent(ctx context.Context, c config.Config) error {
	return askLocal(ctx, c.AgentSocket(), func(conn grpc.ClientConnInterface) error {
		r, err := healthpb.NewHealthClient(conn).Check(ctx, &healthpb.HealthCheckRequest{Service: transport.AgentSession})
		if err != nil {
			return err
		}
		v.Agent = "alone"
		if r.GetStatus() == healthpb.HealthCheckResponse_SERVING {
			v.Agent = "connected"
		}
		return nil
	})
}

// askLocal calls ask with a connection to the socket. That nobody answers is no problem.
func askLocal(ctx context.Context, socket string, ask func(grpc.ClientConnInterface) error) error {
	if _, err := os.Lstat(socket); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	conn, err := transport.DialUnix(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	err = ask(conn)
	if problem.ReasonOf(err) == transport.ReasonNoAnswer {
		// A socket that was left behind is nothing; one that this user may not use is a problem.
		if err = explain(ctx, err, socket); problem.CodeOf(err) != problem.Denied {
			return nil
		}
	}
	return err
}

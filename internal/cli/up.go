package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func (a *app) upCommand() *cobra.Command {
	var now bool
	cmd := a.serviceCommand("up", "Run controller and agent: find labelled containers and back them up on schedule",
		`Run controller and agent in one process: find the containers of this Docker host that carry the
label baktainer.backup=true, and back them up on schedule, until told to stop.

With --listen, agents on other hosts, and operators, may come in as well: `+"`baktainer token create`"+` lets them.`,
		func(ctx context.Context, c config.Config, warnings []string) error {
			if now {
				return a.upNow(ctx, c, warnings)
			}
			return a.roof.Up(ctx, c, warnings)
		})
	cmd.Flags().BoolVarP(&now, "now", "N", false, "back up all sources once, now, and exit")
	return cmd
}

// serviceCommand makes a command that runs until told to stop, with a flag for
// each setting that it uses.
func (a *app) serviceCommand(name, short, long string, serve func(context.Context, config.Config, []string) error) *cobra.Command {
	cmd := &cobra.Command{
		Use: name, Short: short, Args: noneBut,
		Long: long + "\n\nEach setting below can also come from a variable or from the YAML file; `baktainer config show`\nprints what holds.",
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, warnings, err := a.settings(cmd)
			if err != nil {
				a.warn(warnings)
				return err
			}
			return serve(cmd.Context(), c, warnings)
		},
	}
	config.AddFlags(cmd.Flags(), name, rootFlags...)
	cmd.SuggestionsMinimumDistance = 2
	return cmd
}

// noneBut lets no arguments by. With commands below, a word is taken for one of them.
func noneBut(cmd *cobra.Command, args []string) error {
	if len(args) > 0 && cmd.HasSubCommands() {
		return unknownBelow(cmd, args[0])
	}
	return arguments(0, 0)(cmd, args)
}

const (
	// startPolls is how often a controller that starts is asked whether it is there,
	// settlePolls how often an agent that found nothing is given another chance.
	startPolls  = 600
	settlePolls = 50
	pollEvery   = 100 * time.Millisecond
)

// upNow runs everything, backs up all sources once, and stops everything.
func (a *app) upNow(ctx context.Context, c config.Config, warnings []string) error {
	upCtx, stop := context.WithCancel(ctx)
	defer stop()
	c.Notify.Digest, c.Notify.Interval = 0, 0 // it is over before anything else could be gathered
	up := make(chan error, 1)
	workCtx, giveUp := context.WithCancel(ctx)
	defer giveUp()
	go func() {
		up <- a.roof.Up(upCtx, c, warnings)
		giveUp()
	}()
	err := a.backupOnce(workCtx, c.Socket)
	ctxEnded, upEnded := ctx.Err() != nil, workCtx.Err() != nil
	stop()
	upErr := <-up
	switch {
	case upErr != nil:
		return upErr
	case upEnded && !ctxEnded:
		return problem.New(problem.Internal, "the controller stopped by itself")
	}
	return err
}

func (a *app) backupOnce(ctx context.Context, socket string) error {
	conn, err := transport.DialUnix(socket)
	if err != nil {
		return err
	}
	defer conn.Close()
	client := pb.NewAdminServiceClient(conn)
	if err := a.untilSettled(ctx, client); err != nil {
		return err
	}
	err = a.backup(ctx, client, &pb.StartBackupRequest{All: true, RequestId: rand.Text()}, false)
	a.untilTold(ctx, pb.NewNotifyServiceClient(conn))
	return err
}

// toldPolls is how often it is asked whether all is told that is to be told. What
// is not told then is told at the next start.
const toldPolls = 300

func (a *app) untilTold(ctx context.Context, client pb.NotifyServiceClient) {
	for range toldPolls {
		resp, err := client.ListConditions(ctx, &pb.ListConditionsRequest{})
		if err != nil || len(resp.GetChannels()) == 0 || resp.GetSettled() || clock.Sleep(ctx, min(a.retryAfter, pollEvery)) != nil {
			return
		}
	}
}

// untilSettled waits until the controller answers, an agent with a working
// provider is there, and it has had time to report what it found.
func (a *app) untilSettled(ctx context.Context, client pb.AdminServiceClient) error {
	settled := 0
	why := errors.New("no agent is connected")
	for range startPolls {
		status, err := client.GetStatus(ctx, &pb.GetStatusRequest{})
		switch {
		case err != nil && problem.CodeOf(err) != problem.Unavailable:
			return fmt.Errorf("wait for the controller: %w", err)
		case err != nil:
			why = err
		case working(status):
			if settled++; settled >= settlePolls || a.reported(ctx, client, status) {
				return nil
			}
		}
		if err := clock.Sleep(ctx, min(a.retryAfter, pollEvery)); err != nil {
			return problem.Wrap(problem.Cancelled, err, "wait for the controller")
		}
	}
	return problem.Wrap(problem.Unavailable, why, "wait for controller and agent").
		WithHint("The log above says what they wait for, such as a Docker Engine that does not answer.")
}

// reported says whether a source was reported since the controller started;
// those that it remembers from before say nothing of what is there now.
func (a *app) reported(ctx context.Context, client pb.AdminServiceClient, s *pb.GetStatusResponse) bool {
	resp, err := client.ListSources(ctx, &pb.ListSourcesRequest{})
	if err != nil {
		return false
	}
	for _, src := range resp.GetSources() {
		if !src.GetSource().GetReportedAt().AsTime().Before(s.GetStartedAt().AsTime()) {
			return true
		}
	}
	return false
}

// working says whether some agent can see containers.
func working(s *pb.GetStatusResponse) bool {
	for _, g := range s.GetAgents() {
		for _, p := range g.GetProviders() {
			if g.GetConnected() && p.GetHealthy() {
				return true
			}
		}
	}
	return false
}

package main

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/transport"
)

// upMemory is the usual limit of both halves in one process.
const upMemory = 2 * halfMemory

// up runs controller and agent in one process until ctx ends. They speak over
// the unix socket that the command line uses, too.
//
// Start: the controller, and once it listens the agent. Stop, in the opposite
// order: the agent first, so that no dump goes on without anybody to send it to.
func up(ctx context.Context, c config.Config, warnings []string) error {
	return runProcess(ctx, c, warnings, upMemory, func(ctx context.Context, p process) error {
		halves, ctx := errgroup.WithContext(ctx)
		controllerCtx, stopController := context.WithCancel(context.WithoutCancel(ctx))
		listening := make(chan struct{})
		halves.Go(func() error {
			return runController(controllerCtx, p, func() { close(listening) })
		})
		halves.Go(func() error {
			defer stopController()
			select {
			case <-listening:
			case <-ctx.Done():
				return nil
			}
			id, err := agentID(c)
			if err != nil {
				return err
			}
			return runAgent(ctx, p, line{id: id, addresses: []string{c.Socket}, dial: func(string) (uplink.Conn, error) {
				return transport.DialUnix(c.Socket) // whatever the controllers' addresses
			}})
		})
		return halves.Wait()
	})
}

// Baktainer backs up every labelled database container of a Docker host, and
// brings it back.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	_ "time/tzdata" // schedules name zones, and the image has no zone database

	_ "golang.org/x/crypto/x509roots/fallback" // nor certificates of authorities

	"github.com/baktainer/baktainer/internal/cli"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	go func() {
		<-ctx.Done()
		stop() // a second signal ends the program at once
	}()
	os.Exit(cli.Run(ctx, roof(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

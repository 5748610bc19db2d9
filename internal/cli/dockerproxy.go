package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/baktainer/baktainer/internal/dockerproxy"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/telemetry"
	"github.com/baktainer/baktainer/internal/transport"
)

func (a *app) dockerProxyCommand() *cobra.Command {
	var listen, socket string
	cmd := &cobra.Command{
		Use: "docker-proxy", Short: "Offer a Docker socket that lets through only what Baktainer needs",
		Long: `Offer a Docker socket that lets through only what Baktainer needs: run programs in labelled containers,
read files in them, and make helper containers without network or privileges. Give Baktainer this socket
instead of the real one, and a stolen Baktainer is no longer a stolen host. SECURITY.md has the whole list.`,
		Example: examples("baktainer docker-proxy --listen unix:///run/baktainer/docker.sock",
			"baktainer up --docker-host unix:///run/baktainer/docker.sock"),
		Args: arguments(0, 0),
		RunE: func(cmd *cobra.Command, _ []string) error {
			l, err := listenAt(cmd.Context(), listen)
			if err != nil {
				return err
			}
			log := slog.New(telemetry.LogHandler(a.err, telemetry.FormatAuto, slog.LevelInfo))
			log.Info("socket proxy", "listen", listen, "docker", socket)
			return serveProxy(cmd.Context(), l, dockerproxy.New(socket, log))
		},
	}
	cmd.Flags().StringVar(&listen, "listen", "unix:///run/baktainer/docker.sock", "where to offer it: unix:///PATH or tcp://HOST:PORT; TCP has no authentication, so keep it in a network of its own")
	cmd.Flags().StringVar(&socket, "docker-socket", "/var/run/docker.sock", "path of the real socket")
	return cmd
}

func listenAt(ctx context.Context, address string) (net.Listener, error) {
	kind, where, ok := strings.Cut(address, "://")
	switch {
	case ok && kind == "unix" && strings.HasPrefix(where, "/"):
		return transport.ListenUnix(where)
	case ok && kind == "tcp":
		var lc net.ListenConfig
		l, err := lc.Listen(ctx, "tcp", where)
		if err != nil {
			return nil, problem.Wrap(problem.Failed, err, "listen on %s", address)
		}
		return l, nil
	}
	return nil, problem.New(problem.InvalidInput, "--listen %q: want unix:///PATH or tcp://HOST:PORT", address)
}

// serveProxy serves until ctx ends. Streams have no time limit: a dump may take hours.
func serveProxy(ctx context.Context, l net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve the socket proxy: %w", err)
	}
	return nil
}

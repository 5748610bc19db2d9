package scale

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	startLimit = 2 * time.Minute
	askPause   = 20 * time.Millisecond
	askLimit   = 5 * time.Second
)

// leader is a controller in a process of its own.
type leader struct {
	binary, dir, address string
	flags                []string
	authority            *authority
	process              *measure.Process
	conn                 *grpc.ClientConn
	admin                pb.AdminServiceClient
	cluster              pb.ClusterServiceClient
}

// startLeader runs a controller on a free port, with so much memory to stay under.
func startLeader(ctx context.Context, binary, memory string) (*leader, error) {
	dir, err := os.MkdirTemp("", "scale") // a socket's path is short
	if err != nil {
		return nil, fmt.Errorf("make a folder: %w", err)
	}
	l := &leader{binary: binary, dir: dir}
	if err := l.prepare(ctx, memory); err != nil {
		return nil, errors.Join(err, l.close())
	}
	if err := l.start(ctx); err != nil {
		return nil, errors.Join(err, l.close())
	}
	return l, nil
}

func (l *leader) prepare(ctx context.Context, memory string) error {
	var err error
	if l.authority, err = newAuthority(clock.System{}.Now()); err != nil {
		return err
	}
	cert, err := l.authority.issue("controller", "c1", "localhost")
	if err != nil {
		return err
	}
	files, err := l.authority.files(l.dir, cert)
	if err != nil {
		return err
	}
	var lc net.ListenConfig
	port, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	l.address = port.Addr().String()
	if err := port.Close(); err != nil {
		return fmt.Errorf("find a free port: %w", err)
	}
	l.flags = append([]string{
		"controller", "--data-dir", filepath.Join(l.dir, "data"), "--listen", l.address, "--http-listen", "off", "--schedule", "off", "--log-level", "warn", "--memory", memory,
	}, files...)
	if l.conn, err = transport.DialUnix(filepath.Join(l.dir, "data", "baktainer.sock")); err != nil {
		return err
	}
	l.admin, l.cluster = pb.NewAdminServiceClient(l.conn), pb.NewClusterServiceClient(l.conn)
	return nil
}

// start starts the process and waits until it leads.
func (l *leader) start(ctx context.Context) error {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "BAKTAINER_") || strings.HasPrefix(v, "OTEL_") })
	p, err := measure.Start("controller", l.logFile(), env, append([]string{l.binary}, l.flags...)...)
	if err != nil {
		return err
	}
	l.process = p
	return l.answers(ctx)
}

func (l *leader) logFile() string { return filepath.Join(l.dir, "log") }

// answers waits until the controller answers and leads.
func (l *leader) answers(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startLimit)
	defer cancel()
	for {
		limited, cancel := context.WithTimeout(ctx, askLimit)
		s, err := l.admin.GetStatus(limited, &pb.GetStatusRequest{})
		cancel()
		if err == nil && s.GetLeader() {
			return nil
		}
		if clock.Sleep(ctx, askPause) != nil {
			return fmt.Errorf("wait for the controller: %w; the end of its log: %s", err, l.lastWords())
		}
	}
}

// lastWords are the end of the process's log.
func (l *leader) lastWords() string {
	log, _ := os.ReadFile(l.logFile()) // it may not have been written
	text := strings.TrimSpace(string(log))
	return text[max(0, len(text)-1000):]
}

// kill kills the process as a crash would.
func (l *leader) kill() { l.process.Kill() }

func (l *leader) close() error {
	var errs []error
	if l.process != nil {
		errs = append(errs, l.process.Stop())
	}
	if l.conn != nil {
		errs = append(errs, l.conn.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(l.dir))...)
}

package chaos

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/chaos/clocks"
	"github.com/baktainer/baktainer/internal/chaos/disks"
	"github.com/baktainer/baktainer/internal/chaos/procs"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// lease is how long a run stays with an agent that is silent: as short as it
	// can be, so that a run that is given away is so soon.
	lease = "5s"
	// diskSize is that of each controller's data folder, storeSize of one that has the
	// store in it.
	diskSize  = 384 << 20
	storeSize = 8 << 30
	// stopLimit bounds an orderly stop.
	stopLimit = 30 * time.Second
)

// controller is one controller of the rig.
type controller struct {
	name  string
	proc  *procs.Process
	disk  *disks.Disk
	clock *clocks.Clock // nil: it has the machine's

	mu   sync.Mutex
	away bool // it is killed, stopped or cut off: it is not asked
	conn *grpc.ClientConn
}

// newController prepares the process; it does not start it.
func (r *Rig) newController(ctx context.Context, name string, flags ...string) (*controller, error) {
	c := &controller{name: name}
	var err error
	size := int64(diskSize)
	if r.Store == Peer && name == controllerNames[0] {
		size = storeSize
	}
	if c.disk, err = disks.New(ctx, r.dir, name, size, command); err != nil {
		return nil, err
	}
	binary, env := r.Binary, environment()
	if r.Clocked != "" {
		if c.clock, err = clocks.New(filepath.Join(r.dir, name+".clock")); err != nil {
			return nil, errors.Join(err, c.disk.Remove(ctx))
		}
		binary, env = r.Clocked, append(env, c.clock.Env())
	}
	argv := append(r.net.Exec(name), binary, "controller",
		"--name", name, "--advertise", fmt.Sprintf("%s:%d", name, port), "--listen", fmt.Sprintf(":%d", port),
		"--data-dir", c.data(), "--http-listen", "off", "--schedule", "off",
		"--lease-duration", lease, "--log-level", "debug", "--log-format", "json")
	if r.Store == Shared {
		argv = append(argv, "--store", filepath.Join(r.dir, "store"))
	}
	c.proc = procs.New(procs.Spec{Name: name, Argv: append(argv, flags...), Env: env, Log: filepath.Join(r.Logs, name+".log"), Kept: true}, r.journal)
	return c, nil
}

// data is the data folder.
func (c *controller) data() string { return filepath.Join(c.disk.Dir, "data") }

// environment is ours without any setting of the program.
func environment() []string {
	return slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "BAKTAINER_") || strings.HasPrefix(v, "BT_") || strings.HasPrefix(v, "OTEL_")
	})
}

// start starts the process. It may be asked from now on.
func (c *controller) start() error {
	err := c.proc.Start()
	c.leave(false)
	return err
}

// kill kills the process as a crash would.
func (c *controller) kill() {
	c.leave(true)
	c.proc.Kill()
}

// terminate ends the process in order.
func (c *controller) terminate(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	c.leave(true)
	return c.proc.Terminate(ctx)
}

// leave says whether it is away. One that comes back gets a new connection: the
// old one may wait for long before it is made again.
func (c *controller) leave(away bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = away
	if c.conn != nil {
		_ = c.conn.Close() // calls in it end with an error, as they should
		c.conn = nil
	}
}

// present says whether it can be asked.
func (c *controller) present() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.away
}

// dial gives the connection to its unix socket.
func (c *controller) dial() (grpc.ClientConnInterface, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		conn, err := transport.DialUnix(filepath.Join(c.data(), "baktainer.sock"))
		if err != nil {
			return nil, err
		}
		c.conn = conn
	}
	return c.conn, nil
}

// clients are what a controller is asked through.
type apis struct {
	admin   pb.AdminServiceClient
	cluster pb.ClusterServiceClient
}

func (c *controller) apis() (apis, error) {
	conn, err := c.dial()
	if err != nil {
		return apis{}, err
	}
	return apis{pb.NewAdminServiceClient(conn), pb.NewClusterServiceClient(conn)}, nil
}

// close ends it for good.
func (c *controller) close(ctx context.Context) error {
	err := c.disk.Thaw(ctx) // or it could not end
	c.kill()
	return err
}

// panics are the crashes in its log that no fault explains.
func (c *controller) panics(j *procs.Journal) []string {
	var found []string
	for _, e := range j.Since(0, func(e procs.Entry) bool {
		return e.Process == c.name && (strings.HasPrefix(e.Message, "panic:") || strings.HasPrefix(e.Message, "fatal error:"))
	}) {
		found = append(found, e.String())
	}
	return found
}

package bench

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/baktainer/baktainer/internal/bench/figures"
	"github.com/baktainer/baktainer/internal/bench/measure"
)

// The names of the sources that are backed up.
const (
	dumpSource     = "bench/dump"
	postgresSource = "bench/postgres"
	streamSource   = "bench/stream"
	limitedSource  = "bench/limited"
)

// baktainer is the program under measurement: two processes over mutual TLS,
// and the command line that asks them.
type baktainer struct {
	b         *Bench
	source    string // that steps are about
	dir       string
	socket    string
	processes []*measure.Process
}

func (o *baktainer) name() string { return "baktainer" }

func (o *baktainer) open(ctx context.Context) error {
	dir, err := o.b.runDir("baktainer")
	if err != nil {
		return err
	}
	o.dir = dir
	// A path of a socket is short.
	sockets, err := os.MkdirTemp("", "bench")
	if err != nil {
		return fmt.Errorf("make a folder for the socket: %w", err)
	}
	o.socket = filepath.Join(sockets, "s")
	if o.b.fig.Settings.Apart {
		err = o.startApart(ctx)
	} else {
		err = o.start("up", "up", "--socket", o.socket, "--store", o.store(), "--key-file", o.keyFile(), "--http-listen", "off", "--schedule", "off", "--data-dir", filepath.Join(dir, "up"))
	}
	if err != nil {
		return errors.Join(err, o.close())
	}
	return o.ready(ctx, o.source)
}

func (o *baktainer) store() string   { return filepath.Join(o.dir, "store") }
func (o *baktainer) keyFile() string { return filepath.Join(o.dir, "key") }

func (o *baktainer) startApart(ctx context.Context) error {
	if err := certificates(o.dir); err != nil {
		return err
	}
	address, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	tls := func(name string) []string {
		return []string{"--tls-ca", filepath.Join(o.dir, "ca.pem"), "--tls-cert", filepath.Join(o.dir, name+".pem"), "--tls-key", filepath.Join(o.dir, name+".key")}
	}
	err = o.start("controller", append([]string{
		"controller", "--data-dir", filepath.Join(o.dir, "controller"), "--store", o.store(), "--key-file", o.keyFile(),
		"--socket", o.socket, "--listen", address, "--http-listen", "off", "--schedule", "off",
	}, tls("controller")...)...)
	if err != nil {
		return err
	}
	return o.start("agent", append([]string{"agent", "--data-dir", filepath.Join(o.dir, "agent"), "--controller", address}, tls("agent")...)...)
}

// freeAddress is one of this machine where nobody listens.
func freeAddress(ctx context.Context) (string, error) {
	var lc net.ListenConfig
	l, err := lc.Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("find a free port: %w", err)
	}
	return l.Addr().String(), l.Close()
}

func (o *baktainer) start(name string, args ...string) error {
	o.remember(name, args)
	p, err := measure.Start(name, filepath.Join(o.dir, name+".log"), nil, append([]string{o.b.Binary}, args...)...)
	if err == nil {
		o.processes = append(o.processes, p)
	}
	return err
}

// remember remembers a command line, with names instead of what is different
// in every run.
func (o *baktainer) remember(step string, args []string) {
	words := []string{"baktainer"}
	for _, a := range args {
		switch {
		case a == o.socket:
			a = "SOCKET"
		case snapshotID.MatchString(a):
			a = "ID"
		case strings.HasPrefix(a, "127.0.0.1:"):
			a = "127.0.0.1:PORT"
		}
		words = append(words, a)
	}
	o.b.command("baktainer", step, slices.Compact(words))
}

// snapshotID is how the program names snapshots.
var snapshotID = regexp.MustCompile("^[0-9A-Z]{26}$")

// ready waits until a source can be backed up.
func (o *baktainer) ready(ctx context.Context, source string) error {
	err := until(ctx, "baktainer is ready to back up "+source, func() error {
		said, err := run(ctx, o.b.Binary, "source", "show", source, "-o", "json", "--socket", o.socket)
		if err != nil {
			return err
		}
		if !strings.Contains(said, `"ready"`) {
			return errors.New("the source is not ready: " + strings.Join(strings.Fields(said), " "))
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("%w; the last of the logs: %s", err, o.logs())
	}
	return nil
}

// logs are the ends of the processes' logs.
func (o *baktainer) logs() string {
	var all []string
	for _, p := range o.processes {
		if content, err := os.ReadFile(filepath.Join(o.dir, p.Name+".log")); err == nil {
			text := strings.Join(strings.Fields(string(content)), " ")
			all = append(all, p.Name+": "+text[max(0, len(text)-300):])
		}
	}
	return strings.Join(all, "; ")
}

// ask measures a command, with what it costs the processes that it asks.
func (o *baktainer) ask(ctx context.Context, step string, args ...string) (cost, error) {
	o.remember(step, args)
	for _, p := range o.processes {
		if err := p.Mark(); err != nil {
			return cost{}, err
		}
	}
	u, err := measure.Run(ctx, measure.Command{Args: append(append([]string{o.b.Binary}, args...), "--socket", o.socket)})
	if err != nil {
		return cost{}, err
	}
	c := cost{wall: u.Wall, cpu: u.CPU, rss: u.RSS, bytes: u.Printed}
	for _, p := range o.processes {
		cpu, rss, err := p.Since()
		if err != nil {
			return cost{}, err
		}
		c.cpu += cpu
		c.rss = max(c.rss, rss)
		c.parts = append(c.parts, figures.Part{Name: p.Name, CPU: cpu, RSS: rss})
	}
	c.parts = append(c.parts, figures.Part{Name: "command", CPU: u.CPU, RSS: u.RSS})
	return c, nil
}

// backup makes the file the one that the container's command prints.
func (o *baktainer) backup(ctx context.Context, file, _ string) (cost, error) {
	current := filepath.Join(o.b.Dir, "data", "current.sql")
	if err := os.Remove(current); err != nil && !errors.Is(err, os.ErrNotExist) {
		return cost{}, fmt.Errorf("choose the dump: %w", err)
	}
	if err := os.Symlink(filepath.Base(file), current); err != nil {
		return cost{}, fmt.Errorf("choose the dump: %w", err)
	}
	return o.ask(ctx, "backup", "backup", o.source)
}

func (o *baktainer) restore(ctx context.Context) (cost, error) {
	return o.ask(ctx, "restore", "dump", o.source)
}

// rescue restores from the store alone.
func (o *baktainer) rescue(ctx context.Context) (cost, error) {
	args := []string{"rescue", "dump", o.source, "--store", o.store(), "--key-file", o.keyFile()}
	o.b.command("baktainer rescue", "restore", append([]string{"baktainer"}, args...))
	u, err := measure.Run(ctx, measure.Command{Args: append([]string{o.b.Binary}, args...)})
	return cost{wall: u.Wall, cpu: u.CPU, rss: u.RSS, bytes: u.Printed}, err
}

// verify reads every snapshot again, since that is what the peers do.
func (o *baktainer) verify(ctx context.Context) (cost, error) {
	snapshots, err := o.snapshots(ctx)
	if err != nil {
		return cost{}, err
	}
	return o.ask(ctx, "verify", append([]string{"snapshot", "verify"}, snapshots...)...)
}

func (o *baktainer) prune(ctx context.Context) (cost, error) {
	if !knows(ctx, o.b.Binary, "prune") || !knows(ctx, o.b.Binary, "snapshot", "forget") {
		return cost{}, errors.New("this version of baktainer cannot prune")
	}
	snapshots, err := o.snapshots(ctx)
	if err != nil {
		return cost{}, err
	}
	if len(snapshots) < 2 {
		return cost{}, fmt.Errorf("there are only %d snapshots", len(snapshots))
	}
	forget, err := o.ask(ctx, "forget", append([]string{"snapshot", "forget", "--undo=0"}, snapshots[1:]...)...)
	if err != nil {
		return cost{}, err
	}
	prune, err := o.ask(ctx, "prune", "prune", o.source, "--yes")
	return forget.and(prune), err
}

// snapshots are those of the source, newest first.
func (o *baktainer) snapshots(ctx context.Context) ([]string, error) {
	said, err := run(ctx, o.b.Binary, "snapshot", "ls", o.source, "--quiet", "--socket", o.socket)
	return ids(said), err
}

func (o *baktainer) size() (int64, error) { return sizeOf(o.store()) }

func (o *baktainer) close() error {
	var errs []error
	for _, p := range slices.Backward(o.processes) {
		errs = append(errs, p.Stop())
	}
	o.processes = nil
	if o.socket != "" {
		errs = append(errs, os.RemoveAll(filepath.Dir(o.socket)))
		o.socket = ""
	}
	_, err := o.b.runDir("baktainer")
	return errors.Join(append(errs, err)...)
}

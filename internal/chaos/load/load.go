// Package load keeps databases busy while a fault rig backs them up: containers
// of the sample images, with bulk data of some size that can be written anew,
// and small transactions all the time.
package load

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/hosts"
	"github.com/baktainer/baktainer/internal/clock"
)

// Label names the rig that a container belongs to.
const Label = "chaos.rig"

const (
	// patience bounds how long a server takes to start.
	patience = 2 * time.Minute
	// writeEvery is the pause between two transactions.
	writeEvery = 50 * time.Millisecond
	retryPause = 200 * time.Millisecond
)

// Docker runs the Docker client with the arguments and returns what it prints.
type Docker func(ctx context.Context, env []string, stdin io.Reader, args ...string) (string, error)

// Options say what to load.
type Options struct {
	// Rig is the rig's name; Name that of the container and the source.
	Rig, Name string
	// Kind is postgres or mariadb.
	Kind string
	// Host is the host on which an agent finds it.
	Host string
	// Bytes is about the size of its dump.
	Bytes int64
	// Docker may be nil: the machine's.
	Docker Docker
}

// Database is one that runs.
type Database struct {
	Options
	kind   kind
	secret string
	rows   int
	writes atomic.Int64
	next   int // part of the bulk that is written anew next
	seed   uint64
}

// Start runs a database and fills it.
func Start(ctx context.Context, o Options) (*Database, error) {
	k, ok := kinds[o.Kind]
	if !ok {
		return nil, fmt.Errorf("there is no load for a database of kind %q", o.Kind)
	}
	if o.Docker == nil {
		o.Docker = machineDocker
	}
	d := &Database{Options: o, kind: k, secret: rand.Text(), rows: bulkRows(o.Bytes)}
	args := []string{
		"run", "-d", "--name", o.Name, "--label", Label + "=" + o.Rig, "--label", hosts.Label + "=" + o.Host, "--label", "baktainer.backup=true",
	}
	var env []string
	for _, v := range k.env {
		name, _, _ := strings.Cut(v, "=")
		args = append(args, "-e", name) // its value is in our environment
		env = append(env, strings.Replace(v, "SECRET", d.secret, 1))
	}
	if _, err := o.Docker(ctx, env, nil, append(append(args, k.image), k.args...)...); err != nil {
		return nil, fmt.Errorf("start %s: %w", o.Name, err)
	}
	if err := d.ready(ctx); err != nil {
		return nil, err
	}
	if err := d.sql(ctx, strings.NewReader(k.schema)); err != nil {
		return nil, fmt.Errorf("make the tables of %s: %w", o.Name, err)
	}
	return d, d.Churn(ctx, parts)
}

func (d *Database) ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for {
		err := d.sql(ctx, strings.NewReader("SELECT 1;"))
		if err == nil {
			return nil
		}
		if clock.Sleep(ctx, retryPause) != nil {
			return fmt.Errorf("wait for %s: %w", d.Name, err)
		}
	}
}

// exec is the command line of the client in the container.
func (d *Database) exec() []string {
	return append([]string{"exec", "-i", "-e", d.kind.variable, d.Name}, d.kind.client...)
}

func (d *Database) sql(ctx context.Context, script io.Reader) error {
	_, err := d.Docker(ctx, []string{d.kind.variable + "=" + d.secret}, script, d.exec()...)
	return err
}

// Churn writes so many quarters of the bulk anew, so that the next backup has
// something to send. It waits for dumps that are at work.
func (d *Database) Churn(ctx context.Context, quarters int) error {
	for range quarters {
		part := d.next
		d.next = (d.next + 1) % parts
		d.seed++
		r, w := io.Pipe()
		go func() { w.CloseWithError(d.kind.bulk(w, part, d.seed, d.rows)) }()
		err := d.sql(ctx, r)
		_ = r.Close() // frees the writer; it has no other effect
		if err != nil {
			return fmt.Errorf("write %s anew: %w", d.Name, err)
		}
	}
	return nil
}

// Writes is how many transactions there were.
func (d *Database) Writes() int64 { return d.writes.Load() }

// Write keeps the database busy until ctx ends.
func (d *Database) Write(ctx context.Context) {
	for ctx.Err() == nil {
		r, w := io.Pipe()
		go func() {
			for {
				n := d.writes.Add(1)
				if _, err := io.WriteString(w, d.kind.write(int(n))); err != nil || clock.Sleep(ctx, writeEvery) != nil {
					break
				}
			}
			_ = w.Close() // a pipe's never fails
		}()
		_ = d.sql(ctx, r) // a client that was lost is replaced
		_ = r.Close()
		_ = clock.Sleep(ctx, retryPause)
	}
}

// Remove removes the database.
func (d *Database) Remove(ctx context.Context) error {
	if _, err := d.Docker(ctx, nil, nil, "rm", "-f", "-v", d.Name); err != nil {
		return fmt.Errorf("remove %s: %w", d.Name, err)
	}
	return nil
}

// Clean removes all containers of a rig.
func Clean(ctx context.Context, rig string, docker Docker) error {
	if docker == nil {
		docker = machineDocker
	}
	ids, err := docker(ctx, nil, nil, "ps", "-aq", "--filter", "label="+Label+"="+rig)
	if err != nil {
		return fmt.Errorf("look for the rig's databases: %w", err)
	}
	if found := strings.Fields(ids); len(found) > 0 {
		if _, err := docker(ctx, nil, nil, append([]string{"rm", "-f", "-v"}, found...)...); err != nil {
			return fmt.Errorf("remove the rig's databases: %w", err)
		}
	}
	return nil
}

// machineDocker is the docker command of the machine.
func machineDocker(ctx context.Context, env []string, stdin io.Reader, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "docker", args...)
	var out, errText bytes.Buffer
	cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), env...), stdin, &out, &errText
	// What feeds its input may have nothing to say any more and never end.
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		said := strings.Join(strings.Fields(errText.String()), " ")
		return out.String(), fmt.Errorf("docker %s: %w: %s", args[0], err, said[max(0, len(said)-400):])
	}
	return out.String(), nil
}

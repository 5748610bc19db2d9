// Package sims has simulated agents that carry out runs in all the ways in which
// agents do, and some in which they must not: late, twice, with leases that have
// passed on or that never were theirs. What they asked for and what they were
// told is recorded, to be checked.
package sims

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/baktainer/baktainer/internal/chaos/history"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/scale/sim"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// Sources is how many sources each client has.
	Sources = 2
	// Prefix begins the names of all of them.
	Prefix = "sims/"

	enrolPause = 500 * time.Millisecond
	enrolLimit = 10 * time.Second
	// atOnce is how many runs a client takes at once.
	atOnce = 2
)

// SourceName is the name of a source of a client.
func SourceName(client, source int) string { return fmt.Sprintf("%sc%02d-%d", Prefix, client, source) }

// agentName is that of a client.
func agentName(client int) string { return fmt.Sprintf("sim-%02d", client) }

// Options say who the clients are.
type Options struct {
	// Controllers are addresses, HOST:PORT.
	Controllers []string
	TokenFile   string
	Clients     int
	Seed        uint64
	// History takes the record.
	History io.Writer
	Clock   clock.Clock
}

// crowd are all clients.
type crowd struct {
	Options
	record *history.Recorder

	mu     sync.Mutex
	random *rand.Rand
	leases []given // some of those that were given to any client, for forgers
}

// given is a lease that a client was given.
type given struct {
	client int
	lease  *pb.Lease
}

// Run has the clients work until ctx ends.
func Run(ctx context.Context, o Options) error {
	text, err := os.ReadFile(o.TokenFile)
	if err != nil {
		return fmt.Errorf("read the token: %w", err)
	}
	token, err := pki.ParseToken(strings.TrimSpace(string(text)))
	if err != nil {
		return err
	}
	c := &crowd{
		Options: o, record: history.NewRecorder(o.History, o.Clock),
		random: rand.New(rand.NewPCG(o.Seed, 3)), //nolint:gosec // it is to be repeatable
	}
	var working sync.WaitGroup
	errs := make([]error, o.Clients)
	for n := range o.Clients {
		working.Go(func() { errs[n] = c.client(ctx, n, token) })
	}
	working.Wait()
	return errors.Join(append(errs, c.record.Err())...)
}

// dice gives a number below n.
func (c *crowd) dice(n int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.random.IntN(n)
}

// client is one of them: it enrols, and works.
func (c *crowd) client(ctx context.Context, n int, token pki.Token) error {
	holder := transport.NewHolder(c.Clock)
	for {
		address := c.Controllers[c.dice(len(c.Controllers))]
		limited, cancel := context.WithTimeout(ctx, enrolLimit)
		credentials, _, err := transport.Enrol(limited, address, transport.Enrolment{Token: token, Role: pb.Role_ROLE_AGENT, Name: agentName(n), Clock: c.Clock})
		cancel()
		if err == nil {
			holder.Use(credentials)
			break
		}
		if clock.Sleep(ctx, enrolPause) != nil {
			return fmt.Errorf("enrol client %d: %w", n, err)
		}
	}
	var doors []pb.AgentServiceClient
	for _, address := range c.Controllers {
		conn, err := transport.Dial(address, holder)
		if err != nil {
			return err
		}
		defer conn.Close()
		doors = append(doors, pb.NewAgentServiceClient(conn))
	}
	w := &worker{crowd: c, n: n, name: agentName(n), doors: doors}
	w.agent = sim.New(sim.Options{
		ID: w.name, Sources: w.sources(), Concurrency: atOnce, Client: w.door, Clock: c.Clock,
		Events: sim.Events{
			Assigned: func(as *pb.Assignment) { w.assigned(ctx, as) },
			Renewed:  func(l *pb.Lease) { w.renewed(l, history.Done) },
			Lost:     func(l *pb.Lease) { w.renewed(l, history.Refused) },
		},
	})
	w.agent.Run(ctx)
	w.working.Wait()
	return nil
}

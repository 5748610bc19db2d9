package main

import (
	"context"
	"crypto/x509"
	"log/slog"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/cli"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	"github.com/baktainer/baktainer/internal/transport/certs"
)

// loginTime bounds a login: somebody waits for it.
const loginTime = 30 * time.Second

// loginAge is how old a login's certificate may be before a command renews it. With
// a new one comes whom to trust: whoever asks something while the authority is
// being replaced keeps up with it.
const loginAge = time.Hour

// asWhom says of a token that was refused for which name that was: it may be good for
// another one.
func asWhom(err error, role, name, flag string) error {
	if r := problem.ReasonOf(err); r != state.ReasonTokenUnknown && r != state.ReasonTokenMismatch {
		return err
	}
	return problem.Wrap(problem.Denied, err, "as %s %s", role, name).
		WithHint("A token that was made with --name is good for that name alone: give it with %s. `baktainer token create` makes a new one.", flag)
}

// login exchanges a token for an operator's certificate.
func login(ctx context.Context, r cli.LoginRequest) (cli.Login, error) {
	token, err := pki.ParseToken(r.Token.Reveal())
	if err != nil {
		return cli.Login{}, err
	}
	ctx, cancel := context.WithTimeout(ctx, loginTime)
	defer cancel()
	got, err := transport.EnrolAt(ctx, plain(r.Controllers), transport.Enrolment{Token: token, Name: r.Name, Clock: clock.System{}}, slog.New(slog.DiscardHandler))
	if err != nil {
		return cli.Login{}, asWhom(err, "operator", r.Name, "--name")
	}
	if err := got.Credentials.Save(r.Dir); err != nil {
		return cli.Login{}, err
	}
	controllers := plain(append(got.Controllers, plain(r.Controllers)...))
	var known []uplink.Controller
	for _, a := range controllers {
		known = append(known, uplink.Controller{Address: a})
	}
	newContacts(filepath.Join(r.Dir, contactsName), slog.Default()).remember(known)
	id := got.Credentials.Identity()
	return cli.Login{
		Cluster: id.Cluster, Role: id.Role, Name: id.Name, NotAfter: got.Credentials.Leaf().NotAfter, Controllers: controllers,
	}, nil
}

// dialController connects to a controller over TLS, for the command line.
func dialController(ctx context.Context, r cli.Remote) (grpc.ClientConnInterface, func(), error) {
	if r.TLS.Given() {
		holder, err := transport.OwnPKI(certs.Files{CA: r.TLS.CA, Cert: r.TLS.Cert, Key: r.TLS.Key.Reveal()}, clock.System{}, x509.ExtKeyUsageClientAuth)
		if err != nil {
			return nil, nil, err
		}
		return dialAny(ctx, plain(r.Controllers), holder)
	}
	holder := transport.NewHolder(clock.System{})
	peers := transport.NewPeers(holder)
	addresses := plain(append(r.Controllers, newContacts(filepath.Join(r.Login, contactsName), slog.Default()).addresses()...))
	if len(addresses) == 0 {
		return nil, nil, problem.New(problem.InvalidInput, "it is not known where the controllers are").WithHint("Name one with --controller HOST:PORT.")
	}
	keeper, err := transport.NewKeeper(transport.KeeperOptions{
		Dir: r.Login, Holder: holder, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Random: rand.Float64,
		Renewer: transport.RenewThrough(func() (*transport.Peers, []string) { return peers, addresses }),
	})
	if err != nil {
		return nil, nil, err
	}
	if age := (clock.System{}).Now().Sub(pki.IssuedAt(keeper.Held().Leaf())); age > loginAge {
		// What cannot be renewed now is renewed with another command, until it expires.
		renewing, cancel := context.WithTimeout(ctx, 5*time.Second)
		_ = keeper.Renew(renewing)
		cancel()
	}
	conn, hangUp, err := dialAny(ctx, addresses, holder)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() {
		hangUp()
		_ = peers.Close()
	}, nil
}

// answerTime is how long a controller may take to be connected to, when there are others.
const answerTime = 2 * time.Second

// dialAny connects to the first of the addresses at which somebody answers, to
// the first of all when nobody does: that one's failure is what is told.
func dialAny(ctx context.Context, addresses []string, holder *transport.Holder) (grpc.ClientConnInterface, func(), error) {
	chosen := addresses[0]
	for _, address := range addresses {
		if len(addresses) == 1 || answers(ctx, address) {
			chosen = address
			break
		}
	}
	conn, err := transport.Dial(chosen, holder)
	if err != nil {
		return nil, nil, err
	}
	return conn, func() { _ = conn.Close() }, nil
}

func answers(ctx context.Context, address string) bool {
	ctx, cancel := context.WithTimeout(ctx, answerTime)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(ctx, "tcp", address)
	if err == nil {
		_ = conn.Close()
	}
	return err == nil
}

// planRecovery says what a recovery of a controller's data folder would do.
func planRecovery(_ context.Context, c config.Config, file []byte) (cli.Recovery, error) {
	peers, err := consensus.ParsePeers(file)
	if err != nil {
		return cli.Recovery{}, err
	}
	dir := filepath.Join(c.DataDir, "controller")
	if _, err := os.Stat(dir); err != nil {
		return cli.Recovery{}, problem.Wrap(problem.NotFound, err, "look for a controller's data in %s", c.DataDir).WithHint("Name its folder with --data-dir.")
	}
	kept, err := consensus.ReadKept(dir)
	if err != nil {
		return cli.Recovery{}, err
	}
	plan := cli.Recovery{Node: kept.NodeID, Cluster: kept.Cluster}
	for _, p := range peers {
		plan.Peers = append(plan.Peers, cli.Peer{ID: p.ID, Address: p.Address, Voter: p.Voter})
	}
	plan.Do = func(context.Context) (cli.Recovered, error) {
		done, err := consensus.Recover(dir, peers, clock.System{}.Now())
		if err != nil {
			return cli.Recovered{}, err
		}
		return cli.Recovered{Node: done.Node, Cluster: done.Cluster, Index: done.Index, Peers: plan.Peers, Copy: done.Copy}, nil
	}
	return plan, nil
}

package transport

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	// keeperLook is how often the keeper looks at the clock at least: a host that
	// slept has missed its timers.
	keeperLook = time.Hour
	// keeperFirst and keeperMost are the shortest and the longest wait after a failure.
	keeperFirst = time.Second
	keeperMost  = 15 * time.Minute
	// keeperCall is how long one renewal may take.
	keeperCall = 30 * time.Second
	// keeperNear is how much of a certificate's time is left when its keeper gets loud.
	keeperNear = 24 * time.Hour
)

// Renewer is the part of pb.IdentityServiceClient that renews.
type Renewer interface {
	Renew(ctx context.Context, in *pb.RenewRequest, opts ...grpc.CallOption) (*pb.RenewResponse, error)
}

// KeeperOptions are what a keeper needs.
type KeeperOptions struct {
	// Dir is where the credentials are kept.
	Dir    string
	Holder *Holder
	// Renewer is any controller of the cluster; a controller may be its own.
	Renewer Renewer
	// Hosts are those at which others reach a controller; nil for all others.
	Hosts func() []string
	// Controllers hears where the controllers are; may be nil.
	Controllers func([]*pb.ControllerInfo)
	Clock       clock.Clock
	Logger      *slog.Logger
	// Random is in [0, 1).
	Random func() float64
}

// Keeper keeps credentials: on disk, in the holder, and fresh.
type Keeper struct {
	KeeperOptions
	renewing sync.Mutex    // one at a time
	nudge    chan struct{} // look again

	mu     sync.Mutex
	creds  *pki.Credentials // nil: none
	at     time.Time        // when to renew them
	wanted uint64           // version of the trust that there is
}

// NewKeeper makes a keeper of the credentials in the folder, which the holder
// shows from now on. When there are none, or they have expired, it says so by the
// reasons of pki.Load, and the keeper is there all the same, for Adopt.
func NewKeeper(o KeeperOptions) (*Keeper, error) {
	k := &Keeper{KeeperOptions: o, nudge: make(chan struct{}, 1)}
	creds, err := pki.Load(o.Dir, o.Clock.Now())
	if err == nil {
		k.hold(creds)
	}
	return k, err
}

// Adopt keeps new credentials.
func (k *Keeper) Adopt(c *pki.Credentials) error {
	if err := c.Save(k.Dir); err != nil {
		return problem.Wrap(problem.Failed, err, "keep the new certificate")
	}
	k.hold(c)
	k.poke()
	return nil
}

func (k *Keeper) hold(c *pki.Credentials) {
	k.mu.Lock()
	k.creds, k.at = c, pki.RenewAt(c.Leaf(), k.Random())
	k.mu.Unlock()
	k.Holder.Use(c)
}

// notBefore lets some time pass before the next renewal: where this host's clock is
// days ahead of the controllers', a new certificate is due as soon as it comes.
func (k *Keeper) notBefore(wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if soonest := k.Clock.Now().Add(wait); k.at.Before(soonest) {
		k.at = soonest
	}
}

func (k *Keeper) poke() {
	select {
	case k.nudge <- struct{}{}:
	default:
	}
}

// Held are the credentials, nil when there are none.
func (k *Keeper) Held() *pki.Credentials {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.creds
}

// Version is that of the trust that is held, 0 for none.
func (k *Keeper) Version() uint64 {
	if c := k.Held(); c != nil {
		return c.Version
	}
	return 0
}

// Want has the keeper renew at once when the cluster's trust is of a newer
// version than the one that is held.
func (k *Keeper) Want(version uint64) {
	k.mu.Lock()
	newer := version > k.wanted
	k.wanted = max(k.wanted, version)
	k.mu.Unlock()
	if newer {
		k.poke()
	}
}

// due says how long to wait until the next renewal.
func (k *Keeper) due() (c *pki.Credentials, wait time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.creds == nil {
		return nil, keeperLook
	}
	if k.wanted > k.creds.Version {
		return k.creds, 0
	}
	return k.creds, k.at.Sub(k.Clock.Now())
}

// Run renews the credentials whenever it is time, until ctx ends.
func (k *Keeper) Run(ctx context.Context) {
	pause := time.Duration(0) // since the last failure
	for ctx.Err() == nil {
		creds, wait := k.due()
		if creds != nil && wait <= 0 {
			if err := k.renewDue(ctx); err == nil {
				pause = 0
				continue
			} else if ctx.Err() == nil {
				pause = min(max(2*pause, keeperFirst), keeperMost)
				wait = time.Duration(float64(pause) * (0.5 + 0.5*k.Random()))
				k.warn(creds, err, wait)
			}
		}
		select {
		case <-ctx.Done():
		case <-k.nudge:
		case <-time.After(min(wait, keeperLook)):
		}
	}
}

var errStale = errors.New("the controller that answered does not know yet whom the cluster trusts now")

// renewDue is a renewal that has to bring what was wanted.
func (k *Keeper) renewDue(ctx context.Context) error {
	if err := k.Renew(ctx); err != nil {
		return err
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.creds.Version < k.wanted {
		return errStale
	}
	return nil
}

// Renew renews the credentials now.
func (k *Keeper) Renew(ctx context.Context) error {
	k.renewing.Lock()
	defer k.renewing.Unlock()
	old := k.Held()
	if old == nil {
		return problem.New(problem.NotFound, "renew the certificate: there is none").WithReason(pki.ReasonNone)
	}
	ctx, cancel := context.WithTimeout(ctx, keeperCall)
	defer cancel()
	next, controllers, err := k.ask(ctx, old)
	if err != nil {
		return fmt.Errorf("renew the certificate: %w", err)
	}
	// In memory it counts even when the disk does not take it; it is then renewed
	// again soon, so that one is kept at last.
	saved := next.Save(k.Dir)
	k.hold(next)
	k.notBefore(keeperLook)
	if saved != nil {
		k.mu.Lock()
		k.at = k.Clock.Now()
		k.mu.Unlock()
		return problem.Wrap(problem.Failed, saved, "keep the new certificate")
	}
	k.Logger.Info("the certificate was renewed", "identity", next.Identity().String(), "expires", next.Leaf().NotAfter, "trust", next.Version)
	if k.Controllers != nil {
		k.Controllers(controllers)
	}
	return nil
}

// ask has a controller issue the next credentials.
func (k *Keeper) ask(ctx context.Context, old *pki.Credentials) (*pki.Credentials, []*pb.ControllerInfo, error) {
	key, err := pki.NewKey()
	if err != nil {
		return nil, nil, err
	}
	req := &pb.RenewRequest{}
	if req.Request, err = pki.Request(key); err != nil {
		return nil, nil, err
	}
	if k.Hosts != nil {
		req.Hosts = k.Hosts()
	}
	resp, err := k.Renewer.Renew(ctx, req)
	if err != nil {
		return nil, nil, err
	}
	next, err := credentialsOf(key, resp.GetCredentials(), k.Clock.Now())
	if err != nil {
		return nil, nil, err
	}
	if next.Identity() != old.Identity() {
		return nil, nil, problem.New(problem.Failed, "the controller gave a certificate for the %s", next.Identity()).WithReason(pki.ReasonDamaged)
	}
	return next, resp.GetCredentials().GetControllers(), nil
}

// warn gets louder the less time is left.
func (k *Keeper) warn(c *pki.Credentials, err error, wait time.Duration) {
	level, text := slog.LevelWarn, "the certificate could not be renewed; it is tried again"
	switch left := c.Leaf().NotAfter.Sub(k.Clock.Now()); {
	case left <= 0:
		level, text = slog.LevelError, "the certificate has expired and could not be renewed: enrol again with a new token"
	case left < keeperNear:
		level, text = slog.LevelError, "the certificate expires soon and could not be renewed; it is tried again"
	}
	k.Logger.Log(context.Background(), level, text, "identity", c.Identity().String(), "expires", c.Leaf().NotAfter, "again_in", wait.Round(time.Second), "error", err)
}

package agent

import (
	"context"
	"sync"

	"github.com/baktainer/baktainer/agent/uplink"
)

// wanted is the version of the trust that the controller says this agent should have.
type wanted struct {
	mu      sync.Mutex
	version uint64
	raised  chan struct{}
}

func newWanted() *wanted { return &wanted{raised: make(chan struct{}, 1)} }

func (w *wanted) raise(version uint64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if version <= w.version {
		return
	}
	w.version = version
	select {
	case w.raised <- struct{}{}:
	default:
	}
}

func (w *wanted) now() uint64 {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.version
}

// renewTrust has the certificate renewed whenever the cluster trusts others than
// this agent does, until ctx ends.
func (a *Agent) renewTrust(ctx context.Context, w *wanted) {
	if a.Renew == nil || a.TrustVersion == nil {
		return
	}
	pause := uplink.Backoff{Most: uplink.MaxPause}
	for {
		select {
		case <-w.raised:
		case <-ctx.Done():
			return
		}
		pause.Reset()
		for a.TrustVersion() < w.now() {
			if err := a.Renew(ctx); err == nil {
				a.Logger.Info("certificate renewed: the cluster trusts others than before", "trust_version", a.TrustVersion())
			} else if ctx.Err() == nil {
				a.Logger.Warn("certificate not renewed; trying again", "error", err)
			}
			if a.TrustVersion() < w.now() && pause.Wait(ctx) != nil {
				return
			}
		}
	}
}

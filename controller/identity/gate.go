package identity

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/binary"
	"slices"
	"sync"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Gate says which certificates count, as this controller knows it. It implements
// transport.Gate.
type Gate struct {
	view func() *state.View
	held func() *pki.Credentials

	mu      sync.Mutex
	changed chan struct{}
	last    [sha256.Size]byte
}

var _ transport.Gate = (*Gate)(nil)

// settle is how long changes of the state are gathered before it is looked
// whether they concern certificates. Every call asks anew: only for the end of
// calls that are under way does it matter.
const settle = 50 * time.Millisecond

// NewGate returns a gate. held gives this controller's own credentials, nil when
// there are none; it may be nil itself. Run has to run for Changed to tell of anything.
func NewGate(view func() *state.View, held func() *pki.Credentials) *Gate {
	return &Gate{view: view, held: held, changed: make(chan struct{}), last: standing(view())}
}

// RevokedAt implements transport.Gate.
func (g *Gate) RevokedAt(role pb.Role, name string) time.Time {
	i, ok := g.view().Identity(role, name)
	if !ok || i.GetRevokedAt() == nil {
		return time.Time{}
	}
	// What was issued at the very moment is refused as well: see state.Refuses.
	return i.GetRevokedAt().AsTime().Add(1)
}

// Trusts implements transport.Gate. A controller that has only just joined, or
// was away while the authority was replaced, has to trust the leader before the
// leader can tell it whom to trust: its own credentials know more then.
func (g *Gate) Trusts(root [sha256.Size]byte) bool {
	a, known := g.view().Authority()
	var held *pki.Credentials
	if g.held != nil {
		held = g.held()
	}
	if held != nil && held.Version > a.GetVersion() {
		return slices.ContainsFunc(held.Roots, func(r *x509.Certificate) bool { return sha256.Sum256(r.Raw) == root })
	}
	return !known || slices.ContainsFunc(a.GetRoots(), func(r *pb.RootRecord) bool { return sha256.Sum256(r.GetCertificate()) == root })
}

// Changed implements transport.Gate.
func (g *Gate) Changed() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.changed
}

// Run watches the state until ctx ends.
func (g *Gate) Run(ctx context.Context) {
	for {
		view := g.view()
		if now := standing(view); now != g.last {
			g.last = now
			g.mu.Lock()
			close(g.changed)
			g.changed = make(chan struct{})
			g.mu.Unlock()
		}
		select {
		case <-view.Changed():
		case <-ctx.Done():
			return
		}
		if clock.Sleep(ctx, settle) != nil {
			return
		}
	}
}

// standing is a digest of all that the gate says.
func standing(view *state.View) (sum [sha256.Size]byte) {
	h := sha256.New()
	a, _ := view.Authority()
	for _, r := range a.GetRoots() {
		s := sha256.Sum256(r.GetCertificate())
		h.Write(s[:])
	}
	for _, i := range view.Identities() {
		if i.GetRevokedAt() == nil {
			continue
		}
		at := binary.BigEndian.AppendUint64([]byte{byte(i.GetRole())}, uint64(i.GetRevokedAt().AsTime().UnixNano()))
		h.Write(append(at, i.GetName()+"\x00"...))
	}
	h.Sum(sum[:0])
	return sum
}

package transport

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"slices"
	"sync/atomic"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport/certs"
)

// Holder is who this process is on the wire and whom it trusts. Every handshake
// asks it anew, so that certificates are renewed and roots replaced while
// connections, servers and listeners go on.
type Holder struct {
	clock clock.Clock
	now   atomic.Pointer[held]
}

type held struct {
	pair    *tls.Certificate           // nil: none yet
	pool    *x509.CertPool             // never nil: TLS would trust the system's
	roots   map[[sha256.Size]byte]bool // of our own authority; nil with a user's, whose roots do not change
	own     bool                       // of a user's own authority
	changed chan struct{}              // closed when something else is held
}

// NewHolder makes a holder that has nothing yet.
func NewHolder(c clock.Clock) *Holder {
	h := &Holder{clock: c}
	h.now.Store(&held{pool: x509.NewCertPool(), changed: make(chan struct{})})
	return h
}

// OwnPKI makes a holder of what a user's own authority issued, good for each of
// the uses. It stays as it is.
func OwnPKI(files certs.Files, c clock.Clock, uses ...x509.ExtKeyUsage) (*Holder, error) {
	var set certs.Set
	var wrong []string
	for _, use := range uses {
		var more []string
		set, more = files.Load(use, c.Now())
		for _, line := range more {
			if !slices.Contains(wrong, line) {
				wrong = append(wrong, line)
			}
		}
	}
	if files.CA == "" || files.Cert == "" {
		wrong = append(wrong, "CA, certificate and key are all needed")
	}
	if len(wrong) > 0 {
		return nil, problem.New(problem.InvalidInput, "the certificates in tls-ca, tls-cert and tls-key cannot be used").
			WithDetails(wrong...).
			WithHint("Each is the path of a PEM file or the PEM itself.")
	}
	h := NewHolder(c)
	h.hold(&held{pair: &set.Pairs[0], pool: set.CAs, own: true})
	return h, nil
}

// Use makes the holder show these credentials, and trust whom they trust.
func (h *Holder) Use(c *pki.Credentials) {
	next := &held{pair: c.Certificate(), pool: x509.NewCertPool(), roots: map[[sha256.Size]byte]bool{}}
	for _, r := range c.Roots {
		next.pool.AddCert(r)
		next.roots[sha256.Sum256(r.Raw)] = true
	}
	h.hold(next)
}

// UseTemporary makes a holder that has nothing show a certificate of its own
// making. With it others can be met who know the same secret, and no more.
func (h *Holder) UseTemporary() error {
	pair, err := pki.Temporary(h.clock.Now())
	if err != nil {
		return err
	}
	h.hold(&held{pair: pair, pool: x509.NewCertPool(), roots: map[[sha256.Size]byte]bool{}})
	return nil
}

func (h *Holder) hold(next *held) {
	next.changed = make(chan struct{})
	close(h.now.Swap(next).changed)
}

// Changed gives a channel that is closed when the holder shows or trusts
// something else. Take it first, then look.
func (h *Holder) Changed() <-chan struct{} { return h.now.Load().changed }

// Identity is who the certificate says this process is. A certificate of a
// user's own authority may say it by its common name: an agent.
func (h *Holder) Identity() (pki.Identity, bool) {
	pair := h.now.Load().pair
	if pair == nil || pair.Leaf == nil {
		return pki.Identity{}, false
	}
	return identityOf(pair.Leaf)
}

// AgentName is the name that the certificate gives an agent.
func (h *Holder) AgentName() (string, error) {
	id, ok := h.Identity()
	if !ok || id.Role != pki.RoleAgent {
		return "", problem.New(problem.InvalidInput, "the certificate in tls-cert names no agent").WithHint("%s", hintAgentName)
	}
	return id.Name, nil
}

const hintAgentName = "Issue it with the URI spiffe://ANYTHING/agent/NAME as subject alternative name, or with NAME as common name."

// identityOf is who a certificate that was verified says its holder is. One that
// gives names by URI gives none by its common name.
func identityOf(cert *x509.Certificate) (pki.Identity, bool) {
	if id, ok := pki.Of(cert); ok || pki.HasURI(cert) {
		return id, ok
	}
	name := cert.Subject.CommonName
	return pki.Identity{Role: pki.RoleAgent, Name: name}, name != ""
}

// trusts says whether one of the chains still ends in a root that is trusted.
func (h *Holder) trusts(chains [][]*x509.Certificate) bool {
	now := h.now.Load()
	return now.own || slices.ContainsFunc(chains, func(chain []*x509.Certificate) bool {
		return now.roots[sha256.Sum256(chain[len(chain)-1].Raw)]
	})
}

// isPeer says whether the other end is a controller of the same cluster.
func (h *Holder) isPeer(state tls.ConnectionState) error {
	me, known := h.Identity()
	if !known || me.Role != pki.RoleController {
		return errNotController
	}
	if len(state.PeerCertificates) == 0 {
		return errRole
	}
	if id, ok := pki.Of(state.PeerCertificates[0]); !ok || id.Role != pki.RoleController || id.Cluster != me.Cluster {
		return errRole
	}
	return nil
}

// mayServe says whether the certificate can be a controller's: an agent's that
// names a host as well must not pass for one.
func mayServe(state tls.ConnectionState) error {
	leaf := state.PeerCertificates[0]
	if id, ok := pki.Of(leaf); pki.HasURI(leaf) && (!ok || id.Role != pki.RoleController) {
		return errRole
	}
	return nil
}

var (
	errRole          = errors.New("the other end's certificate is not one of a controller of this cluster")
	errNotController = errors.New("this process has no controller's certificate that names it by a URI spiffe://CLUSTER/controller/NAME")
	errNotEnrolled   = errors.New("this process has no certificate yet")
)

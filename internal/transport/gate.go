package transport

import (
	"crypto/sha256"
	"slices"
	"time"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Reasons for which a caller is not let in.
const (
	ReasonExpired       problem.Reason = pki.ReasonExpired  // the certificate has expired
	ReasonRevoked       problem.Reason = "identity-revoked" // the identity was revoked after the certificate was issued
	ReasonDropped       problem.Reason = "root-dropped"     // the certificate is of an authority that was replaced
	ReasonNoCertificate problem.Reason = "no-certificate"   // there is none, and one is needed
	ReasonNotAllowed    problem.Reason = "not-allowed"      // the role does not reach
	ReasonWrongAgent    problem.Reason = "wrong-agent"      // an agent acts for another
	ReasonForged        problem.Reason = "forged-caller"    // who is no controller says that it passes a call on
)

// Gate is what the cluster knows of the certificates that its own authority
// issued. A user's authority has none: there only dates count.
type Gate interface {
	// RevokedAt is when the identity was revoked: its certificates that were issued
	// before are refused. Zero: never.
	RevokedAt(role pb.Role, name string) time.Time
	// Trusts says whether the root certificate with that SHA-256 is trusted.
	Trusts(root [sha256.Size]byte) bool
	// Changed gives a channel that is closed when one of the answers above may have
	// become another. It is asked for before they are. It should not be closed with
	// every change of anything: all connections are looked at then.
	Changed() <-chan struct{}
}

// judge says who is let in.
type judge struct {
	gate  Gate
	clock clock.Clock
}

const hintEnrol = "Enrol again with a new token, which `baktainer token create` makes."

// refuse says why the caller's certificate does not count, if so, or that of the
// controller that passes the call on.
func (j judge) refuse(c Caller) error {
	if c.relay != nil {
		if err := j.refuse(*c.relay); err != nil {
			return err
		}
	}
	if c.Local || c.Role == pb.Role_ROLE_UNSPECIFIED {
		return nil // there is none
	}
	if j.clock.Now().After(c.Expires) {
		return problem.New(problem.Denied, "the certificate of the %s has expired", c).WithReason(ReasonExpired).WithHint(hintEnrol)
	}
	if j.gate == nil {
		return nil
	}
	if pki.Revoked(c.Issued, j.gate.RevokedAt(c.Role, c.Name)) {
		return problem.New(problem.Denied, "the %s was revoked", c).WithReason(ReasonRevoked).WithHint(hintEnrol)
	}
	if len(c.roots) > 0 && !slices.ContainsFunc(c.roots, j.gate.Trusts) {
		return problem.New(problem.Denied, "the certificate of the %s is of an authority that was replaced", c).WithReason(ReasonDropped).WithHint(hintEnrol)
	}
	return nil
}

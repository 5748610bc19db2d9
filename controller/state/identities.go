package state

import (
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// NamePattern is the rule for the names of agents, controllers and operators.
var NamePattern = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`)

// MaxConcurrency is the most that an agent may be set to carry out at once.
const MaxConcurrency = 64

const maxSerial = 100 // bytes of a serial number or fingerprint in hex

// Revoked says whether all certificates that an identity has are refused.
func Revoked(i *pb.Identity) bool {
	return i.GetRevokedAt() != nil && !timeOf(i.GetIssuedAt()).After(timeOf(i.GetRevokedAt()))
}

// Refuses says whether a certificate of an identity that was issued at that time
// has been revoked.
func (v *View) Refuses(role pb.Role, name string, issued time.Time) bool {
	i, ok := v.Identity(role, name)
	return ok && i.GetRevokedAt() != nil && !issued.After(timeOf(i.GetRevokedAt()))
}

// IssueTime is the time of issue for a certificate that is made now. Certificates
// tell whole seconds only, so that the next one is waited for, in their words,
// after a revocation: what was revoked and what came after must not look alike.
func (v *View) IssueTime(role pb.Role, name string, now time.Time) time.Time {
	now = now.Truncate(time.Second)
	if v.Refuses(role, name, now) {
		i, _ := v.Identity(role, name)
		return timeOf(i.GetRevokedAt()).Truncate(time.Second).Add(time.Second)
	}
	return now
}

// issueIdentity notes the newest certificate of an identity: a first one, or one
// after a revocation, for a token; the next one for the one before.
func (w *writer) issueIdentity(c *pb.IssueIdentity) error {
	next := proto.CloneOf(c.GetIdentity())
	if err := checkIdentity(next); err != nil {
		return err
	}
	known, exists := first[*pb.Identity](w.table, tableIdentities, indexID, identityKey(next.GetRole(), next.GetName()))
	next.Token, next.RevokedAt = known.GetToken(), known.GetRevokedAt()
	if len(c.GetTokenHash()) > 0 {
		t, err := w.useToken(c.GetTokenHash(), next)
		if err != nil {
			return err
		}
		if err := w.mayEnrol(known, exists, t); err != nil {
			return err
		}
		next.Token = t.GetId()
	} else {
		switch {
		case !exists:
			return problem.New(problem.NotFound, "there is no %s", title(next)).WithReason(ReasonNoIdentity)
		case Revoked(known):
			return denied(ReasonRevoked, "the certificates of the %s were revoked", title(next))
		}
	}
	if known.GetRevokedAt() != nil && !timeOf(next.GetIssuedAt()).Truncate(time.Second).After(timeOf(known.GetRevokedAt())) {
		return problem.New(problem.Unavailable, "the certificate of the %s would look older than the revocation", title(next)).WithReason(ReasonRevoked).
			WithHint("Try again in a second.")
	}
	// A revocation must reach every certificate there is, though the clocks of
	// those who issued them differ: the time never goes back.
	if exists && timeKey(known.GetIssuedAt()) > timeKey(next.GetIssuedAt()) {
		next.IssuedAt = known.GetIssuedAt()
	}
	w.put(tableIdentities, next)
	return nil
}

// mayEnrol says whether a token makes its holder the one of that name, where
// there is, or was, one already.
func (w *writer) mayEnrol(known *pb.Identity, exists bool, t *pb.Token) error {
	switch {
	case !exists:
		return nil
	case Revoked(known):
		if !timeOf(t.GetCreatedAt()).After(timeOf(known.GetRevokedAt())) {
			return denied(ReasonRevoked, "the certificates of the %s were revoked after the token was made", title(known))
		}
		return nil
	case t.GetName() != "" || !timeOf(known.GetNotAfter()).After(w.at.AsTime()):
		return nil
	}
	return refuse(ReasonNameTaken, "there is a %s already", title(known)).
		WithHint("Choose another name. To replace it, an operator makes a token for this name: `baktainer token create --name %s`.", known.GetName())
}

func checkIdentity(i *pb.Identity) error {
	switch {
	case !role(i.GetRole()):
		return bad("the identity %.70q has no known role", i.GetName())
	case !NamePattern.MatchString(i.GetName()):
		return bad("the name %.70q is not made of 1 to 64 letters, digits, '_', '.' and '-', first a letter or digit", i.GetName())
	case i.GetSerial() == "" || len(i.GetSerial()) > maxSerial || len(i.GetRoot()) > maxSerial:
		return bad("%s: the certificate has no serial number, or too long a one", title(i))
	case !valid(i.GetIssuedAt()) || !valid(i.GetNotAfter()) || timeKey(i.GetNotAfter()) <= timeKey(i.GetIssuedAt()):
		return bad("%s: the times of the certificate are wrong", title(i))
	}
	return nil
}

// revokeIdentity refuses every certificate issued so far, that of a controller
// whose clock is ahead too.
func (w *writer) revokeIdentity(c *pb.RevokeIdentityRecord) error {
	i, ok := first[*pb.Identity](w.table, tableIdentities, indexID, identityKey(c.GetRole(), c.GetName()))
	switch {
	case !ok:
		return problem.New(problem.NotFound, "there is no %s", title(c)).WithReason(ReasonNoIdentity).
			WithHint("`baktainer identity ls` lists them.")
	case Revoked(i):
		return nil
	}
	revoked := proto.CloneOf(i)
	revoked.RevokedAt = w.at
	if timeKey(i.GetIssuedAt()) > timeKey(w.at) {
		revoked.RevokedAt = i.GetIssuedAt()
	}
	w.put(tableIdentities, revoked)
	return nil
}

// title names an identity for people: "agent host-1".
func title(i interface {
	GetRole() pb.Role
	GetName() string
}) string {
	return strings.ToLower(strings.TrimPrefix(i.GetRole().String(), "ROLE_")) + " " + cut(i.GetName(), 70)
}

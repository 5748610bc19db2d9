// Package pki is Baktainer's own certificate authority, without any network:
// who a certificate says its holder is, roots and the certificates they sign,
// tokens that turn into certificates, and a holder's credentials on disk.
//
// A cluster has one root, two while it is being replaced. Certificates are good
// for a week and renewed by themselves long before, so that a stolen one is of
// little use and nothing has to be asked whether it still counts, but for the
// identities that were revoked.
package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"math/big"
	"time"
)

const (
	// LeafLife is how long a certificate is good for, from the moment it is issued.
	LeafLife = 7 * 24 * time.Hour
	// ControllerLife is how long a controller's is: it is renewed as often as the
	// others, and still counts when a whole cluster was off for months. Nobody could
	// renew anything else then.
	ControllerLife = 400 * 24 * time.Hour
	// Backdate is how long before that moment it begins to be good, for clocks that are behind.
	Backdate = time.Hour
	// RootLife is how long a root is good for.
	RootLife = 10 * 365 * 24 * time.Hour
)

// NewKey makes the key of a root or of a certificate: ECDSA on P-256.
func NewKey() (*ecdsa.PrivateKey, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	return key, nil
}

// NewSerial makes the random number of a certificate.
func NewSerial() (*big.Int, error) {
	// The highest bit is left out: a serial number is positive, in at most 16 bytes.
	n, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("make a serial number: %w", err)
	}
	return n.Add(n, big.NewInt(1)), nil
}

// Fingerprint is the SHA-256 of a certificate in DER, in hex.
func Fingerprint(der []byte) string {
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:])
}

// IssuedAt is when a certificate of our authority was issued.
func IssuedAt(leaf *x509.Certificate) time.Time { return leaf.NotBefore.Add(Backdate) }

// Revoked says whether a certificate was issued before its identity was revoked.
// Certificates count in whole seconds; one of the same second is refused. Who
// issues a certificate right after a revocation does it as of the second after,
// with Reissue.
func Revoked(issued, revokedAt time.Time) bool {
	return !revokedAt.IsZero() && issued.Before(revokedAt)
}

// Reissue is the moment to issue a certificate as of, for an identity that was
// revoked at revokedAt (zero: never): now, or the next second that is not refused.
func Reissue(now, revokedAt time.Time) time.Time {
	if now = now.Truncate(time.Second); Revoked(now, revokedAt) {
		return revokedAt.Add(time.Second - 1).Truncate(time.Second)
	}
	return now
}

// Life is how long a certificate for the role is good for.
func Life(role string) time.Duration {
	if role == RoleController {
		return ControllerLife
	}
	return LeafLife
}

// RenewAt is when to renew a certificate: at 50 to 80 % of its life, or of
// LeafLife, where rnd in [0, 1) says. Random, so that those which came at once do
// not come back at once.
func RenewAt(leaf *x509.Certificate, rnd float64) time.Time {
	issued := IssuedAt(leaf)
	life := min(leaf.NotAfter.Sub(issued), LeafLife)
	return issued.Add(time.Duration(float64(life) * (0.5 + 0.3*rnd)))
}

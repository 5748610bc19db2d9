package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

// Reasons why credentials cannot be used.
const (
	ReasonNone    problem.Reason = "not-enrolled"        // there are none
	ReasonDamaged problem.Reason = "damaged-credentials" // they do not fit together
	ReasonExpired problem.Reason = "certificate-expired" // enrol again
)

// Credentials are a certificate with its key, and whom its holder trusts. Their
// key is shown by nothing that formats, logs or encodes them.
type Credentials struct {
	key *ecdsa.PrivateKey
	// Chain is the certificate, and the root behind it.
	Chain []*x509.Certificate
	// Roots are those that the holder trusts.
	Roots []*x509.Certificate
	// Cluster is whose they are, and Version the version of its trust.
	Cluster string
	Version uint64
}

// NewCredentials puts together what came in answer to a request with the key,
// all certificates in DER. All that is wrong with it is told at once.
func NewCredentials(key *ecdsa.PrivateKey, chain, roots [][]byte, cluster string, version uint64, now time.Time) (*Credentials, error) {
	c := &Credentials{key: key, Cluster: cluster, Version: version}
	var wrong []string
	read := func(what string, ders [][]byte) (certs []*x509.Certificate) {
		for _, der := range ders {
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				wrong = append(wrong, fmt.Sprintf("a certificate of the %s is damaged: %v", what, err))
				continue
			}
			certs = append(certs, cert)
		}
		return certs
	}
	c.Chain, c.Roots = read("chain", chain), read("roots", roots)
	if len(wrong) == 0 {
		wrong = c.wrong()
	}
	if len(wrong) > 0 {
		return nil, problem.New(problem.Failed, "the credentials that came from the controller cannot be used").
			WithReason(ReasonDamaged).WithDetails(wrong...)
	}
	if err := c.fresh(now); err != nil {
		return nil, err
	}
	return c, nil
}

// Leaf is the certificate itself.
func (c *Credentials) Leaf() *x509.Certificate { return c.Chain[0] }

// Identity is who the certificate says its holder is.
func (c *Credentials) Identity() Identity {
	id, _ := Of(c.Leaf())
	return id
}

// Key is the certificate's key.
func (c *Credentials) Key() crypto.Signer { return c.key }

// Certificate is what TLS shows to the other end.
func (c *Credentials) Certificate() *tls.Certificate {
	pair := &tls.Certificate{PrivateKey: c.key, Leaf: c.Leaf()}
	for _, cert := range c.Chain {
		pair.Certificate = append(pair.Certificate, cert.Raw)
	}
	return pair
}

// String and LogValue name the holder.
func (c *Credentials) String() string { return "credentials of " + c.Identity().String() }

// LogValue implements slog.LogValuer.
func (c *Credentials) LogValue() slog.Value { return slog.StringValue(c.String()) }

// wrong says all that does not fit together.
func (c *Credentials) wrong() (wrong []string) {
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if c.key == nil {
		add("there is no private key that can be read")
	}
	if len(c.Roots) == 0 {
		add("there is no root certificate to trust")
	}
	if c.Version == 0 {
		add("the version of the trust is missing")
	}
	if len(c.Chain) == 0 {
		add("there is no certificate")
		return wrong
	}
	leaf := c.Leaf()
	if c.key != nil && !c.key.PublicKey.Equal(leaf.PublicKey) {
		add("the key does not belong to the certificate")
	}
	if id, ok := Of(leaf); !ok {
		add("the certificate names nobody")
	} else if id.Cluster != c.Cluster {
		add("the certificate is of the cluster %.70q, not of %.70q", id.Cluster, c.Cluster)
	}
	roots := x509.NewCertPool()
	for _, r := range c.Roots {
		roots.AddCert(r)
	}
	// Its dates are told apart; the middle of its life is surely good.
	middle := leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	if _, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, CurrentTime: middle, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}); err != nil && len(c.Roots) > 0 {
		add("the certificate is of none of the roots: %v", err)
	}
	return wrong
}

// fresh says whether the certificate is good now.
func (c *Credentials) fresh(now time.Time) error {
	const day = "2006-01-02 15:04 MST"
	leaf := c.Leaf()
	switch {
	case now.After(leaf.NotAfter):
		return problem.New(problem.Denied, "the certificate of the %s expired on %s", c.Identity(), leaf.NotAfter.UTC().Format(day)).
			WithReason(ReasonExpired).WithHint("It was not renewed in time; enrol again with a new token, which `baktainer token create` makes.")
	case now.Before(leaf.NotBefore):
		return problem.New(problem.Failed, "the certificate of the %s is not good before %s", c.Identity(), leaf.NotBefore.UTC().Format(day)).
			WithHint("Is the clock of this host right?")
	}
	return nil
}

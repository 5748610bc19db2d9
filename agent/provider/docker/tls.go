package docker

import (
	"crypto/tls"
	"crypto/x509"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport/certs"
)

// config reads and checks the certificates and says everything that is wrong
// with them at once.
func (t TLS) config(c clock.Clock, serverName, host string) (*tls.Config, error) {
	set, wrong := certs.Files{CA: t.CA, Cert: t.Cert, Key: t.Key}.Load(x509.ExtKeyUsageAny, c.Now())
	if len(wrong) > 0 {
		return nil, problem.New(problem.InvalidInput, "the certificates for the Docker Engine at %s cannot be used", host).
			WithDetails(wrong...).
			WithHint("Each of CA, certificate and key is the path of a PEM file or the PEM itself.")
	}
	return &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: serverName, Time: c.Now, RootCAs: set.CAs, Certificates: set.Pairs,
	}, nil
}

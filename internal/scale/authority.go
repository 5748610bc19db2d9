package scale

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/url"
	"os"
	"path/filepath"
	"time"
)

// trustDomain is the first part of the names in certificates.
const trustDomain = "scale"

// authority issues the certificates of a run: a thousand agents that enrol are
// not what is measured.
type authority struct {
	cert   *x509.Certificate
	key    *ecdsa.PrivateKey
	serial int64
	now    time.Time
}

func newAuthority(now time.Time) (*authority, error) {
	a := &authority{now: now}
	template := a.template("the measurement's authority")
	template.IsCA, template.KeyUsage = true, x509.KeyUsageCertSign
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	a.cert, a.key = template, key
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	if a.cert, err = x509.ParseCertificate(der); err != nil {
		return nil, fmt.Errorf("make an authority: %w", err)
	}
	return a, nil
}

func (a *authority) template(name string) *x509.Certificate {
	a.serial++
	return &x509.Certificate{
		SerialNumber: big.NewInt(a.serial), Subject: pkix.Name{CommonName: name}, BasicConstraintsValid: true,
		NotBefore: a.now.Add(-2 * time.Hour), NotAfter: a.now.Add(7 * 24 * time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
	}
}

// issue makes a certificate for somebody of a role, whom others reach at the hosts.
func (a *authority) issue(role, name string, hosts ...string) (tls.Certificate, error) {
	c := a.template(name)
	c.URIs = []*url.URL{{Scheme: "spiffe", Host: trustDomain, Path: "/" + role + "/" + name}}
	c.DNSNames, c.ExtKeyUsage = hosts, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	if len(hosts) > 0 {
		c.ExtKeyUsage = append(c.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make a key: %w", err)
	}
	der, err := x509.CreateCertificate(rand.Reader, c, a.cert, key.Public(), a.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("make the certificate of %s: %w", name, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// pool is who is trusted.
func (a *authority) pool() *x509.CertPool {
	p := x509.NewCertPool()
	p.AddCert(a.cert)
	return p
}

// files writes the authority and a certificate into a folder, and gives the
// settings that name them.
func (a *authority) files(dir string, c tls.Certificate) ([]string, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		return nil, fmt.Errorf("encode a key: %w", err)
	}
	var flags []string
	for _, f := range []struct {
		flag, file string
		block      *pem.Block
	}{
		{"--tls-ca", "ca.pem", &pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw}},
		{"--tls-cert", "cert.pem", &pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}},
		{"--tls-key", "key.pem", &pem.Block{Type: "PRIVATE KEY", Bytes: key}},
	} {
		path := filepath.Join(dir, f.file)
		if err := os.WriteFile(path, pem.EncodeToMemory(f.block), 0o600); err != nil {
			return nil, fmt.Errorf("write a certificate: %w", err)
		}
		flags = append(flags, f.flag, path)
	}
	return flags, nil
}

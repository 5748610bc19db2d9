package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"
)

// ControllerHost is a name in every controller's certificate. It is the one that
// holders of our certificates look for: who proves to be a controller of the
// cluster is the right one, whatever the address at which it was found.
const ControllerHost = "controller.baktainer.internal"

// Root is a root certificate with its key: it signs.
type Root struct {
	Cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewRoot makes the root of a cluster.
func NewRoot(cluster string, now time.Time) (*Root, error) {
	if !nameForm.MatchString(cluster) {
		return nil, errNoCluster
	}
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Baktainer " + cluster},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(RootLife),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a root certificate: %w", err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make a root certificate: %w", err)
	}
	return &Root{cert, key}, nil
}

// Temporary makes a certificate that vouches for itself. Controllers that have
// no authority yet show it to each other; whoever trusts one trusts no name in
// it, but that its holder knows a secret.
func Temporary(now time.Time) (*tls.Certificate, error) {
	key, err := NewKey()
	if err != nil {
		return nil, err
	}
	serial, err := NewSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: "Baktainer, not enrolled yet"}, DNSNames: []string{ControllerHost},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(RootLife),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make a temporary certificate: %w", err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

// DER is the root certificate.
func (r *Root) DER() []byte { return r.Cert.Raw }

// Request makes what a certificate is asked for with: PKCS #10, in DER. Nothing
// but its key counts.
func Request(key *ecdsa.PrivateKey) ([]byte, error) {
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return nil, fmt.Errorf("make a certificate request: %w", err)
	}
	return der, nil
}

// Issue makes a certificate for the key in the request, and gives it with the
// root behind it, in DER. A controller's is good for serving at the hosts, names
// or addresses, as well; all others are good for calling alone.
func (r *Root) Issue(request []byte, id Identity, hosts []string, serial *big.Int, now time.Time) ([][]byte, error) {
	if err := id.Check(); err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	key, err := requested(request)
	if err != nil {
		return nil, err
	}
	now = now.Truncate(time.Second)
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: id.Name}, URIs: []*url.URL{id.URI()},
		NotBefore: now.Add(-Backdate), NotAfter: now.Add(Life(id.Role)),
		BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if template.NotAfter.After(r.Cert.NotAfter) {
		template.NotAfter = r.Cert.NotAfter
	}
	if id.Role == RoleController {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
		if template.DNSNames, template.IPAddresses, err = namesOf(hosts); err != nil {
			return nil, err
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, r.Cert, key, r.key)
	if err != nil {
		return nil, fmt.Errorf("issue a certificate: %w", err)
	}
	return [][]byte{der, r.Cert.Raw}, nil
}

var errRequest = errors.New("the certificate request does not hold an ECDSA key on P-256 that signed it")

// requested gives the key in a certificate request whose sender has it.
func requested(der []byte) (*ecdsa.PublicKey, error) {
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("read the certificate request: %w", err)
	}
	key, ok := csr.PublicKey.(*ecdsa.PublicKey)
	if !ok || key.Curve != elliptic.P256() || csr.CheckSignature() != nil {
		return nil, errRequest
	}
	return key, nil
}

var hostForm = regexp.MustCompile(`^([A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.)*[A-Za-z0-9_]([A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?$`)

// CheckHost says whether a controller's certificate may name the host.
func CheckHost(host string) error {
	if net.ParseIP(host) == nil && (len(host) > 253 || !hostForm.MatchString(host)) {
		return fmt.Errorf("%.70q is neither the name of a host nor an IP address", host)
	}
	return nil
}

// namesOf sorts hosts into names and addresses, with those that every controller has.
func namesOf(hosts []string) (names []string, addresses []net.IP, err error) {
	names, addresses = []string{ControllerHost, "localhost"}, []net.IP{net.IPv4(127, 0, 0, 1).To4(), net.IPv6loopback}
	if len(hosts) > 50 {
		return nil, nil, errors.New("issue a certificate: more than 50 hosts")
	}
	for _, h := range hosts {
		if err := CheckHost(h); err != nil {
			return nil, nil, fmt.Errorf("issue a certificate: %w", err)
		}
		if ip := net.ParseIP(h); ip != nil {
			if !slices.ContainsFunc(addresses, ip.Equal) {
				addresses = append(addresses, ip)
			}
		} else if h = strings.ToLower(h); !slices.Contains(names, h) {
			names = append(names, h)
		}
	}
	return names, addresses, nil
}

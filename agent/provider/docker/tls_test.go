package docker

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
)

// authority is a CA for tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

type certSpec struct {
	name       string
	from, till time.Duration // from now; a day either way when both are 0
}

type issued struct{ cert, key string }

func newKey(t *testing.T) (*ecdsa.PrivateKey, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, encode("PRIVATE KEY", der)
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// present is one moment for certificates and for what is said of them, so that a
// minute that turns between the two changes nothing.
var present = time.Now()

func template(spec certSpec) *x509.Certificate {
	if spec.from == 0 && spec.till == 0 {
		spec.from, spec.till = -24*time.Hour, 24*time.Hour
	}
	serial, _ := rand.Int(rand.Reader, big.NewInt(1<<62))
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: spec.name},
		NotBefore: present.Add(spec.from), NotAfter: present.Add(spec.till),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		DNSNames: []string{spec.name},
	}
	if ip := net.ParseIP(spec.name); ip != nil {
		c.IPAddresses = []net.IP{ip}
	}
	return c
}

func newAuthority(t *testing.T, name string) authority {
	t.Helper()
	key, _ := newKey(t)
	c := template(certSpec{name: name})
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage, c.ExtKeyUsage = true, true, x509.KeyUsageCertSign, nil
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return authority{cert, key, encode("CERTIFICATE", der)}
}

func (a authority) issue(t *testing.T, spec certSpec) issued {
	t.Helper()
	key, keyPEM := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, template(spec), a.cert, key.Public(), a.key)
	if err != nil {
		t.Fatal(err)
	}
	return issued{encode("CERTIFICATE", der), keyPEM}
}

func TestTLSProblems(t *testing.T) {
	ca, stranger := newAuthority(t, "ca"), newAuthority(t, "stranger")
	good := ca.issue(t, certSpec{name: "agent"})
	other := ca.issue(t, certSpec{name: "other"})
	old := ca.issue(t, certSpec{name: "old", from: -48 * time.Hour, till: -24 * time.Hour})
	future := ca.issue(t, certSpec{name: "future", from: 24 * time.Hour, till: 48 * time.Hour})
	foreign := stranger.issue(t, certSpec{name: "foreign"})
	write := func(name, content string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(t.TempDir(), "missing.pem")

	tests := map[string]struct {
		tls  TLS
		want []string // what each line must hold, in order
	}{
		"all as PEM":           {TLS{ca.pem, good.cert, good.key}, nil},
		"all as files":         {TLS{write("ca", ca.pem), write("cert", good.cert), write("key", good.key)}, nil},
		"CA alone":             {TLS{CA: ca.pem}, nil},
		"two CAs":              {TLS{stranger.pem + ca.pem, good.cert, good.key}, nil},
		"no CA":                {TLS{Cert: good.cert, Key: good.key}, nil},
		"key without cert":     {TLS{CA: ca.pem, Key: good.key}, []string{"key is given without its certificate"}},
		"cert without key":     {TLS{CA: ca.pem, Cert: good.cert}, []string{"certificate is given without its key"}},
		"missing files":        {TLS{missing, missing, missing}, []string{"CA file " + missing + " does not exist", "certificate file " + missing + " does not exist", "key file " + missing + " does not exist"}},
		"not PEM":              {TLS{write("a", "x"), write("b", "y"), write("c", "z")}, []string{"holds no certificate", "holds no certificate", "holds no private key"}},
		"damaged":              {TLS{CA: encode("CERTIFICATE", []byte("x")), Cert: encode("CERTIFICATE", []byte("x")), Key: encode("PRIVATE KEY", []byte("x"))}, []string{"CA (given as PEM) is damaged", "certificate (given as PEM) is damaged", "key (given as PEM) is damaged"}},
		"swapped":              {TLS{ca.pem, good.key, good.cert}, []string{"holds no certificate", "holds no private key"}},
		"expired":              {TLS{ca.pem, old.cert, old.key}, []string{`of "old" expired on ` + present.Add(-24*time.Hour).UTC().Format("2006-01-02 15:04 UTC")}},
		"not yet valid":        {TLS{ca.pem, future.cert, future.key}, []string{`of "future" is not valid before ` + present.Add(24*time.Hour).UTC().Format("2006-01-02 15:04 UTC")}},
		"another's key":        {TLS{ca.pem, good.cert, other.key}, []string{"does not belong to the certificate"}},
		"another's CA":         {TLS{stranger.pem, good.cert, good.key}, []string{"does not vouch for the certificate"}},
		"expired and foreign":  {TLS{stranger.pem, old.cert, old.key}, []string{"expired on", "does not vouch"}},
		"everything at once":   {TLS{missing, old.cert, other.key}, []string{"does not exist", "expired on", "does not belong"}},
		"key with passphrase":  {TLS{ca.pem, good.cert, encode("ENCRYPTED PRIVATE KEY", []byte("x"))}, []string{"passphrase"}},
		"foreign pair, its CA": {TLS{stranger.pem, foreign.cert, foreign.key}, nil},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := New(Options{Host: "tcp://127.0.0.1:1", TLS: tt.tls})
			if len(tt.want) == 0 {
				if err != nil {
					t.Errorf("got %s", problem.Text(err))
				}
				return
			}
			var p *problem.Problem
			if !errors.As(err, &p) || p.Code != problem.InvalidInput || len(p.Details) != len(tt.want) {
				t.Fatalf("got %v, want %d problems", err, len(tt.want))
			}
			for i, want := range tt.want {
				if !strings.Contains(p.Details[i], want) {
					t.Errorf("got %q, want %q", p.Details[i], want)
				}
			}
			if strings.Contains(problem.Text(err), "-----BEGIN") {
				t.Error("the problem shows a PEM")
			}
		})
	}
}

func TestHosts(t *testing.T) {
	for host, want := range map[string]string{
		"": "", "unix:///var/run/docker.sock": "", "tcp://127.0.0.1:2375": "", "http://h:2375": "", "https://h:2376/base": "", "tcp://[::1]:2375": "",
		"/var/run/docker.sock": "not a URL", "localhost:2375": "not a URL", "unix://": "no socket", "unix://var/run": "no socket", "tcp://": "no host",
		"ssh://h": "no scheme ssh", "npipe:////./pipe/x": "no scheme", "tcp://user:hunter2@h": "user, query", "tcp://h?x": "user, query", "ht tp://": "not a URL",
	} {
		_, err := New(Options{Host: host})
		switch {
		case want == "" && err != nil:
			t.Errorf("%q: %v", host, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "hunter2")):
			t.Errorf("%q: %v, want %q", host, err, want)
		}
	}
	if _, err := New(Options{Host: "http://h:1", TLS: TLS{CA: "x"}}); err == nil || !strings.Contains(err.Error(), "http does not use them") {
		t.Errorf("http with certificates: %v", err)
	}
}

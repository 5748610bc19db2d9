package certs_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/transport/certs"
)

var present = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

const anyUse, server, client = x509.ExtKeyUsageAny, x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth

// maker issues certificates of one authority.
type maker struct {
	t    *testing.T
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string
}

func newMaker(t *testing.T, name string) maker {
	m := maker{t: t}
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign}
	m.key, _ = m.newKey()
	m.pem = m.sign(c, c, m.key, m.key, 0)
	block, _ := pem.Decode([]byte(m.pem))
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	m.cert = cert
	return m
}

func (m maker) newKey() (*ecdsa.PrivateKey, string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		m.t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		m.t.Fatal(err)
	}
	return key, encode("PRIVATE KEY", der)
}

// sign makes a certificate for a day around the present, moved by so many days.
func (m maker) sign(c, parent *x509.Certificate, key, by *ecdsa.PrivateKey, days int) string {
	c.SerialNumber = big.NewInt(int64(days) + 100)
	c.NotBefore, c.NotAfter = present.AddDate(0, 0, days).Add(-12*time.Hour), present.AddDate(0, 0, days).Add(12*time.Hour)
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		m.t.Fatal(err)
	}
	return encode("CERTIFICATE", der)
}

func (m maker) issue(name string, days int, uses ...x509.ExtKeyUsage) certs.Files {
	key, keyPEM := m.newKey()
	c := &x509.Certificate{Subject: pkix.Name{CommonName: name}, KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: uses}
	return certs.Files{CA: m.pem, Cert: m.sign(c, m.cert, key, m.key, days), Key: keyPEM}
}

func encode(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

func TestLoad(t *testing.T) {
	ca, stranger := newMaker(t, "ca"), newMaker(t, "stranger")
	good, other := ca.issue("good", 0, server), ca.issue("other", 0)
	old, future := ca.issue("old", -10), ca.issue("future", 10)
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "x.pem")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	missing := filepath.Join(t.TempDir(), "missing.pem")
	with := func(f certs.Files, ca string) certs.Files { f.CA = ca; return f }

	for name, tc := range map[string]struct {
		files certs.Files
		usage x509.ExtKeyUsage
		want  []string // what each line must hold, in order
	}{
		"all as PEM":                    {good, server, nil},
		"all as files":                  {certs.Files{CA: write(good.CA), Cert: write(good.Cert), Key: write(good.Key)}, server, nil},
		"no extendedKeyUsage":           {other, client, nil},
		"any use":                       {good, anyUse, nil},
		"nothing":                       {certs.Files{}, server, nil},
		"two CAs":                       {with(good, stranger.pem+ca.pem), server, nil},
		"no CA":                         {with(good, ""), server, nil},
		"a server's, shown by an agent": {good, client, []string{"extendedKeyUsage has no clientAuth"}},
		"key without cert":              {certs.Files{Key: good.Key}, server, []string{"key is given without its certificate"}},
		"cert without key":              {certs.Files{Cert: good.Cert}, server, []string{"certificate is given without its key"}},
		"missing":                       {certs.Files{CA: missing, Cert: missing, Key: missing}, server, []string{"CA file " + missing + " does not exist", "certificate file", "key file"}},
		"not PEM":                       {certs.Files{CA: write("a"), Cert: write("b"), Key: write("c")}, server, []string{"holds no certificate", "holds no certificate", "holds no private key"}},
		"damaged": {certs.Files{CA: encode("CERTIFICATE", []byte("x")), Cert: encode("CERTIFICATE", []byte("x")), Key: encode("PRIVATE KEY", []byte("x"))}, server,
			[]string{"CA (given as PEM) is damaged", "certificate (given as PEM) is damaged", "key (given as PEM) is damaged"}},
		"with a passphrase":  {certs.Files{Cert: good.Cert, Key: encode("ENCRYPTED PRIVATE KEY", []byte("x"))}, server, []string{"passphrase"}},
		"expired":            {old, server, []string{`of "old" expired on 2026-02-20 00:00 UTC`}},
		"not yet valid":      {future, server, []string{`of "future" is not valid before 2026-03-11 00:00 UTC`}},
		"another's key":      {certs.Files{CA: good.CA, Cert: good.Cert, Key: other.Key}, server, []string{"does not belong to the certificate"}},
		"another's CA":       {with(good, stranger.pem), server, []string{"does not vouch for the certificate"}},
		"everything at once": {certs.Files{CA: stranger.pem, Cert: old.Cert, Key: other.Key}, server, []string{"expired on", "does not belong", "does not vouch"}},
	} {
		set, wrong := tc.files.Load(tc.usage, present)
		if len(wrong) != len(tc.want) {
			t.Errorf("%s: %q, want %q", name, wrong, tc.want)
			continue
		}
		for i, want := range tc.want {
			if !strings.Contains(wrong[i], want) {
				t.Errorf("%s: %q, want %q", name, wrong[i], want)
			}
		}
		if len(wrong) == 0 && ((set.CAs != nil) != (tc.files.CA != "") || len(set.Pairs) > 0 != (tc.files.Cert != "")) {
			t.Errorf("%s: %+v", name, set)
		}
		if text := strings.Join(wrong, " "); strings.Contains(text, "-----") {
			t.Errorf("%s: a PEM is shown: %s", name, text)
		}
	}
}

// Package certs reads the certificates that a user names in settings, and says
// everything that is wrong with them at once, before anything connects.
package certs

import (
	"crypto"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// Files are an authority, a certificate with what is between it and the
// authority, and its key: each the path of a PEM file or the PEM itself, or empty.
type Files struct{ CA, Cert, Key string }

// Set is what Files hold.
type Set struct {
	// CAs is nil when no authority was named.
	CAs *x509.CertPool
	// Pairs has the certificate with its key, if one was named.
	Pairs []tls.Certificate
}

// Load reads the files. What is wrong comes in sentences for a person, without a
// full stop; the set is of use only when there are none. The certificate has to be good for the usage at now.
func (f Files) Load(usage x509.ExtKeyUsage, now time.Time) (set Set, wrong []string) {
	var w complaints
	if f.CA != "" {
		set.CAs = x509.NewCertPool()
		for _, ca := range w.certificates("CA", f.CA, now) {
			set.CAs.AddCert(ca)
		}
	}
	switch {
	case f.Cert == "" && f.Key != "":
		w.add("a key is given without its certificate")
	case f.Key == "" && f.Cert != "":
		w.add("a certificate is given without its key")
	}
	var chain []*x509.Certificate
	var key crypto.Signer
	if f.Cert != "" {
		chain = w.certificates("certificate", f.Cert, now)
	}
	if f.Key != "" {
		key = w.key(f.Key)
	}
	if len(chain) > 0 && key != nil {
		if pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(chain[0].PublicKey) {
			w.add("the key (%s) does not belong to the certificate (%s)", where(f.Key), where(f.Cert))
		}
		pair := tls.Certificate{PrivateKey: key, Leaf: chain[0]}
		for _, c := range chain {
			pair.Certificate = append(pair.Certificate, c.Raw)
		}
		set.Pairs = []tls.Certificate{pair}
	}
	if len(chain) > 0 && set.CAs != nil && !set.CAs.Equal(x509.NewCertPool()) {
		w.vouched(chain, set.CAs, f, usage, now)
	}
	return set, w
}

// complaints are lines for a person.
type complaints []string

func (w *complaints) add(format string, args ...any) { *w = append(*w, fmt.Sprintf(format, args...)) }

// where names a setting's value without showing a PEM.
func where(pathOrPEM string) string {
	if isPEM(pathOrPEM) {
		return "given as PEM"
	}
	return pathOrPEM
}

func isPEM(s string) bool { return strings.Contains(s, "-----BEGIN") }

// read gives the bytes of a setting that is a path or the PEM itself.
func (w *complaints) read(what, pathOrPEM string) ([]byte, bool) {
	if isPEM(pathOrPEM) {
		return []byte(pathOrPEM), true
	}
	b, err := os.ReadFile(pathOrPEM)
	if errors.Is(err, fs.ErrNotExist) {
		w.add("the %s file %s does not exist", what, pathOrPEM)
	} else if err != nil {
		w.add("the %s file cannot be read: %v", what, err)
	}
	return b, err == nil
}

// certificates reads one or more of them and checks their dates.
func (w *complaints) certificates(what, pathOrPEM string, now time.Time) []*x509.Certificate {
	rest, ok := w.read(what, pathOrPEM)
	if !ok {
		return nil
	}
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			w.add("the %s (%s) is damaged: %v", what, where(pathOrPEM), err)
			return nil
		}
		certs = append(certs, c)
	}
	if len(certs) == 0 {
		w.add("the %s (%s) holds no certificate in PEM form", what, where(pathOrPEM))
		return nil
	}
	for _, c := range certs {
		switch day := "2006-01-02 15:04 MST"; {
		case now.After(c.NotAfter):
			w.add("the %s (%s) of %q expired on %s", what, where(pathOrPEM), c.Subject.CommonName, c.NotAfter.UTC().Format(day))
		case now.Before(c.NotBefore):
			w.add("the %s (%s) of %q is not valid before %s; is the clock of this host right?", what, where(pathOrPEM), c.Subject.CommonName, c.NotBefore.UTC().Format(day))
		}
	}
	return certs
}

// key reads a private key in any of the usual forms.
func (w *complaints) key(pathOrPEM string) crypto.Signer {
	rest, ok := w.read("key", pathOrPEM)
	if !ok {
		return nil
	}
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			w.add("the key (%s) holds no private key in PEM form", where(pathOrPEM))
			return nil
		}
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			w.add("the key (%s) is protected by a passphrase, which is not supported", where(pathOrPEM))
			return nil
		}
		if !strings.HasSuffix(block.Type, "PRIVATE KEY") {
			continue
		}
		if k, err := x509.ParsePKCS8PrivateKey(block.Bytes); err == nil {
			if signer, ok := k.(crypto.Signer); ok {
				return signer
			}
		}
		if k, err := x509.ParsePKCS1PrivateKey(block.Bytes); err == nil {
			return k
		}
		if k, err := x509.ParseECPrivateKey(block.Bytes); err == nil {
			return k
		}
		w.add("the key (%s) is damaged or of an unknown kind", where(pathOrPEM))
		return nil
	}
}

// vouched checks that the CA vouches for the certificate and its use. Dates are
// told elsewhere, so a moment within the certificate's own time is taken.
func (w *complaints) vouched(chain []*x509.Certificate, roots *x509.CertPool, f Files, usage x509.ExtKeyUsage, now time.Time) {
	leaf := chain[0]
	if now.After(leaf.NotAfter) || now.Before(leaf.NotBefore) {
		now = leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) / 2)
	}
	between := x509.NewCertPool()
	for _, c := range chain[1:] {
		between.AddCert(c)
	}
	_, err := leaf.Verify(x509.VerifyOptions{
		Roots: roots, Intermediates: between, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{usage},
	})
	invalid, isInvalid := errors.AsType[x509.CertificateInvalidError](err)
	switch {
	case isInvalid && invalid.Reason == x509.Expired:
	case isInvalid && invalid.Reason == x509.IncompatibleUsage:
		w.add("the certificate (%s) was not issued for this use: its extendedKeyUsage has no %s", where(f.Cert), usageNames[usage])
	case err != nil:
		w.add("the CA (%s) does not vouch for the certificate (%s): %v; where two CAs are in use, give both in one file", where(f.CA), where(f.Cert), err)
	}
}

// usageNames are as openssl writes them.
var usageNames = map[x509.ExtKeyUsage]string{x509.ExtKeyUsageServerAuth: "serverAuth", x509.ExtKeyUsageClientAuth: "clientAuth"}

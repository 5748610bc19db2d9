package pki

import (
	"crypto/ecdsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/baktainer/baktainer/internal/durable"
	"github.com/baktainer/baktainer/internal/problem"
)

// credentialsFile holds everything, so that it is replaced as a whole: a key
// that does not belong to the certificate beside it cannot come to be.
const credentialsFile = "identity.pem"

const (
	blockKey   = "PRIVATE KEY"
	blockCert  = "CERTIFICATE"
	blockTrust = "BAKTAINER TRUST" // before it the chain, behind it the roots
)

// Save keeps the credentials in the folder, which it makes. After a crash there
// are those of before or these, whole.
func (c *Credentials) Save(dir string) error {
	text, err := c.encode()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep the credentials: %w", err)
	}
	if err := durable.Replace(filepath.Join(dir, credentialsFile), text); err != nil {
		return fmt.Errorf("keep the credentials: %w", err)
	}
	return nil
}

func (c *Credentials) encode() ([]byte, error) {
	key, err := x509.MarshalPKCS8PrivateKey(c.key)
	if err != nil {
		return nil, fmt.Errorf("encode the key: %w", err)
	}
	text := pem.EncodeToMemory(&pem.Block{Type: blockKey, Bytes: key})
	certificates := func(certs []*x509.Certificate) {
		for _, cert := range certs {
			text = append(text, pem.EncodeToMemory(&pem.Block{Type: blockCert, Bytes: cert.Raw})...)
		}
	}
	certificates(c.Chain)
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: blockTrust, Headers: map[string]string{
		"Cluster": c.Cluster, "Version": strconv.FormatUint(c.Version, 10),
	}})...)
	certificates(c.Roots)
	return text, nil
}

// Load reads the credentials that are kept in the folder. Where there are none
// the reason is ReasonNone. Those that have expired come with an error of
// ReasonExpired; with any other error there are none. All that is wrong is told
// at once.
func Load(dir string, now time.Time) (*Credentials, error) {
	path := filepath.Join(dir, credentialsFile)
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, problem.Wrap(problem.NotFound, fs.ErrNotExist, "read the credentials in %s", dir).WithReason(ReasonNone).
			WithHint("Enrol with a token, which `baktainer token create` makes.")
	}
	if err != nil {
		return nil, problem.Wrap(problem.Failed, err, "read the credentials")
	}
	c, wrong := decode(text)
	if len(wrong) > 0 {
		return nil, problem.New(problem.Failed, "the credentials in %s cannot be used", path).WithReason(ReasonDamaged).
			WithDetails(wrong...).WithHint("Remove the file and enrol again with a new token.")
	}
	if err := c.fresh(now); err != nil {
		if problem.ReasonOf(err) != ReasonExpired {
			c = nil
		}
		return c, err
	}
	return c, nil
}

func decode(text []byte) (*Credentials, []string) {
	c := &Credentials{}
	var wrong []string
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	certs := &c.Chain
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		switch block.Type {
		case blockKey:
			key, _ := x509.ParsePKCS8PrivateKey(block.Bytes)
			c.key, _ = key.(*ecdsa.PrivateKey) // none is told below
		case blockCert:
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				add("a certificate is damaged: %v", err)
				continue
			}
			*certs = append(*certs, cert)
		case blockTrust:
			certs = &c.Roots
			c.Cluster = block.Headers["Cluster"]
			c.Version, _ = strconv.ParseUint(block.Headers["Version"], 10, 64) // 0 is told below
		}
	}
	return c, append(wrong, c.wrong()...)
}

package pki

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
)

var errSealed = errors.New("the sealed key of the authority does not open: it is damaged, of another root, or sealed under another key")

// SealKey seals a root's private key, so that it can be kept where others may
// read: AES-256-GCM under a key that is used for nothing but this, bound to the
// root's certificate.
func SealKey(rootDER []byte, key *ecdsa.PrivateKey, under [32]byte) ([]byte, error) {
	plain, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("seal the authority's key: %w", err)
	}
	aead, err := gcm(under)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(rootDER)
	return aead.Seal(nil, nil, plain, sum[:]), nil
}

// OpenKey is the inverse of SealKey.
func OpenKey(rootDER, sealed []byte, under [32]byte) (*ecdsa.PrivateKey, error) {
	aead, err := gcm(under)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(rootDER)
	plain, err := aead.Open(nil, nil, sealed, sum[:])
	if err != nil {
		return nil, errSealed
	}
	parsed, err := x509.ParsePKCS8PrivateKey(plain)
	if err != nil {
		return nil, errSealed // not with its cause, which might tell of the key
	}
	key, ok := parsed.(*ecdsa.PrivateKey)
	if !ok {
		return nil, errSealed
	}
	return key, nil
}

// Seal seals the root's private key, as SealKey does.
func (r *Root) Seal(under [32]byte) ([]byte, error) { return SealKey(r.Cert.Raw, r.key, under) }

// OpenRoot puts a root together that can sign again.
func OpenRoot(rootDER, sealed []byte, under [32]byte) (*Root, error) {
	cert, err := x509.ParseCertificate(rootDER)
	if err != nil {
		return nil, fmt.Errorf("read the authority's certificate: %w", err)
	}
	key, err := OpenKey(rootDER, sealed, under)
	if err != nil {
		return nil, err
	}
	if !key.PublicKey.Equal(cert.PublicKey) {
		return nil, errSealed
	}
	return &Root{cert, key}, nil
}

// gcm has a random nonce before what it seals.
func gcm(under [32]byte) (cipher.AEAD, error) {
	block, err := aes.NewCipher(under[:])
	if err != nil {
		return nil, fmt.Errorf("prepare cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("prepare cipher: %w", err)
	}
	return aead, nil
}

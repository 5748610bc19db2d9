package repo

import (
	"crypto/aes"
	"crypto/cipher"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
	features "golang.org/x/sys/cpu"
)

// Cipher is how packs and manifests are sealed.
type Cipher byte

// The ciphers. Both have keys of 32 bytes and tags of 16.
const (
	CipherAESGCM    Cipher = 1 // AES-256-GCM
	CipherXChaCha20 Cipher = 2 // XChaCha20-Poly1305
)

// sealOverhead is the bytes that a seal adds.
const sealOverhead = 16

// PreferredCipher is the one that this machine is faster at: AES where the
// processor has instructions for it.
func PreferredCipher() Cipher {
	if features.X86.HasAES && features.X86.HasPCLMULQDQ || features.ARM64.HasAES && features.ARM64.HasPMULL || features.S390X.HasAESGCM {
		return CipherAESGCM
	}
	return CipherXChaCha20
}

func (c Cipher) known() bool { return c == CipherAESGCM || c == CipherXChaCha20 }

// seal seals and opens under one key. Keys are never used for two things with
// one number.
type seal struct{ aead cipher.AEAD }

func newSeal(c Cipher, key [keySize]byte) (s seal, err error) {
	switch c {
	case CipherAESGCM:
		var block cipher.Block
		if block, err = aes.NewCipher(key[:]); err == nil {
			s.aead, err = cipher.NewGCM(block)
		}
	case CipherXChaCha20:
		s.aead, err = chacha20poly1305.NewX(key[:])
	default:
		return s, malformed("unknown cipher %d", c)
	}
	if err != nil {
		return s, fmt.Errorf("prepare cipher: %w", err)
	}
	return s, nil
}

// append seals plaintext behind dst.
func (s seal) append(dst []byte, number uint32, plaintext, aad []byte) []byte {
	var n [chacha20poly1305.NonceSizeX]byte
	le.PutUint32(n[:], number)
	return s.aead.Seal(dst, n[:s.aead.NonceSize()], plaintext, aad)
}

// open checks and opens sealed behind dst.
func (s seal) open(dst []byte, number uint32, sealed, aad []byte) ([]byte, error) {
	var n [chacha20poly1305.NonceSizeX]byte
	le.PutUint32(n[:], number)
	return s.aead.Open(dst, n[:s.aead.NonceSize()], sealed, aad)
}

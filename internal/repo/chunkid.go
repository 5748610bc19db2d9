package repo

import (
	"crypto/sha256"
	"encoding/binary"
	"hash"

	"golang.org/x/crypto/blake2b"

	"github.com/baktainer/baktainer/internal/ledger"
)

const chunkIDSize = 16

// chunkID names a chunk by its content: BLAKE2b of 128 bits, keyed by the source's
// chunk key. Without the key nobody can tell whether a known text is in a chunk.
// (SHA-256 is as fast where the processor has instructions for it, and takes three
// times as long where it has none.)
type chunkID [chunkIDSize]byte

// hasher makes chunk ids. It is for one goroutine.
type hasher struct {
	mac hash.Hash
	sum [chunkIDSize]byte
}

func newHasher(key SourceKey) *hasher {
	k := key.chunkKey()
	mac, _ := blake2b.New(chunkIDSize, k[:]) // fails for other lengths of ids and keys only
	return &hasher{mac: mac}
}

func (h *hasher) id(chunk []byte) (id chunkID) {
	h.mac.Reset()
	h.mac.Write(chunk)
	copy(id[:], h.mac.Sum(h.sum[:0]))
	return id
}

// merkle computes the root of a Merkle tree over chunks (shaped as in RFC 6962)
// in memory that grows with the logarithm of their number.
type merkle struct {
	count int64
	stack []ledger.Hash // roots of complete subtrees, largest first
}

func (m *merkle) add(id chunkID, length int) {
	var leaf [1 + chunkIDSize + 4]byte // 0 ‖ id ‖ length
	copy(leaf[1:], id[:])
	binary.LittleEndian.PutUint32(leaf[1+chunkIDSize:], uint32(length))
	h := ledger.Hash(sha256.Sum256(leaf[:]))
	for n := m.count; n&1 == 1; n >>= 1 {
		h = merkleNode(m.stack[len(m.stack)-1], h)
		m.stack = m.stack[:len(m.stack)-1]
	}
	m.stack = append(m.stack, h)
	m.count++
}

func (m *merkle) root() ledger.Hash {
	if m.count == 0 {
		return sha256.Sum256(nil)
	}
	h := m.stack[len(m.stack)-1]
	for i := len(m.stack) - 2; i >= 0; i-- {
		h = merkleNode(m.stack[i], h)
	}
	return h
}

func merkleNode(left, right ledger.Hash) ledger.Hash {
	var b [1 + 2*sha256.Size]byte
	b[0] = 1
	copy(b[1:], left[:])
	copy(b[1+sha256.Size:], right[:])
	return sha256.Sum256(b[:])
}

package repo

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"slices"
)

const (
	packMagic       = "BAKTPACK"
	trailerMagic    = "BAKTPEND"
	packVersion     = 1
	packIDSize      = 16
	packHeaderSize  = 32
	packTrailerSize = 64
	trailerClear    = 24 // bytes of the trailer before the hash

	// maxPack and maxTail bound what a reader takes.
	maxPack = 1 << 30
	maxTail = 64 << 20

	// indexNumber is the nonce of the index, which no frame has.
	indexNumber = 1<<32 - 1
)

type packID [packIDSize]byte

func (id packID) String() string { return hex.EncodeToString(id[:]) }

func parsePackID(s string) (id packID, err error) {
	if !isPackID(s) {
		return id, malformed("pack id %.40q", s)
	}
	_, err = hex.Decode(id[:], []byte(s))
	return id, err
}

// packBuilder puts one pack together in memory that it reuses for the next.
type packBuilder struct {
	id     packID
	limit  int // most bytes of the object, as far as one frame allows
	seal   seal
	buf    []byte // header and frames so far
	index  []byte // the index so far
	frames uint32
	chunks uint32
	raw    int64
	leans  []packID // packs that dictionaries of the frames lie in, each once
}

// start begins a pack with a random id.
func (p *packBuilder) start(key SourceKey, c Cipher, random io.Reader) error {
	if _, err := io.ReadFull(random, p.id[:]); err != nil {
		return fmt.Errorf("make pack id: %w", err)
	}
	seal, err := newSeal(c, key.packKey(p.id))
	if err != nil {
		return err
	}
	p.seal = seal
	p.buf = appendPackHeader(p.buf[:0], c, key.generation, p.id)
	p.index, p.frames, p.chunks, p.raw, p.leans = p.index[:0], 0, 0, 0, nil
	return nil
}

func appendPackHeader(b []byte, c Cipher, generation uint32, id packID) []byte {
	b = append(append(b, packMagic...), packVersion, byte(c), 0, 0)
	return append(le.AppendUint32(b, generation), id[:]...)
}

// packedFrame is a frame on its way into a pack: raw bytes of chunks, put
// through codec. One that has a dictionary tells its depth and the packs that the
// dictionary lies in.
type packedFrame struct {
	codec   byte
	raw     int
	stored  []byte
	ids     []chunkID
	lengths []uint32
	depth   int
	packs   []packID
}

// grow makes room in buf for n more bytes, without waste when that fills the pack.
func (p *packBuilder) grow(n int) {
	if need := len(p.buf) + n; need > cap(p.buf) {
		grown := make([]byte, len(p.buf), max(need, min(2*need, p.limit)))
		copy(grown, p.buf)
		p.buf = grown
	}
}

// size is about what the pack would have if it ended after one more frame.
func (p *packBuilder) size(f packedFrame) int {
	return len(p.buf) + len(p.index) + sealOverhead + packTrailerSize +
		frameHeaderSize + sealOverhead + len(f.stored) + len(f.ids)*(chunkIDSize+3) + len(f.packs)*packIDSize + 5*binary.MaxVarintLen32
}

// add seals a frame.
func (p *packBuilder) add(f packedFrame) {
	p.grow(frameHeaderSize + len(f.stored) + sealOverhead)
	at := len(p.buf)
	p.buf = appendFrame(p.buf, p.seal, p.id, p.frames, f.codec, f.raw, f.stored)
	p.index = binary.AppendUvarint(p.index, uint64(len(p.buf)-at))
	p.index = binary.AppendUvarint(p.index, uint64(f.raw))
	p.index = binary.AppendUvarint(p.index, uint64(f.depth))
	if f.depth > 0 {
		p.index = binary.AppendUvarint(p.index, uint64(len(f.packs)))
		for _, id := range f.packs {
			p.index = append(p.index, id[:]...)
			if !slices.Contains(p.leans, id) {
				p.leans = append(p.leans, id)
			}
		}
	}
	p.index = binary.AppendUvarint(p.index, uint64(len(f.ids)))
	for i, id := range f.ids {
		p.index = append(p.index, id[:]...)
		p.index = binary.AppendUvarint(p.index, uint64(f.lengths[i]))
	}
	p.frames++
	p.chunks += uint32(len(f.ids))
	p.raw += int64(f.raw)
}

// finish adds index and trailer. The object is in p's memory.
func (p *packBuilder) finish() (object []byte, ref PackRef) {
	p.grow(len(p.index) + sealOverhead + packTrailerSize)
	offset := len(p.buf)
	var t [packTrailerSize]byte
	le.PutUint64(t[0:], uint64(offset))
	le.PutUint32(t[8:], uint32(len(p.index)+sealOverhead))
	le.PutUint32(t[12:], p.frames)
	t[16] = packVersion
	copy(t[56:], trailerMagic)
	aad := append(append(make([]byte, 0, packHeaderSize+trailerClear), p.buf[:packHeaderSize]...), t[:trailerClear]...)
	p.buf = p.seal.append(p.buf, indexNumber, p.index, aad)
	p.buf = append(p.buf, t[:trailerClear]...)
	h := sha256.New()
	h.Write(p.buf)
	p.buf = h.Sum(p.buf)
	p.buf = append(p.buf, trailerMagic...)
	h.Write(p.buf[len(p.buf)-sha256.Size-len(trailerMagic):])
	ref = PackRef{ID: p.id.String(), Size: int64(len(p.buf)), Tail: int64(len(p.buf) - offset), Live: p.raw}
	h.Sum(ref.SHA256[:0])
	return p.buf, ref
}

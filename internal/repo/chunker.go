package repo

import (
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"math/bits"
)

// Chunking are the parameters that decide where a stream is cut, in bytes. They
// hold for the beginning of a stream; further on chunks grow, see chunkTiers.
type Chunking struct{ Min, Average, Max int }

// defaultChunking is small enough that rows changed here and there leave most
// chunks as they were.
var defaultChunking = Chunking{Min: 1 << 10, Average: 4 << 10, Max: 16 << 10}

// chunkTiers say from which offset of a stream on all three parameters are
// multiplied by how much, so that the chunk lists of a very large stream stay small.
var chunkTiers = []struct {
	from   int64
	factor int
}{{0, 1}, {4 << 30, 4}, {32 << 30, 16}}

// normalisation is by how many bits the cut is made less likely before the
// average size, and more likely after it (FastCDC).
const normalisation = 2

// chunker finds cut points by content: FastCDC with a gear table that only the
// holder of the source's key can compute, so that sizes tell others less.
type chunker struct {
	gear    [256]uint64
	shifted [256]uint64 // gear, one bit to the left
	tiers   []tier
}

type tier struct {
	from          int64
	min, avg, max int
	early, late   uint64 // masks before and after avg
}

func newChunker(key SourceKey, c Chunking) (*chunker, error) {
	var k chunker
	secret := key.gearKey()
	table, err := hkdf.Expand(sha256.New, secret[:], "baktainer/1 gear table", 8*len(k.gear))
	if err != nil {
		return nil, err
	}
	for i := range k.gear {
		k.gear[i] = binary.LittleEndian.Uint64(table[8*i:])
		k.shifted[i] = k.gear[i] << 1
	}
	for _, t := range chunkTiers {
		avg := c.Average * t.factor
		b := bits.Len(uint(avg)) - 1
		k.tiers = append(k.tiers, tier{
			from: t.from, min: c.Min * t.factor, avg: avg, max: c.Max * t.factor,
			early: mask(b + normalisation), late: mask(b - normalisation),
		})
	}
	return &k, nil
}

// mask has n bits set, from bit 62 down: the high bits of the fingerprint depend
// on the most bytes, and the topmost stays free for the step of two bytes.
func mask(n int) uint64 { return (1<<n - 1) << (63 - n) }

// at gives the parameters for a chunk that begins at offset of its stream.
func (k *chunker) at(offset int64) *tier {
	i := len(k.tiers) - 1
	for offset < k.tiers[i].from {
		i--
	}
	return &k.tiers[i]
}

// cut says how many bytes of p the next chunk has. p must hold t.max bytes or
// all that is left of the stream. The fingerprint takes in one byte at a time,
//
//	fp = fp<<1 + gear[p[i]]
//
// from p[min] on, and the chunk ends after the first byte at which fp has none of
// the mask's bits. Two steps are done at once here: fp<<2 + gear<<1 is the first
// fp shifted by one, which is held against the mask shifted by one.
func (k *chunker) cut(t *tier, p []byte) int {
	n := min(len(p), t.max)
	if n <= t.min {
		return n
	}
	p = p[:n]
	fp, i := uint64(0), t.min
	for _, part := range [2]struct {
		end  int
		mask uint64
	}{{min(t.avg, n), t.early}, {n, t.late}} {
		m, m2 := part.mask, part.mask<<1
		for ; i+1 < part.end; i += 2 {
			fp = fp<<2 + k.shifted[p[i]]
			if fp&m2 == 0 {
				return i + 1
			}
			fp += k.gear[p[i+1]]
			if fp&m == 0 {
				return i + 2
			}
		}
	}
	return n
}

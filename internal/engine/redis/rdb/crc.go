package rdb

import (
	"encoding/binary"
	"hash/crc64"
	"math/bits"
)

// The checksum of Redis is the CRC-64 of Jones: reflected, beginning with 0 and
// not inverted, which is where it differs from those of hash/crc64.
var jones = crc64.MakeTable(bits.Reverse64(0xad93d23594c935a9))

// ahead are tables for sixteen bytes at once: hash/crc64 takes eight, and most of
// the time that a dump is inspected goes into its checksum. ahead[i] is what a byte
// makes of the sum that has i more bytes after it.
var ahead = func() (t [16][256]uint64) {
	t[0] = *jones
	for i := 1; i < len(t); i++ {
		for b, sum := range t[i-1] {
			t[i][b] = jones[byte(sum)] ^ sum>>8
		}
	}
	return t
}()

// checksum continues crc, 0 at first, over p.
func checksum(crc uint64, p []byte) uint64 {
	for ; len(p) >= 16; p = p[16:] {
		a, b := crc^binary.LittleEndian.Uint64(p), binary.LittleEndian.Uint64(p[8:])
		crc = ahead[15][byte(a)] ^ ahead[14][byte(a>>8)] ^ ahead[13][byte(a>>16)] ^ ahead[12][byte(a>>24)] ^
			ahead[11][byte(a>>32)] ^ ahead[10][byte(a>>40)] ^ ahead[9][byte(a>>48)] ^ ahead[8][a>>56] ^
			ahead[7][byte(b)] ^ ahead[6][byte(b>>8)] ^ ahead[5][byte(b>>16)] ^ ahead[4][byte(b>>24)] ^
			ahead[3][byte(b>>32)] ^ ahead[2][byte(b>>40)] ^ ahead[1][byte(b>>48)] ^ ahead[0][b>>56]
	}
	for _, c := range p {
		crc = jones[byte(crc)^c] ^ crc>>8
	}
	return crc
}

package rdb

import (
	"hash/crc64"
	"math/bits"
)

// The checksum of Redis is the CRC-64 of Jones: reflected, beginning with 0 and
// not inverted, which is where it differs from those of hash/crc64.
var jones = crc64.MakeTable(bits.Reverse64(0xad93d23594c935a9))

// checksum continues crc, 0 at first, over p.
func checksum(crc uint64, p []byte) uint64 { return ^crc64.Update(^crc, jones, p) }

package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"github.com/baktainer/baktainer/internal/source"
)

// Codecs of frames and manifest bodies.
const (
	codecRaw    = 0
	codecZstd   = 1
	codecSnappy = 2
	// codecDictionary is a dictionary, then Zstandard with it.
	codecDictionary = 3
)

// compressor compresses frames at one level. Encoders are large, so they are
// shared by all writers of the process.
type compressor struct {
	codec byte
	level zstd.EncoderLevel
	pool  sync.Pool

	delta  zstd.EncoderLevel // of frames with a dictionary; 0: makes none
	deltas sync.Pool
}

// Zstd's fastest level is the default: the next one gains about 4 % and costs
// half of the speed. Snappy, for hosts that are short of processor, is more than
// twice as fast and leaves half as much again.
var (
	compressOff     = &compressor{codec: codecRaw}
	compressFast    = &compressor{codec: codecSnappy}
	compressDefault = &compressor{codec: codecZstd, level: zstd.SpeedFastest, delta: zstd.SpeedFastest}
	compressBetter  = &compressor{codec: codecZstd, level: zstd.SpeedBetterCompression, delta: zstd.SpeedDefault}
)

var compressors = map[source.Compression]*compressor{
	"":                     compressDefault,
	source.CompressOff:     compressOff,
	source.CompressFast:    compressFast,
	source.CompressDefault: compressDefault,
	source.CompressBetter:  compressBetter,
}

// compress returns raw as it should be stored: compressed into dst's memory, or
// raw itself where that gains less than one part in 32.
func (c *compressor) compress(dst, raw []byte) (codec byte, stored []byte, scratch []byte, err error) {
	switch c.codec {
	case codecSnappy:
		dst = s2.EncodeSnappy(dst[:cap(dst)], raw)
	case codecZstd:
		e, err := encoder(&c.pool, c.level)
		if err != nil {
			return 0, nil, dst, err
		}
		dst = e.EncodeAll(raw, dst[:0])
		c.pool.Put(e)
	}
	if c.codec == codecRaw || len(dst) > len(raw)-len(raw)/32 {
		return codecRaw, raw, dst, nil
	}
	return c.codec, dst, dst, nil
}

// compressDelta appends raw, compressed against dict.
func (c *compressor) compressDelta(dst, raw, dict []byte) ([]byte, error) {
	e, err := encoder(&c.deltas, c.delta)
	if err != nil {
		return dst, err
	}
	// As a stream: EncodeAll would take in the dictionary once more.
	out := appender(dst)
	if err := e.ResetWithOptions(&out, zstd.WithEncoderDictRaw(0, dict)); err != nil {
		return dst, fmt.Errorf("set dictionary: %w", err)
	}
	if _, err = e.Write(raw); err == nil {
		err = e.Close()
	}
	if err != nil {
		return dst, fmt.Errorf("compress: %w", err)
	}
	c.deltas.Put(e)
	return out, nil
}

// appender is a writer into memory.
type appender []byte

func (a *appender) Write(p []byte) (int, error) {
	*a = append(*a, p...)
	return len(p), nil
}

func encoder(pool *sync.Pool, level zstd.EncoderLevel) (*zstd.Encoder, error) {
	if e, ok := pool.Get().(*zstd.Encoder); ok {
		return e, nil
	}
	e, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(level), zstd.WithWindowSize(frameSize),
		zstd.WithEncoderConcurrency(1), zstd.WithLowerEncoderMem(true), zstd.WithEncoderCRC(false)) // the seal is a better checksum
	if err != nil {
		return nil, fmt.Errorf("start compression: %w", err)
	}
	return e, nil
}

// Decoding never makes more than the capacity of the buffer given to it.
var decoders = sync.Pool{New: func() any {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
		zstd.WithDecodeAllCapLimit(true), zstd.WithDecoderMaxWindow(maxFrameRaw))
	if err != nil {
		return err
	}
	return d
}}

// decompress decodes stored into dst, whose capacity is at least size, and
// insists on exactly size bytes. dict is for codecDictionary alone.
func decompress(codec byte, stored, dict, dst []byte, size int) ([]byte, error) {
	dst = dst[:0:size]
	switch codec {
	case codecRaw:
		if len(stored) != size {
			return nil, malformed("%d bytes stored for %d", len(stored), size)
		}
		return append(dst, stored...), nil
	case codecSnappy:
		if n, err := s2.DecodedLen(stored); err != nil || n != size {
			return nil, malformed("decompresses to %d bytes, not %d: %v", n, size, err)
		}
		out, err := s2.Decode(dst[:size], stored)
		if err != nil {
			return nil, malformed("decompress: %v", err)
		}
		return out, nil
	case codecZstd, codecDictionary:
		v := decoders.Get()
		d, ok := v.(*zstd.Decoder)
		if !ok {
			return nil, fmt.Errorf("start decompression: %v", v)
		}
		out, err := decodeAll(d, stored, dict, dst)
		decoders.Put(d)
		if err != nil {
			return nil, malformed("decompress: %v", err)
		}
		if len(out) != size {
			return nil, malformed("decompressed to %d bytes, not %d", len(out), size)
		}
		return out, nil
	}
	return nil, malformed("unknown codec %d", codec)
}

func decodeAll(d *zstd.Decoder, stored, dict, dst []byte) ([]byte, error) {
	if dict == nil {
		return d.DecodeAll(stored, dst)
	}
	if err := d.ResetWithOptions(nil, zstd.WithDecoderDictRaw(0, dict)); err != nil {
		return nil, fmt.Errorf("set dictionary: %w", err)
	}
	out, err := d.DecodeAll(stored, dst)
	if err := d.ResetWithOptions(nil, zstd.WithDecoderDictDelete()); err != nil {
		return nil, fmt.Errorf("drop dictionary: %w", err)
	}
	return out, err
}

// decompressLarge decodes size bytes that may be too many to set memory aside for on trust.
func decompressLarge(codec byte, stored []byte, size int64) ([]byte, error) {
	switch codec {
	case codecRaw:
		return stored, nil
	case codecZstd:
	default:
		return nil, malformed("codec %d", codec)
	}
	d, err := zstd.NewReader(bytes.NewReader(stored), zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(8<<20))
	if err != nil {
		return nil, fmt.Errorf("start decompression: %w", err)
	}
	defer d.Close()
	out, err := readN(d, size)
	if err != nil {
		return nil, malformed("decompress: %v", err)
	}
	if n, err := d.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		return nil, malformed("it decompresses to more than %d bytes", size)
	}
	return out, nil
}

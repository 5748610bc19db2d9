package repo

import "fmt"

const (
	// frameSize is how many bytes of chunks a writer gathers in one frame.
	frameSize = 1 << 20
	// maxFrameRaw is the most that a reader takes.
	maxFrameRaw = 4 << 20
	// maxChunk is the longest chunk that a reader takes.
	maxChunk = 1 << 20

	frameHeaderSize = 16
	frameVersion    = 1
)

// frameHeader is the clear beginning of a frame. It is sealed with the frame as
// additional data.
type frameHeader struct {
	codec  byte
	number uint32 // within the pack, from 0
	raw    uint32 // bytes before compression
	sealed uint32 // bytes that follow, seal included
}

func (h frameHeader) appendTo(b []byte) []byte {
	b = append(b, 'B', 'F', frameVersion, h.codec)
	b = le.AppendUint32(b, h.number)
	b = le.AppendUint32(b, h.raw)
	return le.AppendUint32(b, h.sealed)
}

// parseFrameHeader reads the header at the front of b.
func parseFrameHeader(b []byte) (frameHeader, error) {
	d := decoder{b: b}
	var h frameHeader
	if m := d.take(3); m == nil || m[0] != 'B' || m[1] != 'F' {
		return h, malformed("not a frame")
	} else if m[2] != frameVersion {
		return h, malformed("frame version %d", m[2])
	}
	if c := d.take(1); c != nil {
		h.codec = c[0]
	}
	h.number, h.raw, h.sealed = d.uint32(), d.uint32(), d.uint32()
	switch {
	case d.err != nil:
		return h, d.err
	case h.raw == 0 || h.raw > maxFrameRaw:
		return h, malformed("frame of %d bytes", h.raw)
	case h.sealed < sealOverhead || h.sealed > maxFrameRaw+maxDictionaryList+sealOverhead:
		return h, malformed("frame of %d sealed bytes", h.sealed)
	}
	return h, nil
}

// frameAAD is what a frame's seal covers besides its content.
func frameAAD(b []byte, pack packID, header []byte) []byte {
	return append(append(b[:0], pack[:]...), header...)
}

// appendFrame seals stored, which is raw bytes put through codec, behind b.
func appendFrame(b []byte, s seal, pack packID, number uint32, codec byte, raw int, stored []byte) []byte {
	h := frameHeader{codec: codec, number: number, raw: uint32(raw), sealed: uint32(len(stored) + sealOverhead)}
	at := len(b)
	b = h.appendTo(b)
	aad := frameAAD(make([]byte, 0, packIDSize+frameHeaderSize), pack, b[at:])
	return s.append(b, number, stored, aad)
}

// dictionarySource gives the bytes of the chunks that a frame is compressed against.
type dictionarySource func(dictionary) ([]byte, error)

// openFrame checks and opens the whole of frame b. The content is made in dst's
// memory where that is large enough; b is overwritten. dicts is asked for the
// dictionary of a frame that has one.
func openFrame(b []byte, s seal, pack packID, number uint32, raw int, dst []byte, dicts dictionarySource) ([]byte, error) {
	h, err := parseFrameHeader(b)
	if err != nil {
		return nil, err
	}
	if h.number != number || int(h.raw) != raw || int(h.sealed) != len(b)-frameHeaderSize {
		return nil, malformed("the frame is not the one that the index lists")
	}
	var aad [packIDSize + frameHeaderSize]byte
	sealed := b[frameHeaderSize:]
	stored, err := s.open(sealed[:0], number, sealed, frameAAD(aad[:0], pack, b[:frameHeaderSize]))
	if err != nil {
		return nil, fmt.Errorf("open frame %d: %w", number, err)
	}
	var dict []byte
	if h.codec == codecDictionary {
		d, rest, err := parseDictionary(stored)
		if err != nil {
			return nil, err
		}
		if dict, err = dicts(d); err != nil {
			return nil, fmt.Errorf("read the dictionary of frame %d: %w", number, err)
		}
		stored = rest
	}
	if cap(dst) < raw {
		dst = make([]byte, (raw+1<<16-1)>>16<<16)
	}
	out, err := decompress(h.codec, stored, dict, dst, raw)
	if err == nil && &out[0] == &dst[:1][0] {
		out = dst[:raw] // with all of its capacity, for the next time
	}
	return out, err
}

// noDictionaries is for readers that cannot have any.
func noDictionaries(dictionary) ([]byte, error) { return nil, malformed("a frame with a dictionary") }

package repo

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/source"
)

const (
	manifestMagic = "BAKTMANI"
	manifestSalt  = 16
	packRefSize   = packIDSize + 32 + 8 + 8 + 8

	// Bounds of what a reader takes.
	maxManifestHeader = 128 << 20
	maxManifestBody   = 256 << 20
)

// Versions of manifests.
const (
	// PlainManifest does not tell where in a stream anything is.
	PlainManifest = 1
	// NewestManifest does.
	NewestManifest = 2
)

var errOtherGeneration = errors.New("under a key of generation")

// manifest is a manifest object taken apart.
type manifest struct {
	ManifestHeader
	salt    [manifestSalt]byte
	version byte
	codec   byte
	raw     int64 // bytes of the body before compression
}

// appendHeader encodes the clear part, for a body of so many sealed bytes.
func (m *manifest) appendHeader(b []byte, sealed int64) []byte {
	at := len(b)
	b = append(append(b, manifestMagic...), m.version, m.codec, byte(m.Cipher), 0)
	b = le.AppendUint32(b, 0) // the header's length, set below
	b = le.AppendUint64(b, uint64(m.raw))
	b = le.AppendUint64(b, uint64(sealed))
	b = append(b, m.salt[:]...)
	for _, n := range []int{m.Chunking.Min, m.Chunking.Average, m.Chunking.Max} {
		b = le.AppendUint32(b, uint32(n))
	}
	b = le.AppendUint32(b, m.Generation)
	b = append(b, m.Snapshot...)
	b = appendString(b, m.Source)
	b = le.AppendUint32(b, uint32(len(m.Packs)))
	for _, p := range m.Packs {
		id, _ := parsePackID(p.ID)
		b = append(append(b, id[:]...), p.SHA256[:]...)
		for _, n := range []int64{p.Size, p.Tail, p.Live} {
			b = le.AppendUint64(b, uint64(n))
		}
	}
	le.PutUint32(b[at+12:], uint32(len(b)-at))
	return b
}

// ReadManifestHeader reads the clear part of a manifest. It needs no key, and
// so proves nothing about who wrote it. Its errors say only what is malformed.
func ReadManifestHeader(r io.Reader) (ManifestHeader, error) {
	m, _, _, err := readManifestHeader(r)
	if err != nil {
		return ManifestHeader{}, fmt.Errorf("read manifest header: %w", err)
	}
	return m.ManifestHeader, nil
}

// readManifestHeader also gives the header's bytes and the length of the sealed body.
func readManifestHeader(r io.Reader) (m *manifest, header []byte, sealed int64, err error) {
	front, err := readN(r, 16)
	if err != nil {
		return nil, nil, 0, err
	}
	length := int64(le.Uint32(front[12:]))
	switch {
	case !bytes.Equal(front[:8], []byte(manifestMagic)):
		return nil, nil, 0, malformed("not a manifest")
	case front[8] > NewestManifest:
		return nil, nil, 0, malformed("manifest version %d, which only a newer version of this program reads", front[8])
	case front[8] < PlainManifest:
		return nil, nil, 0, malformed("manifest version %d", front[8])
	case length < 16 || length > maxManifestHeader:
		return nil, nil, 0, malformed("manifest header of %d bytes", length)
	}
	rest, err := readN(r, length-16)
	if err != nil {
		return nil, nil, 0, err
	}
	m = &manifest{version: front[8], codec: front[9]}
	m.Cipher = Cipher(front[10])
	d := decoder{b: front[11:12]}
	d.zero(1)
	d.b = rest
	raw, size := d.uint64(), d.uint64()
	copy(m.salt[:], d.take(manifestSalt))
	m.Chunking = Chunking{Min: int(d.uint32()), Average: int(d.uint32()), Max: int(d.uint32())}
	m.Generation = d.uint32()
	if d.err == nil && (m.Generation == 0 || !m.Cipher.known()) {
		d.fail("cipher %d, generation %d", m.Cipher, m.Generation)
	}
	m.Snapshot, m.Source = string(d.take(26)), d.string(source.MaxNameLength)
	if raw > maxManifestBody || size > maxManifestBody+sealOverhead || size < sealOverhead {
		d.fail("manifest body of %d bytes, %d sealed", raw, size)
	}
	if d.err == nil && (!isSnapshotID(m.Snapshot) || source.CheckName(m.Source) != nil) {
		d.fail("manifest of snapshot %.40q of source %.140q", m.Snapshot, m.Source)
	}
	m.raw = int64(raw)
	n := int64(d.uint32())
	if n*packRefSize != int64(len(d.b)) {
		d.fail("%d packs in %d bytes", n, len(d.b))
	}
	for range len(d.b) / packRefSize {
		m.Packs = append(m.Packs, d.packRef())
	}
	if err := d.end(); err != nil {
		return nil, nil, 0, err
	}
	return m, append(front, rest...), int64(size), nil
}

func (d *decoder) packRef() (p PackRef) {
	var id packID
	copy(id[:], d.take(packIDSize))
	copy(p.SHA256[:], d.take(len(p.SHA256)))
	size, tail, live := d.uint64(), d.uint64(), d.uint64()
	if size > maxPack || tail > min(size, maxTail) || live > 1<<48 {
		d.fail("pack %s: its lengths cannot be", id)
	}
	p.ID, p.Size, p.Tail, p.Live = id.String(), int64(size), int64(tail), int64(live)
	return p
}

// seal gives the manifest object with body, and its hash.
func (m *manifest) seal(key SourceKey, body []byte) ([]byte, ledger.Hash, error) {
	codec, stored, _, err := compressDefault.compress(nil, body)
	if err != nil {
		return nil, ledger.Hash{}, err
	}
	m.codec, m.raw, m.Generation = codec, int64(len(body)), key.generation
	aead, err := newSeal(m.Cipher, key.manifestKey(m.Snapshot, m.salt[:]))
	if err != nil {
		return nil, ledger.Hash{}, err
	}
	header := m.appendHeader(nil, int64(len(stored)+sealOverhead))
	object := aead.append(header, 0, stored, header)
	return object, hashOf(object), nil
}

// openManifest takes a manifest object apart.
func openManifest(key SourceKey, object []byte) (*manifest, *manifestBody, error) {
	m, header, sealed, err := readManifestHeader(bytes.NewReader(object))
	if err != nil {
		return nil, nil, err
	}
	rest := object[len(header):]
	if int64(len(rest)) != sealed {
		return nil, nil, malformed("the manifest's body has %d bytes, not %d", len(rest), sealed)
	}
	if m.Generation != key.generation {
		return nil, nil, malformed("it is %w %d, and the key at hand is of %d", errOtherGeneration, m.Generation, key.generation)
	}
	aead, err := newSeal(m.Cipher, key.manifestKey(m.Snapshot, m.salt[:]))
	if err != nil {
		return nil, nil, err
	}
	stored, err := aead.open(nil, 0, rest, header)
	if err != nil {
		return nil, nil, fmt.Errorf("open manifest: %w", err)
	}
	raw, err := decompressLarge(m.codec, stored, m.raw)
	if err != nil {
		return nil, nil, err
	}
	if int64(len(raw)) != m.raw {
		return nil, nil, malformed("the manifest's body has %d bytes, not %d", len(raw), m.raw)
	}
	body, err := parseManifestBody(raw, m.version, len(m.Packs))
	if err != nil {
		return nil, nil, err
	}
	return m, body, nil
}

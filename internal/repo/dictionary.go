package repo

import "encoding/binary"

// Bounds of dictionaries. A frame of new chunks is compressed against the chunks
// that they replace, which lie in other packs.
const (
	maxDictionary      = 4 << 20 // bytes of chunks
	maxDictionaryPacks = 1 << 10
	maxDictionaryRuns  = 1 << 16
	// maxDepth bounds how many frames one behind the other are needed to read one.
	maxDepth = 8
	// maxDictionaryList is the most bytes that a dictionary's list can have.
	maxDictionaryList = 2*binary.MaxVarintLen32 + maxDictionaryPacks*packIDSize + maxDictionaryRuns*3*binary.MaxVarintLen32
)

// dictionary says which chunks a frame is compressed against: runs over packs.
type dictionary struct {
	packs []packID
	runs  []packRun // pack is the place in packs
}

func (d dictionary) append(b []byte) []byte {
	b = binary.AppendUvarint(b, uint64(len(d.packs)))
	for _, id := range d.packs {
		b = append(b, id[:]...)
	}
	b = binary.AppendUvarint(b, uint64(len(d.runs)))
	for _, r := range d.runs {
		b = binary.AppendUvarint(b, uint64(r.pack))
		b = binary.AppendUvarint(b, uint64(r.first))
		b = binary.AppendUvarint(b, uint64(r.count))
	}
	return b
}

// parseDictionary reads the list in front of what a frame of codecDictionary
// seals, and gives what follows.
func parseDictionary(b []byte) (dictionary, []byte, error) {
	d := decoder{b: b}
	x := dictionary{packs: d.packIDs()}
	n := d.count(3)
	if d.err == nil && (n == 0 || n > maxDictionaryRuns) {
		d.fail("a dictionary of %d runs", n)
	}
	for range n {
		r := packRun{pack: uint32(d.uvarint(1<<32 - 1)), first: uint32(d.uvarint(1<<32 - 1)), count: uint32(d.uvarint(maxDictionary))}
		if d.err != nil {
			break
		}
		if int64(r.pack) >= int64(len(x.packs)) || r.count == 0 {
			d.fail("a dictionary of pack %d, %d chunks", r.pack, r.count)
			break
		}
		x.runs = append(x.runs, r)
	}
	return x, d.b, d.err
}

// packIDs reads the packs that a dictionary lies in.
func (d *decoder) packIDs() []packID {
	n := d.count(packIDSize)
	if d.err == nil && (n == 0 || n > maxDictionaryPacks) {
		d.fail("a dictionary in %d packs", n)
	}
	ids := make([]packID, 0, n)
	for range n {
		var id packID
		copy(id[:], d.take(packIDSize))
		ids = append(ids, id)
	}
	if d.err != nil {
		return nil
	}
	return ids
}

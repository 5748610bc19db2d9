package repo

// maxKnown bounds how many chunks a Base, and how many new ones a Writer, keeps
// to recognise them again: about 24 bytes each. Past it, chunks are stored anew
// rather than memory taken.
const maxKnown = 3 << 20

const blockBits = 12

// chunkSet is an append-only list of chunk ids with a hash table over it. An
// id's place in the list is its entry.
type chunkSet struct {
	blocks [][]chunkID
	n      uint32
	table  []uint32 // entry+1, 0 is free; the length is a power of two
}

func (s *chunkSet) at(entry uint32) *chunkID {
	return &s.blocks[entry>>blockBits][entry&(1<<blockBits-1)]
}

// is says whether the entry exists and is id.
func (s *chunkSet) is(entry uint32, id *chunkID) bool { return entry < s.n && *s.at(entry) == *id }

// add appends id. An id that is in the list already keeps its first entry.
func (s *chunkSet) add(id *chunkID) {
	if s.n&(1<<blockBits-1) == 0 {
		s.blocks = append(s.blocks, make([]chunkID, 1<<blockBits))
	}
	*s.at(s.n) = *id
	s.n++
	if uint64(s.n)*5 > uint64(len(s.table))*4 {
		s.grow()
		return
	}
	s.insert(s.n - 1)
}

func (s *chunkSet) grow() {
	s.table = make([]uint32, max(1<<10, 2*len(s.table)))
	for e := range s.n {
		s.insert(e)
	}
}

func (s *chunkSet) insert(entry uint32) {
	id := s.at(entry)
	if i, found := s.slot(id); !found {
		s.table[i] = entry + 1
	}
}

// slot gives the place of id in the table, or the free one where it belongs.
// Ids are keyed hashes: their own bits spread them, and nobody can aim them.
func (s *chunkSet) slot(id *chunkID) (int, bool) {
	m := len(s.table) - 1
	for i := int(le.Uint64(id[:])) & m; ; i = (i + 1) & m {
		if s.table[i] == 0 {
			return i, false
		}
		if *s.at(s.table[i] - 1) == *id {
			return i, true
		}
	}
}

// find gives the first entry that is id.
func (s *chunkSet) find(id *chunkID) (entry uint32, ok bool) {
	if s.n == 0 {
		return 0, false
	}
	i, ok := s.slot(id)
	if !ok {
		return 0, false
	}
	return s.table[i] - 1, true
}

// memory is the bytes that the set takes up.
func (s *chunkSet) memory() int { return len(s.blocks)<<blockBits*chunkIDSize + 4*len(s.table) }

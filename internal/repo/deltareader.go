package repo

import "context"

// newDictionaries makes what looks up dictionaries in the packs of base.
func newDictionaries(ctx context.Context, o WriterOptions, base *Base) *dictionaries {
	refs := make([]PackRef, len(base.packs))
	for i, p := range base.packs {
		refs[i] = p.PackRef
	}
	return &dictionaries{base: base, read: newNearReader(ctx, o, base.cipher, refs), lost: map[baseFrameKey]bool{}, packs: map[int]uint32{}}
}

func newNearReader(ctx context.Context, o WriterOptions, c Cipher, refs []PackRef) *nearReader {
	r := &nearReader{ctx: ctx, o: o, cipher: c, indexes: newCache[packID, *packIndex](8 << 20), frames: newCache[frameOfPack, []byte](deltaCache), refs: map[packID]PackRef{}}
	for _, p := range refs {
		id, _ := parsePackID(p.ID)
		r.refs[id] = p
	}
	return r
}

type frameOfPack struct {
	pack  packID
	frame int
}

type nearReader struct {
	ctx     context.Context
	o       WriterOptions
	cipher  Cipher
	refs    map[packID]PackRef
	indexes *cache[packID, *packIndex]
	frames  *cache[frameOfPack, []byte]
}

func (r *nearReader) chunks(pack packID, first, count uint32, dst []byte) ([]byte, error) {
	return r.read(pack, first, count, dst, 0)
}

func (r *nearReader) read(pack packID, first, count uint32, dst []byte, depth int) ([]byte, error) {
	ref, ok := r.refs[pack]
	if !ok || depth > maxDepth {
		return dst, malformed("pack %s", pack)
	}
	x, ok := r.indexes.get(pack)
	if !ok {
		var err error
		if x, err = readTail(r.ctx, r.o.Near, r.o.Key, r.cipher, r.o.Source, ref); err != nil {
			return dst, err
		}
		r.indexes.put(pack, x, x.memory())
	}
	if int(first)+int(count) > len(x.ids) {
		return dst, malformed("chunk %d", first)
	}
	for n := first; n < first+count; {
		key := frameOfPack{pack, x.frameOf(n)}
		f := x.frames[key.frame]
		raw, ok := r.frames.get(key)
		if !ok {
			sealed, err := readObject(r.ctx, r.o.Near, r.o.Source, PackName(r.o.Source, ref.ID), f.offset, int64(f.size), 0)
			if err != nil {
				return dst, err
			}
			raw, err = openFrame(sealed, x.seal, x.id, uint32(key.frame), int(f.raw), nil, func(d dictionary) (dict []byte, err error) {
				for _, run := range d.runs {
					if dict, err = r.read(d.packs[run.pack], run.first, run.count, dict, depth+1); err != nil {
						return nil, err
					}
				}
				return dict, nil
			})
			if err != nil {
				return dst, err
			}
			r.frames.put(key, raw, int64(cap(raw)))
		}
		end := min(f.next, first+count)
		from, _ := x.bounds(n)
		_, to := x.bounds(end - 1)
		dst = append(dst, raw[from:to]...)
		n = end
	}
	return dst, nil
}

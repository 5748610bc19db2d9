package repo

import (
	"fmt"
	"io"
	"sort"

	"github.com/baktainer/baktainer/internal/ledger"
)

// manifest describes what was written, packs being the new ones in order.
func (w *Writer) manifest(packs []builtPack) (Summary, []byte, error) {
	m := &manifest{version: w.options.Manifest, ManifestHeader: ManifestHeader{Source: w.options.Source, Snapshot: w.options.Snapshot, Cipher: w.options.Cipher, Chunking: defaultChunking}}
	if _, err := io.ReadFull(w.random, m.salt[:]); err != nil {
		return Summary{}, nil, fmt.Errorf("make manifest: %w", err)
	}
	// all are the packs that entries lie in; number is what the manifest calls each.
	all, number := append([]basePack(nil), w.base.packs...), make([]uint32, len(w.base.packs), len(w.base.packs)+len(packs))
	summary := Summary{Root: w.merkle.root()}
	next := w.base.set.n
	for _, p := range packs {
		all = append(all, basePack{PackRef: p.PackRef, first: next, next: next + p.chunks})
		number = append(number, 0)
		next += p.chunks
		summary.NewBytes += p.Size
	}
	needed := w.needed(packs)
	for i, p := range all {
		if i < len(w.live) {
			p.Live = w.live[i]
		}
		if p.Live > 0 || needed[i] {
			number[i] = uint32(len(m.Packs))
			m.Packs = append(m.Packs, p.PackRef)
		}
	}
	body := manifestBody{root: summary.Root, chunks: w.merkle.count}
	for _, s := range w.streams {
		body.streams = append(body.streams, bodyStream{s.StreamInfo, s.chunks, packRuns(s.runs, all, number), s.groups})
		summary.RawBytes += s.Size
		summary.Streams = append(summary.Streams, ledger.Stream{
			Name: s.Name, Kind: s.Kind, Database: s.Database, Format: s.Format, Size: s.Size, SHA256: s.SHA256,
		})
	}
	object, hash, err := m.seal(w.options.Key, body.append(nil, m.version))
	if err != nil {
		return Summary{}, nil, fmt.Errorf("make manifest: %w", err)
	}
	if m.raw > maxManifestBody {
		return Summary{}, nil, fmt.Errorf("make manifest: its body of %d bytes is over the format's limit", m.raw)
	}
	summary.Manifest, summary.ManifestSize = hash, int64(len(object))
	summary.NewBytes += summary.ManifestSize
	return summary, object, nil
}

// needed says which packs of the base hold dictionaries that are needed to read
// the snapshot, packs being the new ones.
func (w *Writer) needed(packs []builtPack) []bool {
	places := make(map[packID]int, len(w.base.packs))
	for i, p := range w.base.packs {
		places[p.id] = i
	}
	needed := make([]bool, len(w.base.packs), len(w.base.packs)+len(packs))
	var follow func(leans []packID)
	follow = func(leans []packID) {
		for _, id := range leans {
			if i := places[id]; !needed[i] {
				needed[i] = true
				follow(w.base.packs[i].leans)
			}
		}
	}
	for i, p := range w.base.packs {
		if w.live[i] > 0 {
			follow(p.leans)
		}
	}
	for _, p := range packs {
		follow(p.leans)
	}
	return needed[:cap(needed)]
}

// packRuns splits runs of entries where packs end.
func packRuns(runs []entryRun, packs []basePack, number []uint32) []packRun {
	out := make([]packRun, 0, len(runs))
	i := 0
	for _, r := range runs {
		for r.count > 0 {
			if i >= len(packs) || r.first < packs[i].first || r.first >= packs[i].next {
				i = packOf(packs, r.first)
			}
			n := min(r.count, packs[i].next-r.first)
			out = append(out, packRun{number[i], r.first - packs[i].first, n})
			r.first, r.count = r.first+n, r.count-n
		}
	}
	return out
}

// packOf gives the index of the pack that an entry lies in.
func packOf(packs []basePack, entry uint32) int {
	return sort.Search(len(packs)-1, func(i int) bool { return packs[i].next > entry })
}

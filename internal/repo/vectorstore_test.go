package repo

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// noise stands in for the random source, so that the vectors can be made again.
func noise(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

// What opens the store of the vectors. The passphrase is not in NFC, and costs
// next to nothing.
var (
	vectorKey        = KeyFile{secret: [keySize]byte(bytes.Repeat([]byte("0123456789abcdef"), 2))}
	vectorPassphrase = "cafe\u0301 au lait, and no sugar"
)

// vectorPlan is a snapshot of the vectors. Base is the number of an earlier one,
// from 1, or 0.
type vectorPlan struct {
	source     string
	generation uint32
	base       int
	options    WriterOptions
	streams    []stream
}

// vectorPlain is how many of the vectors, the first, have manifests of version 1.
const vectorPlain = 9

// vectorPlans are the snapshots of the vectors: of two sources, in two
// generations, with both ciphers and all codecs, and a chain of dictionaries.
func vectorPlans() []vectorPlan {
	first := text(99, 30_000)
	edit := func(b []byte, row string) []byte {
		at := 12_000
		return append(append(bytes.Clone(b[:at]), row...), b[at:]...)
	}
	second := edit(first, "one row more\n")
	third := edit(second, "and one more in the same place\n")
	fourth := append(bytes.Replace(third, []byte("one row more\n"), nil, 1), text(98, 3000)...)
	globals := stream{"globals.sql", []byte("-- nothing\n")}
	twice := stream{"globals again.sql", globals.data} // a chunk that two streams share
	noise := stream{"noise.bin", random(5, 5000)}
	shop := func(b []byte) stream { return stream{"shop.sql", b} }
	mail := stream{"post\u00e4mter.sql", text(97, 20_000)}
	var long bytes.Buffer // more than one frame of it, which compress to next to nothing
	for i := range 150 {
		long.WriteString(strings.Repeat(fmt.Sprintf("%011d\n", i), 1200))
	}
	const a, b = "shop/db", "mail"
	return []vectorPlan{
		{a, 1, 0, WriterOptions{Compress: "off", Cipher: CipherAESGCM}, []stream{globals, shop(first), {"empty.sql", nil}}},
		{a, 1, 1, WriterOptions{}, []stream{globals, twice, shop(second), noise}},
		{a, 1, 2, WriterOptions{}, []stream{globals, shop(third)}},
		{a, 1, 3, WriterOptions{}, []stream{globals, shop(fourth)}},
		{b, 1, 0, WriterOptions{Compress: "fast", Cipher: CipherXChaCha20}, []stream{mail}},
		{a, 2, 0, WriterOptions{Cipher: CipherXChaCha20, PackSize: 6 << 10}, []stream{globals, shop(third), noise}},
		{a, 2, 6, WriterOptions{}, []stream{globals, shop(fourth)}},
		{b, 2, 0, WriterOptions{Cipher: CipherAESGCM}, []stream{{"nothing.sql", nil}}},
		{b, 2, 0, WriterOptions{Cipher: CipherXChaCha20}, []stream{mail, {"long.sql", long.Bytes()}}},
		{a, 2, 7, WriterOptions{}, []stream{globals, shop(third), {"long.sql", long.Bytes()}, {"nothing.sql", nil}}},
	}
}

// vectorMaker builds the store of the vectors.
type vectorMaker struct {
	t    *testing.T
	st   *mem.Store
	r    *Repository
	made []vectorSnapshot
	last *ledger.Entry
}

func (m *vectorMaker) must(err error) {
	m.t.Helper()
	if err != nil {
		m.t.Fatal(err)
	}
}

func makeVectors(t *testing.T) (*mem.Store, []vectorSnapshot) {
	t.Helper()
	m := &vectorMaker{t: t, st: mem.New()}
	var err error
	m.r, err = create(t.Context(), m.st, vectorKey, testTime, noise(1))
	m.must(err)
	for i, p := range vectorPlans() {
		if p.generation > m.r.Generation {
			m.newGeneration()
		}
		m.snapshot(i, p)
	}
	return m.st, m.made
}

func (m *vectorMaker) put(name string, object []byte) {
	m.t.Helper()
	_, err := m.st.Put(m.t.Context(), name, bytes.NewReader(object))
	m.must(err)
}

// newGeneration gives the repository a second generation, as slots of which it
// has a key file and a passphrase.
func (m *vectorMaker) newGeneration() {
	m.t.Helper()
	next, random := m.r.Generation+1, noise(2)
	var master MasterKey
	_, err := io.ReadFull(random, master[:])
	m.must(err)
	earlier, err := sealEarlier(m.r.ID, next, master, m.r.keys.masters[m.r.Generation], random)
	m.must(err)
	m.put(EarlierKeyName(next), earlier)
	m.put(CopyName(EarlierKeyName(next)), earlier)
	_, old, err := ListSlots(m.t.Context(), m.st)
	m.must(err)
	passphrase, err := NewPassphrase(vectorPassphrase)
	m.must(err)
	passphrase.cost = argonCost{time: 2, memoryKiB: 64, threads: 2}
	for _, h := range []Key{vectorKey, passphrase} {
		slot, err := newSlot(m.r.ID, next, master, h, "of the "+keyNames[h.slotType()], testTime, random)
		m.must(err)
		m.must(putSlot(m.t.Context(), m.st, slot))
	}
	for _, s := range old {
		m.must(m.st.Delete(m.t.Context(), KeySlotName(s.ID)))
		m.must(m.st.Delete(m.t.Context(), CopyName(KeySlotName(s.ID))))
	}
	m.r, err = Open(m.t.Context(), m.st, vectorKey)
	m.must(err)
}

// anySource stores for every source.
type anySource struct{ store.Store }

func (s anySource) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

// snapshot writes the ith snapshot and the copy of its ledger entry.
func (m *vectorMaker) snapshot(i int, p vectorPlan) {
	m.t.Helper()
	ctx, o := m.t.Context(), p.options
	key, err := m.r.SourceKey(p.source, p.generation)
	m.must(err)
	sections := i >= vectorPlain
	if !sections {
		o.Manifest = PlainManifest
	}
	o.Source, o.Key, o.Snapshot, o.Near = p.source, key, fmt.Sprintf("01J%023d", i+1), m.st
	if p.base > 0 {
		base := m.made[p.base-1]
		o.Base, err = LoadBase(ctx, m.st, key, []Ref{{Source: p.source, Snapshot: base.Snapshot, Size: base.Size}})
		m.must(err)
	}
	w, err := newWriter(ctx, o, anySource{m.st}, noise(byte(10+i)))
	m.must(err)
	defer w.Abort()
	for n, s := range p.streams {
		sw, err := w.Stream(StreamMeta{Name: s.name, Kind: "database", Database: strings.TrimSuffix(s.name, ".sql"), Format: "sql"})
		m.must(err)
		_, err = sw.Write(s.data)
		m.must(err)
		contents := Contents{Notes: []string{"note of " + s.name}}
		if n > 0 {
			contents.Objects = []engine.Object{{Kind: "table", Name: "public.orders", Rows: 300}, {Kind: "view", Name: "public.all", Rows: -1}}
		}
		if size := int64(len(s.data)); sections && size > 1000 {
			contents.Common = []engine.Section{{Offset: 0, Length: 100}, {Offset: size - 10, Length: 10}}
			contents.Objects[0].Sections = []engine.Section{{Offset: 100, Length: 300}, {Offset: size / 2, Length: size / 4}}
		}
		_, err = sw.Close(contents)
		m.must(err)
	}
	sum, err := w.Finish(ctx)
	m.must(err)
	at := testTime.Add(time.Duration(i) * 24 * time.Hour)
	e := &ledger.Entry{
		Snapshot: o.Snapshot, Source: p.source, Run: fmt.Sprintf("run-%d", i+1), Epoch: 1, Engine: "postgres", Server: "<a & b>",
		FireTime: at, StartedAt: at.Add(time.Second), CommitTime: at.Add(time.Minute), Streams: sum.Streams, RawBytes: sum.RawBytes, NewBytes: sum.NewBytes,
		Manifest: sum.Manifest, ManifestSize: sum.ManifestSize, Root: sum.Root, Stores: []string{"local"},
	}
	if p.generation > 1 {
		e.Generation = p.generation
	}
	m.must(e.Seal(m.last))
	m.last = e
	text, err := json.Marshal(e)
	m.must(err)
	object, err := sealLedger(m.r.keys.masters[m.r.Generation], m.r.Generation, e.Index, text, noise(byte(40+i)))
	m.must(err)
	m.put(LedgerName(e.Index), object)
	m.made = append(m.made, vectorSnapshot{Snapshot: o.Snapshot, Source: p.source, Generation: p.generation, Size: sum.ManifestSize})
}

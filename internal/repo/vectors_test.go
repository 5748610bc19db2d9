package repo

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

var update = flag.Bool("update", false, "write the test vectors anew: only for a new version of the format")

// vectors are what testdata/vectors.json states about testdata/store, for
// whoever writes a reader of their own. Byte strings are in hexadecimal.
type vectors struct {
	KeyFile    string           `json:"key_file"`
	Passphrase string           `json:"passphrase"`
	Repository string           `json:"repository"`
	Masters    []vectorMaster   `json:"masters"`
	Ledger     []vectorEntry    `json:"ledger"`
	Snapshots  []vectorSnapshot `json:"snapshots"`
	Packs      []vectorPack     `json:"packs"`
}

type vectorMaster struct {
	Generation uint32         `json:"generation"`
	Key        string         `json:"key"`
	Sources    []vectorSource `json:"sources"`
}

type vectorSource struct {
	Source   string   `json:"source"`
	Key      string   `json:"key"`
	ChunkKey string   `json:"chunk_key"`
	GearKey  string   `json:"gear_key"`
	Gear     []string `json:"gear_table_first_and_last"` // as numbers, not as bytes
}

type vectorEntry struct {
	Index uint64 `json:"index"`
	Entry string `json:"entry"`
	Hash  string `json:"hash"`
}

type vectorSnapshot struct {
	Snapshot   string          `json:"snapshot"`
	Source     string          `json:"source"`
	Generation uint32          `json:"generation"`
	Cipher     Cipher          `json:"cipher"`
	Manifest   string          `json:"manifest_sha256"`
	Size       int64           `json:"manifest_size"`
	Root       string          `json:"root"`
	Chunking   [3]int          `json:"chunking"`
	Packs      []vectorPackRef `json:"packs"`
	Streams    []vectorStream  `json:"streams"`
}

type vectorPackRef struct {
	ID     string `json:"id"`
	SHA256 string `json:"sha256"`
	Size   int64  `json:"size"`
	Tail   int64  `json:"tail"`
	Live   int64  `json:"live"`
}

type vectorStream struct {
	Name     string         `json:"name"`
	Kind     string         `json:"kind"`
	Database string         `json:"database"`
	Format   string         `json:"format"`
	Size     int64          `json:"size"`
	SHA256   string         `json:"sha256"`
	Chunks   int64          `json:"chunks"`
	Runs     [][3]uint32    `json:"runs"` // pack, first chunk, number
	Objects  []vectorObject `json:"objects"`
	Notes    []string       `json:"notes"`
	File     string         `json:"file,omitempty"` // the content, in testdata, unless it is long
}

// vectorContent is the size of the longest stream whose content lies in testdata.
const vectorContent = 1 << 16

type vectorObject struct {
	Kind string `json:"kind"`
	Name string `json:"name"`
	Rows int64  `json:"rows"` // -1: not known
}

type vectorPack struct {
	ID     string        `json:"id"`
	Key    string        `json:"key"`
	Frames []vectorFrame `json:"frames"`
}

type vectorFrame struct {
	Offset int64       `json:"offset"`
	Size   uint32      `json:"size"`
	Raw    uint32      `json:"raw"`
	Codec  byte        `json:"codec"`
	Depth  uint8       `json:"depth"`
	Packs  []string    `json:"dictionary_packs"`
	Runs   [][3]uint32 `json:"dictionary_runs"`
	Chunks []string    `json:"chunks"` // "id length"
}

// describe states what is in the store, snapshot by snapshot. Of those made
// only snapshot, source, generation and size need be known.
func describe(t *testing.T, st store.Store, made []vectorSnapshot) vectors {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	r, err := Open(t.Context(), st, vectorKey)
	must(err)
	v := vectors{KeyFile: string(vectorKey.Encode()), Passphrase: vectorPassphrase, Repository: r.ID}
	for g := uint32(1); g <= r.Generation; g++ {
		master := r.keys.masters[g]
		vm := vectorMaster{Generation: g, Key: hex.EncodeToString(master[:])}
		for _, name := range []string{"mail", "shop/db"} {
			key := master.source(name, g)
			c, err := newChunker(key, defaultChunking)
			must(err)
			chunk, gear := key.chunkKey(), key.gearKey()
			vm.Sources = append(vm.Sources, vectorSource{
				name, hex.EncodeToString(key.secret[:]), hex.EncodeToString(chunk[:]), hex.EncodeToString(gear[:]),
				[]string{fmt.Sprintf("%016x", c.gear[0]), fmt.Sprintf("%016x", c.gear[255])},
			})
		}
		v.Masters = append(v.Masters, vm)
	}
	packs := map[string]bool{}
	for i, m := range made {
		index := uint64(i + 1)
		object, err := readObject(t.Context(), st, "", LedgerName(index), 0, -1, MaxLedgerCopy)
		must(err)
		text, err := r.OpenLedger(index, object)
		must(err)
		var e struct{ Hash string }
		must(json.Unmarshal(text, &e))
		v.Ledger = append(v.Ledger, vectorEntry{index, string(text), e.Hash})

		key, err := r.SourceKey(m.Source, m.Generation)
		must(err)
		s, err := OpenSnapshot(t.Context(), st, key, Ref{Source: m.Source, Snapshot: m.Snapshot, Size: m.Size})
		must(err)
		object, err = readObject(t.Context(), st, "", ManifestName(m.Source, m.Snapshot), 0, -1, 1<<20)
		must(err)
		c := s.header.Chunking
		got := vectorSnapshot{
			Snapshot: m.Snapshot, Source: m.Source, Generation: s.header.Generation, Cipher: s.header.Cipher, Manifest: hashOf(object).String(),
			Size: int64(len(object)), Root: s.Root().String(), Chunking: [3]int{c.Min, c.Average, c.Max}, Packs: []vectorPackRef{},
		}
		for _, b := range s.body.streams {
			got.Streams = append(got.Streams, describeStream(b))
		}
		for _, p := range s.header.Packs {
			got.Packs = append(got.Packs, vectorPackRef{p.ID, p.SHA256.String(), p.Size, p.Tail, p.Live})
			if !packs[p.ID] {
				packs[p.ID] = true
				v.Packs = append(v.Packs, describePack(t, st, key, s, p))
			}
		}
		v.Snapshots = append(v.Snapshots, got)
	}
	return v
}

func describeStream(b bodyStream) vectorStream {
	vs := vectorStream{
		Name: b.Name, Kind: b.Kind, Database: b.Database, Format: b.Format, Size: b.Size, SHA256: b.SHA256.String(), Chunks: b.chunks,
		Runs: [][3]uint32{}, Objects: []vectorObject{}, Notes: b.Contents.Notes,
	}
	if b.Size <= vectorContent {
		vs.File = "streams/" + vs.SHA256[:16]
	}
	for _, r := range b.runs {
		vs.Runs = append(vs.Runs, [3]uint32{r.pack, r.first, r.count})
	}
	for _, o := range b.Contents.Objects {
		vs.Objects = append(vs.Objects, vectorObject(engine.Object{Kind: o.Kind, Name: o.Name, Rows: o.Rows}))
	}
	return vs
}

func describePack(t *testing.T, st store.Store, key SourceKey, s *Snapshot, p PackRef) vectorPack {
	t.Helper()
	x, err := readTail(t.Context(), st, key, s.header.Cipher, s.header.Source, p)
	if err != nil {
		t.Fatal(err)
	}
	object, err := readObject(t.Context(), st, "", PackName(s.header.Source, p.ID), 0, -1, 1<<20)
	if err != nil || hashOf(object) != p.SHA256 || int64(len(object)) != p.Size {
		t.Fatalf("pack %s is not what the manifest says: %v", p.ID, err)
	}
	packKey := key.packKey(x.id)
	out := vectorPack{ID: p.ID, Key: hex.EncodeToString(packKey[:])}
	for i, f := range x.frames {
		b := object[f.offset : f.offset+int64(f.size)]
		vf := vectorFrame{Offset: f.offset, Size: f.size, Raw: f.raw, Codec: b[3], Depth: f.depth, Packs: []string{}, Runs: [][3]uint32{}}
		if vf.Codec == codecDictionary {
			stored, err := x.seal.open(nil, uint32(i), b[frameHeaderSize:], frameAAD(nil, x.id, b[:frameHeaderSize]))
			if err != nil {
				t.Fatal(err)
			}
			d, _, err := parseDictionary(stored)
			if err != nil || !slices.Equal(d.packs, f.packs) {
				t.Fatalf("frame %d of pack %s has a dictionary in other packs than the index says: %v", i, p.ID, err)
			}
			for _, id := range d.packs {
				vf.Packs = append(vf.Packs, id.String())
			}
			for _, r := range d.runs {
				vf.Runs = append(vf.Runs, [3]uint32{r.pack, r.first, r.count})
			}
		}
		for n := f.first; n < f.next; n++ {
			from, to := x.bounds(n)
			vf.Chunks = append(vf.Chunks, fmt.Sprintf("%x %d", x.ids[n][:], to-from))
		}
		out.Frames = append(out.Frames, vf)
	}
	return out
}

// The vectors in testdata never change: stores like them exist. The test opens
// the stored objects and checks every value stated about them.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
	st, want := loadVectors(t)
	if k, err := ParseKeyFile([]byte(want.KeyFile)); err != nil || k != vectorKey {
		t.Errorf("key file: %v", err)
	}
	if got := describe(t, st, want.Snapshots); !reflect.DeepEqual(got, want) {
		g, _ := json.MarshalIndent(got, "", "  ")
		t.Errorf("the stored objects do not have the values stated:\n%s", g)
	}
	passphrase, err := NewPassphrase(want.Passphrase)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), st, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range want.Snapshots {
		opened, err := r.OpenSnapshot(t.Context(), st, Ref{Source: s.Source, Snapshot: s.Snapshot})
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range s.Streams {
			rc, err := opened.Open(t.Context(), v.Name)
			if err != nil {
				t.Fatal(err)
			}
			got, err := io.ReadAll(rc)
			if err != nil || hashOf(got).String() != v.SHA256 {
				t.Errorf("%s %s: %d bytes, %v", s.Snapshot, v.Name, len(got), err)
			}
			_ = rc.Close()
			if v.File == "" {
				continue
			}
			if content, err := os.ReadFile(filepath.Join("testdata", v.File)); err != nil || !bytes.Equal(got, content) {
				t.Errorf("%s %s is not what lies in %s: %v", s.Snapshot, v.Name, v.File, err)
			}
		}
		if _, err := opened.Verify(t.Context(), nil); err != nil {
			t.Error(err)
		}
	}
}

// Everything that the format has is in the vectors.
func TestVectorsHaveEverything(t *testing.T) {
	_, v := loadVectors(t)
	have := map[string]bool{}
	for _, s := range v.Snapshots {
		have["source "+s.Source], have[fmt.Sprint("generation ", s.Generation)], have[fmt.Sprint("cipher ", s.Cipher)] = true, true, true
		seen := map[[2]uint32]bool{}
		for _, f := range s.Streams {
			have["an empty stream"] = have["an empty stream"] || f.Size == 0
			for _, r := range f.Runs {
				have["a shared chunk"] = have["a shared chunk"] || seen[[2]uint32{r[0], r[1]}]
				seen[[2]uint32{r[0], r[1]}] = true
			}
		}
		for _, p := range s.Packs {
			have["a pack for dictionaries alone"] = have["a pack for dictionaries alone"] || p.Live == 0
		}
		have["a snapshot of no packs"] = have["a snapshot of no packs"] || len(s.Packs) == 0
		have["a snapshot of several packs"] = have["a snapshot of several packs"] || len(s.Packs) > 1
	}
	for _, p := range v.Packs {
		have["a pack of several frames"] = have["a pack of several frames"] || len(p.Frames) > 1
		for _, f := range p.Frames {
			have[fmt.Sprint("codec ", f.Codec)], have[fmt.Sprint("depth ", f.Depth)] = true, true
		}
	}
	for _, want := range []string{
		"source shop/db", "source mail", "generation 1", "generation 2", "cipher 1", "cipher 2", "codec 0", "codec 1", "codec 2", "codec 3", "depth 0", "depth 1", "depth 2",
		"an empty stream", "a shared chunk", "a snapshot of no packs", "a snapshot of several packs", "a pack of several frames",
	} {
		if !have[want] {
			t.Errorf("the vectors have not: %s", want)
		}
	}
}

// What this version writes is what the vectors hold. Only objects without
// compression are compared byte by byte: compressors may do better one day.
func TestWriterMakesTheVectors(t *testing.T) {
	st, made := makeVectors(t)
	old, want := loadVectors(t)
	got := describe(t, st, made)
	if !reflect.DeepEqual(got.Masters, want.Masters) || got.Repository != want.Repository {
		t.Error("the keys are made otherwise")
	}
	for i := range want.Snapshots {
		if got.Snapshots[i].Root != want.Snapshots[i].Root {
			t.Errorf("snapshot %d has other chunks", i+1)
		}
	}
	if !reflect.DeepEqual(got.Packs[0], want.Packs[0]) {
		t.Error("the first pack is made otherwise")
	}
	names := []string{FormatName, EarlierKeyName(2), PackName("shop/db", want.Packs[0].ID)}
	err := old.List(t.Context(), KeysPrefix, func(i store.Info) error { names = append(names, i.Name); return nil })
	if err != nil || len(names) < 5 {
		t.Fatalf("%d objects, %v", len(names), err)
	}
	for _, name := range names {
		stored, err := readObject(t.Context(), old, "", name, 0, -1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		if now, err := readObject(t.Context(), st, "", name, 0, -1, 1<<20); err != nil || !bytes.Equal(now, stored) {
			t.Errorf("%s is made otherwise: %v", name, err)
		}
	}
}

// loadVectors reads what lies in testdata.
func loadVectors(t *testing.T) (*mem.Store, vectors) {
	t.Helper()
	st := mem.New()
	root := filepath.Join("testdata", "store")
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(root, path)
		_, err = st.Put(t.Context(), filepath.ToSlash(name), bytes.NewReader(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	var v vectors
	b, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err == nil {
		err = json.Unmarshal(b, &v)
	}
	if err != nil {
		t.Fatal(err)
	}
	return st, v
}

func writeVectors(t *testing.T) {
	t.Helper()
	st, made := makeVectors(t)
	v := describe(t, st, made)
	for _, old := range []string{"store", "streams"} {
		if err := os.RemoveAll(filepath.Join("testdata", old)); err != nil {
			t.Fatal(err)
		}
	}
	write := func(name string, b []byte) {
		path := filepath.Join("testdata", filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(path), 0o750); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	write("vectors.json", append(b, '\n'))
	err = st.List(t.Context(), "", func(i store.Info) error {
		if strings.HasPrefix(i.Name, DescriptionName) {
			return nil // lies beside the code
		}
		b, err := readObject(t.Context(), st, "", i.Name, 0, -1, 1<<20)
		write("store/"+i.Name, b)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range vectorPlans() {
		for _, s := range p.streams {
			if len(s.data) > vectorContent {
				continue
			}
			write("streams/"+hashOf(s.data).String()[:16], s.data)
		}
	}
}

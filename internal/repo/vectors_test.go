package repo

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

var update = flag.Bool("update", false, "write the test vectors anew: only for a new version of the format")

// vectors are what testdata/vectors.json states about testdata/store, for
// whoever writes a reader of their own. Byte strings are in hexadecimal.
type vectors struct {
	KeyFile    string            `json:"key_file"`
	Secret     string            `json:"key_file_secret"`
	Repository string            `json:"repository"`
	Master     string            `json:"master_key"`
	Source     string            `json:"source"`
	Keys       map[string]string `json:"keys"`
	Gear       []string          `json:"gear_table_first_and_last"`
	Ledger     string            `json:"ledger_entry_1"`
	Snapshots  []vectorSnapshot  `json:"snapshots"`
}

type vectorSnapshot struct {
	Snapshot string         `json:"snapshot"`
	Manifest string         `json:"manifest_sha256"`
	Size     int64          `json:"manifest_size"`
	Root     string         `json:"root"`
	Header   ManifestHeader `json:"header"`
	Streams  []vectorStream `json:"streams"`
	Packs    []vectorPack   `json:"packs"`
}

type vectorStream struct {
	StreamInfo
	Runs []string `json:"runs"` // "pack number, first chunk, count"
	File string   `json:"file"` // the content, in testdata
}

type vectorPack struct {
	ID     string   `json:"id"`
	Key    string   `json:"key"`
	Frames []string `json:"frames"` // "offset, size, raw bytes, codec, first chunk, count"
	Chunks []string `json:"chunks"` // "id, length"
}

// noise stands in for the random source, so that the vectors can be made again.
func noise(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

var vectorKey = KeyFile{secret: [keySize]byte(bytes.Repeat([]byte("0123456789abcdef"), 2))}

func vectorStreams() (first, second []stream) {
	a := text(99, 30_000)
	changed := append(append(bytes.Clone(a[:12_000]), "one row more\n"...), a[12_000:]...)
	return []stream{{"globals.sql", []byte("-- nothing\n")}, {"shop.sql", a}, {"empty.sql", nil}},
		[]stream{{"globals.sql", []byte("-- nothing\n")}, {"shop.sql", changed}, {"noise.bin", random(5, 5000)}}
}

// makeVectors builds the store: three snapshots, the first plain, the second with zstd on its base, the third with snappy.
func makeVectors(t *testing.T) (*mem.Store, []vectorSnapshot) {
	t.Helper()
	st := mem.New()
	r, err := create(t.Context(), st, vectorKey, testTime, noise(1))
	if err != nil {
		t.Fatal(err)
	}
	master := r.keys.masters[1]
	key := master.Source(testSource)
	one, two := vectorStreams()
	var made []vectorSnapshot
	var base *Base
	for i, o := range []WriterOptions{{Snapshot: snap1, Compress: "off"}, {Snapshot: snap2}, {Snapshot: snap3, Compress: "fast"}} {
		o.Source, o.Key, o.Base = testSource, key, base
		w, err := newWriter(t.Context(), o, storeSink{st}, noise(byte(10+i)))
		if err != nil {
			t.Fatal(err)
		}
		streams := [][]stream{one, two, one}[i]
		sum, err := writeAll(w, streams...)
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, vectorSnapshot{Snapshot: o.Snapshot, Manifest: sum.Manifest.String(), Size: sum.ManifestSize, Root: sum.Root.String()})
		if base = nil; i == 0 {
			if base, err = LoadBase(t.Context(), st, key, []Ref{{Source: testSource, Snapshot: snap1}}); err != nil {
				t.Fatal(err)
			}
		}
	}
	object, err := sealLedger(master, 1, 1, []byte(vectorEntry), noise(20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := st.Put(t.Context(), LedgerName(1), bytes.NewReader(object)); err != nil {
		t.Fatal(err)
	}
	return st, made
}

const vectorEntry = `{"index":1,"snapshot":"` + snap1 + `"}`

// describe states what is in the store, snapshot by snapshot.
func describe(t *testing.T, st store.Store, made []vectorSnapshot) vectors {
	t.Helper()
	r, err := Open(t.Context(), st, vectorKey)
	if err != nil {
		t.Fatal(err)
	}
	master := r.keys.masters[1]
	key := master.Source(testSource)
	c, err := newChunker(key, defaultChunking)
	if err != nil {
		t.Fatal(err)
	}
	hex := func(k [keySize]byte) string { return fmt.Sprintf("%x", k[:]) }
	v := vectors{
		KeyFile: string(vectorKey.Encode()), Secret: hex(vectorKey.secret), Repository: r.ID, Master: hex(master), Source: testSource,
		Keys: map[string]string{"source": hex(key.secret), "chunk": hex(key.chunkKey()), "gear": hex(key.gearKey()), "key_file_id": vectorKey.id()},
		Gear: []string{fmt.Sprintf("%016x", c.gear[0]), fmt.Sprintf("%016x", c.gear[255])},
	}
	object, err := readObject(t.Context(), st, "", LedgerName(1), 0, -1, MaxLedgerCopy)
	if err != nil {
		t.Fatal(err)
	}
	entry, err := r.OpenLedger(1, object)
	if err != nil {
		t.Fatal(err)
	}
	v.Ledger = string(entry)
	for _, m := range made {
		s, err := OpenSnapshot(t.Context(), st, key, Ref{Source: testSource, Snapshot: m.Snapshot, Size: m.Size})
		if err != nil {
			t.Fatal(err)
		}
		object, err := readObject(t.Context(), st, "", ManifestName(testSource, m.Snapshot), 0, -1, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
		got := vectorSnapshot{Snapshot: m.Snapshot, Manifest: hashOf(object).String(), Size: int64(len(object)), Root: s.Root().String(), Header: s.Header()}
		for _, b := range s.body.streams {
			vs := vectorStream{StreamInfo: b.StreamInfo, File: "streams/" + m.Snapshot + "-" + b.Name}
			for _, run := range b.runs {
				vs.Runs = append(vs.Runs, fmt.Sprintf("%d, %d, %d", run.pack, run.first, run.count))
			}
			got.Streams = append(got.Streams, vs)
		}
		for _, p := range s.Header().Packs {
			got.Packs = append(got.Packs, describePack(t, st, key, p))
		}
		v.Snapshots = append(v.Snapshots, got)
	}
	return v
}

func describePack(t *testing.T, st store.Store, key SourceKey, p PackRef) vectorPack {
	t.Helper()
	x, err := readTail(t.Context(), st, key, CipherAESGCM, testSource, p)
	if err != nil {
		t.Fatal(err)
	}
	object, err := readObject(t.Context(), st, "", PackName(testSource, p.ID), 0, -1, 1<<20)
	if err != nil || hashOf(object) != p.SHA256 || int64(len(object)) != p.Size {
		t.Fatalf("pack %s is not what the manifest says: %v", p.ID, err)
	}
	packKey := key.packKey(x.id)
	out := vectorPack{ID: p.ID, Key: fmt.Sprintf("%x", packKey[:])}
	for _, f := range x.frames {
		out.Frames = append(out.Frames, fmt.Sprintf("%d, %d, %d, %d, %d, %d", f.offset, f.size, f.raw, object[f.offset+3], f.first, f.next-f.first))
	}
	for i, id := range x.ids {
		from, to := x.bounds(uint32(i))
		out.Chunks = append(out.Chunks, fmt.Sprintf("%x, %d", id[:], to-from))
	}
	return out
}

// The vectors in testdata never change: stores like them exist. The test opens
// the stored objects and checks every value stated about them.
func TestVectors(t *testing.T) {
	if *update {
		writeVectors(t)
	}
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
	b, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want vectors
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	if len(want.Snapshots) != 3 || want.Ledger != vectorEntry {
		t.Fatalf("the vectors are incomplete: %d snapshots", len(want.Snapshots))
	}
	if k, err := ParseKeyFile([]byte(want.KeyFile)); err != nil || k != vectorKey {
		t.Errorf("key file: %v", err)
	}
	got := describe(t, st, want.Snapshots)
	if !reflect.DeepEqual(got, want) {
		g, _ := json.MarshalIndent(got, "", "  ")
		t.Errorf("the stored objects do not have the values stated:\n%s", g)
	}
	for _, s := range want.Snapshots {
		var streams []stream
		for _, v := range s.Streams {
			content, err := os.ReadFile(filepath.Join("testdata", v.File))
			if err != nil {
				t.Fatal(err)
			}
			streams = append(streams, stream{v.Name, content})
		}
		r, err := Open(t.Context(), st, vectorKey)
		if err != nil {
			t.Fatal(err)
		}
		checkUnder(t, st, r.keys.masters[1].Source(testSource), s.Snapshot, streams)
	}
}

func checkUnder(t *testing.T, st store.Store, key SourceKey, snapshot string, streams []stream) {
	t.Helper()
	s, err := OpenSnapshot(t.Context(), st, key, Ref{Source: testSource, Snapshot: snapshot})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range streams {
		rc, err := s.Open(t.Context(), want.name)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(rc); err != nil || !bytes.Equal(got, want.data) {
			t.Errorf("%s %s: %d bytes, %v", snapshot, want.name, len(got), err)
		}
		_ = rc.Close()
	}
	if _, err := s.Verify(t.Context(), nil); err != nil {
		t.Error(err)
	}
}

// What this version writes is what the vectors hold. Only the snapshot without
// compression is compared byte by byte: compressors may do better one day.
func TestWriterMakesTheVectors(t *testing.T) {
	st, made := makeVectors(t)
	got := describe(t, st, made)
	b, err := os.ReadFile(filepath.Join("testdata", "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var want vectors
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for i := range want.Snapshots {
		if got.Snapshots[i].Root != want.Snapshots[i].Root || !reflect.DeepEqual(got.Snapshots[i].Packs[0].Chunks, want.Snapshots[i].Packs[0].Chunks) {
			t.Errorf("snapshot %d has other chunks", i)
		}
	}
	pack := PackName(testSource, want.Snapshots[0].Packs[0].ID)
	stored, err := os.ReadFile(filepath.Join("testdata", "store", filepath.FromSlash(pack)))
	if err != nil {
		t.Fatal(err)
	}
	if now, err := readObject(t.Context(), st, "", pack, 0, -1, 1<<20); err != nil || !bytes.Equal(now, stored) {
		t.Errorf("the writer makes another pack: %v", err)
	}
	for _, name := range []string{FormatName, LedgerName(1)} {
		stored, err := os.ReadFile(filepath.Join("testdata", "store", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		if now, err := readObject(t.Context(), st, "", name, 0, -1, 1<<20); err != nil || !bytes.Equal(now, stored) {
			t.Errorf("%s is made otherwise: %v", name, err)
		}
	}
}

func writeVectors(t *testing.T) {
	t.Helper()
	st, made := makeVectors(t)
	v := describe(t, st, made)
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
	one, two := vectorStreams()
	for i, snapshot := range []string{snap1, snap2, snap3} {
		for _, s := range [][]stream{one, two, one}[i] {
			write("streams/"+snapshot+"-"+s.name, s.data)
		}
	}
}

package repo

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"io/fs"
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
	Version    byte            `json:"version"`
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
	Runs     [][3]uint32    `json:"runs"`   // pack, first chunk, number
	Groups   []uint32       `json:"groups"` // bytes of each 64 chunks
	Common   [][2]int64     `json:"common"` // sections: offset, length
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

	Sections [][2]int64 `json:"sections"`
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
			have["several groups"] = have["several groups"] || len(f.Groups) > 1
			have["several common sections"] = have["several common sections"] || len(f.Common) > 1
			have["an empty stream"] = have["an empty stream"] || f.Size == 0
			for _, r := range f.Runs {
				have["a shared chunk"] = have["a shared chunk"] || seen[[2]uint32{r[0], r[1]}]
				seen[[2]uint32{r[0], r[1]}] = true
			}
		}
		for _, p := range s.Packs {
			have["a pack for dictionaries alone"] = have["a pack for dictionaries alone"] || p.Live == 0
		}
		have[fmt.Sprint("version ", s.Version)] = true
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
		"source shop/db", "source mail", "version 1", "version 2", "several groups", "several common sections", "generation 1", "generation 2", "cipher 1", "cipher 2", "codec 0", "codec 1", "codec 2", "codec 3", "depth 0", "depth 1", "depth 2",
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

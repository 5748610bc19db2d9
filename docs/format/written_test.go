package format_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
)

// stated is what this test needs of vectors.json.
type stated struct {
	KeyFile   string           `json:"key_file"`
	Snapshots []statedSnapshot `json:"snapshots"`
}

type statedSnapshot struct {
	Snapshot string
	Streams  []struct{ Name, File string }
	Packs    []struct{ ID string }
}

// hit gives the first snapshot that an object belongs to, else the first of all.
func (s stated) hit(object string) statedSnapshot {
	name := filepath.Base(object)
	for i, found := range s.Snapshots {
		if name == found.Snapshot || name == fmt.Sprintf("%020d", i+1) {
			return found
		}
		for _, p := range found.Packs {
			if p.ID == name {
				return found
			}
		}
	}
	return s.Snapshots[0]
}

func readVectors(t *testing.T) (s stated) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(vectors, "vectors.json"))
	if err == nil {
		err = json.Unmarshal(b, &s)
	}
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// table is a dump whose rows change from day to day.
type table struct {
	random *rand.Rand
	rows   []string
}

func (d *table) row(id int) string {
	return fmt.Sprintf("%d\tcustomer %d\t%d.%02d\t%x\n", id, d.random.IntN(5000), d.random.IntN(1000), d.random.IntN(100), d.random.Uint64())
}

// day changes some rows anywhere, and adds a few.
func (d *table) day() []byte {
	for range len(d.rows) / 100 {
		i := d.random.IntN(len(d.rows))
		d.rows[i] = d.row(i)
	}
	for range 300 {
		d.rows = append(d.rows, d.row(len(d.rows)))
	}
	var b bytes.Buffer
	for _, r := range d.rows {
		b.WriteString(r)
	}
	return b.Bytes()
}

type sink struct{ store.Store }

func (s sink) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

// keeper writes snapshots with the real writer, and their ledger entries.
type keeper struct {
	t    *testing.T
	st   store.Store
	r    *repo.Repository
	last *ledger.Entry
	refs map[string][]repo.Ref // newest first, by source
}

func (k *keeper) must(err error) {
	k.t.Helper()
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *keeper) backup(o repo.WriterOptions, names []string, streams map[string][]byte) string {
	k.t.Helper()
	ctx, index := k.t.Context(), uint64(1)
	if k.last != nil {
		index = k.last.Index + 1
	}
	key, err := k.r.SourceKey(o.Source, 0)
	k.must(err)
	o.Key, o.Snapshot, o.Near = key, fmt.Sprintf("01J%023d", index), k.st
	refs := k.refs[o.Source]
	o.Base, err = repo.LoadBase(ctx, k.st, key, refs[:min(1, len(refs))])
	k.must(err)
	w, err := repo.NewWriter(ctx, o, sink{k.st})
	k.must(err)
	defer w.Abort()
	for _, name := range names {
		sw, err := w.Stream(repo.StreamMeta{Name: name, Kind: "database", Database: "d", Format: "sql"})
		k.must(err)
		_, err = sw.Write(streams[name])
		k.must(err)
		_, err = sw.Close(repo.Contents{})
		k.must(err)
	}
	sum, err := w.Finish(ctx)
	k.must(err)
	at := time.Date(2026, 1, int(index), 3, 0, 0, 0, time.UTC)
	e := &ledger.Entry{
		Snapshot: o.Snapshot, Source: o.Source, Run: "r", Engine: "custom", FireTime: at, StartedAt: at, CommitTime: at, Streams: sum.Streams, RawBytes: sum.RawBytes,
		NewBytes: sum.NewBytes, Manifest: sum.Manifest, ManifestSize: sum.ManifestSize, Root: sum.Root, Stores: []string{"local"},
	}
	if k.r.Generation > 1 {
		e.Generation = k.r.Generation
	}
	k.must(e.Seal(k.last))
	text, err := json.Marshal(e)
	k.must(err)
	object, err := k.r.SealLedger(index, text)
	k.must(err)
	_, err = k.st.Put(ctx, repo.LedgerName(index), bytes.NewReader(object))
	k.must(err)
	k.last = e
	k.refs[o.Source] = append([]repo.Ref{{Source: o.Source, Snapshot: o.Snapshot, Manifest: sum.Manifest, Size: sum.ManifestSize}}, refs...)
	return o.Snapshot
}

// succeed makes a new generation of keys, which a passphrase opens too.
func (k *keeper) succeed(key repo.KeyFile, words string) {
	k.t.Helper()
	passphrase, err := repo.NewPassphrase(words)
	k.must(err)
	keys, err := repo.OpenKeys(k.t.Context(), k.st, key)
	k.must(err)
	_, err = keys.NewGeneration(k.t.Context(), false, time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC), passphrase)
	k.must(err)
	k.r, err = repo.Open(k.t.Context(), k.st, key)
	k.must(err)
}

// What the writer of today makes of several days, with each cipher and each
// compression, before and after a new generation of keys, the reader reads.
func TestWrittenStore(t *testing.T) {
	python, dir := python(t), t.TempDir()
	root, key := filepath.Join(dir, "store"), filepath.Join(dir, "key")
	st, err := fs.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	file, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	k := &keeper{t: t, st: st, refs: map[string][]repo.Ref{}}
	k.r, err = repo.Create(t.Context(), st, file, time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	k.must(err)
	k.must(os.WriteFile(key, file.Encode(), 0o600))

	const days, sources, words = 5, 5, "tick tock, the clock is wound"
	type dump struct {
		snapshot, stream string
		data             []byte
	}
	var dumps []dump
	names := []string{"globals.sql", "shop.sql", "crm.sql"}
	for i, o := range []repo.WriterOptions{
		{Source: "a/db", Cipher: repo.CipherAESGCM},
		{Source: "b", Cipher: repo.CipherXChaCha20, PackSize: 256 << 10},
		{Source: "c", Compress: source.CompressBetter},
		{Source: "d", Compress: source.CompressFast},
		{Source: "a/db"}, // whose earlier snapshots are of another generation
	} {
		if i == 2 {
			k.succeed(file, words)
		}
		random := rand.New(rand.NewPCG(uint64(i), 1))
		shop, crm := &table{random: random}, &table{random: random}
		for id := range 12_000 {
			shop.rows = append(shop.rows, shop.row(id))
		}
		for day := range days {
			streams := map[string][]byte{"globals.sql": []byte("create role shop;\n"), "shop.sql": shop.day(), "crm.sql": crm.day()}
			snapshot := k.backup(o, names, streams)
			name := names[day%len(names)]
			dumps = append(dumps, dump{snapshot, name, streams[name]})
		}
	}

	status, out, errs := read(t, python, "check", root, "--key", key)
	summary := regexp.MustCompile(`(\d+) snapshots fine, .*dictionaries (\d+) deep, 0 objects damaged\n$`).FindStringSubmatch(out)
	if status != 0 || summary == nil || summary[1] != fmt.Sprint(sources*days) || summary[2] < "2" {
		t.Fatalf("exit status %d: want %d snapshots and dictionaries at least 2 deep\n%s%s", status, sources*days, out, errs)
	}
	t.Log(summary[0])
	for _, d := range dumps {
		if status, out, errs := read(t, python, "dump", root, d.snapshot, d.stream, "--key", key); status != 0 || out != string(d.data) {
			t.Errorf("dump %s %s: exit status %d, %d bytes, want %d\n%s", d.snapshot, d.stream, status, len(out), len(d.data), errs)
		}
	}

	k.must(os.WriteFile(key, []byte(words+"\n"), 0o600))
	if status, out, errs := read(t, python, "check", root, "--passphrase-file", key); status != 0 || !strings.Contains(out, summary[0]) {
		t.Errorf("with the passphrase: exit status %d\n%s%s", status, out, errs)
	}
	other, err := repo.GenerateKeyFile()
	k.must(err)
	k.must(os.WriteFile(key, other.Encode(), 0o600))
	if status, _, errs := read(t, python, "ls", root, "--key", key); status != 1 || !strings.Contains(errs, "key slots opens with this key") {
		t.Errorf("another key: exit status %d, %s", status, errs)
	}
}

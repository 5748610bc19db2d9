package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
)

// sink puts what a writer made straight into a store.
type sink struct{ store.Store }

func (s sink) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

// wreck is what is left when a controller is lost: a store with one snapshot
// of shop/db, and the key file.
// leftOut is what labels left out of the streams of the snapshot.
var leftOut = map[string][]engine.Object{"shop.sql": {{Kind: engine.KindLeftOut, Name: "public.sessions"}}}

func wreck(t *testing.T) (storeDir, keyFile string) {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	storeDir, keyFile = filepath.Join(t.TempDir(), "store"), filepath.Join(t.TempDir(), "key")
	must(os.MkdirAll(storeDir, 0o700))
	st, err := fs.Open(storeDir)
	must(err)
	key, err := repo.GenerateKeyFile()
	must(err)
	must(os.WriteFile(keyFile, key.Encode(), 0o600))
	r, err := repo.Create(t.Context(), st, key, today)
	must(err)

	const id = "01JNG3ZZZZZZZZZZZZZZZZZZZ2"
	sourceKey, err := r.SourceKey("shop/db", 0)
	must(err)
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{Source: "shop/db", Snapshot: id, Key: sourceKey}, sink{st})
	must(err)
	for name, text := range map[string]string{"globals.sql": globalsSQL, "shop.sql": shopSQL} {
		s, err := w.Stream(repo.StreamMeta{Name: name, Database: strings.TrimSuffix(strings.TrimSuffix(name, ".sql"), "globals")})
		must(err)
		_, err = io.WriteString(s, text)
		must(err)
		_, err = s.Close(repo.Contents{Objects: leftOut[name]})
		must(err)
	}
	sum, err := w.Finish(t.Context())
	must(err)
	entry := &ledger.Entry{
		Snapshot: id, Source: "shop/db", Engine: "postgres", CommitTime: today, Manifest: sum.Manifest, ManifestSize: sum.ManifestSize,
		Root: sum.Root, Streams: sum.Streams, RawBytes: sum.RawBytes, NewBytes: sum.NewBytes,
	}
	must(entry.Seal(nil))
	text, err := json.Marshal(entry)
	must(err)
	sealed, err := r.SealLedger(entry.Index, text)
	must(err)
	_, err = st.Put(t.Context(), repo.LedgerName(entry.Index), bytes.NewReader(sealed))
	must(err)
	return storeDir, keyFile
}

func TestRescueFromAStoreAndAKey(t *testing.T) {
	storeDir, keyFile := wreck(t)
	var asked Rescue
	roof := Roof{
		OpenStore: func(dir string) (store.Store, error) { return fs.Open(dir) },
		RestoreInto: func(_ context.Context, r Rescue) ([]string, []string, error) {
			asked = r
			r.Phase("restoring")
			return []string{"restored shop.sql"}, []string{"it is older"}, nil
		},
	}
	rescue := func(args ...string) result {
		return cli(t, roof, "", append([]string{"rescue", "--store", storeDir, "--key-file", keyFile}, args...)...)
	}

	if r := rescue("ls"); r.status != 0 || !strings.Contains(r.out, "shop/db") || !strings.Contains(r.out, "40 B") {
		t.Errorf("ls: %+v", r)
	}
	var all []foundView
	if r := rescue("ls", "-o", "json"); json.Unmarshal([]byte(r.out), &all) != nil || len(all) != 1 || !all[0].Confirmed || all[0].Streams != 2 || all[0].RawBytes != 40 {
		t.Errorf("ls -o json: %+v", r)
	}
	for _, ref := range []string{"shop/db", "shop/db@latest", "01JNG3"} {
		if r := rescue("dump", ref, "shop"); r.status != 0 || r.out != shopSQL {
			t.Errorf("dump %s: %+v", ref, r)
		}
	}
	dir := filepath.Join(t.TempDir(), "out")
	if r := rescue("restore", "shop/db", "--to", "file:"+dir); r.status != 0 || folder(t, dir) != "globals.sql shop.sql" || content(t, filepath.Join(dir, "shop.sql")) != shopSQL {
		t.Errorf("restore into a folder: %+v", r)
	} else if r.err != "warning: Not in this backup (shop.sql), since its labels left it out: public.sessions\n" {
		t.Errorf("what the backup is without: %q", r.err)
	}
	r := rescue("restore", "shop/db", "--to", "container:new", "--overwrite", "--select", "shop")
	if r.status != 0 || r.out != "Warning: it is older\nrestored shop.sql\n" || asked.Container != "new" || asked.Snapshot.Source != "shop/db" ||
		!asked.Options.Overwrite || strings.Join(asked.Select, " ") != "shop" || asked.Store == nil {
		t.Errorf("restore into a container: %+v, %+v", r, asked)
	}
	var done rescuedView
	if r := rescue("restore", "shop/db", "--to", "container:new", "-o", "json"); r.status != 0 || json.Unmarshal([]byte(r.out), &done) != nil ||
		done.Container != "new" || done.Source != "shop/db" || strings.Join(append(done.Warnings, done.Report...), ", ") != "it is older, restored shop.sql" {
		t.Errorf("restore -o json: %+v", r)
	}
	for what, args := range map[string][]string{
		"no target":   {"restore", "shop/db"},
		"a source":    {"restore", "shop/db", "--to", "shop/db"},
		"no snapshot": {"dump", "nothing"},
		"no stream":   {"dump", "shop/db", "nothing"},
	} {
		if r := rescue(args...); r.status == 0 || r.out != "" {
			t.Errorf("%s: %+v", what, r)
		}
	}
}

func TestRescueWithTheWrongParts(t *testing.T) {
	storeDir, _ := wreck(t)
	_, otherKey := wreck(t)
	roof := Roof{OpenStore: func(dir string) (store.Store, error) { return fs.Open(dir) }}
	missing := filepath.Join(t.TempDir(), "missing")
	for what, tc := range map[string]struct {
		store, key, want string
		status           int
	}{
		"another key":     {storeDir, otherKey, "open the repository in", 1},
		"no key":          {storeDir, missing, "--key-file", problem.ExitStatus(problem.New(problem.InvalidInput, ""))},
		"not a key":       {storeDir, filepath.Join(storeDir, "format.json"), "key file", 2},
		"no store":        {missing, otherKey, "--store", 2},
		"an empty folder": {t.TempDir(), otherKey, "open the repository in", 1},
	} {
		r := cli(t, roof, "", "rescue", "ls", "--store", tc.store, "--key-file", tc.key)
		if r.status != tc.status || !strings.Contains(r.err, tc.want) {
			t.Errorf("%s: %+v", what, r)
		}
	}
	if _, err := os.Stat(missing); err == nil {
		t.Error("looking for a store made one")
	}
}

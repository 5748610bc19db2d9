package cli

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/fs"
)

// spoil changes the files below a folder of a store, and tells how many.
func spoil(t *testing.T, dir string, change func([]byte) []byte) (n int) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		n++
		if err := os.Chmod(path, 0o600); err != nil {
			return err
		}
		return os.WriteFile(path, change(b), 0o600)
	})
	if err != nil || n == 0 {
		t.Fatalf("%d files in %s: %v", n, dir, err)
	}
	return n
}

func TestRescueCheck(t *testing.T) {
	roof := Roof{OpenStore: func(dir string) (store.Store, error) { return fs.Open(dir) }}
	storeDir, keyFile := wreck(t)
	rescue := func(args ...string) result {
		return cli(t, roof, "", append([]string{"rescue", "--store", storeDir, "--key-file", keyFile}, args...)...)
	}
	for _, flag := range []string{"--quick", "--full", "--output=table"} {
		if r := rescue("check", flag); r.status != 0 || !strings.Contains(r.out, "fine") || !strings.Contains(r.out, "1 snapshots, 1 ledger entries") {
			t.Errorf("check %s: %+v", flag, r)
		}
	}
	if r := rescue("check", "--quick", "--full"); r.status != 2 {
		t.Errorf("%+v", r)
	}
	if r := rescue("dump", "shop/db", "shop", "--salvage"); r.status != 0 || r.out != shopSQL || r.err != "" {
		t.Errorf("salvage of what is whole: %+v", r)
	}

	// One bit of the only pack: in its only frame, so both dumps are lost.
	spoil(t, filepath.Join(storeDir, "sources", "shop~db", "packs"), func(b []byte) []byte { b[50] ^= 1; return b })
	if r := rescue("check", "--quick"); r.status != 0 {
		t.Errorf("a quick check reads packs: %+v", r)
	}
	r := rescue("check", "-o", "json")
	var v rescueCheckView
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.status != 1 {
		t.Fatalf("%v, %+v", err, r)
	}
	if len(v.Damaged) != 1 || len(v.Damaged[0].Snapshots) != 1 || v.Snapshots[0].Condition != "lost" || len(v.Snapshots[0].Streams) != 2 || v.Snapshots[0].Streams[1].Lost[0].Offset != 0 {
		t.Errorf("%+v", v)
	}
	if r := rescue("check"); r.status != 1 || !strings.Contains(r.out, v.Damaged[0].Object) || !strings.Contains(r.out, "shop.sql: 0 of") {
		t.Errorf("%+v", r)
	}
	if r := rescue("dump", "shop/db", "shop"); r.status != 1 || r.out != "" {
		t.Errorf("dump: %+v", r)
	}
	if r := rescue("dump", "shop/db", "shop", "--salvage"); r.status != 3 || r.out != "" || !strings.Contains(r.err, "from byte 0 on") {
		t.Errorf("salvage: %+v", r)
	}
	var s salvageView
	if r := rescue("dump", "shop/db", "shop", "--salvage", "-o", "json"); r.status != 3 || json.NewDecoder(strings.NewReader(r.err)).Decode(&s) != nil || s.Whole || s.Size != int64(len(shopSQL)) || s.Lost[0].Length != s.Size {
		t.Errorf("salvage as JSON: %+v, %+v", r, s)
	}
	if r := rescue("dump", "shop/db", "--salvage"); r.status != 2 {
		t.Errorf("salvage of two streams: %+v", r)
	}
}

// A snapshot that only its manifest tells of is not confirmed, and can be had by
// its whole id; and the copy of the format file serves.
func TestRescueWithoutLedgerAndFormat(t *testing.T) {
	roof := Roof{OpenStore: func(dir string) (store.Store, error) { return fs.Open(dir) }}
	storeDir, keyFile := wreck(t)
	rescue := func(args ...string) result {
		return cli(t, roof, "", append([]string{"rescue", "--store", storeDir, "--key-file", keyFile}, args...)...)
	}
	spoil(t, filepath.Join(storeDir, "ledger"), func(b []byte) []byte { return b[:10] })
	spoil(t, filepath.Join(storeDir, "format.json"), func(b []byte) []byte { return b[:10] })
	if r := rescue("ls"); r.status != 0 || !strings.Contains(r.out, "no ledger entry confirms it") || !strings.Contains(r.err, "damaged: ledger/") {
		t.Errorf("ls: %+v", r)
	}
	if r := rescue("check"); r.status != 3 || !strings.Contains(r.out, "no copy of a ledger entry can be read") || !strings.Contains(r.out, "fine") {
		t.Errorf("check: %+v", r)
	}
	if r := rescue("dump", "01JNG3", "shop"); r.status == 0 {
		t.Errorf("dump of what is not confirmed, by a part of its id: %+v", r)
	}
	if r := rescue("dump", "01JNG3ZZZZZZZZZZZZZZZZZZZ2", "shop"); r.status != 0 || r.out != shopSQL {
		t.Errorf("dump of what is not confirmed: %+v", r)
	}
}

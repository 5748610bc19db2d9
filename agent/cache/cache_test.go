package cache_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/agent/cache"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
)

func name(n int) string {
	h := sha256.Sum256(fmt.Append(nil, n))
	return repo.PackName("shop/db", hex.EncodeToString(h[:16]))
}

func data(n, size int) []byte { return bytes.Repeat([]byte{byte(n)}, size) }

// fixture is a cache whose clock and log the test holds.
type fixture struct {
	*cache.Cache
	dir   string
	clock *clock.Manual
	log   *bytes.Buffer
}

func open(dir string, limit int64) fixture {
	f := fixture{dir: dir, clock: clock.NewManual(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)), log: &bytes.Buffer{}}
	f.Cache = cache.Open(dir, limit, f.clock, slog.New(slog.NewTextHandler(f.log, nil)))
	return f
}

func (f fixture) get(n int, offset, length int64) ([]byte, error) {
	rc, err := f.Get(context.Background(), name(n), offset, length)
	if err != nil {
		return nil, err
	}
	defer rc.Close()
	return io.ReadAll(rc)
}

// has tells which of the first n packs are there.
func (f fixture) has(n int) (there []int) {
	for i := range n {
		if _, err := f.get(i, 0, 1); err == nil {
			there = append(there, i)
		}
	}
	return there
}

func TestReads(t *testing.T) {
	f := open(t.TempDir(), 1000)
	f.Put(name(1), []byte("0123456789"))
	for _, c := range []struct {
		offset, length int64
		want           string
		err            error
	}{
		{0, -1, "0123456789", nil}, {0, 10, "0123456789", nil}, {3, 4, "3456", nil}, {7, -1, "789", nil}, {10, -1, "", nil},
		{0, 11, "", store.ErrRange}, {11, -1, "", store.ErrRange}, {-1, 2, "", store.ErrRange}, {8, 1 << 62, "", store.ErrRange},
	} {
		got, err := f.get(1, c.offset, c.length)
		if string(got) != c.want || !errors.Is(err, c.err) {
			t.Errorf("%d bytes from %d: %q, %v", c.length, c.offset, got, err)
		}
	}
	if _, err := f.get(2, 0, -1); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("a pack that is not there: %v", err)
	}
}

func TestKeepsPacksOnly(t *testing.T) {
	f := open(t.TempDir(), 1000)
	for _, name := range []string{repo.ManifestName("shop/db", "01J00000000000000000000001"), "../../etc/passwd", "format.json"} {
		f.Put(name, []byte("x"))
		if _, err := f.Get(t.Context(), name, 0, -1); err == nil {
			t.Errorf("%s is kept", name)
		}
	}
	if files, _ := os.ReadDir(f.dir); len(files) > 0 {
		t.Errorf("made %v", files)
	}
}

func TestWhatWasUsedLongestAgoGoesFirst(t *testing.T) {
	dir := t.TempDir()
	f := open(dir, 350)
	for i := range 3 {
		f.Put(name(i), data(i, 100))
		f.clock.Advance(time.Hour)
	}
	if _, err := f.get(0, 0, -1); err != nil {
		t.Fatal(err)
	}
	f.clock.Advance(time.Hour)
	f.Put(name(3), data(3, 100))
	if got := fmt.Sprint(f.has(4)); got != "[0 2 3]" {
		t.Errorf("left are %s", got)
	}
	f.Put(name(4), data(4, 400)) // more than there is room for at all
	if got := fmt.Sprint(f.has(5)); got != "[0 2 3]" {
		t.Errorf("a large pack left %s", got)
	}
	// The next process knows the order too, and may have less room.
	f = open(dir, 200)
	if got := fmt.Sprint(f.has(4)); len(f.has(4)) != 2 {
		t.Errorf("left after a restart are %s", got)
	}
}

func TestWhatACrashLeft(t *testing.T) {
	dir := t.TempDir()
	f := open(dir, 1000)
	f.Put(name(1), data(1, 100))
	f.Put(name(2), data(2, 100))
	files, err := os.ReadDir(dir)
	if err != nil || len(files) != 2 {
		t.Fatal(files, err)
	}
	torn := filepath.Join(dir, files[0].Name())
	if err := os.Truncate(torn, 50); err != nil {
		t.Fatal(err)
	}
	for _, n := range []string{"abc.part", "mine.txt"} {
		if err := os.WriteFile(filepath.Join(dir, n), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f = open(dir, 1000)
	if len(f.has(3)) != 1 {
		t.Errorf("there are %v", f.has(3))
	}
	files, _ = os.ReadDir(dir)
	if len(files) != 2 || files[1].Name() != "mine.txt" {
		t.Errorf("left are %v", files)
	}
	// A file that goes away is a miss, and its room is free again.
	if err := os.Remove(filepath.Join(dir, files[0].Name())); err != nil {
		t.Fatal(err)
	}
	if len(f.has(3)) != 0 {
		t.Error("a file that is gone is read")
	}
	f.Put(name(1), data(1, 100))
	f.Put(name(2), data(2, 100))
	if len(f.has(3)) != 2 {
		t.Error("cannot be put again")
	}
}

func TestAFolderThatCannotBeUsed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	gone := open(t.TempDir(), 1000)
	if err := os.RemoveAll(gone.dir); err != nil {
		t.Fatal(err)
	}
	for what, f := range map[string]fixture{"a file": open(file, 1000), "removed": gone} {
		for i := range 3 {
			f.Put(name(i), data(i, 10))
		}
		if len(f.has(3)) > 0 {
			t.Errorf("%s: keeps packs", what)
		}
		if n := strings.Count(f.log.String(), "switched off"); n != 1 {
			t.Errorf("%s: %d warnings: %s", what, n, f.log)
		}
	}
}

func TestConcurrently(t *testing.T) {
	f := open(t.TempDir(), 2000)
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				n := (i*7 + g) % 50
				f.Put(name(n), data(n, 100))
				got, err := f.get(n, 0, -1)
				if err == nil && !bytes.Equal(got, data(n, 100)) || err != nil && !errors.Is(err, store.ErrNotExist) {
					t.Errorf("pack %d: %d bytes, %v", n, len(got), err)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	files, _ := os.ReadDir(f.dir)
	for _, e := range files {
		i, _ := e.Info()
		total += i.Size()
	}
	if total > 2000 || len(files) == 0 {
		t.Errorf("%d files of %d bytes", len(files), total)
	}
}

package fs

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/baktainer/baktainer/internal/store"
)

// A real file system that is full. It needs root, to mount one of 8 MiB.
func TestFullDisk(t *testing.T) {
	if os.Getenv("BAKTAINER_E2E") == "" {
		t.Skip("BAKTAINER_E2E is not set")
	}
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "size=8m,mode=700"); err != nil {
		t.Skipf("mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, 0); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	s := openStore(t, dir)
	object := bytes.Repeat([]byte("x"), 1<<20)
	put := func(n int) error {
		_, err := s.Put(t.Context(), fmt.Sprintf("d/%d", n), bytes.NewReader(object))
		return err
	}
	var full error
	n := 0
	for ; n < 20; n++ {
		if full = put(n); full != nil {
			break
		}
	}
	if !errors.Is(full, store.ErrNoSpace) || n < 4 || n > 8 {
		t.Fatalf("after %d objects of 1 MiB: %v", n, full)
	}
	for range 3 { // what could not be written takes no room
		if err := put(n); !errors.Is(err, store.ErrNoSpace) {
			t.Errorf("again: %v", err)
		}
	}
	listed := 0
	if err := s.List(t.Context(), "", func(i store.Info) error { listed++; return nil }); err != nil || listed != n {
		t.Errorf("%d objects are listed, want %d; %v", listed, n, err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("left over: %v, %v", entries, err)
	}
	free, total, ok, err := s.Space(t.Context())
	if err != nil || !ok || total != 8<<20 || free >= 1<<20 {
		t.Errorf("%d of %d bytes are free: %v", free, total, err)
	}
	if err := s.Delete(t.Context(), "d/0"); err != nil {
		t.Errorf("delete: %v", err)
	}
	if err := put(n); err != nil {
		t.Errorf("with space again: %v", err)
	}
}

package fs

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/storetest"
)

func openStore(t *testing.T, dir string) *Store {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestContract(t *testing.T) {
	storetest.Run(t, func(t *testing.T) store.Store { return openStore(t, t.TempDir()) })
}

func TestOthersMayNotRead(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "store")
	s := openStore(t, dir)
	if _, err := s.Put(t.Context(), "a/b/c", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]fs.FileMode{"": 0o700, "a": 0o700, "a/b": 0o700, "a/b/c": 0o600} {
		info, err := os.Stat(filepath.Join(dir, path))
		if err != nil || info.Mode().Perm() != want {
			t.Errorf("%q: mode %v, want %v; %v", path, info.Mode().Perm(), want, err)
		}
	}
}

func TestTemporaryFiles(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if _, err := s.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for name, age := range map[string]time.Duration{temporary + "old": 2 * time.Hour, temporary + "young": time.Minute, "a": 48 * time.Hour, "other": 48 * time.Hour} {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, now, now.Add(-age)); err != nil {
			t.Fatal(err)
		}
	}
	openStore(t, dir)
	for name, want := range map[string]bool{temporary + "old": false, temporary + "young": true, "a": true, "other": true} {
		if _, err := os.Stat(filepath.Join(dir, name)); (err == nil) != want {
			t.Errorf("%s is there: %v, want %v", name, err == nil, want)
		}
	}
	var got []string
	if err := s.List(t.Context(), "", func(i store.Info) error { got = append(got, i.Name); return nil }); err != nil || strings.Join(got, " ") != "a other" {
		t.Errorf("list: %v, %v", got, err)
	}
}

func TestForeignFilesAreNoObjects(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	outside := filepath.Join(t.TempDir(), "secret")
	if err := errors.Join(os.WriteFile(outside, []byte("x"), 0o600), os.Symlink(outside, filepath.Join(dir, "link")),
		os.WriteFile(filepath.Join(dir, "white space"), nil, 0o600), os.Mkdir(filepath.Join(dir, "lost+found"), 0o700)); err != nil {
		t.Fatal(err)
	}
	if err := s.List(t.Context(), "", func(i store.Info) error { t.Errorf("lists %s", i.Name); return nil }); err != nil {
		t.Error(err)
	}
	if _, err := s.Stat(t.Context(), "link"); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("stat of a link: %v", err)
	}
	if _, err := s.Get(t.Context(), "link", 0, -1); err == nil {
		t.Error("reads through a link")
	}
}

// A pipe where an object should be has no other end: nobody waits for it.
func TestAPipeIsNoObject(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if err := syscall.Mkfifo(filepath.Join(dir, "a"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Get(t.Context(), "a", 0, -1); !errors.Is(err, store.ErrNotExist) {
		t.Errorf("get: %v", err)
	}
}

// readOnly is a disk that was mounted to be read. It cannot sync directories either.
type readOnly struct{ system }

func (readOnly) syncDir(string) error { return &fs.PathError{Op: "sync", Err: syscall.EINVAL} }
func (readOnly) remove(string) error  { return &fs.PathError{Op: "remove", Err: syscall.EROFS} }
func (readOnly) create(string) (newFile, error) {
	return nil, &fs.PathError{Op: "open", Err: syscall.EROFS}
}

// Who has to rescue what is left mounts it read-only, if he is careful.
func TestAReadOnlyDisk(t *testing.T) {
	dir := t.TempDir()
	s := openStore(t, dir)
	if _, err := s.Put(t.Context(), "a", strings.NewReader("x")); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, temporary+"old"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := open(dir, readOnly{}, time.Now().Add(2*staleAfter))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Stat(t.Context(), "a"); err != nil {
		t.Error(err)
	}
	if _, err := s.Put(t.Context(), "b", strings.NewReader("x")); err == nil {
		t.Error("put on a disk that is read-only")
	}
}

func TestNoSpace(t *testing.T) {
	for err, want := range map[error]bool{
		&os.PathError{Op: "write", Path: "x", Err: syscall.ENOSPC}: true,
		errors.Join(&os.PathError{Err: syscall.EDQUOT}, nil):       true,
		fs.ErrPermission: false,
	} {
		if got := wrapPut("a", err); errors.Is(got, store.ErrNoSpace) != want || !errors.Is(got, err) {
			t.Errorf("%v: ErrNoSpace is %v, want %v", got, !want, want)
		}
	}
}

func TestOpenRefusesAFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(path); err == nil {
		t.Error("opened a file as a store")
	}
}

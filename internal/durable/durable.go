// Package durable replaces small files so that a crash, of this process or of the
// machine, leaves the one before or the new one, whole.
package durable

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
)

// fresh ends the name under which a file is written before it takes the place of the
// one before.
const fresh = ".new"

// Replace makes path a file with that text, which only this user may read. Two that
// replace the same file at once are the callers' business.
func Replace(path string, text []byte) error {
	if err := write(path+fresh, text); err != nil {
		return fmt.Errorf("write %s: %w", path, errors.Join(err, remove(path+fresh)))
	}
	if err := os.Rename(path+fresh, path); err != nil {
		return fmt.Errorf("replace %s: %w", path, errors.Join(err, remove(path+fresh)))
	}
	return SyncFolder(filepath.Dir(path))
}

// SyncFolder makes the names in a folder durable.
func SyncFolder(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync the folder %s: %w", dir, err)
	}
	if err := errors.Join(d.Sync(), d.Close()); err != nil {
		return fmt.Errorf("sync the folder %s: %w", dir, err)
	}
	return nil
}

func write(path string, text []byte) error {
	if err := remove(path); err != nil { // one that a crash left behind may have any mode
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Sync(), f.Close())
}

func remove(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

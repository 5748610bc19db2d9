package fs

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// files is what a Store asks of the file system. Tests put a simulated disk in its place.
type files interface {
	// makeDirs makes a directory and its parents unless they are there.
	makeDirs(path string) error
	// makeDir makes one directory: fs.ErrExist.
	makeDir(path string) error
	// syncDir makes durable which files a directory has.
	syncDir(path string) error
	// readDir lists a directory.
	readDir(path string) ([]fs.DirEntry, error)
	// create makes a file: fs.ErrExist.
	create(path string) (newFile, error)
	// open opens a file, unless it is a symbolic link.
	open(path string) (openFile, error)
	// lstat describes a file.
	lstat(path string) (fs.FileInfo, error)
	// renameNew gives a file a name that no other file has yet: fs.ErrExist. The old name may remain.
	renameNew(from, to string) error
	// remove removes a file.
	remove(path string) error
}

// newFile is a file that is being written.
type newFile interface {
	io.WriteCloser
	Stat() (fs.FileInfo, error)
	// Sync makes its bytes durable.
	Sync() error
}

// openFile is a file that is being read.
type openFile interface {
	io.ReaderAt
	io.Closer
	Stat() (fs.FileInfo, error)
}

// system is the machine's file system.
type system struct{}

func (system) makeDirs(path string) error                 { return os.MkdirAll(path, 0o700) }
func (system) makeDir(path string) error                  { return os.Mkdir(path, 0o700) }
func (system) readDir(path string) ([]fs.DirEntry, error) { return os.ReadDir(path) }
func (system) lstat(path string) (fs.FileInfo, error)     { return os.Lstat(path) }
func (system) remove(path string) error                   { return os.Remove(path) }

func (system) create(path string) (newFile, error) {
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
}

// open does not wait for the other end of what is no file, but a pipe.
func (system) open(path string) (openFile, error) {
	return os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
}

func (system) syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

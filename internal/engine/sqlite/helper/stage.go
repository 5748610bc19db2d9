package helper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/sqlite/image"
	"github.com/baktainer/baktainer/internal/problem"
)

// staged is an image that was received whole.
type staged struct {
	path    string
	header  image.Header // as in the stream
	discard func()       // removes the name; may be called more than once
}

// receive writes the image to a temporary file in dir, exactly as many bytes as
// its header says. The file has no name until it is complete, where the file
// system can do that, so that a killed process leaves nothing behind. The file
// is put into rollback mode, because SQLite reads no file alone that claims to
// have a log.
func receive(dir string, r io.Reader) (*staged, error) {
	page1, header, err := readHeader(r)
	if err != nil {
		return nil, err
	}
	f, named, err := temporary(dir)
	if err != nil {
		return nil, fmt.Errorf("create a temporary file: %w", err)
	}
	defer f.Close()
	s := &staged{header: header}
	remove := func() {}
	if named {
		s.path = f.Name()
		remove = func() { _ = os.Remove(s.path) }
	}
	s.discard = sync.OnceFunc(remove)

	image.ClearWAL(page1)
	if _, err := f.Write(page1); err != nil {
		s.discard()
		return nil, fmt.Errorf("write the temporary file: %w", err)
	}
	rest := header.Size() - int64(len(page1))
	n, err := io.CopyN(f, r, rest)
	if err == nil {
		err = atEnd(r)
	} else if errors.Is(err, io.EOF) {
		err = problem.New(problem.Failed, "the image ends after %d of %d bytes", n+int64(len(page1)), header.Size()).
			WithReason(engine.ReasonTruncated)
	}
	if err != nil {
		s.discard()
		return nil, err
	}
	if !named {
		s.path = filepath.Join(dir, ".baktainer-restore-"+strconv.Itoa(os.Getpid())+"-"+strconv.FormatUint(uint64(f.Fd()), 10))
		if err := unix.Linkat(unix.AT_FDCWD, "/proc/self/fd/"+strconv.FormatUint(uint64(f.Fd()), 10), unix.AT_FDCWD, s.path, unix.AT_SYMLINK_FOLLOW); err != nil {
			return nil, fmt.Errorf("name the temporary file: %w", err)
		}
		s.discard = sync.OnceFunc(func() { _ = os.Remove(s.path) })
	}
	return s, nil
}

func readHeader(r io.Reader) ([]byte, image.Header, error) {
	head := make([]byte, image.HeaderSize)
	if n, err := io.ReadFull(r, head); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, image.Header{}, problem.New(problem.Failed, "the image ends after %d bytes", n).WithReason(engine.ReasonTruncated)
		}
		return nil, image.Header{}, fmt.Errorf("read the image: %w", err)
	}
	header, err := image.Parse(head)
	if err == nil && header.Pages == 0 {
		err = errors.New("its header does not say how many pages it has")
	}
	if err != nil {
		return nil, image.Header{}, problem.Wrap(problem.Failed, err, "read the image").WithReason(engine.ReasonMalformed)
	}
	return head, header, nil
}

func atEnd(r io.Reader) error {
	var one [1]byte
	_, err := io.ReadFull(r, one[:])
	switch {
	case errors.Is(err, io.EOF):
		return nil
	case err == nil:
		return problem.New(problem.Failed, "the image is longer than its header says").WithReason(engine.ReasonMalformed)
	}
	return fmt.Errorf("read the end of the image: %w", err)
}

func temporary(dir string) (f *os.File, named bool, err error) {
	fd, err := unix.Open(dir, unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err == nil {
		return os.NewFile(uintptr(fd), filepath.Join(dir, "image")), false, nil
	}
	f, err = os.CreateTemp(dir, ".baktainer-restore-*")
	return f, true, err
}

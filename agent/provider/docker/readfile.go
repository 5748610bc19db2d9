package docker

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"time"

	"github.com/containerd/errdefs"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	maxLinks    = 16
	catPatience = 15 * time.Second
)

// ReadFile implements engine.Instance.
func (i *instance) ReadFile(ctx context.Context, name string, limit int64) ([]byte, error) {
	if !path.IsAbs(name) {
		return nil, problem.New(problem.InvalidInput, "read %s in the container: the path is not absolute", name)
	}
	content, err := i.fromArchive(ctx, name, limit)
	if errors.Is(err, fs.ErrNotExist) {
		// What is mounted in memory, as Swarm's secrets are, is not in the archive.
		if content, catErr := i.fromCat(ctx, name, limit); catErr == nil {
			return content, nil
		}
	}
	return content, err
}

// fromArchive reads the file as "docker cp" would, and follows links.
func (i *instance) fromArchive(ctx context.Context, name string, limit int64) ([]byte, error) {
	at := name
	for range maxLinks {
		content, link, err := i.entry(ctx, at, limit)
		if errdefs.IsNotFound(err) {
			return nil, fmt.Errorf("read %s in the container: %w", name, fs.ErrNotExist)
		}
		if err != nil {
			return nil, failure(err, "read %s in the container", name)
		}
		if link == "" {
			return content, nil
		}
		if !path.IsAbs(link) {
			link = path.Join(path.Dir(at), link)
		}
		at = link
	}
	return nil, problem.New(problem.Failed, "read %s in the container: it leads through more than %d links", name, maxLinks)
}

// entry reads the first entry of the archive of a path: a file's content, or
// where a link leads.
func (i *instance) entry(ctx context.Context, name string, limit int64) (content []byte, link string, err error) {
	archive, _, err := i.p.client.CopyFromContainer(ctx, i.id, name)
	if err != nil {
		return nil, "", err
	}
	defer archive.Close()
	files := tar.NewReader(archive)
	header, err := files.Next()
	if err != nil {
		return nil, "", err
	}
	switch {
	case header.Typeflag == tar.TypeSymlink:
		return nil, header.Linkname, nil
	case header.Typeflag != tar.TypeReg:
		return nil, "", errors.New("it is not a regular file")
	case header.Size > limit:
		return nil, "", tooLarge(limit)
	}
	content, err = io.ReadAll(io.LimitReader(files, limit+1))
	return content, "", err
}

func tooLarge(limit int64) error { return fmt.Errorf("it holds more than %d bytes", limit) }

// fromCat reads the file from within the running container.
func (i *instance) fromCat(ctx context.Context, name string, limit int64) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, catPatience)
	defer cancel()
	content, exit, err := engine.Output(ctx, i, engine.Command{Argv: []string{"cat", name}, User: "0"}, limit)
	if err == nil && exit.Status != 0 {
		err = fs.ErrNotExist
	}
	return content, err
}

package docker

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/containerd/errdefs"
	"github.com/docker/docker/api/types/image"
	"github.com/docker/docker/client"

	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
)

const (
	labelContent = "baktainer.helper.content" // hash of the binary in the image
	// helperPath is where no volume of a source is likely to be.
	helperPath = "/.baktainer/baktainer"
)

// helperImage makes the image of helper containers: nothing but our own binary.
type helperImage struct {
	client *client.Client
	open   func() (io.ReadCloser, error)

	mu   sync.Mutex
	hash string // of the binary, in hex
	size int64
}

// ensure returns the image's name, and makes it when it is not there.
func (h *helperImage) ensure(ctx context.Context) (string, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.open == nil {
		return "", problem.New(problem.Failed, "make the helper image: this build has no helper")
	}
	if err := h.measure(); err != nil {
		return "", problem.Wrap(problem.Failed, err, "make the helper image")
	}
	ref := h.ref()
	found, err := h.client.ImageInspect(ctx, ref)
	switch {
	case err == nil && found.Config != nil && found.Config.Labels[labelContent] == h.hash:
		return ref, nil
	case err != nil && !errdefs.IsNotFound(err):
		return "", failure(err, "look for the helper image")
	}
	if err := h.load(ctx, ref); err != nil {
		return "", failure(err, "make the helper image")
	}
	return ref, nil
}

// ref names the image after what is in it. measure comes first.
func (h *helperImage) ref() string { return label.HelperImage + ":" + h.hash[:16] }

// measure reads the binary once for its hash and size.
func (h *helperImage) measure() error {
	if h.hash != "" {
		return nil
	}
	binary, err := h.open()
	if err != nil {
		return err
	}
	defer binary.Close()
	sum := sha256.New()
	n, err := io.Copy(sum, binary)
	if err != nil {
		return err
	}
	h.hash, h.size = hex.EncodeToString(sum.Sum(nil)), n
	return nil
}

// load streams the image to the Engine.
func (h *helperImage) load(ctx context.Context, ref string) error {
	binary, err := h.open()
	if err != nil {
		return err
	}
	defer binary.Close()
	archive, w := io.Pipe()
	defer archive.Close()
	go func() { w.CloseWithError(writeArchive(w, binary, h.size)) }()
	answer, err := h.client.ImageImport(ctx, image.ImportSource{Source: archive, SourceName: "-"}, ref, image.ImportOptions{
		Message: "Helper of Baktainer",
		Changes: []string{
			fmt.Sprintf("ENTRYPOINT [%q]", helperPath),
			"LABEL " + labelContent + "=" + h.hash,
		},
	})
	if err != nil {
		return err
	}
	defer answer.Close()
	// A failure half-way is in the body of an answer that began well.
	for lines := json.NewDecoder(answer); ; {
		var line struct{ Error string }
		err := lines.Decode(&line)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case line.Error != "":
			return errors.New(line.Error)
		}
	}
}

// writeArchive writes the image's only layer.
func writeArchive(w io.Writer, binary io.Reader, size int64) error {
	archive := tar.NewWriter(w)
	if err := archive.WriteHeader(&tar.Header{Name: helperPath[1:], Mode: 0o755, Size: size, Typeflag: tar.TypeReg}); err != nil {
		return err
	}
	if _, err := io.Copy(archive, binary); err != nil {
		return err
	}
	return archive.Close()
}

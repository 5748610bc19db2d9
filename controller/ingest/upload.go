package ingest

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"io"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Bounds of objects, in bytes. The writer makes packs of 16 MiB; the manifest of
// a source grows with its size and its fragmentation.
const (
	maxPack     = 128 << 20
	maxManifest = 512 << 20
)

// UploadObject stores one pack or manifest.
func (i *Ingest) UploadObject(stream grpc.ClientStreamingServer[pb.UploadObjectRequest, pb.UploadObjectResponse]) error {
	i.uploads.Add(1)
	defer i.uploads.Add(-1)
	first, err := stream.Recv()
	if err != nil {
		return fmt.Errorf("receive object header: %w", err)
	}
	h := first.GetHeader()
	if h == nil {
		return refuse("the first message of an upload must be its header")
	}
	run, err := i.leases.Held(stream.Context(), h.GetLease())
	if err != nil {
		return err
	}
	if err := mayStore(run, h); err != nil {
		return err
	}
	i.Logger.Debug("object begins", "run", run.GetId(), "epoch", run.GetEpoch(), "object", h.GetName(), "bytes", h.GetSize())
	var sum ledger.Hash
	copy(sum[:], h.GetSha256())
	body := &checked{recv: transport.Again[pb.UploadObjectRequest](stream), want: sum, left: h.GetSize(), hash: sha256.New()}
	_, err = i.Store.Put(stream.Context(), h.GetName(), body)
	switch {
	case errors.Is(err, store.ErrExists):
		// Sent again because the answer got lost, or a name taken by other bytes.
		if err := i.sameBytes(stream.Context(), h.GetName(), h.GetSize(), sum); err != nil {
			return err
		}
	case errors.Is(err, store.ErrNoSpace):
		// In few words: what a message of a notification or a table cuts off is its end.
		return problem.Wrap(problem.Failed, store.ErrNoSpace, "store it in %s", i.StoreName).WithDetails(err.Error()).
			WithReason("no-space").WithHint("Free space where the store is, then try again; nothing was lost.")
	case body.err != nil:
		return body.err
	case err != nil:
		return fmt.Errorf("store %s: %w", h.GetName(), err)
	}
	// Whose lease has ended meanwhile is to hear of it now, not at the commit.
	if err := i.leases.Still(h.GetLease()); err != nil {
		return err
	}
	i.Logger.Debug("object stored", "run", run.GetId(), "epoch", run.GetEpoch(), "object", h.GetName(), "bytes", h.GetSize())
	i.note(h.GetLease(), h.GetName(), sum)
	if err := stream.SendAndClose(&pb.UploadObjectResponse{Receipt: i.receipt(h)}); err != nil {
		return fmt.Errorf("acknowledge %s: %w", h.GetName(), err)
	}
	return nil
}

// mayStore says whether the run may store such an object.
func mayStore(run *pb.Run, h *pb.ObjectHeader) error {
	name, err := repo.ParseName(h.GetName())
	if err != nil {
		return problem.Wrap(problem.InvalidInput, err, "check the name of an object")
	}
	limit := int64(maxPack)
	switch {
	case run.GetKind() != pb.RunKind_RUN_KIND_BACKUP:
		return refuse("run %s is a restore: it may store nothing", run.GetId())
	case name.Source != run.GetSource():
		return refuse("run %s is for source %s: it may not store %s", run.GetId(), run.GetSource(), h.GetName())
	case name.Kind == repo.KindManifest && name.ID == run.GetSnapshot():
		limit = maxManifest
	case name.Kind != repo.KindPack:
		return refuse("run %s may not store %s", run.GetId(), h.GetName())
	}
	if h.GetSize() <= 0 || h.GetSize() > limit {
		return refuse("%s has %d bytes: from 1 to %d are allowed", h.GetName(), h.GetSize(), limit)
	}
	if len(h.GetSha256()) != sha256.Size {
		return refuse("the hash of %s has %d bytes", h.GetName(), len(h.GetSha256()))
	}
	return nil
}

// sameBytes says whether the object that is in the store is the one being sent.
func (i *Ingest) sameBytes(ctx context.Context, name string, size int64, sum ledger.Hash) error {
	got, n, err := i.hashObject(ctx, name)
	if err != nil {
		return err
	}
	if n != size || got != sum {
		return problem.New(problem.Conflict, "there is another object named %s already", name)
	}
	return nil
}

// hashObject reads an object and gives its hash and size.
func (i *Ingest) hashObject(ctx context.Context, name string) (sum ledger.Hash, size int64, err error) {
	rc, err := i.Store.Get(ctx, name, 0, -1)
	if err != nil {
		return sum, 0, fmt.Errorf("read %s again: %w", name, err)
	}
	defer rc.Close()
	h := sha256.New()
	size, err = io.Copy(h, rc)
	if err != nil {
		return sum, 0, fmt.Errorf("read %s again: %w", name, err)
	}
	return ledger.Hash(h.Sum(nil)), size, nil
}

// checked reads the bytes of an upload. It ends with io.EOF only when they are
// as many as announced and have the hash announced, so that a store never makes
// a cut or damaged object visible.
type checked struct {
	recv func() (*pb.UploadObjectRequest, error)
	want ledger.Hash
	left int64
	hash hash.Hash
	part bytes.Reader
	err  error // why it ended, when not in order
}

func (c *checked) Read(p []byte) (int, error) {
	if c.err != nil {
		return 0, c.err
	}
	n, err := c.read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

func (c *checked) read(p []byte) (int, error) {
	for c.part.Len() == 0 {
		if c.left == 0 {
			if ledger.Hash(c.hash.Sum(nil)) != c.want {
				return 0, problem.New(problem.Corrupt, "the object arrived with another hash than it was sent with")
			}
			return 0, io.EOF
		}
		m, err := c.recv()
		if errors.Is(err, io.EOF) {
			return 0, problem.New(problem.Unavailable, "the upload was cut %d bytes before its end", c.left)
		}
		if err != nil {
			return 0, fmt.Errorf("receive object: %w", err)
		}
		data := m.GetData()
		if len(data) == 0 || int64(len(data)) > c.left {
			return 0, refuse("an upload's part has %d bytes, %d are left", len(data), c.left)
		}
		c.left -= int64(len(data))
		c.hash.Write(data)
		c.part.Reset(data)
	}
	return c.part.Read(p)
}

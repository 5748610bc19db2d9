package repo

import (
	"context"
	"crypto/sha256"
	"io"
	"slices"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

// Snapshot is a snapshot open for reading. It is safe for concurrent use.
type Snapshot struct {
	objects ObjectReader
	key     SourceKey
	header  ManifestHeader
	body    *manifestBody
}

// OpenSnapshot reads a snapshot's manifest, and checks it against ref.Manifest
// unless that is zero. A manifest that is damaged, or is another's, or lies
// under another key, is a problem Corrupt.
func OpenSnapshot(ctx context.Context, objects ObjectReader, key SourceKey, ref Ref) (*Snapshot, error) {
	name := ManifestName(ref.Source, ref.Snapshot)
	limit := int64(maxManifestHeader + maxManifestBody + sealOverhead)
	if ref.Size > 0 {
		limit = min(limit, ref.Size)
	}
	object, err := readObject(ctx, objects, ref.Source, name, 0, -1, limit)
	if err != nil {
		return nil, err
	}
	if ref.Manifest != (ledger.Hash{}) && hashOf(object) != ref.Manifest {
		return nil, corrupt(ref.Source, name, malformed("it is not the manifest that the ledger records"))
	}
	m, body, err := openManifest(key, object)
	if err != nil {
		return nil, corrupt(ref.Source, name, err)
	}
	if m.Source != ref.Source || m.Snapshot != ref.Snapshot {
		return nil, corrupt(ref.Source, name, malformed("it is the manifest of snapshot %s of source %s", m.Snapshot, m.Source))
	}
	return &Snapshot{objects: objects, key: key, header: m.ManifestHeader, body: body}, nil
}

// Header is the clear part of the manifest.
func (s *Snapshot) Header() ManifestHeader { return s.header }

// Root is the Merkle root over the snapshot's chunks.
func (s *Snapshot) Root() ledger.Hash { return s.body.root }

// Streams lists the streams in the order in which they were written.
func (s *Snapshot) Streams() []StreamInfo {
	infos := make([]StreamInfo, len(s.body.streams))
	for i := range s.body.streams {
		infos[i] = s.body.streams[i].StreamInfo
	}
	return infos
}

// Open reads one stream. Every chunk is checked before it is handed over, and
// the hash of the whole stream before its last part is: whoever gets io.EOF has
// had the very bytes of the dump. What does not match is a problem Corrupt. The
// reader is for one goroutine; it reads ahead on others, and must be closed. It
// takes at most about 48 MiB for frames, 12 MiB for chunk lists, 12 MiB for what
// was fetched ahead and, for each of at most 8 processors, 3 MiB.
func (s *Snapshot) Open(ctx context.Context, stream string) (io.ReadCloser, error) {
	b, err := s.stream(stream)
	if err != nil {
		return nil, err
	}
	return s.read(ctx, nil, b, nil), nil
}

func (s *Snapshot) stream(name string) (*bodyStream, error) {
	i := slices.IndexFunc(s.body.streams, func(b bodyStream) bool { return b.Name == name })
	if i < 0 {
		return nil, problem.New(problem.NotFound, "snapshot %s has no stream %q", s.header.Snapshot, name).WithSource(s.header.Source)
	}
	return &s.body.streams[i], nil
}

// Verify re-reads everything: the hash of each pack, then each stream to its
// end, then the Merkle root. progress, if not nil, is told the bytes done and to
// do, packs and streams together.
func (s *Snapshot) Verify(ctx context.Context, progress func(done, total int64)) (Report, error) {
	var r Report
	total := int64(0)
	for _, p := range s.header.Packs {
		total += p.Size
	}
	for _, b := range s.body.streams {
		total += b.Size
	}
	var done int64
	buf := make([]byte, 256<<10)
	drain := func(rc io.Reader, into io.Writer) error {
		for {
			n, err := rc.Read(buf)
			_, _ = into.Write(buf[:n]) // a hash, or nothing
			done += int64(n)
			if progress != nil && n > 0 {
				progress(done, total)
			}
			if err == io.EOF {
				return nil
			}
			if err != nil {
				return err
			}
		}
	}
	for _, p := range s.header.Packs {
		if err := s.verifyPack(ctx, p, drain); err != nil {
			return Report{}, err
		}
		r.Packs++
		r.StoredBytes += p.Size
	}
	var tree merkle
	frames := s.reader(ctx)
	for i := range s.body.streams {
		b := &s.body.streams[i]
		rc := s.read(ctx, frames, b, &tree)
		err := drain(rc, io.Discard)
		_ = rc.Close()
		if err != nil {
			return Report{}, err
		}
		r.Streams++
		r.RawBytes += b.Size
		r.Chunks += b.chunks
	}
	if tree.root() != s.body.root {
		return Report{}, corrupt(s.header.Source, ManifestName(s.header.Source, s.header.Snapshot), malformed("its chunks do not have its Merkle root"))
	}
	return r, nil
}

func (s *Snapshot) verifyPack(ctx context.Context, p PackRef, drain func(io.Reader, io.Writer) error) error {
	name := PackName(s.header.Source, p.ID)
	rc, err := s.objects.Get(ctx, name, 0, -1)
	if err != nil {
		return readFailure(ctx, s.header.Source, name, err)
	}
	defer rc.Close()
	h := sha256.New()
	n := countingReader{r: io.LimitReader(rc, p.Size+1)}
	if err := drain(&n, h); err != nil {
		return readFailure(ctx, s.header.Source, name, err)
	}
	switch {
	case n.n < p.Size:
		return corrupt(s.header.Source, name, malformed("the object is cut short"))
	case n.n > p.Size || ledger.Hash(h.Sum(nil)) != p.SHA256:
		return corrupt(s.header.Source, name, malformed("it is not the pack that the manifest records"))
	}
	return nil
}

type countingReader struct {
	r io.Reader
	n int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
	return n, err
}

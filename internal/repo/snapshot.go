package repo

import (
	"context"
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
	return s.read(ctx, nil, b), nil
}

func (s *Snapshot) stream(name string) (*bodyStream, error) {
	i := slices.IndexFunc(s.body.streams, func(b bodyStream) bool { return b.Name == name })
	if i < 0 {
		return nil, problem.New(problem.NotFound, "snapshot %s has no stream %q", s.header.Snapshot, name).WithSource(s.header.Source)
	}
	return &s.body.streams[i], nil
}

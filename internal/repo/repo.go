// Package repo is the repository format: how dumps become chunks, frames,
// packs and manifests in a store, and come back from there. FORMAT.md describes
// it byte by byte; a copy lies in every store.
//
// A Writer cuts the streams of one snapshot into chunks, leaves out what the
// source has stored before (its Base), compresses and seals the rest in frames,
// and hands finished packs and last of all the manifest to a Sink. OpenSnapshot
// and Snapshot.Open read them back, checking every chunk. Nothing here deletes.
package repo

import (
	"context"
	"io"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/problem"
)

// Reasons of the problems that this package returns.
const (
	ReasonNoRepository  problem.Reason = "no-repository"
	ReasonHasRepository problem.Reason = "has-repository"
	ReasonWrongKey      problem.Reason = "wrong-key"
	ReasonNoSlot        problem.Reason = "no-key-slot" // the repository has none for this kind of key
	ReasonDamagedKey    problem.Reason = "damaged-key"
	ReasonNewerFormat   problem.Reason = "newer-format"
	ReasonCorrupt       problem.Reason = "corrupt"
	ReasonMissingObject problem.Reason = "missing-object"
)

// Sink takes the objects that a Writer makes.
type Sink interface {
	// Put returns when the object is durable. sum is the SHA-256 of data, for the
	// receiver to check. It may be called concurrently; data is the writer's again
	// after it returns.
	Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error
}

// ObjectReader reads objects. Every store.Store is one.
type ObjectReader interface {
	// Get reads length bytes from offset, or all that follows when length is -1.
	Get(ctx context.Context, name string, offset, length int64) (io.ReadCloser, error)
}

// Ref names a snapshot in the store. Manifest and Size come from the ledger; when
// Manifest is zero its bytes are authenticated by the key alone, when Size is
// zero the manifest may have any size up to the limit of the format.
type Ref struct {
	Source, Snapshot string
	Manifest         ledger.Hash
	Size             int64
}

// StreamMeta describes a stream before its bytes are known: name, kind,
// database and format.
type StreamMeta = engine.Stream

// Contents is what the engine's inspector saw in a stream.
type Contents = engine.Contents

// StreamInfo is what a manifest says about one stream.
type StreamInfo struct {
	StreamMeta
	Size int64
	// SHA256 is of the dump as the tool wrote it.
	SHA256   ledger.Hash
	Contents Contents
}

// PackRef names a pack that a snapshot reads from.
type PackRef struct {
	// ID is 32 hexadecimal digits.
	ID string
	// Size is the bytes of the pack object, SHA256 their hash.
	Size   int64
	SHA256 ledger.Hash
	// Tail is how many bytes at its end are index and trailer.
	Tail int64
	// Live is how many bytes of chunks in the pack (before compression) the
	// snapshot uses, each chunk counted once; 0 when only dictionaries lie in it.
	Live int64
}

// ManifestHeader is the part of a manifest that is readable without a key.
type ManifestHeader struct {
	Source, Snapshot string
	// Generation is that of the key, from 1.
	Generation uint32
	Cipher     Cipher
	Chunking   Chunking
	// Packs are all that are needed to read the snapshot.
	Packs []PackRef
}

// Summary is what a finished snapshot consists of, for its ledger entry.
type Summary struct {
	// Manifest is the SHA-256 of the manifest object.
	Manifest     ledger.Hash
	ManifestSize int64
	// Root is the Merkle root over the snapshot's chunks.
	Root ledger.Hash
	// RawBytes is the size of all streams; NewBytes the size of the objects that
	// the snapshot added to the store, its manifest included.
	RawBytes, NewBytes int64
	Streams            []ledger.Stream
}

// Report is the outcome of Snapshot.Verify, when nothing was wrong.
type Report struct {
	Packs, Streams int
	// StoredBytes were read as packs, RawBytes are the size of all streams.
	StoredBytes, RawBytes int64
	Chunks                int64
}

package state

import (
	"fmt"
	"slices"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/ledger"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// EntryOf is the ledger entry that a snapshot is the wire's form of. Hashes of
// a wrong length are an error; an absent one is zero.
func EntryOf(s *pb.Snapshot) (ledger.Entry, error) {
	e := ledger.Entry{
		Index: s.GetLedgerIndex(), Snapshot: s.GetId(), Source: s.GetSource(), Run: s.GetRun(), Epoch: s.GetEpoch(),
		Engine: s.GetEngine(), Server: s.GetServer(), Image: s.GetImage(),
		FireTime: timeOf(s.GetFireTime()), StartedAt: timeOf(s.GetStartedAt()), CommitTime: timeOf(s.GetCommittedAt()),
		RawBytes: s.GetRawBytes(), NewBytes: s.GetNewBytes(), ManifestSize: s.GetManifestSize(), Generation: s.GetKeyGeneration(),
		Stores: slices.Clone(s.GetStores()),
	}
	for _, h := range []struct {
		to   *ledger.Hash
		from []byte
		what string
	}{
		{&e.Manifest, s.GetManifestSha256(), "manifest"},
		{&e.Root, s.GetRoot(), "root"},
		{&e.Previous, s.GetPreviousHash(), "previous entry"},
		{&e.Hash, s.GetHash(), "entry"},
	} {
		if err := setHash(h.to, h.from); err != nil {
			return ledger.Entry{}, fmt.Errorf("hash of the %s: %w", h.what, err)
		}
	}
	for _, stream := range s.GetStreams() {
		kept := ledger.Stream{
			Name: stream.GetName(), Kind: stream.GetKind(), Database: stream.GetDatabase(),
			Format: stream.GetFormat(), Size: stream.GetSize(),
		}
		if err := setHash(&kept.SHA256, stream.GetSha256()); err != nil {
			return ledger.Entry{}, fmt.Errorf("hash of stream %.40q: %w", stream.GetName(), err)
		}
		e.Streams = append(e.Streams, kept)
	}
	return e, nil
}

// SnapshotOf is the inverse of EntryOf.
func SnapshotOf(e ledger.Entry) *pb.Snapshot {
	s := &pb.Snapshot{
		Id: e.Snapshot, Source: e.Source, Run: e.Run, Epoch: e.Epoch, Engine: e.Engine, Server: e.Server, Image: e.Image,
		FireTime: stamp(e.FireTime), StartedAt: stamp(e.StartedAt), CommittedAt: stamp(e.CommitTime),
		RawBytes: e.RawBytes, NewBytes: e.NewBytes, ManifestSha256: e.Manifest[:], ManifestSize: e.ManifestSize, KeyGeneration: e.Generation,
		Root: e.Root[:], Stores: slices.Clone(e.Stores),
		LedgerIndex: e.Index, PreviousHash: e.Previous[:], Hash: e.Hash[:],
	}
	for _, stream := range e.Streams {
		s.Streams = append(s.Streams, &pb.Stream{
			Name: stream.Name, Kind: stream.Kind, Database: stream.Database, Format: stream.Format,
			Size: stream.Size, Sha256: stream.SHA256[:],
		})
	}
	return s
}

func setHash(to *ledger.Hash, from []byte) error {
	if len(from) != 0 && len(from) != len(to) {
		return fmt.Errorf("want %d bytes, have %d", len(to), len(from))
	}
	copy(to[:], from)
	return nil
}

// timeOf gives the zero time for an absent timestamp.
func timeOf(t *timestamp) time.Time {
	if !valid(t) {
		return time.Time{}
	}
	return t.AsTime()
}

func stamp(t time.Time) *timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

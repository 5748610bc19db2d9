package repo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/faulty"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// readAll opens a snapshot and reads all of its streams; n is what was handed over.
func readAll(ctx context.Context, objects ObjectReader, key SourceKey, r Ref) (n int64, err error) {
	s, err := OpenSnapshot(ctx, objects, key, r)
	if err != nil {
		return 0, err
	}
	for _, i := range s.Streams() {
		rc, err := s.Open(ctx, i.Name)
		if err != nil {
			return n, err
		}
		k, err := io.Copy(io.Discard, rc)
		if n += k; err != nil {
			return n, errors.Join(err, rc.Close())
		}
		_ = rc.Close()
	}
	return n, nil
}

func verify(ctx context.Context, objects ObjectReader, key SourceKey, r Ref) error {
	s, err := OpenSnapshot(ctx, objects, key, r)
	if err == nil {
		_, err = s.Verify(ctx, nil)
	}
	return err
}

// Every bit of every object is guarded: verify sees a flipped one wherever it
// is, and a restore either sees it or is not touched by it.
func TestEveryFlippedBitIsSeen(t *testing.T) {
	inner := mem.New()
	data := stream{"a", text(1, 30_000)}
	sum := backup(t, storeSink{inner}, options(snap1, nil), data)
	r := ref(snap1, sum)
	err := inner.List(t.Context(), "", func(i store.Info) error {
		step := int64(1)
		if i.Size > 4000 {
			step = 7
		}
		for at := int64(0); at < i.Size; at += step {
			st := faulty.Wrap(inner, faulty.Fault{Op: faulty.Get, Kind: faulty.Flip, Name: i.Name, Offset: at})
			if err := verify(t.Context(), st, testKey, r); problem.CodeOf(err) != problem.Corrupt {
				t.Errorf("%s, byte %d flipped: verify says %v", i.Name, at, err)
			}
			unnamed := Ref{Source: testSource, Snapshot: snap1} // without the ledger's hash
			if err := verify(t.Context(), st, testKey, unnamed); problem.CodeOf(err) != problem.Corrupt {
				t.Errorf("%s, byte %d flipped: verify without ledger says %v", i.Name, at, err)
			}
			n, err := readAll(t.Context(), st, testKey, r)
			if err != nil && problem.CodeOf(err) != problem.Corrupt || err == nil && n != int64(len(data.data)) {
				t.Errorf("%s, byte %d flipped: read %d, %v", i.Name, at, n, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestTruncatedAndMissingObjects(t *testing.T) {
	data := stream{"a", text(1, 30_000)}
	good := mem.New()
	r := ref(snap1, backup(t, storeSink{good}, options(snap1, nil), data))
	s := check(t, good, r, data)
	pack := PackName(testSource, s.Header().Packs[0].ID)
	for _, name := range []string{pack, ManifestName(testSource, snap1)} {
		info, err := good.Stat(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		for _, keep := range []int64{-1, 0, 1, 31, 32, 63, 64, 100, info.Size / 2, info.Size - 65, info.Size - 1, info.Size + 1} {
			t.Run(fmt.Sprintf("%.12s/%d", name[len(name)-26:], keep), func(t *testing.T) {
				st := mem.New()
				_ = good.List(t.Context(), "", func(i store.Info) error {
					rc, err := good.Get(t.Context(), i.Name, 0, -1)
					if err != nil {
						t.Fatal(err)
					}
					_, err = st.Put(t.Context(), i.Name, rc)
					return err
				})
				st.Change(name, func(b []byte) []byte {
					if keep < 0 {
						return nil
					}
					return append(b, 0)[:keep]
				})
				if err := verify(t.Context(), st, testKey, r); problem.CodeOf(err) != problem.Corrupt {
					t.Errorf("verify says %v", err)
				}
				if _, err := readAll(t.Context(), st, testKey, r); problem.CodeOf(err) != problem.Corrupt && keep <= info.Size {
					t.Errorf("read: %v", err)
				}
			})
		}
	}
	for _, kind := range []faulty.Kind{faulty.Short, faulty.Broken, faulty.Fail} {
		for nth := 1; nth <= 3; nth++ {
			st := faulty.Wrap(good, faulty.Fault{Op: faulty.Get, Kind: kind, Nth: nth})
			_, err := readAll(t.Context(), st, testKey, r)
			if err == nil || kind != faulty.Short && !errors.Is(err, faulty.ErrFault) || kind == faulty.Short && problem.CodeOf(err) != problem.Corrupt {
				t.Errorf("get %d, kind %d: %v", nth, kind, err)
			}
		}
	}
}

func TestLastChunkIsHeldBack(t *testing.T) {
	st := mem.New()
	data := stream{"a", text(1, 300_000)}
	r := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), data))
	s, err := OpenSnapshot(t.Context(), st, testKey, r)
	if err != nil {
		t.Fatal(err)
	}
	s.body.streams[0].SHA256[0] ^= 1 // as if the chunks, each good, were not those of the dump
	rc, err := s.Open(t.Context(), "a")
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(rc)
	if problem.CodeOf(err) != problem.Corrupt || len(got) >= len(data.data) || !bytes.HasPrefix(data.data, got) {
		t.Errorf("handed over %d of %d bytes, %v", len(got), len(data.data), err)
	}
	if _, err := rc.Read(make([]byte, 1)); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("reading on: %v", err)
	}
	if _, err := s.Verify(t.Context(), nil); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("verify: %v", err)
	}
	s.body.streams[0].SHA256[0] ^= 1
	s.body.root[0] ^= 1
	if _, err := s.Verify(t.Context(), nil); problem.CodeOf(err) != problem.Corrupt {
		t.Errorf("verify with another root: %v", err)
	}
}

func TestWrongKeysAndSwappedObjects(t *testing.T) {
	st := mem.New()
	one, two := stream{"a", text(1, 9000)}, stream{"a", text(2, 9000)}
	r1 := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), one))
	r2 := ref(snap2, backup(t, storeSink{st}, options(snap2, nil), two))
	p1, p2 := check(t, st, r1, one).Header().Packs[0], check(t, st, r2, two).Header().Packs[0]
	corrupted := func(what string, key SourceKey, r Ref) {
		t.Helper()
		if n, err := readAll(t.Context(), st, key, r); problem.CodeOf(err) != problem.Corrupt || n > 0 {
			t.Errorf("%s: read %d bytes, %v", what, n, err)
		}
	}
	corrupted("another source's key", keyNumber(4), r1)
	replace := func(name string, by []byte) (old []byte) {
		st.Change(name, func(b []byte) []byte { old = b; return by })
		return old
	}
	pack := func(p PackRef) string { return PackName(testSource, p.ID) }
	bytes2 := replace(pack(p2), []byte{})
	replace(pack(p2), bytes2)
	bytes1 := replace(pack(p1), bytes2)
	corrupted("pack of another snapshot", testKey, r1)
	replace(pack(p1), bytes1)

	manifest1 := replace(ManifestName(testSource, snap1), []byte{})
	replace(ManifestName(testSource, snap1), manifest1)
	replace(ManifestName(testSource, snap2), manifest1)
	corrupted("manifest of another snapshot", testKey, r2)
	corrupted("manifest of another snapshot, without ledger", testKey, Ref{Source: testSource, Snapshot: snap2})
	// The same bytes under the name of another source.
	if _, err := st.Put(t.Context(), ManifestName("other", snap1), bytes.NewReader(manifest1)); err != nil {
		t.Fatal(err)
	}
	corrupted("manifest under another source", testKey, Ref{Source: "other", Snapshot: snap1})
	// The clear header says another snapshot.
	forged := bytes.Replace(manifest1, []byte(snap1), []byte(snap2), 1)
	replace(ManifestName(testSource, snap2), forged)
	corrupted("manifest with a forged header", testKey, Ref{Source: testSource, Snapshot: snap2})
}

func TestReaderContext(t *testing.T) {
	st := mem.New()
	r := ref(snap1, backup(t, storeSink{st}, options(snap1, nil), stream{"a", text(1, 300_000)}))
	s, err := OpenSnapshot(t.Context(), st, testKey, r)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	rc, err := s.Open(ctx, "a")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := rc.Read(make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	cancel()
	if _, err := io.Copy(io.Discard, rc); !errors.Is(err, context.Canceled) {
		t.Errorf("read: %v", err)
	}
	if _, err := s.Open(t.Context(), "b"); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("a stream that is not there: %v", err)
	}
	if rc, err = s.Open(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	_ = rc.Close()
	if _, err := rc.Read(make([]byte, 1)); err == nil || err == io.EOF {
		t.Errorf("read after close: %v", err)
	}
}

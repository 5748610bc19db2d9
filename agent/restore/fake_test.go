package restore_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/restore"
	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

const (
	theSource   = "shop/db"
	theSnapshot = "01JZ0000000000000000000001"
)

var key = repo.MasterKey{7}.Source(theSource)

// target is an engine, its session and its only instance in one: an empty
// database that keeps what it is fed. What is not implemented here is not a
// restore's to call.
type target struct {
	engine.Engine
	engine.Session
	openErr, prepareErr, restoreErr error
	plan                            engine.RestorePlan

	prepared []engine.RestoreOptions
	metas    []engine.Stream
	options  []engine.RestoreOptions
	fed      map[string][]byte
	order    []string
	fedErr   error // what a reader failed with
	reads    int64 // at most so many bytes of a stream; 0: all
}

func (d *target) Name() string { return "fake" }

func (d *target) Blank(_ engine.Facts, s source.Spec, _ source.Secret) engine.Blank {
	return engine.Blank{Spec: s}
}

func (d *target) Open(context.Context, engine.Instance, source.Spec) (engine.Session, error) {
	return d, d.openErr
}

func (d *target) Prepare(_ context.Context, metas []engine.Stream, o engine.RestoreOptions) (engine.RestorePlan, error) {
	d.prepared = append(d.prepared, o)
	d.metas = metas
	return d.plan, d.prepareErr
}

func (d *target) Restore(_ context.Context, s engine.Stream, r io.Reader, o engine.RestoreOptions) error {
	if d.fed == nil {
		d.fed = map[string][]byte{}
	}
	if d.restoreErr != nil {
		return d.restoreErr
	}
	d.order = append(d.order, s.Name)
	d.options = append(d.options, o)
	if d.reads > 0 {
		r = io.LimitReader(r, d.reads)
	}
	d.fed[s.Name], d.fedErr = io.ReadAll(r)
	if d.fedErr != nil {
		return fmt.Errorf("feed the tool: %w", d.fedErr)
	}
	return nil
}

// sink puts objects into a store without a controller.
type sink struct{ *mem.Store }

func (s sink) Put(ctx context.Context, name string, data []byte, _ ledger.Hash) error {
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

func noise(seed byte, n int) []byte {
	b := make([]byte, n)
	_, _ = rand.NewChaCha8([32]byte{seed}).Read(b)
	return b
}

// sample is what snapshots of these tests hold.
var sample = []struct {
	engine.Stream
	data []byte
}{
	{engine.Stream{Name: "globals.sql", Kind: "globals", Format: "plain"}, []byte("CREATE ROLE shop;\n")},
	{engine.Stream{Name: "shop.sql", Kind: "database", Database: "shop", Format: "plain"}, noise(1, 5<<20)},
	{engine.Stream{Name: "zoo.sql", Kind: "database", Database: "zoo", Format: "plain"}, noise(2, 1000)},
}

// stored is a store with one snapshot.
func stored(t *testing.T) (*mem.Store, repo.Ref) {
	t.Helper()
	return storedWith(t, engine.Contents{})
}

// storedWith is stored with what was seen in each of its streams.
func storedWith(t *testing.T, seen engine.Contents) (*mem.Store, repo.Ref) {
	t.Helper()
	st := mem.New()
	w, err := repo.NewWriter(t.Context(), repo.WriterOptions{Source: theSource, Snapshot: theSnapshot, Key: key, Compress: source.CompressOff}, sink{st})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Abort()
	for _, s := range sample {
		sw, err := w.Stream(s.Stream)
		if err == nil {
			_, err = sw.Write(s.data)
		}
		if err == nil {
			_, err = sw.Close(seen)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	sum, err := w.Finish(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return st, repo.Ref{Source: theSource, Snapshot: theSnapshot, Manifest: sum.Manifest, Size: sum.ManifestSize}
}

// damage flips a bit in the middle of the only pack, inside shop.sql.
func damage(t *testing.T, st *mem.Store) {
	t.Helper()
	if err := st.List(t.Context(), "sources/", func(i store.Info) error {
		if strings.Contains(i.Name, "/packs/") {
			st.Change(i.Name, func(b []byte) []byte {
				b[len(b)/2] ^= 1
				return b
			})
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
}

// report is what a run reports.
type report struct {
	phases []string
	watch  func() (done, total int64)
}

func (r *report) Phase(what string)             { r.phases = append(r.phases, what) }
func (r *report) Watch(f func() (int64, int64)) { r.watch = f }

func run(t *testing.T, d *target, st *mem.Store, ref repo.Ref, o engine.RestoreOptions, names ...string) ([]string, *report, error) {
	t.Helper()
	rep := &report{}
	done, err := restore.Run(t.Context(), restore.Work{
		Snapshot: ref, Key: key, Select: names, Options: o, Engine: d,
	}, st, rep, slog.New(slog.DiscardHandler))
	return done.Report, rep, err
}

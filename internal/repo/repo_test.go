package repo

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
)

const (
	testSource = "shop/db"
	snap1      = "01J00000000000000000000001"
	snap2      = "01J00000000000000000000002"
	snap3      = "01J00000000000000000000003"
)

var testKey = keyNumber(1)

// keyNumber makes a key for tests.
func keyNumber(n byte) SourceKey { return SourceKey{secret: [keySize]byte{n, 2, 3}, generation: 1} }

// storeSink puts into a store, checking what it is told.
type storeSink struct{ store.Store }

func (s storeSink) Put(ctx context.Context, name string, data []byte, sum ledger.Hash) error {
	if sha256.Sum256(data) != sum {
		return fmt.Errorf("put %s: the hash is not of the data", name)
	}
	if o, err := ParseName(name); err != nil || o.Source != testSource {
		return fmt.Errorf("put %s: not an object of the source: %w", name, err)
	}
	_, err := s.Store.Put(ctx, name, bytes.NewReader(data))
	return err
}

type stream struct {
	name string
	data []byte
}

func options(snapshot string, base *Base) WriterOptions {
	return WriterOptions{Source: testSource, Snapshot: snapshot, Key: testKey, Base: base}
}

func writeAll(w *Writer, streams ...stream) (Summary, error) {
	defer w.Abort()
	for _, s := range streams {
		sw, err := w.Stream(StreamMeta{Name: s.name, Kind: "database", Database: "d-" + s.name, Format: "text"})
		if err != nil {
			return Summary{}, err
		}
		for p := s.data; len(p) > 0; {
			n := min(len(p), 32<<10)
			if _, err := sw.Write(p[:n]); err != nil {
				return Summary{}, err
			}
			p = p[n:]
		}
		if _, err := sw.Close(Contents{Notes: []string{"note of " + s.name}}); err != nil {
			return Summary{}, err
		}
	}
	return w.Finish(context.Background())
}

func backup(t testing.TB, sink Sink, o WriterOptions, streams ...stream) Summary {
	t.Helper()
	w, err := NewWriter(t.Context(), o, sink)
	if err != nil {
		t.Fatal(err)
	}
	sum, err := writeAll(w, streams...)
	if err != nil {
		t.Fatal(err)
	}
	return sum
}

func ref(snapshot string, s Summary) Ref {
	return Ref{Source: testSource, Snapshot: snapshot, Manifest: s.Manifest, Size: s.ManifestSize}
}

func loadBase(t testing.TB, objects ObjectReader, refs ...Ref) *Base {
	t.Helper()
	b, err := LoadBase(t.Context(), objects, testKey, refs)
	if err != nil {
		t.Fatal(err)
	}
	if len(b.Damaged()) > 0 {
		t.Fatalf("base left out %v", b.Damaged())
	}
	return b
}

// check reads a snapshot back in every way there is.
func check(t testing.TB, objects ObjectReader, r Ref, streams ...stream) *Snapshot {
	t.Helper()
	s, err := OpenSnapshot(t.Context(), objects, testKey, r)
	if err != nil {
		t.Fatal(err)
	}
	infos := s.Streams()
	if len(infos) != len(streams) {
		t.Fatalf("%d streams, want %d", len(infos), len(streams))
	}
	for i, want := range streams {
		in := infos[i]
		if in.Name != want.name || in.Database != "d-"+want.name || in.Size != int64(len(want.data)) || in.SHA256 != sha256.Sum256(want.data) || in.Contents.Notes[0] != "note of "+want.name {
			t.Errorf("stream %d is %+v", i, in)
		}
		rc, err := s.Open(t.Context(), want.name)
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(rc)
		if err != nil || !bytes.Equal(got, want.data) {
			t.Fatalf("stream %s: %d bytes, want %d; %v", want.name, len(got), len(want.data), err)
		}
		_ = rc.Close()
	}
	var last, total int64
	report, err := s.Verify(t.Context(), func(d, n int64) { last, total = d, n })
	if err != nil {
		t.Fatal(err)
	}
	if last != total || report.Streams != len(streams) || report.Packs != len(s.Header().Packs) {
		t.Errorf("verify: %+v, progress %d of %d", report, last, total)
	}
	return s
}

func random(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8)})
	_, _ = r.Read(b)
	return b
}

// text is like a dump: rows of words and numbers, each line different.
func text(seed uint64, n int) []byte {
	r := rand.New(rand.NewPCG(seed, 1))
	words := strings.Fields("alpha bravo charlie delta echo foxtrot golf hotel india juliet kilo lima mike november oscar papa")
	b := make([]byte, 0, n+200)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d\t%s %s\t%d.%02d\t2026-%02d-%02d %02d:%02d:%02d\t%s@example.org\t%x\n", i,
			words[r.IntN(16)], words[r.IntN(16)], r.IntN(10000), r.IntN(100), 1+r.IntN(12), 1+r.IntN(28), r.IntN(24), r.IntN(60), r.IntN(60), words[r.IntN(16)], r.Uint32())
	}
	return b[:n]
}

func TestRoundTrip(t *testing.T) {
	c := defaultChunking
	cases := map[string][]stream{
		"no stream":   nil,
		"empty":       {{"a", nil}},
		"one byte":    {{"a", []byte("x")}},
		"min":         {{"a", random(1, c.Min)}},
		"max":         {{"a", make([]byte, c.Max)}, {"b", make([]byte, c.Max+1)}, {"c", random(2, c.Max-1)}},
		"frame":       {{"a", random(3, frameSize)}, {"b", random(4, frameSize+1)}},
		"buffer":      {{"a", random(5, streamBuffer)}, {"b", random(6, 2*streamBuffer-1)}},
		"repetitive":  {{"a", bytes.Repeat([]byte("the same line again\n"), 150_000)}},
		"zeros":       {{"a", make([]byte, 5<<20)}},
		"random":      {{"a", random(7, 5<<20)}},
		"text":        {{"a", text(1, 5<<20)}},
		"same twice":  {{"a", text(2, 3<<20)}, {"b", text(2, 3<<20)}},
		"empty among": {{"a", text(3, 9999)}, {"b", nil}, {"c", text(4, 9999)}},
	}
	var many []stream
	for i := range 100 {
		many = append(many, stream{fmt.Sprintf("s%d.sql", i), text(uint64(i), i*97)})
	}
	cases["many"] = many
	for name, streams := range cases {
		for _, o := range []WriterOptions{{}, {Compress: "off", PackSize: 2 << 20, InFlight: 3, Workers: 1}, {Compress: "better"}, {Compress: "fast"}} {
			t.Run(fmt.Sprintf("%s/%s", name, o.Compress), func(t *testing.T) {
				t.Parallel()
				st := mem.New()
				o.Source, o.Snapshot, o.Key = testSource, snap1, testKey
				sum := backup(t, storeSink{st}, o, streams...)
				s := check(t, st, ref(snap1, sum), streams...)
				if s.Root() != sum.Root {
					t.Error("the root in the manifest is not the one in the summary")
				}
			})
		}
	}
}

package repo

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/source"
	"github.com/baktainer/baktainer/internal/store/mem"
)

// nowhere is a sink that keeps nothing.
type nowhere struct{}

func (nowhere) Put(context.Context, string, []byte, ledger.Hash) error { return nil }

const benchSize = 64 << 20

// cpu reports megabytes per second of processor time, all threads together,
// which holds on a busy machine too.
func cpu(b *testing.B, size int) func() {
	used := func() time.Duration {
		var u syscall.Rusage
		_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	b.SetBytes(int64(size))
	b.ReportAllocs()
	runtime.GC()
	start := used()
	return func() {
		b.ReportMetric(float64(size)*float64(b.N)/1e6/(used()-start).Seconds(), "MB/cpu-s")
	}
}

func BenchmarkChunker(b *testing.B) {
	data := text(1, benchSize)
	c, _ := newChunker(testKey, defaultChunking)
	defer cpu(b, benchSize)()
	chunks := 0
	for b.Loop() {
		chunks = 0
		for p := data; len(p) > 0; chunks++ {
			p = p[c.cut(&c.tiers[0], p):]
		}
	}
	b.ReportMetric(benchSize/float64(chunks), "B/chunk")
}

func BenchmarkChunkID(b *testing.B) {
	data := text(1, 4<<10)
	h := newHasher(testKey)
	defer cpu(b, 4<<10)()
	for b.Loop() {
		h.id(data)
	}
}

func BenchmarkFrame(b *testing.B) {
	raw := text(1, frameSize)
	for _, level := range []source.Compression{"off", "fast", "default", "better"} {
		c := compressors[level]
		seal, _ := newSeal(CipherAESGCM, testKey.packKey(packID{}))
		codec, stored, scratch, _ := c.compress(nil, raw)
		sealed := appendFrame(nil, seal, packID{}, 0, codec, len(raw), stored)
		b.Run("seal/"+string(level), func(b *testing.B) {
			defer cpu(b, frameSize)()
			for b.Loop() {
				codec, stored, scratch, _ = c.compress(scratch, raw)
				sealed = appendFrame(sealed[:0], seal, packID{}, 0, codec, len(raw), stored)
			}
			b.ReportMetric(float64(len(raw))/float64(len(sealed)), "ratio")
		})
		b.Run("open/"+string(level), func(b *testing.B) {
			defer cpu(b, frameSize)()
			buf, dst := make([]byte, len(sealed)), make([]byte, frameSize)
			for b.Loop() {
				copy(buf, sealed)
				if _, err := openFrame(buf, seal, packID{}, 0, len(raw), dst, noDictionaries); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// rows is like pgbench's accounts with a few words: less surprising than text.
func rows(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	b := make([]byte, 0, n+200)
	for i := 0; len(b) < n; i++ {
		b = fmt.Appendf(b, "%d\t%d\t%d\tcustomer %d\t2026-01-%02d 10:%02d:%02d\t{\"state\": \"%s\", \"amount\": %d}\n", i, 1+i/100_000, r.IntN(20_000)-10_000, r.IntN(5000), 1+i%28, i%60, i%59,
			[]string{"open", "paid", "sent"}[r.IntN(3)], r.IntN(1000))
	}
	return b[:n]
}

func BenchmarkWriter(b *testing.B) {
	plain, incompressible := text(1, benchSize), random(1, benchSize)
	st := mem.New()
	base := func(data []byte, snapshot string) *Base {
		return loadBase(b, st, ref(snapshot, backup(b, storeSink{st}, options(snapshot, nil), stream{"a", data})))
	}
	for _, c := range []struct {
		name     string
		data     []byte
		compress source.Compression
		base     *Base
	}{
		{"new-rows", rows(benchSize), "", nil},
		{"new-text", plain, "", nil},
		{"new-text-fast", plain, "fast", nil},
		{"new-text-better", plain, "better", nil},
		{"new-random", incompressible, "", nil},
		{"known-text", plain, "", base(plain, snap1)},
	} {
		b.Run(c.name, func(b *testing.B) {
			defer cpu(b, benchSize)()
			for b.Loop() {
				o := options(snap2, c.base)
				o.Compress = c.compress
				backup(b, nowhere{}, o, stream{"a", c.data})
			}
		})
	}
}

func BenchmarkLoadBase(b *testing.B) {
	st := mem.New()
	r := ref(snap1, backup(b, storeSink{st}, options(snap1, nil), stream{"a", text(1, benchSize)}))
	defer cpu(b, benchSize)()
	var base *Base
	for b.Loop() {
		base = loadBase(b, st, r)
	}
	b.ReportMetric(float64(base.set.memory())/float64(base.set.n), "B/chunk")
}

func BenchmarkReader(b *testing.B) {
	st := mem.New()
	r := ref(snap1, backup(b, storeSink{st}, options(snap1, nil), stream{"a", text(1, benchSize)}))
	s, err := OpenSnapshot(b.Context(), st, testKey, r)
	if err != nil {
		b.Fatal(err)
	}
	defer cpu(b, benchSize)()
	for b.Loop() {
		rc, err := s.Open(b.Context(), "a")
		if err != nil {
			b.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, rc); err != nil {
			b.Fatal(err)
		}
		_ = rc.Close()
	}
}

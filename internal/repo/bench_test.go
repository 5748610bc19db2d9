package repo

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	crand "crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

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

// BenchmarkPack puts frames that are compressed already into packs: sealing,
// index, hash of the object.
func BenchmarkPack(b *testing.B) {
	frame := packedFrame{codec: codecRaw, raw: frameSize, stored: random(1, frameSize), ids: make([]chunkID, 256), lengths: make([]uint32, 256)}
	for i := range frame.ids {
		frame.ids[i] = testID(i)
		frame.lengths[i] = 4 << 10
	}
	const frames = 16
	p := packBuilder{limit: 32 << 20}
	defer cpu(b, frames*frameSize)()
	for b.Loop() {
		if err := p.start(testKey, CipherAESGCM, crand.Reader); err != nil {
			b.Fatal(err)
		}
		for range frames {
			p.add(frame)
		}
		p.finish()
	}
}

// testID is an id as evenly spread as those of chunks.
func testID(i int) (id chunkID) {
	sum := sha256.Sum256(le.AppendUint64(nil, uint64(i)))
	copy(id[:], sum[:])
	return id
}

// BenchmarkKnown looks up chunks of 4 KiB: the rate is that of the stream.
func BenchmarkKnown(b *testing.B) {
	for _, n := range []int{1 << 14, 1 << 18, 1 << 21} { // 64 MiB, 1 GiB and 8 GiB of stream
		var set chunkSet
		ids, others := make([]chunkID, n), make([]chunkID, n)
		for i := range ids {
			ids[i], others[i] = testID(i), testID(i+n)
			set.add(&ids[i])
		}
		const lookups = 1 << 12
		for _, c := range []struct {
			name string
			ids  []chunkID
			is   bool
		}{{"hit", ids, true}, {"miss", others, false}} {
			b.Run(fmt.Sprintf("%s/%d", c.name, n), func(b *testing.B) {
				defer cpu(b, lookups*4<<10)()
				at := 0
				for b.Loop() {
					for range lookups {
						at++
						if _, ok := set.find(&c.ids[at*7919%n]); ok != c.is {
							b.Fatal("wrong answer")
						}
					}
				}
			})
		}
	}
}

// BenchmarkYardsticks are what the parts are made of, alone: how near to them
// the parts come says how much they add.
func BenchmarkYardsticks(b *testing.B) {
	raw := text(1, frameSize)
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1))
	if err != nil {
		b.Fatal(err)
	}
	compressed := encoder.EncodeAll(raw, nil)
	block, err := aes.NewCipher(make([]byte, 32))
	if err != nil {
		b.Fatal(err)
	}
	gcm, err := cipher.NewGCM(block)
	if err != nil {
		b.Fatal(err)
	}
	var out []byte
	for _, c := range []struct {
		name string
		do   func()
	}{
		{"sha256", func() { sha256.Sum256(raw) }},
		{"sha256-4KiB", func() {
			for p := raw; len(p) > 0; p = p[4<<10:] {
				sha256.Sum256(p[:4<<10])
			}
		}},
		{"zstd-fastest", func() { out = encoder.EncodeAll(raw, out[:0]) }},
		{"unzstd", func() { out, err = decoder.DecodeAll(compressed, out[:0]) }},
		{"aes-256-gcm", func() { out = gcm.Seal(out[:0], make([]byte, 12), raw, nil) }},
		{"copy", func() { out = append(out[:0], raw...) }},
	} {
		b.Run(c.name, func(b *testing.B) {
			defer cpu(b, frameSize)()
			for b.Loop() {
				c.do()
			}
		})
	}
	if err != nil {
		b.Fatal(err)
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

// BenchmarkVerify verifies days of a source, one after the other and together: the
// rate is that of their dumps.
func BenchmarkVerify(b *testing.B) {
	all := weeks(b, mem.New(), "uniform", 16<<20, 4)
	size := int64(0)
	for _, s := range all {
		size += s.report().RawBytes
	}
	one := func(s *Snapshot) Verified { r, err := s.Verify(b.Context(), nil); return Verified{r, err} }
	for name, verify := range map[string]func() []Verified{
		"each":     func() []Verified { return []Verified{one(all[0]), one(all[1]), one(all[2]), one(all[3])} },
		"together": func() []Verified { return VerifyAll(b.Context(), all, nil) },
	} {
		b.Run(name, func(b *testing.B) {
			defer cpu(b, int(size))()
			for b.Loop() {
				for _, v := range verify() {
					if v.Err != nil {
						b.Fatal(v.Err)
					}
				}
			}
		})
	}
}

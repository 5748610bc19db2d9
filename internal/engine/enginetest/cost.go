package enginetest

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/ledger"
	"github.com/baktainer/baktainer/internal/repo"
)

// nowhere takes packs and manifests and forgets them.
type nowhere struct{}

func (nowhere) Put(context.Context, string, []byte, ledger.Hash) error { return nil }

// piece is how much of a dump an inspector is given at once, as in a backup.
const piece = 256 << 10

// BenchmarkInspector measures the processor time that an inspector takes for a
// dump, beside that of storing the same dump for the first time: chunks, hashes,
// compression, sealing.
func BenchmarkInspector(b *testing.B, dump []byte, inspector func() engine.Inspector) {
	b.Helper()
	b.SetBytes(int64(len(dump)))
	var inspecting, storing time.Duration
	for b.Loop() {
		began := busy(b)
		i := inspector()
		for rest := dump; len(rest) > 0; rest = rest[min(piece, len(rest)):] {
			_, _ = i.Write(rest[:min(piece, len(rest))]) // it keeps what it finds wrong
		}
		if _, err := i.Finish(); err != nil {
			b.Fatal(err)
		}
		between := busy(b)
		inspecting += between - began
		store(b, dump)
		storing += busy(b) - between
	}
	mega := float64(len(dump)) * float64(b.N) / 1e6
	b.ReportMetric(float64(inspecting.Milliseconds())/mega, "inspect-ms/MB")
	b.ReportMetric(float64(storing.Milliseconds())/mega, "store-ms/MB")
	b.ReportMetric(100*inspecting.Seconds()/max(storing.Seconds(), 1e-9), "%-of-storing")
}

func store(b *testing.B, dump []byte) {
	b.Helper()
	w, err := repo.NewWriter(b.Context(), repo.WriterOptions{Source: "s", Snapshot: "01J00000000000000000000001", Key: repo.MasterKey{1}.Source("s")}, nowhere{})
	if err != nil {
		b.Fatal(err)
	}
	defer w.Abort()
	stream, err := w.Stream(repo.StreamMeta{Name: "a"})
	if err == nil {
		_, err = stream.Write(dump)
	}
	if err == nil {
		_, err = stream.Close(engine.Contents{})
	}
	if err == nil {
		_, err = w.Finish(b.Context())
	}
	if err != nil {
		b.Fatal(err)
	}
}

// busy is the processor time that this process has used.
func busy(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

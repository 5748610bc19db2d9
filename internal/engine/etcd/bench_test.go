package etcd

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
)

func BenchmarkInspect(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	dump := []byte(firstLine + "1, etcdctl 3.4.23\n")
	keys := 0
	for ; len(dump) < 32<<20; keys++ {
		key := fmt.Sprintf("/service-%d/config/%08x", keys/1000, random.Uint32())
		value := fmt.Sprintf(`{"user": %d, "name": "Zoë Müller %x", "seen": "2026-03-04T12:00:00Z"}`, random.Uint32(), random.Uint32())
		dump = appendPair(append(dump, linePut...), []byte(key), []byte(value))
	}
	dump = fmt.Appendf(dump, "%s%d keys\n", lastLine, keys)
	enginetest.BenchmarkInspector(b, dump, func() engine.Inspector { return &inspector{} })
}

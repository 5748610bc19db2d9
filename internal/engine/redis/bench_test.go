package redis

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
)

func BenchmarkInspect(b *testing.B) {
	random := rand.New(rand.NewPCG(1, 2))
	var dump bytes.Buffer
	text := func(s string) { // its length in two bytes
		dump.Write([]byte{0x40 | byte(len(s)>>8), byte(len(s))})
		dump.WriteString(s)
	}
	dump.WriteString("REDIS0010\xfe\x00")
	for i := 0; dump.Len() < 32<<20; i++ {
		dump.WriteByte(0) // a string
		text(fmt.Sprintf("session:%d:%x", i, random.Uint32()))
		text(fmt.Sprintf(`{"user": %d, "name": "Zoë Müller %x", "cart": [%d, %d], "seen": "2026-03-04T12:00:00Z"}`, i, random.Uint32(), random.IntN(1000), random.IntN(1000)))
	}
	dump.WriteString("\xff\x00\x00\x00\x00\x00\x00\x00\x00") // without a checksum
	enginetest.BenchmarkInspector(b, dump.Bytes(), func() engine.Inspector { return newInspector() })
}

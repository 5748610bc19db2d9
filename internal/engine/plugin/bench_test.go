package plugin

import (
	"archive/tar"
	"bytes"
	"crypto/rand"
	"testing"

	"github.com/baktainer/baktainer/internal/engine"
	"github.com/baktainer/baktainer/internal/engine/enginetest"
	"github.com/baktainer/baktainer/internal/source"
)

// What feeding a plugin costs the agent; what the plugin itself takes is its own.
func BenchmarkInspector(b *testing.B) {
	var dump bytes.Buffer
	w := tar.NewWriter(&dump)
	noise := make([]byte, 32<<20)
	_, _ = rand.Read(noise)
	if err := w.WriteHeader(&tar.Header{Name: "./noise", Size: int64(len(noise)), Mode: 0o644}); err != nil {
		b.Fatal(err)
	}
	_, _ = w.Write(noise)
	if err := w.Close(); err != nil {
		b.Fatal(err)
	}
	s := open(b, files(b), enginetest.NewScript(engine.Facts{}), source.Spec{})
	enginetest.BenchmarkInspector(b, dump.Bytes(), func() engine.Inspector { return s.Inspect(two) })
}

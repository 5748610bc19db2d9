package postgres

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
	dump.WriteString("--\n-- PostgreSQL database dump\n--\n\n-- Dumped by pg_dump version 15.18\n\nSET client_encoding = 'UTF8';\n\nCREATE TABLE public.orders (id bigint, name text, amount numeric, note text);\n\n" +
		"COPY public.orders (id, name, amount, note) FROM stdin;\n")
	for i := 0; dump.Len() < 32<<20; i++ {
		fmt.Fprintf(&dump, "%d\tZoë Müller %x\t%d.%02d\tit's \\\\ a note of some length, number %d\n", i, random.Uint32(), random.IntN(9999), random.IntN(100), random.IntN(1000))
	}
	dump.WriteString("\\.\n\n\n--\n-- PostgreSQL database dump complete\n--\n\n")
	enginetest.BenchmarkInspector(b, dump.Bytes(), func() engine.Inspector { return newInspector(databaseMarks) })
}

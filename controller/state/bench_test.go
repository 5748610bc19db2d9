package state_test

import (
	"fmt"
	"io"
	"testing"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// BenchmarkBackup is a whole backup as the state sees it, among many sources.
func BenchmarkBackup(b *testing.B) {
	l := newLog(b)
	for a := range 100 {
		var sources []*pb.Source
		for i := range 100 {
			sources = append(sources, ready(fmt.Sprintf("a%d-s%d", a, i)))
		}
		l.must(report(fmt.Sprintf("a%d", a), nil, sources...))
	}
	n := 0
	for b.Loop() {
		n++
		id, source := fmt.Sprintf("r%d", n), fmt.Sprintf("a%d-s%d", n%100, n/100%100)
		l.must(withID(queue(id, source, n), "q"+id), withID(grant(id, n), "g"+id), withID(commit(id, 1, source, n), "c"+id))
	}
}

// BenchmarkRaftSnapshot writes the state of 20,000 backups.
func BenchmarkRaftSnapshot(b *testing.B) {
	l := newLog(b)
	for n := range 20_000 {
		id, source := fmt.Sprintf("r%d", n), fmt.Sprintf("s%d", n%1000)
		l.must(queue(id, source, n), grant(id, n), commit(id, 1, source, n))
	}
	b.ResetTimer()
	for b.Loop() {
		size, err := l.state.WriteTo(io.Discard)
		if err != nil {
			b.Fatal(err)
		}
		b.SetBytes(size)
	}
}

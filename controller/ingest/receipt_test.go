package ingest

import (
	"bytes"
	"testing"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// No two things have the same MAC, however their texts may be moved about.
func TestReceiptMAC(t *testing.T) {
	t.Parallel()
	key := [32]byte{1}
	base := func() (*pb.Lease, *pb.Receipt) {
		return &pb.Lease{Run: "run", Epoch: 1}, &pb.Receipt{Name: "name", Size: 2, Sha256: []byte("hash"), Store: "store"}
	}
	seen := map[string]string{}
	for name, change := range map[string]func(*pb.Lease, *pb.Receipt){
		"itself":       func(*pb.Lease, *pb.Receipt) {},
		"run":          func(l *pb.Lease, _ *pb.Receipt) { l.Run = "run2" },
		"epoch":        func(l *pb.Lease, _ *pb.Receipt) { l.Epoch = 2 },
		"name":         func(_ *pb.Lease, r *pb.Receipt) { r.Name = "name2" },
		"size":         func(_ *pb.Lease, r *pb.Receipt) { r.Size = 1 },
		"hash":         func(_ *pb.Lease, r *pb.Receipt) { r.Sha256 = []byte("hasi") },
		"store":        func(_ *pb.Lease, r *pb.Receipt) { r.Store = "" },
		"shifted":      func(l *pb.Lease, r *pb.Receipt) { l.Run, r.Name = "runn", "ame" },
		"shifted back": func(l *pb.Lease, r *pb.Receipt) { l.Run, r.Name = "ru", "nname" },
		"hash to name": func(_ *pb.Lease, r *pb.Receipt) { r.Name, r.Sha256 = "nameha", []byte("sh") },
		"swapped":      func(l *pb.Lease, r *pb.Receipt) { l.Epoch, r.Size = 2, 1 },
		"zero bytes":   func(l *pb.Lease, _ *pb.Receipt) { l.Run = "run\x00" },
	} {
		l, r := base()
		change(l, r)
		mac := string(receiptMAC(key, l, r))
		if other, taken := seen[mac]; taken {
			t.Errorf("%q and %q have the same MAC", name, other)
		}
		seen[mac] = name
	}
	l, r := base()
	r.Mac = []byte("whatever")
	if seen[string(receiptMAC(key, l, r))] != "itself" {
		t.Error("it is not the same each time")
	}
	if bytes.Equal(receiptMAC(key, l, r), receiptMAC([32]byte{2}, l, r)) {
		t.Error("another key gives the same MAC")
	}
}

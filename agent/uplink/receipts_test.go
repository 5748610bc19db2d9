package uplink

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A commit with more receipts than a message holds would be refused for ever.
func TestACommitShowsAsManyReceiptsAsAMessageHolds(t *testing.T) {
	t.Parallel()
	one := &pb.Receipt{Name: strings.Repeat("n", 90), Size: 16 << 20, Sha256: make([]byte, 32), Store: "main", Mac: make([]byte, 32)}
	for _, n := range []int{0, 1, 10_000, 200_000} {
		o := &Objects{}
		for range n {
			o.receipts = append(o.receipts, one)
		}
		req := &pb.CommitSnapshotRequest{Receipts: o.shown()}
		if size := proto.Size(req); size > transport.MaxMessage*7/8 {
			t.Errorf("%d receipts: a message of %d bytes", n, size)
		}
		if shown := len(req.GetReceipts()); shown != n && (n < 50_000 || shown < 50_000) {
			t.Errorf("%d of %d receipts are shown", shown, n)
		}
	}
}

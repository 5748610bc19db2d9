package ingest

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// receiptWord is what a MAC begins over, so that the key's MACs cannot be taken
// for anything else.
const receiptWord = "baktainer/1 receipt"

// receipt is this controller's word that the store has the object; nil without a key.
func (i *Ingest) receipt(h *pb.ObjectHeader) *pb.Receipt {
	if i.ReceiptKey == [32]byte{} {
		return nil
	}
	r := &pb.Receipt{Name: h.GetName(), Size: h.GetSize(), Sha256: h.GetSha256(), Store: i.StoreName}
	r.Mac = receiptMAC(i.ReceiptKey, h.GetLease(), r)
	return r
}

// vouches says whether a receipt is a controller's word, given under this lease,
// that the store has just that pack.
func (i *Ingest) vouches(l *pb.Lease, r *pb.Receipt, name string, p repo.PackRef) bool {
	if r == nil || i.ReceiptKey == [32]byte{} {
		return false
	}
	want := &pb.Receipt{Name: name, Size: p.Size, Sha256: p.SHA256[:], Store: i.StoreName}
	return hmac.Equal(r.GetMac(), receiptMAC(i.ReceiptKey, l, want))
}

// receiptMAC is over lease and object, each text with its length before it.
func receiptMAC(key [32]byte, l *pb.Lease, r *pb.Receipt) []byte {
	var b []byte
	for _, text := range [][]byte{[]byte(receiptWord), []byte(l.GetRun()), []byte(r.GetName()), r.GetSha256(), []byte(r.GetStore())} {
		b = binary.BigEndian.AppendUint64(b, uint64(len(text)))
		b = append(b, text...)
	}
	b = binary.BigEndian.AppendUint64(b, l.GetEpoch())
	b = binary.BigEndian.AppendUint64(b, uint64(r.GetSize()))
	mac := hmac.New(sha256.New, key[:])
	mac.Write(b)
	return mac.Sum(nil)
}

// byName sorts receipts by the object that they are for; of several the last counts.
func byName(receipts []*pb.Receipt) map[string]*pb.Receipt {
	named := make(map[string]*pb.Receipt, len(receipts))
	for _, r := range receipts {
		named[r.GetName()] = r
	}
	return named
}

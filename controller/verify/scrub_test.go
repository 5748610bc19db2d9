package verify

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestDue(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)
	ago := func(days int) *timestamppb.Timestamp { return timestamppb.New(now.AddDate(0, 0, -days)) }
	n := uint64(0)
	// A snapshot: source, days since its commit and since its verification, -1 for never.
	made := func(source string, committed, verified int) *pb.Snapshot {
		n++
		s := &pb.Snapshot{Id: source + ":" + ago(committed).AsTime().Format("0102"), Source: source, LedgerIndex: n, CommittedAt: ago(committed)}
		if verified >= 0 {
			s.VerifiedAt = ago(verified)
		}
		return s
	}
	damaged := func(s *pb.Snapshot) *pb.Snapshot { s.DamagedAt = ago(0); return s }
	for name, tc := range map[string]struct {
		all   []*pb.Snapshot
		tried string
		want  string
	}{
		"nothing":              {},
		"all known":            {all: []*pb.Snapshot{made("a", 50, 3), made("a", 1, -1)}},
		"never any":            {all: []*pb.Snapshot{made("a", 2, -1), made("a", 1, -1)}, want: "a:0303"},
		"old ones too":         {all: []*pb.Snapshot{made("a", 40, -1), made("a", 2, -1), made("a", 1, -1)}, want: "a:0303 a:0123"},
		"known for too long":   {all: []*pb.Snapshot{made("a", 90, 31), made("a", 50, 30), made("a", 31, -1), made("a", 1, 0)}, want: "a:0201 a:1204"},
		"damaged ones":         {all: []*pb.Snapshot{damaged(made("a", 90, 31)), made("a", 1, 0)}},
		"all damaged":          {all: []*pb.Snapshot{damaged(made("a", 90, -1)), damaged(made("a", 1, -1))}},
		"the longest first":    {all: []*pb.Snapshot{made("a", 90, 31), made("b", 90, 45), made("c", 1, -1)}, want: "b:1204"},
		"then the next":        {all: []*pb.Snapshot{made("a", 90, 31), made("b", 90, 45), made("c", 1, -1)}, tried: "b", want: "a:1204"},
		"of two alike by name": {all: []*pb.Snapshot{made("b", 1, -1), made("a", 1, -1)}, want: "a:0303"},
	} {
		var ids []string
		for _, s := range Due(tc.all, now, 30*24*time.Hour, map[string]bool{tc.tried: true}) {
			ids = append(ids, s.GetId())
		}
		if got := strings.Join(ids, " "); got != tc.want {
			t.Errorf("%s: %q, want %q", name, got, tc.want)
		}
	}
}

func TestSlowly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, data := mem.New(), bytes.Repeat([]byte("x"), 10<<20)
		if _, err := m.Put(t.Context(), "a", bytes.NewReader(data)); err != nil {
			t.Fatal(err)
		}
		if Slowly(m, 0) != any(m) {
			t.Error("without a limit the store is another one")
		}
		began := time.Now()
		r, err := Slowly(m, 2<<20).Get(t.Context(), "a", 0, -1)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		got, err := io.ReadAll(r)
		if took := time.Since(began); err != nil || !bytes.Equal(got, data) || took < 4*time.Second || took > 6*time.Second {
			t.Errorf("%d bytes in %s, %v", len(got), took, err)
		}
	})
}

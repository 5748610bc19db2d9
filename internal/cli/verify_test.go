package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// verifying is a controller with many snapshots of two sources.
type verifying struct {
	*fake
	old      bool             // it knows nothing of more than one
	answers  map[string]error // instead of a report
	mu       sync.Mutex
	requests [][]string
}

const manySnapshots = 22

func manyID(i int) string { return fmt.Sprintf("01JNG3ZZZZZZZZZZZZZZZZZZ%02d", i) }

func (f *verifying) ListSnapshots(context.Context, *pb.ListSnapshotsRequest) (*pb.ListSnapshotsResponse, error) {
	list := &pb.ListSnapshotsResponse{}
	for i := range manySnapshots {
		list.Snapshots = append(list.Snapshots, &pb.Snapshot{Id: manyID(i), Source: []string{"shop/db", "wiki", "shop/db"}[i%3]})
	}
	return list, nil
}

func (f *verifying) VerifySnapshot(req *pb.VerifySnapshotRequest, s grpc.ServerStreamingServer[pb.VerifySnapshotResponse]) error {
	asked := append([]string{req.GetSnapshot()}, req.GetMore()...)
	f.mu.Lock()
	f.requests = append(f.requests, asked)
	f.mu.Unlock()
	if f.old {
		asked = asked[:1]
	}
	for _, id := range asked {
		if err := f.answers[id]; err != nil {
			return err
		}
		if err := s.Send(&pb.VerifySnapshotResponse{BytesDone: 1, BytesTotal: 2}); err != nil {
			return err
		}
		m := &pb.VerifySnapshotResponse{Report: &pb.VerifyReport{Packs: int64(slices.Index(asked, id)), Problems: f.findings[id]}}
		if !f.old {
			m.Snapshot = id
		}
		if err := s.Send(m); err != nil {
			return err
		}
	}
	return nil
}

// verified runs the command for all snapshots, and gives what it said of each, in
// its order.
func verified(t *testing.T, f *verifying) ([]verifyView, result) {
	t.Helper()
	r := cli(t, Roof{}, serve(t, f), "snapshot", "verify", "--all", "-o", "json")
	var views []verifyView
	if err := json.Unmarshal([]byte(r.out), &views); err != nil && r.out != "" {
		t.Fatalf("%v in %q", err, r.out)
	}
	return views, r
}

// Whatever the controller knows, there is a result for each snapshot, in the order
// of the list.
func TestVerifyTogether(t *testing.T) {
	lost := problem.New(problem.Corrupt, "the ledger entry is damaged")
	for name, f := range map[string]*verifying{
		"together":                 {},
		"an older one":             {old: true},
		"one cannot be read":       {answers: map[string]error{manyID(3): lost}},
		"older, one cannot":        {old: true, answers: map[string]error{manyID(3): lost}},
		"the last cannot":          {answers: map[string]error{manyID(manySnapshots - 1): lost}},
		"the first of all is gone": {answers: map[string]error{manyID(0): lost}},
	} {
		t.Run(name, func(t *testing.T) {
			f.fake = &fake{findings: map[string][]*pb.Failure{manyID(8): {{Code: "corrupt", Message: "pack 12 is missing"}}}}
			views, r := verified(t, f)
			if len(views) != manySnapshots || r.status != 3 {
				t.Fatalf("%d results; %+v", len(views), r)
			}
			for i, v := range views {
				want := ""
				if i == 8 {
					want = "pack 12 is missing"
				} else if f.answers[manyID(i)] != nil {
					want = "the ledger entry is damaged"
				}
				got := ""
				for _, p := range v.Problems {
					got += p.Message
				}
				if v.Snapshot != manyID(i) || v.Source != []string{"shop/db", "wiki", "shop/db"}[i%3] || got != want || v.Fine != (want == "") {
					t.Errorf("result %d: %+v, want %q", i, v, want)
				}
			}
			for _, asked := range f.requests {
				if len(asked) > maxVerifyBatch {
					t.Errorf("asked for %d at once", len(asked))
				}
			}
			if name == "together" && len(f.requests) != 3 { // 15 of one source, 7 of the other
				t.Errorf("requests: %q", f.requests)
			}
		})
	}
}

// A check that could not be made is no result.
func TestVerifyThatFails(t *testing.T) {
	for name, f := range map[string]*verifying{
		"no answer":        {answers: map[string]error{manyID(5): problem.New(problem.Unavailable, "the store does not answer")}},
		"older, no answer": {old: true, answers: map[string]error{manyID(5): problem.New(problem.Unavailable, "the store does not answer")}},
	} {
		f.fake = &fake{}
		views, r := verified(t, f)
		if len(views) > 0 || r.status != 1 || !strings.Contains(r.err, "the store does not answer") {
			t.Errorf("%s: %+v", name, r)
		}
	}
	r := cli(t, Roof{}, serve(t, &silent{}), "snapshot", "verify", "wiki@latest")
	if r.status != 1 || !strings.Contains(r.err, "without a report") {
		t.Errorf("no report: %+v", r)
	}
}

// silent ends without a report.
type silent struct{ fake }

func (*silent) VerifySnapshot(*pb.VerifySnapshotRequest, grpc.ServerStreamingServer[pb.VerifySnapshotResponse]) error {
	return nil
}

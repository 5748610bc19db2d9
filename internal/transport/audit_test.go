package transport_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// auditor records in memory.
type auditor struct {
	mu      sync.Mutex
	records []string
	refuse  error
}

func (a *auditor) add(format string, args ...any) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.records = append(a.records, fmt.Sprintf(format, args...))
}

func (a *auditor) Begin(_ context.Context, c transport.Caller, method string, req proto.Message) (func(error), error) {
	if a.refuse != nil {
		return nil, a.refuse
	}
	a.add("begin %s %s %T", c, method, req)
	return func(err error) { a.add("end %s: %v", method, err) }, nil
}

func (a *auditor) taken() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	taken := a.records
	a.records = nil
	return taken
}

// acts carries out what is audited, and notes it where the auditor does.
type acts struct {
	pb.UnimplementedAdminServiceServer
	pb.UnimplementedClusterServiceServer
	a    *auditor
	fail func() error
}

func (h *acts) CancelRun(_ context.Context, r *pb.CancelRunRequest) (*pb.CancelRunResponse, error) {
	h.a.add("cancel %s", r.GetId())
	return &pb.CancelRunResponse{}, h.fail()
}

func (h *acts) DumpSnapshot(r *pb.DumpSnapshotRequest, _ grpc.ServerStreamingServer[pb.DumpSnapshotResponse]) error {
	h.a.add("dump %s", r.GetSnapshot())
	return h.fail()
}

func (h *acts) RestoreState(s grpc.ClientStreamingServer[pb.RestoreStateRequest, pb.RestoreStateResponse]) error {
	sum := 0
	for {
		m, err := s.Recv()
		if err != nil {
			break
		}
		sum += len(m.GetData())
	}
	h.a.add("restore %d bytes", sum)
	return errors.Join(h.fail(), s.SendAndClose(&pb.RestoreStateResponse{}))
}

func (h *acts) ListRuns(context.Context, *pb.ListRunsRequest) (*pb.ListRunsResponse, error) {
	return &pb.ListRunsResponse{}, nil
}

func (h *acts) register(s *grpc.Server) {
	pb.RegisterAdminServiceServer(s, h)
	pb.RegisterClusterServiceServer(s, h)
}

// do makes one call of each kind that is audited.
func do(t *testing.T, conn grpc.ClientConnInterface) (errs []error) {
	t.Helper()
	_, err := pb.NewAdminServiceClient(conn).CancelRun(t.Context(), &pb.CancelRunRequest{Id: "r1"})
	errs = append(errs, err)
	down, err := pb.NewAdminServiceClient(conn).DumpSnapshot(t.Context(), &pb.DumpSnapshotRequest{Snapshot: "s1"})
	if err == nil {
		_, err = down.Recv()
	}
	errs = append(errs, err)
	up, err := pb.NewClusterServiceClient(conn).RestoreState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		_ = up.Send(&pb.RestoreStateRequest{Data: []byte("data")}) // why it ended early, the answer says
	}
	_, err = up.CloseAndRecv()
	return append(errs, err)
}

func TestWhatIsAuditedIsRecordedBeforeItIsDoneAndAfter(t *testing.T) {
	t.Parallel()
	a := &auditor{}
	h := &acts{a: a, fail: func() error { return nil }}
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: h.register, guard: transport.GuardOptions{Auditor: a}})
	conn := (&pair{cluster: c}).admin(n)
	do(t, conn)
	want := func(failure string) []string {
		return []string{
			"begin admin ann /baktainer.v1.AdminService/CancelRun *baktainerv1.CancelRunRequest", "cancel r1", "end /baktainer.v1.AdminService/CancelRun: " + failure,
			"begin admin ann /baktainer.v1.AdminService/DumpSnapshot *baktainerv1.DumpSnapshotRequest", "dump s1", "end /baktainer.v1.AdminService/DumpSnapshot: " + failure,
			"begin admin ann /baktainer.v1.ClusterService/RestoreState *baktainerv1.RestoreStateRequest", "restore 12 bytes", "end /baktainer.v1.ClusterService/RestoreState: " + failure,
		}
	}
	check := func(failure string) {
		t.Helper()
		var got []string
		until(t, "the last record", func() bool { got = append(got, a.taken()...); return len(got) == 9 })
		if !slices.Equal(got, want(failure)) {
			t.Errorf("recorded:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want(failure), "\n"))
		}
	}
	check("<nil>")
	h.fail = func() error { return problem.New(problem.Conflict, "it is over") }
	do(t, conn)
	check("it is over")
	h.fail = func() error { panic("hunter2") }
	do(t, conn)
	check("the call met a defect of Baktainer")
	if _, err := pb.NewAdminServiceClient(conn).ListRuns(t.Context(), &pb.ListRunsRequest{}); err != nil {
		t.Fatal(err)
	}
	if got := a.taken(); len(got) != 0 {
		t.Errorf("a call that changes nothing is recorded: %v", got)
	}
}

func TestWhatCannotBeRecordedIsNotDone(t *testing.T) {
	t.Parallel()
	a := &auditor{refuse: problem.New(problem.Unavailable, "no controller leads").WithReason(transport.ReasonNoLeader)}
	h := &acts{a: a, fail: func() error { return nil }}
	c := newCluster(t)
	n := c.start(nodeOptions{name: "c1", gate: c, register: h.register, guard: transport.GuardOptions{Auditor: a}})
	for _, err := range do(t, (&pair{cluster: c}).admin(n)) {
		if problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) != transport.ReasonNoLeader || !strings.Contains(err.Error(), "record the call") {
			t.Errorf("got %v", err)
		}
	}
	if got := a.taken(); len(got) != 0 {
		t.Errorf("done all the same: %v", got)
	}
}

// A call that is passed on is recorded once, where it came in.
func TestACallThatIsPassedOnIsRecordedOnce(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	up, err := pb.NewClusterServiceClient(p.admin(p.follower)).RestoreState(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if err := up.Send(&pb.RestoreStateRequest{Data: []byte("data")}); err != nil {
			t.Fatal(err)
		}
	}
	if m, err := up.CloseAndRecv(); err != nil || m.GetIndex() != 12 {
		t.Errorf("%v, %v", m, err)
	}
	var got []string
	until(t, "the last record", func() bool { got = append(got, p.auditor.taken()...); return len(got) >= 2 })
	if len(got) != 2 || !strings.HasPrefix(got[0], "begin admin ann") || !strings.HasSuffix(got[1], ": <nil>") {
		t.Errorf("recorded %q", got)
	}
}

func TestAStreamWithoutAnythingIsNotDone(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, n := range []*node{p.leader, p.follower} {
		up, err := pb.NewClusterServiceClient(p.admin(n)).RestoreState(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := up.CloseAndRecv(); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("got %v", err)
		}
	}
	if got := p.auditor.taken(); len(got) != 0 {
		t.Errorf("recorded %q", got)
	}
}

package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	benchAgents  = 1_000
	benchSources = 10 // of each agent
	benchActive  = 200
)

// crowd is a leader of 1,000 agents with 10,000 sources, all connected, of which
// 200 are at a run. Every 50th agent claims a source that another one has.
func crowd(b *testing.B) (*Dispatcher, *fakeNode, []*session) {
	b.Helper()
	n := newNode(b)
	d := n.dispatcher(nil)
	sessions := make([]*session, benchAgents)
	for i := range benchAgents {
		agent := fmt.Sprintf("a%03d", i)
		var sources []*pb.Source
		for k := range benchSources {
			sources = append(sources, src(fmt.Sprintf("%s/s%d", agent, k), pb.SourceState_SOURCE_STATE_READY))
		}
		if i%50 == 1 {
			sources[9] = src(fmt.Sprintf("a%03d/s0", i-1), pb.SourceState_SOURCE_STATE_READY)
		}
		sessions[i] = &session{id: agent, end: func(error) {}, changed: make(chan struct{}, 1)}
		d.enter(&pb.SessionRequest{Agent: agent, Host: agent, Concurrency: 2}, sessions[i])
		if _, err := d.ReportInventory(b.Context(), &pb.ReportInventoryRequest{Agent: agent, Session: agent, Sources: sources}); err != nil {
			b.Fatal(err)
		}
	}
	for i := range benchActive {
		n.must(queueOf(backupOf(fmt.Sprintf("r%03d", i), fmt.Sprintf("a%03d/s0", i))))
	}
	d.step(b.Context())
	leased := 0
	for _, r := range n.View().ActiveRuns() {
		if r.GetState() == pb.RunState_RUN_STATE_RUNNING {
			leased++
		}
	}
	if leased != benchActive {
		b.Fatalf("%d runs are leased, want %d", leased, benchActive)
	}
	return d, n, sessions
}

// BenchmarkStep is what the leader does when one run after another ends and the
// next is queued, each a change of the state that wakes it.
func BenchmarkStep(b *testing.B) {
	d, n, _ := crowd(b)
	done := 0
	for b.Loop() {
		b.StopTimer()
		r, _ := n.View().Run(fmt.Sprintf("r%03d", done))
		n.must(endOf(r), queueOf(backupOf(fmt.Sprintf("r%03d", done+benchActive), fmt.Sprintf("a%03d/s0", done%benchAgents))))
		done++
		b.StartTimer()
		d.step(b.Context())
	}
}

// BenchmarkLookAround is what the leader does once a second when nothing happens.
func BenchmarkLookAround(b *testing.B) {
	d, _, _ := crowd(b)
	for b.Loop() {
		d.lookAtClocks(b.Context())
		d.step(b.Context())
	}
}

// BenchmarkChanges is what one session does when it is woken.
func BenchmarkChanges(b *testing.B) {
	d, _, sessions := crowd(b)
	told := map[string]*pb.Run{}
	for b.Loop() {
		d.changes("a100", sessions[100], told, &pb.SessionResponse{})
	}
}

// BenchmarkReconnect is one agent of many that reports its sources again, all as
// they were.
func BenchmarkReconnect(b *testing.B) {
	d, n, _ := crowd(b)
	req := &pb.ReportInventoryRequest{Agent: "a500", Session: "a500"}
	for _, s := range n.View().Sources() {
		if s.GetAgent() == "a500" {
			req.Sources = append(req.Sources, src(s.GetName(), s.GetState()))
		}
	}
	for b.Loop() {
		if _, err := d.ReportInventory(b.Context(), req); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkHeartbeat is one heartbeat of an agent that is at a run.
func BenchmarkHeartbeat(b *testing.B) {
	d, n, _ := crowd(b)
	var beats []*pb.HeartbeatRequest
	for i := range benchActive {
		r, _ := n.View().Run(fmt.Sprintf("r%03d", i))
		beats = append(beats, &pb.HeartbeatRequest{Agent: r.GetAgent(), Session: r.GetAgent(), Runs: []*pb.RunProgress{{
			Lease: &pb.Lease{Run: r.GetId(), Epoch: r.GetEpoch()}, Progress: &pb.Progress{BytesDone: 1},
			Logs: []*pb.LogLine{{Level: "info", Message: "still dumping"}},
		}}})
	}
	i := 0
	for b.Loop() {
		resp, err := d.Heartbeat(b.Context(), beats[i%benchActive])
		if err != nil || len(resp.GetRenewed()) != 1 {
			b.Fatal(resp, err)
		}
		i++
	}
}

// BenchmarkNightlyStep is one step while every source waits for its turn and all
// agents have as much to do as they take.
func BenchmarkNightlyStep(b *testing.B) {
	d, n, _ := crowd(b)
	var runs []*pb.Run
	for _, s := range n.View().Sources() {
		runs = append(runs, backupOf("n-"+strings.ReplaceAll(s.GetName(), "/", "-"), s.GetName()))
	}
	for part := range slices.Chunk(runs, 500) {
		n.must(queueOf(part...))
	}
	d.step(b.Context())
	b.ReportMetric(float64(len(n.View().LeasedRuns())), "leased")
	for b.Loop() {
		d.step(b.Context())
	}
}

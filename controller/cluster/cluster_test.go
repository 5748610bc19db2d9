package cluster_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/cluster"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestTheClusterAsAnOperatorSeesIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.member("c1")
	w.member("c2")
	w.reaches("main", "c1")
	w.reaches("main", "c2")
	w.reaches("second", "c2")
	w.propose(&pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: "bucket", Location: "s3:b"}}})
	w.node.others = []consensus.Member{
		{ID: "c2", Address: "c2:7070", Voter: true, Healthy: true, Index: 9, LastContact: present},
		{ID: "c3", Address: "c3:7070", Voter: true, Healthy: true},
		{ID: "c4", Address: "c4:7070", Detail: "has not answered yet"},
	}
	got, err := w.client.GetCluster(t.Context(), &pb.GetClusterRequest{})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetCluster() != w.node.View().Cluster() || got.GetNode() != "c1" || got.GetIndex() == 0 || got.GetTolerance() != 1 ||
		got.GetUtilisation().GetCapacity() != 3 || got.GetLimits() == nil || got.GetAuthority() != nil {
		t.Errorf("%v", got)
	}
	m := got.GetMembers()
	if len(m) != 4 || !m[0].GetLeader() || m[0].GetId() != "c1" || m[0].GetVersion() != "v1" || !slices.Equal(m[0].GetStores(), []string{"bucket", "main"}) {
		t.Fatalf("%v", m)
	}
	if m[1].GetUploads() != 4 || m[1].GetIndex() != 9 || !m[1].GetLastContactAt().AsTime().Equal(present) ||
		m[1].GetRole() != pb.MemberRole_MEMBER_ROLE_VOTER || !slices.Equal(m[1].GetStores(), []string{"bucket", "main", "second"}) {
		t.Errorf("%v", m[1])
	}
	if m[3].GetRole() != pb.MemberRole_MEMBER_ROLE_NONVOTER || m[3].GetHealthy() || m[3].GetDetail() == "" || m[3].GetLastContactAt() != nil {
		t.Errorf("%v", m[3])
	}
	for _, c := range []struct {
		well, ill int // besides the leader
		want      int32
	}{{0, 0, 0}, {1, 0, 0}, {2, 0, 1}, {1, 1, 0}, {0, 2, 0}, {3, 1, 1}, {4, 0, 2}, {2, 2, 0}} {
		w.node.others = nil
		for i := range c.well + c.ill {
			w.node.others = append(w.node.others, consensus.Member{ID: string(rune('a' + i)), Voter: true, Healthy: i < c.well})
		}
		if got, err := w.client.GetCluster(t.Context(), &pb.GetClusterRequest{}); err != nil || got.GetTolerance() != c.want {
			t.Errorf("%d well and %d ill beside the leader: %d may fail, want %d; %v", c.well, c.ill, got.GetTolerance(), c.want, err)
		}
	}
}

func TestAMemberIsRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.member("c2")
	w.reaches("main", "c1")
	w.reaches("main", "c2")
	w.certified(pb.Role_ROLE_CONTROLLER, "c2")
	w.clock.Advance(time.Minute)
	w.node.others = []consensus.Member{{ID: "c2", Voter: true, Healthy: true}}
	if _, err := w.client.RemoveMember(t.Context(), &pb.RemoveMemberRequest{Id: "c2"}); err != nil {
		t.Fatal(err)
	}
	view := w.node.View()
	if _, ok := view.Member("c2"); ok || !slices.Equal(w.node.removed, []string{"c2"}) {
		t.Errorf("still there; Raft heard of %v", w.node.removed)
	}
	if s := view.Stores()[0]; !slices.Equal(s.GetControllers(), []string{"c1"}) {
		t.Errorf("it is still said to reach the store: %v", s)
	}
	if who, _ := view.Identity(pb.Role_ROLE_CONTROLLER, "c2"); !state.Revoked(who) {
		t.Error("its certificate still counts")
	}
	_, err := w.client.RemoveMember(t.Context(), &pb.RemoveMemberRequest{Id: "c2"})
	told(t, "again", err, problem.NotFound, consensus.ReasonNoMember)
}

// What a failure has left undone is done when it is asked for again.
func TestARemovalIsCompleted(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.member("c2")
	w.certified(pb.Role_ROLE_CONTROLLER, "c2")
	w.clock.Advance(time.Minute)
	// Raft does not know it any more.
	if _, err := w.client.RemoveMember(t.Context(), &pb.RemoveMemberRequest{Id: "c2"}); err != nil {
		t.Fatal(err)
	}
	if who, _ := w.node.View().Identity(pb.Role_ROLE_CONTROLLER, "c2"); len(w.node.View().Members()) != 0 || !state.Revoked(who) || w.node.removed != nil {
		t.Errorf("left: %v, %v; Raft heard of %v", w.node.View().Members(), who, w.node.removed)
	}
}

func TestWhoIsNotRemoved(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.member("c2")
	w.reaches("main", "c2")
	w.node.others = []consensus.Member{{ID: "c2", Voter: true, Healthy: true}, {ID: "c3", Voter: true, Healthy: true}}
	remove := func(id string) error {
		_, err := w.client.RemoveMember(t.Context(), &pb.RemoveMemberRequest{Id: id})
		return err
	}
	told(t, "a typing mistake", remove("c22"), problem.NotFound, consensus.ReasonNoMember, "Did you mean c2?")
	told(t, "nobody", remove("somebody-else"), problem.NotFound, consensus.ReasonNoMember, "baktainer cluster members")
	told(t, "the leader", remove("c1"), problem.Conflict, cluster.ReasonLeads, "transfer-leadership")
	told(t, "the only one with the store", remove("c2"), problem.Conflict, cluster.ReasonOnlyStore, "store main", "stop it")
	if w.node.removed != nil {
		t.Errorf("Raft heard of %v", w.node.removed)
	}
	w.node.fail = problem.New(problem.Conflict, "too few would be left").WithReason(consensus.ReasonQuorum)
	told(t, "what Raft refuses", remove("c3"), problem.Conflict, consensus.ReasonQuorum)
	if _, ok := w.node.View().Member("c2"); !ok {
		t.Error("it was dropped")
	}
	// One that does not run any more goes, whatever it alone had.
	w.node.fail, w.node.others[0].Healthy = nil, false
	if err := remove("c2"); err != nil {
		t.Error(err)
	}
}

func TestAnotherLeads(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node.others = []consensus.Member{{ID: "c2", Voter: true, Healthy: true}, {ID: "c3", Voter: true, Healthy: true}}
	for given, want := range map[string]string{"c3": "c3", "": "c2"} {
		got, err := w.client.TransferLeadership(t.Context(), &pb.TransferLeadershipRequest{Id: given})
		if err != nil || got.GetLeader() != want {
			t.Errorf("to %q: %v, %v", given, got, err)
		}
	}
	_, err := w.client.TransferLeadership(t.Context(), &pb.TransferLeadershipRequest{Id: "c33"})
	told(t, "a typing mistake", err, problem.NotFound, consensus.ReasonNoMember, "Did you mean c3?")
	w.node.fail = problem.New(problem.Unavailable, "controller c2 did not take over")
	_, err = w.client.TransferLeadership(t.Context(), &pb.TransferLeadershipRequest{Id: "c2"})
	told(t, "a failure", err, problem.Unavailable, "", "did not take over")
}

// Every call that changes something is recorded, with what became of it.
func TestCallsAreRecordedAndListed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	on := true
	if _, err := w.client.SetAgent(t.Context(), &pb.SetAgentRequest{Agent: "db1", Drained: &on}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.client.SetAgent(t.Context(), &pb.SetAgentRequest{Agent: "db9", Drained: &on}); err == nil {
		t.Fatal("an agent that is not there was set")
	}
	if _, err := w.client.ListAgents(t.Context(), &pb.ListAgentsRequest{}); err != nil {
		t.Fatal(err)
	}
	list := func(limit int32, match string) (methods []string) {
		t.Helper()
		got, err := w.client.ListAudit(t.Context(), &pb.ListAuditRequest{Limit: limit, Match: match})
		if err != nil {
			t.Fatal(err)
		}
		for _, r := range got.GetRecords() {
			methods = append(methods, r.GetRequest())
			if !strings.HasPrefix(r.GetActor(), "admin/local:") || !strings.HasSuffix(r.GetActor(), "@c1") || r.GetOrigin() != "unix socket" || r.GetEndedAt() == nil ||
				(r.GetFailure() == nil) != strings.Contains(r.GetRequest(), "db1") {
				t.Errorf("%v", r)
			}
		}
		return methods
	}
	first, second := `{"agent":"db1","drained":true}`, `{"agent":"db9","drained":true}`
	for _, c := range []struct {
		limit int32
		match string
		want  []string
	}{
		{0, "", []string{second, first}}, {1, "", []string{second}}, {10_000, "setagent", []string{second, first}},
		{0, "ADMIN/local", []string{second, first}}, {0, "db1", []string{first}}, {1, "db1", []string{first}}, {0, "alice", nil},
	} {
		if got := list(c.limit, c.match); !slices.Equal(got, c.want) {
			t.Errorf("%d of %q: %v", c.limit, c.match, got)
		}
	}
	for _, limit := range []int32{-1, 10_001} {
		_, err := w.client.ListAudit(t.Context(), &pb.ListAuditRequest{Limit: limit})
		told(t, "a wrong limit", err, problem.InvalidInput, "")
	}
}

func TestAListingOfRecordsFitsIntoAMessage(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.node.tables = state.New()
	for i := range 5_000 {
		err := w.node.tables.Apply(uint64(i+1), &pb.Command{
			Version: state.CommandVersion, ProposedAt: timestamppb.New(present), Command: &pb.Command_BeginAudit{BeginAudit: &pb.BeginAudit{
				Record: &pb.AuditRecord{Id: strconv.Itoa(i), Actor: "admin/x", Method: "m", Request: strings.Repeat("x", 2_048)},
			}},
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	got, err := w.client.ListAudit(t.Context(), &pb.ListAuditRequest{Limit: 10_000})
	if n := len(got.GetRecords()); err != nil || n < 3_000 || n == 5_000 || got.GetRecords()[0].GetId() != "4999" {
		t.Errorf("%d records, %v", n, err)
	}
}

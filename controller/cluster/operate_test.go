package cluster_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/controller/cluster"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// authorised makes the cluster's authority.
func (w *world) authorised() {
	w.t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		w.t.Fatal(err)
	}
	request, err := pki.Request(key)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := w.authority.EnrolSelf(w.t.Context(), request, "c1", nil); err != nil {
		w.t.Fatal(err)
	}
}

func TestATokenIsMadeListedAndRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.client.CreateToken(t.Context(), &pb.CreateTokenRequest{Role: pb.Role_ROLE_AGENT})
	told(t, "without an authority", err, problem.Unavailable, identity.ReasonNoAuthority)
	w.authorised()
	made, err := w.client.CreateToken(t.Context(), &pb.CreateTokenRequest{Role: pb.Role_ROLE_AGENT})
	if err != nil {
		t.Fatal(err)
	}
	token, err := pki.ParseToken(made.GetToken())
	if err != nil || !token.Matches(identity.SigningRoot(w.node.View())) {
		t.Errorf("%v, %v", token, err)
	}
	r := made.GetRecord()
	if r.GetId() != token.ID() || r.GetUses() != 1 || r.GetRole() != pb.Role_ROLE_AGENT || !strings.HasPrefix(r.GetCreatedBy(), "admin/local:") ||
		!r.GetExpiresAt().AsTime().Equal(present.Add(time.Hour)) || r.GetName() != "" {
		t.Errorf("kept as %v", r)
	}
	long, err := w.client.CreateToken(t.Context(), &pb.CreateTokenRequest{
		Role: pb.Role_ROLE_CONTROLLER, Ttl: durationpb.New(state.MaxTokenLife), Uses: state.MaxTokenUses, Name: "c2",
	})
	if err != nil || long.GetRecord().GetUses() != state.MaxTokenUses || long.GetRecord().GetName() != "c2" {
		t.Errorf("%v, %v", long, err)
	}
	ids := func(all bool) (ids []string) {
		t.Helper()
		got, err := w.client.ListTokens(t.Context(), &pb.ListTokensRequest{All: all})
		if err != nil {
			t.Fatal(err)
		}
		for _, t := range got.GetTokens() {
			ids = append(ids, t.GetId())
		}
		return ids
	}
	if got := ids(false); !slices.Equal(got, []string{r.GetId(), long.GetRecord().GetId()}) {
		t.Errorf("listed: %v", got)
	}
	if got := ids(true); len(got) != 3 { // with the one that the controller used up itself
		t.Errorf("all: %v", got)
	}
	revoked, err := w.client.RevokeToken(t.Context(), &pb.RevokeTokenRequest{Id: strings.ToUpper(r.GetId())})
	if err != nil || revoked.GetToken().GetRevokedAt() == nil {
		t.Errorf("%v, %v", revoked, err)
	}
	wrong := r.GetId()[:11] + "x"
	_, err = w.client.RevokeToken(t.Context(), &pb.RevokeTokenRequest{Id: wrong})
	told(t, "a typing mistake", err, problem.NotFound, state.ReasonNoToken, "Did you mean "+r.GetId())
	if got := ids(false); !slices.Equal(got, []string{long.GetRecord().GetId()}) {
		t.Errorf("after the revocation: %v", got)
	}
	w.clock.Advance(state.MaxTokenLife)
	if got := ids(false); got != nil {
		t.Errorf("after their time: %v", got)
	}
	for _, r := range w.node.View().Audit(0) {
		if strings.Contains(r.GetRequest(), token.Secret()) || strings.Contains(r.GetRequest(), made.GetToken()) {
			t.Errorf("a secret is in the audit: %v", r)
		}
	}
}

// All that is wrong is told at once.
func TestATokenThatCannotBeMade(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, err := w.client.CreateToken(t.Context(), &pb.CreateTokenRequest{Ttl: durationpb.New(31 * 24 * time.Hour), Uses: 10_001, Name: "a b"})
	told(t, "everything", err, problem.InvalidInput, "", "4 things", "role is none of", "from 1s to 30 days", "from 1 to 10000", `name "a b"`)
	for what, req := range map[string]*pb.CreateTokenRequest{
		"a negative life": {Role: pb.Role_ROLE_AGENT, Ttl: durationpb.New(-time.Second)},
		"no life":         {Role: pb.Role_ROLE_AGENT, Ttl: durationpb.New(0)},
		"a mad life":      {Role: pb.Role_ROLE_AGENT, Ttl: &durationpb.Duration{Seconds: 1 << 62, Nanos: -5}},
		"negative uses":   {Role: pb.Role_ROLE_AGENT, Uses: -1},
		"a role unknown":  {Role: 99},
	} {
		_, err := w.client.CreateToken(t.Context(), req)
		told(t, what, err, problem.InvalidInput, "")
	}
	w.service.OwnPKI = true
	_, err = w.client.CreateToken(t.Context(), &pb.CreateTokenRequest{Role: pb.Role_ROLE_AGENT})
	told(t, "an own PKI", err, problem.Conflict, identity.ReasonOwnPKI)
}

func TestAnIdentityIsRevoked(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"db1", "db2"} {
		w.certified(pb.Role_ROLE_AGENT, name)
	}
	w.certified(pb.Role_ROLE_ADMIN, "alice")
	w.certified(pb.Role_ROLE_CONTROLLER, "c2")
	w.member("c2")
	w.clock.Advance(time.Minute)
	revoke := func(role pb.Role, name string) (*pb.Identity, error) {
		resp, err := w.client.RevokeIdentity(t.Context(), &pb.RevokeIdentityRequest{Role: role, Name: name})
		return resp.GetIdentity(), err
	}
	for _, c := range []struct {
		role pb.Role
		name string
	}{{pb.Role_ROLE_AGENT, "db1"}, {pb.Role_ROLE_ADMIN, "alice"}, {pb.Role_ROLE_AGENT, "db1"}} {
		if who, err := revoke(c.role, c.name); err != nil || !state.Revoked(who) {
			t.Errorf("%s: %v, %v", c.name, who, err)
		}
	}
	if want := []string{"db1: identity-revoked", "db1: identity-revoked"}; !slices.Equal(w.agents.ended, want) {
		t.Errorf("sessions ended: %v", w.agents.ended)
	}
	_, err := revoke(pb.Role_ROLE_AGENT, "db22")
	told(t, "a typing mistake", err, problem.NotFound, state.ReasonNoIdentity, "Did you mean db2?")
	_, err = revoke(pb.Role_ROLE_ADMIN, "db2")
	told(t, "another role", err, problem.NotFound, state.ReasonNoIdentity, "baktainer identity ls")
	_, err = revoke(0, "db2")
	told(t, "no role", err, problem.InvalidInput, "")
	_, err = revoke(pb.Role_ROLE_CONTROLLER, "c2")
	told(t, "a member", err, problem.Conflict, cluster.ReasonMember, "baktainer cluster remove c2")
	list, err := w.client.ListIdentities(t.Context(), &pb.ListIdentitiesRequest{})
	if err != nil || len(list.GetIdentities()) != 4 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestTheAuthorityIsReplaced(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.authorised()
	w.certified(pb.Role_ROLE_AGENT, "db1")
	got, err := w.client.RotateAuthority(t.Context(), &pb.RotateAuthorityRequest{})
	if err != nil || len(got.GetAuthority().GetRoots()) != 2 || len(got.GetWaitingFor()) != 2 {
		t.Fatalf("%v, %v", got, err)
	}
	seen, err := w.client.GetCluster(t.Context(), &pb.GetClusterRequest{})
	if err != nil || !proto.Equal(seen.GetAuthority(), got.GetAuthority()) {
		t.Errorf("%v, %v", seen.GetAuthority(), err)
	}
	if got, err = w.client.RotateAuthority(t.Context(), &pb.RotateAuthorityRequest{Finish: true}); err != nil || !got.GetAuthority().GetRoots()[1].GetSigns() {
		t.Errorf("%v, %v", got, err)
	}
}

func TestWhatAnAgentIsAllowed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	n := func(v int32) *int32 { return &v }
	yes, no := true, false
	for _, c := range []struct {
		req  *pb.SetAgentRequest
		want *pb.AgentRecord
	}{
		{&pb.SetAgentRequest{Agent: "db1", Concurrency: n(3)}, &pb.AgentRecord{Id: "db1", Concurrency: 3}},
		{&pb.SetAgentRequest{Agent: "db1", Drained: &yes}, &pb.AgentRecord{Id: "db1", Concurrency: 3, Drained: true}},
		{&pb.SetAgentRequest{Agent: "db1", Concurrency: n(64)}, &pb.AgentRecord{Id: "db1", Concurrency: 64, Drained: true}},
		{&pb.SetAgentRequest{Agent: "db1", Drained: &no}, &pb.AgentRecord{Id: "db1", Concurrency: 64}},
		{&pb.SetAgentRequest{Agent: "db1", Concurrency: n(0)}, nil},
	} {
		resp, err := w.client.SetAgent(t.Context(), c.req)
		if err != nil || resp.GetAgent().GetConcurrency() != c.want.GetConcurrency() || resp.GetAgent().GetDrained() != c.want.GetDrained() {
			t.Errorf("%v: %v, %v", c.req, resp, err)
		}
		if got, _ := w.node.View().Agent("db1"); !proto.Equal(got, c.want) {
			t.Errorf("%v: %v is kept, want %v", c.req, got, c.want)
		}
	}
	set := func(req *pb.SetAgentRequest) error {
		_, err := w.client.SetAgent(t.Context(), req)
		return err
	}
	told(t, "everything wrong", set(&pb.SetAgentRequest{Agent: "a b", Concurrency: n(65)}), problem.InvalidInput, "", "2 things", `"a b"`, "65 runs")
	told(t, "nothing to do", set(&pb.SetAgentRequest{Agent: "db1"}), problem.InvalidInput, "", "nothing is to be changed")
	told(t, "negative", set(&pb.SetAgentRequest{Agent: "db1", Concurrency: n(-1)}), problem.InvalidInput, "")
	told(t, "a typing mistake", set(&pb.SetAgentRequest{Agent: "web-frontent", Drained: &yes}), problem.NotFound, cluster.ReasonNoAgent, "Did you mean web-frontend?")
}

func TestLimitsAndLogs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	got, err := w.client.SetLimits(t.Context(), &pb.SetLimitsRequest{Limits: &pb.Limits{Total: 8, PerHost: 2}})
	if err != nil || got.GetLimits().GetTotal() != 8 || w.node.View().Limits().GetPerHost() != 2 {
		t.Errorf("%v, %v", got, err)
	}
	if got, err = w.client.SetLimits(t.Context(), &pb.SetLimitsRequest{Limits: &pb.Limits{}}); err != nil || got.GetLimits().GetTotal() != 0 {
		t.Errorf("%v, %v", got, err)
	}
	_, err = w.client.SetLimits(t.Context(), &pb.SetLimitsRequest{})
	told(t, "no limits", err, problem.InvalidInput, "")
	_, err = w.client.SetLimits(t.Context(), &pb.SetLimitsRequest{Limits: &pb.Limits{Total: -1, PerHost: 100_001}})
	told(t, "both wrong", err, problem.InvalidInput, "", "-1 runs in all", "100001 runs on one host")

	for given, want := range map[int32]int{0: 200, 1: 1, 2_000: 2_000} {
		logs, err := w.client.GetAgentLogs(t.Context(), &pb.GetAgentLogsRequest{Agent: "db1", Lines: given})
		if err != nil || len(logs.GetLogs()) != 1 || w.agents.lines != want {
			t.Errorf("%d lines: %v, asked for %d, %v", given, logs, w.agents.lines, err)
		}
	}
	for _, lines := range []int32{-1, 2_001} {
		_, err := w.client.GetAgentLogs(t.Context(), &pb.GetAgentLogsRequest{Agent: "db1", Lines: lines})
		told(t, "lines", err, problem.InvalidInput, "")
	}
	_, err = w.client.GetAgentLogs(t.Context(), &pb.GetAgentLogsRequest{Agent: "db3"})
	told(t, "an agent", err, problem.NotFound, cluster.ReasonNoAgent, "Did you mean db")
}

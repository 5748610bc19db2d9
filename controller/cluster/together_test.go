package cluster_test

import (
	"crypto/ecdsa"
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func newRequest(t *testing.T) (*ecdsa.PrivateKey, []byte) {
	t.Helper()
	key, err := pki.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	request, err := pki.Request(key)
	if err != nil {
		t.Fatal(err)
	}
	return key, request
}

func readCredentials(t *testing.T, key *ecdsa.PrivateKey, c *pb.Credentials) *pki.Credentials {
	t.Helper()
	creds, err := pki.NewCredentials(key, c.GetChain(), c.GetTrust().GetRoots(), c.GetTrust().GetCluster(), c.GetTrust().GetVersion(), time.Now())
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	return creds
}

// until waits for what others bring about.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for %s", what)
		}
		if err := clock.Sleep(t.Context(), 2*time.Millisecond); err != nil {
			t.Fatal(err)
		}
	}
}

// first makes a cluster of one, whose controller has the store's folder.
func first(t *testing.T) (h *house, folder *mem.Store) {
	t.Helper()
	h, folder = build(t, "c1"), mem.New()
	h.open("")
	until(t, "a leader", h.node.IsLeader)
	own, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Create(t.Context(), folder, own, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	h.serve(r, folder, own)
	key, request := newRequest(t)
	c, err := h.identity.EnrolSelf(t.Context(), request, "c1", []string{"127.0.0.1"})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	h.use(readCredentials(t, key, c))
	h.mustPropose(&pb.Command{Command: &pb.Command_SetMember{SetMember: &pb.SetMember{Member: &pb.MemberRecord{Id: "c1", Address: h.address()}}}})
	h.mustPropose(&pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: "main", Location: "mem:", Repository: r.ID, Controller: "c1"}}})
	return h, folder
}

func (h *house) mustPropose(c *pb.Command) {
	h.t.Helper()
	if err := h.node.Propose(h.t.Context(), c); err != nil {
		h.t.Fatal(problem.Text(err))
	}
}

func (h *house) token(role pb.Role) pki.Token {
	h.t.Helper()
	a, _ := h.node.View().Authority()
	token, hash := pki.NewToken(a.GetRoots()[0].GetCertificate())
	h.mustPropose(&pb.Command{Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{Hash: hash[:], Token: &pb.Token{
		Id: token.ID(), Role: role, Uses: 1, ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)),
	}}}})
	return token
}

// joining brings a second controller into the cluster of the first, as a program
// does that was given an address and a token.
func joining(t *testing.T, c1 *house) *house {
	t.Helper()
	c2 := build(t, "c2")
	creds, _, err := transport.Enrol(t.Context(), c1.address(), transport.Enrolment{
		Token: c1.token(pb.Role_ROLE_CONTROLLER), Name: "c2", Hosts: []string{"127.0.0.1"}, Clock: clock.System{},
	})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	c2.use(creds)
	conn, err := c2.peers.Conn(c1.address())
	if err != nil {
		t.Fatal(err)
	}
	joined, err := pb.NewMemberServiceClient(conn).Join(t.Context(), &pb.JoinRequest{Id: "c2", Address: c2.address(), Version: "v1", WantsKey: true, CommandVersion: state.CommandVersion})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	c2.open(joined.GetCluster())
	until(t, "the second controller to know of the first", func() bool { _, ok := c2.node.View().Member("c2"); return ok })
	key, err := repo.ParseKeyFile(joined.GetKeyFile())
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Open(t.Context(), c2.reaching(nil, ""), key) // over the wire, with its own key
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	c2.serve(r, nil, key)
	return c2
}

func TestTwoControllersAreOneCluster(t *testing.T) {
	t.Parallel()
	c1, folder := first(t)
	c2 := joining(t, c1)

	// A command goes through either, and whoever proposed it sees it.
	c2.mustPropose(&pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: &pb.Limits{Total: 7}}}})
	if c2.node.View().Limits().GetTotal() != 7 {
		t.Error("the second controller does not see what it proposed")
	}
	if err := c2.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeTokenRecord{Id: "none"}}}); problem.CodeOf(err) != problem.NotFound {
		t.Errorf("a refusal comes as %v", err)
	}
	// The store of the first is the second's too.
	if _, err := c2.reach.Put(t.Context(), "from/c2", strings.NewReader("x")); err != nil {
		t.Error(err)
	}
	if _, err := folder.Stat(t.Context(), "from/c2"); err != nil {
		t.Error(err)
	}
	// An operator enrols at the second, asks there, and is answered by the first.
	creds, _, err := transport.Enrol(t.Context(), c2.address(), transport.Enrolment{Token: c1.token(pb.Role_ROLE_ADMIN), Name: "alice", Clock: clock.System{}})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	alice := transport.NewHolder(clock.System{})
	alice.Use(creds)
	conn, err := transport.Dial(c2.address(), alice)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client := pb.NewClusterServiceClient(conn)
	seen, err := client.GetCluster(t.Context(), &pb.GetClusterRequest{})
	if err != nil || seen.GetNode() != "c1" || len(seen.GetMembers()) != 2 {
		t.Fatalf("%v, %v", seen, err)
	}
	on := true
	if _, err := client.SetAgent(t.Context(), &pb.SetAgentRequest{Agent: "db1", Drained: &on}); err != nil {
		t.Fatal(err)
	}
	records, err := client.ListAudit(t.Context(), &pb.ListAuditRequest{})
	if err != nil || len(records.GetRecords()) != 1 || records.GetRecords()[0].GetActor() != "admin/alice" || records.GetRecords()[0].GetOrigin() != "127.0.0.1" {
		t.Errorf("recorded: %v, %v", records, err)
	}

	rotateTogether(t, client, c1, c2)
	c2.mustPropose(&pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: &pb.Limits{Total: 8}}}})
	if _, err := c2.reach.Stat(t.Context(), "from/c2"); err != nil {
		t.Errorf("the store is out of reach after the rotation: %v", err)
	}

	removed(t, c1, c2)
}

// rotateTogether replaces the authority under the two, who renew at each step.
// Alice does not, and is not waited for.
func rotateTogether(t *testing.T, client pb.ClusterServiceClient, c1, c2 *house) {
	t.Helper()
	before, err := client.RotateAuthority(t.Context(), &pb.RotateAuthorityRequest{})
	if err != nil || len(before.GetWaitingFor()) != 3 {
		t.Fatalf("%v, %v", before, err)
	}
	for _, version := range []uint64{3, 4} {
		c2.renew(c2) // passed on to the leader
		c1.renew(c1)
		if _, _, err := c1.identity.Rotate(t.Context(), true); err != nil {
			t.Fatal(problem.Text(err))
		}
		until(t, "the second controller to hear of it", func() bool { a, _ := c2.node.View().Authority(); return a.GetVersion() == version })
	}
	c2.renew(c1)
	c1.renew(c1)
	a, _ := c1.node.View().Authority()
	if len(a.GetRoots()) != 1 || c2.held().Version != 4 || len(c2.held().Roots) != 1 {
		t.Errorf("%d roots, the second controller trusts version %d", len(a.GetRoots()), c2.held().Version)
	}
	if _, err := client.GetCluster(t.Context(), &pb.GetClusterRequest{}); err == nil {
		t.Error("a certificate of the old root is still good")
	}
}

// removed takes the second controller out: it has no more say, and no more access.
func removed(t *testing.T, c1, c2 *house) {
	t.Helper()
	until(t, "the second controller to be well", func() bool {
		for _, m := range c1.node.Membership() {
			if m.ID == "c2" && !m.Healthy {
				return false
			}
		}
		return true
	})
	creds, _, err := transport.Enrol(t.Context(), c1.address(), transport.Enrolment{Token: c1.token(pb.Role_ROLE_ADMIN), Name: "bob", Clock: clock.System{}})
	if err != nil {
		t.Fatal(problem.Text(err))
	}
	bob := transport.NewHolder(clock.System{})
	bob.Use(creds)
	conn, err := transport.Dial(c1.address(), bob)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := pb.NewClusterServiceClient(conn).RemoveMember(t.Context(), &pb.RemoveMemberRequest{Id: "c2"}); err != nil {
		t.Fatal(problem.Text(err))
	}
	if n := c1.node.Membership(); len(n) != 1 {
		t.Errorf("members: %v", n)
	}
	if _, err := c2.reach.Stat(t.Context(), "from/c2"); err == nil || errors.Is(err, store.ErrNotExist) {
		t.Errorf("it still reads the store: %v", err)
	}
	peer, err := c2.peers.Conn(c1.address())
	if err != nil {
		t.Fatal(err)
	}
	_, err = pb.NewMemberServiceClient(peer).Join(t.Context(), &pb.JoinRequest{Id: "c2", Address: c2.address(), CommandVersion: state.CommandVersion})
	if problem.CodeOf(err) != problem.Denied {
		t.Errorf("it joins again: %v", err)
	}
}

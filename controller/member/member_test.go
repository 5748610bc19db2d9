package member

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var present = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// double is a node that leads, or not.
type double struct {
	tables *state.Tables
	index  uint64
	joined []string
	fail   error
}

func newDouble(t *testing.T) *double {
	t.Helper()
	d := &double{tables: state.New()}
	if err := d.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetCluster{SetCluster: &pb.SetCluster{Id: "here"}}}); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d *double) View() *state.View { return d.tables.View() }

func (d *double) CommandLevel() uint32 { return state.CommandVersion }

func (d *double) Join(_ context.Context, id, address, cluster string) error {
	if d.fail == nil {
		d.joined = append(d.joined, fmt.Sprintf("%s %s %s", id, address, cluster))
	}
	return d.fail
}

func (d *double) Propose(_ context.Context, c *pb.Command) error {
	stamped := proto.CloneOf(c)
	stamped.Version, stamped.ProposedAt = state.CommandVersion, timestamppb.New(present)
	d.index++
	return d.tables.Apply(d.index, stamped)
}

func (d *double) ProposeEncoded(ctx context.Context, data []byte) (uint64, error) {
	if d.fail != nil {
		return 0, d.fail
	}
	cmd := &pb.Command{}
	if err := proto.Unmarshal(data, cmd); err != nil {
		return 0, err
	}
	err := d.Propose(ctx, cmd)
	return d.index, err
}

// issued hands out keys that say for whom they are.
type issued struct{ err error }

func (i issued) Issue(_ context.Context, controller string) ([]byte, error) {
	return []byte("key of " + controller), i.err
}

func service(d *double, keys Keys) *Service {
	return New(Options{Node: d, Keys: keys, Logger: slog.New(slog.DiscardHandler)})
}

var c2 = transport.Caller{Role: pb.Role_ROLE_CONTROLLER, Name: "c2", Origin: "10.0.0.2"}

func TestAControllerJoins(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := service(d, issued{})
	req := &pb.JoinRequest{Id: "c2", Address: "c2:7070", Version: "v1", WantsKey: true, CommandVersion: state.CommandVersion}
	for range 2 { // the second time because the answer got lost
		resp, err := s.join(t.Context(), c2, req)
		if err != nil || resp.GetCluster() != "here" || string(resp.GetKeyFile()) != "key of c2" {
			t.Fatalf("%v, %v", resp, err)
		}
	}
	m, _ := d.View().Member("c2")
	if !proto.Equal(m, &pb.MemberRecord{Id: "c2", Address: "c2:7070", Version: "v1", CommandVersion: state.CommandVersion}) {
		t.Errorf("noted as %v", m)
	}
	before := d.index
	// It comes back at another address, with what it had.
	resp, err := s.join(t.Context(), c2, &pb.JoinRequest{Id: "c2", Address: "10.9.9.9:7070", Version: "v2", Cluster: "here", CommandVersion: state.CommandVersion})
	if err != nil || len(resp.GetKeyFile()) != 0 {
		t.Fatalf("%v, %v", resp, err)
	}
	if m, _ = d.View().Member("c2"); m.GetAddress() != "10.9.9.9:7070" || m.GetVersion() != "v2" || d.index != before+1 {
		t.Errorf("noted as %v with %d commands", m, d.index-before)
	}
	if want := "c2 c2:7070 |c2 c2:7070 |c2 10.9.9.9:7070 here"; strings.Join(d.joined, "|") != want {
		t.Errorf("Raft heard of %v", d.joined)
	}
}

func TestWhoDoesNotJoin(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	good := &pb.JoinRequest{Id: "c2", Address: "c2:7070", CommandVersion: state.CommandVersion}
	for what, c := range map[string]struct {
		caller transport.Caller
		req    *pb.JoinRequest
		want   problem.Code
	}{
		"another controller":     {transport.Caller{Role: pb.Role_ROLE_CONTROLLER, Name: "c3"}, good, problem.Denied},
		"an agent of that name":  {transport.Caller{Role: pb.Role_ROLE_AGENT, Name: "c2"}, good, problem.Denied},
		"nobody":                 {transport.Caller{}, good, problem.Denied},
		"somebody on the socket": {transport.Caller{Role: pb.Role_ROLE_ADMIN, Name: "c2", Local: true}, good, problem.Denied},
		"a name that is none":    {transport.Caller{Role: pb.Role_ROLE_CONTROLLER, Name: "a b"}, &pb.JoinRequest{Id: "a b", Address: "c2:1"}, problem.InvalidInput},
		"no address":             {c2, &pb.JoinRequest{Id: "c2"}, problem.InvalidInput},
		"a version that is long": {c2, &pb.JoinRequest{Id: "c2", Address: "c2:1", Version: strings.Repeat("x", 101)}, problem.InvalidInput},
		"an older program":       {c2, &pb.JoinRequest{Id: "c2", Address: "c2:7070", CommandVersion: state.CommandVersion - 1}, problem.Conflict},
	} {
		if resp, err := service(d, issued{}).join(t.Context(), c.caller, c.req); resp != nil || problem.CodeOf(err) != c.want {
			t.Errorf("%s: %v, %v", what, resp, err)
		}
	}
	if len(d.joined)+len(d.View().Members()) != 0 {
		t.Errorf("somebody joined: %v %v", d.joined, d.View().Members())
	}
	d.fail = problem.New(problem.Conflict, "this is another cluster")
	if _, err := service(d, issued{}).join(t.Context(), c2, good); !errors.Is(err, d.fail) || len(d.View().Members()) != 0 {
		t.Errorf("refused by Raft: %v", err)
	}
	d.fail = nil
	broken := errors.New("the store is away")
	req := &pb.JoinRequest{Id: "c2", Address: "c2:7070", WantsKey: true, CommandVersion: state.CommandVersion}
	if _, err := service(d, issued{broken}).join(t.Context(), c2, req); !errors.Is(err, broken) {
		t.Errorf("without a key: %v", err)
	}
}

func TestACommandOfAnotherController(t *testing.T) {
	t.Parallel()
	d := newDouble(t)
	s := service(d, nil)
	propose := func(c *pb.Command) (*pb.ProposeResponse, error) {
		data, err := proto.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return s.Propose(t.Context(), &pb.ProposeRequest{Command: data})
	}
	limits := &pb.Command{Command: &pb.Command_SetLimits{SetLimits: &pb.SetLimitsRecord{Limits: &pb.Limits{Total: 3}}}}
	resp, err := propose(limits)
	if err != nil || resp.GetIndex() != d.View().Index() || d.View().Limits().GetTotal() != 3 {
		t.Errorf("%v, %v", resp, err)
	}
	if _, err := propose(&pb.Command{Command: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeTokenRecord{Id: "none"}}}); problem.ReasonOf(err) != state.ReasonNoToken {
		t.Errorf("a refusal: %v", err)
	}
	d.fail = problem.New(problem.Unavailable, "this controller does not lead").WithReason("no-leader")
	if _, err := propose(limits); problem.ReasonOf(err) != "no-leader" {
		t.Errorf("where nobody leads: %v", err)
	}
}

package cluster_test

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/audit"
	"github.com/baktainer/baktainer/controller/cluster"
	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/dispatch"
	"github.com/baktainer/baktainer/controller/identity"
	"github.com/baktainer/baktainer/controller/member"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/store/mem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// The real parts fit.
var (
	_ cluster.Node      = (*consensus.Node)(nil)
	_ cluster.Agents    = (*dispatch.Dispatcher)(nil)
	_ cluster.Authority = (*identity.Service)(nil)
	_ identity.Node     = (*consensus.Node)(nil)
	_ member.Node       = (*consensus.Node)(nil)
)

var present = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

// node is a real node of one that may have others beside it.
type node struct {
	*consensus.Node
	mu      sync.Mutex
	others  []consensus.Member
	removed []string
	leader  string
	fail    error
	tables  *state.Tables // shown instead of its own, when set
}

func (n *node) View() *state.View {
	if n.tables != nil {
		return n.tables.View()
	}
	return n.Node.View()
}

func (n *node) Membership() []consensus.Member {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append(n.Node.Membership(), n.others...)
}

func (n *node) Remove(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.removed = append(n.removed, id)
	if n.fail != nil {
		return n.fail
	}
	n.others = slices.DeleteFunc(n.others, func(m consensus.Member) bool { return m.ID == id })
	return nil
}

func (n *node) TransferLeadership(_ context.Context, id string) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.fail != nil {
		return n.fail
	}
	if n.leader = id; id == "" {
		n.leader = "c2"
	}
	return nil
}

func (n *node) LeaderID() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.leader
}

// agents are what the dispatcher knows.
type agents struct {
	mu    sync.Mutex
	view  func() *state.View
	ended []string
	lines int
}

func (a *agents) Agents() []*pb.AgentInfo {
	var list []*pb.AgentInfo
	for _, id := range []string{"db1", "db2", "web-frontend"} {
		info := &pb.AgentInfo{Id: id, Connected: true}
		if set, ok := a.view().Agent(id); ok {
			info.Concurrency, info.ConcurrencySet, info.Drained = set.GetConcurrency(), set.GetConcurrency() > 0, set.GetDrained()
		}
		list = append(list, info)
	}
	return list
}

func (*agents) Utilisation() *pb.Utilisation {
	return &pb.Utilisation{Running: 1, Queued: 2, Capacity: 3}
}

func (a *agents) RequestLogs(_ context.Context, agent string, lines int) ([]*pb.LogLine, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.lines = lines
	return []*pb.LogLine{{Message: "of " + agent}}, nil
}

func (a *agents) EndSession(agent string, why error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = append(a.ended, agent+": "+string(problem.ReasonOf(why)))
}

// world is a controller whose unix socket an operator calls.
type world struct {
	t         *testing.T
	clock     *clock.Manual
	node      *node
	agents    *agents
	authority *identity.Service
	service   *cluster.Service
	client    pb.ClusterServiceClient
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, clock: clock.NewManual(present), agents: &agents{}}
	logger := slog.New(slog.DiscardHandler)
	n, err := consensus.Open(consensus.Options{
		Dir: t.TempDir(), NodeID: "c1", Tables: state.New(), Clock: w.clock, Logger: logger,
		ElectionTimeout: 20 * time.Millisecond, Fatal: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	for limit := time.After(30 * time.Second); !n.IsLeader(); {
		select {
		case <-n.Leadership():
		case <-limit:
			t.Fatal("no leader")
		}
	}
	w.node = &node{Node: n, leader: "c1"}
	w.agents.view = n.View
	key, err := repo.GenerateKeyFile()
	if err != nil {
		t.Fatal(err)
	}
	r, err := repo.Create(t.Context(), mem.New(), key, present)
	if err != nil {
		t.Fatal(err)
	}
	w.authority = identity.New(identity.Options{Node: n, Repo: r, Clock: w.clock, Logger: logger})
	w.service = cluster.New(cluster.Options{
		Node: w.node, Agents: w.agents, Authority: w.authority, Clock: w.clock,
		Uploads: func() map[string]int { return map[string]int{"c2": 4} },
	})
	recorder := audit.New(audit.Options{Propose: n.Propose, Node: "c1", Clock: w.clock, Logger: logger, Moment: 30 * time.Second})
	stop := w.serve(recorder)
	t.Cleanup(func() {
		stop()
		recorder.Close(context.Background())
		if err := n.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *world) serve(recorder *audit.Recorder) (stop func()) {
	w.t.Helper()
	dir, err := os.MkdirTemp("", "cluster") // t.TempDir may be too long for a socket
	if err != nil {
		w.t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	listener, err := transport.ListenUnix(socket)
	if err != nil {
		w.t.Fatal(err)
	}
	guard := transport.NewGuard(transport.GuardOptions{Clock: w.clock, Auditor: recorder})
	server := grpc.NewServer(append(guard.ServerOptions(), transport.LocalCredentials())...)
	pb.RegisterClusterServiceServer(server, w.service)
	if err := transport.CheckAccess(server); err != nil {
		w.t.Fatal(err)
	}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener)
	}()
	conn, err := transport.DialUnix(socket)
	if err != nil {
		w.t.Fatal(err)
	}
	w.client = pb.NewClusterServiceClient(conn)
	return func() {
		_ = conn.Close()
		server.Stop()
		<-served
		_ = os.RemoveAll(dir)
	}
}

func (w *world) propose(c *pb.Command) {
	w.t.Helper()
	if err := w.node.Propose(w.t.Context(), c); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) member(id string) {
	w.t.Helper()
	w.propose(&pb.Command{Command: &pb.Command_SetMember{SetMember: &pb.SetMember{Member: &pb.MemberRecord{Id: id, Address: id + ":7070", Version: "v1"}}}})
}

func (w *world) reaches(store, controller string) {
	w.t.Helper()
	w.propose(&pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: store, Location: "fs:/" + store, Repository: "r-" + store, Controller: controller}}})
}

// certified notes that somebody has a certificate.
func (w *world) certified(role pb.Role, name string) {
	w.t.Helper()
	token := pki.NewUnpinned()
	hash := token.Hash()
	w.propose(&pb.Command{Command: &pb.Command_CreateToken{CreateToken: &pb.CreateTokenRecord{Hash: hash[:], Token: &pb.Token{
		Id: state.TokenID(hash[:]), Role: role, Uses: 1, ExpiresAt: timestamppb.New(w.clock.Now().Add(time.Hour)),
	}}}})
	w.propose(&pb.Command{Command: &pb.Command_IssueIdentity{IssueIdentity: &pb.IssueIdentity{TokenHash: hash[:], Identity: &pb.Identity{
		Role: role, Name: name, Serial: "1", IssuedAt: timestamppb.New(w.clock.Now()), NotAfter: timestamppb.New(w.clock.Now().Add(time.Hour)),
	}}}})
}

// told looks whether err is of that kind, and tells all that is wanted of it.
func told(t *testing.T, what string, err error, code problem.Code, reason problem.Reason, wants ...string) {
	t.Helper()
	if problem.CodeOf(err) != code || problem.ReasonOf(err) != reason {
		t.Errorf("%s: %v (%s, %s)", what, err, problem.CodeOf(err), problem.ReasonOf(err))
		return
	}
	for _, want := range wants {
		if !strings.Contains(problem.Text(err), want) {
			t.Errorf("%s does not tell %q:\n%s", what, want, problem.Text(err))
		}
	}
}

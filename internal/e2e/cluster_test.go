package e2e

import (
	"context"
	"crypto/tls"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	grpcstatus "google.golang.org/grpc/status"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	problems "github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
)

// member is a controller of a cluster.
type member struct {
	half
	id, address string
}

// clusterStatus is `cluster status -o json`.
type clusterStatus struct {
	Leader  string `json:"leader"`
	Members []struct {
		Role    string   `json:"role"`
		Healthy bool     `json:"healthy"`
		Stores  []string `json:"stores"`
	} `json:"members"`
}

// token has a controller, or nobody, make a token, and gives the file that it is in.
func token(t *testing.T, u *up, args ...string) string {
	t.Helper()
	r := u.cli(t, append([]string{"token"}, args...)...)
	if r.status != 0 || !strings.HasPrefix(r.stdout, "BKTN-1-") {
		t.Fatalf("token:\n%s", r.text())
	}
	file := filepath.Join(tempDir(t), "token")
	write(t, file, r.stdout)
	return file
}

// startCluster starts controllers that make a cluster together. They have one
// folder for the store in common, as on a disk of the network.
func startCluster(t *testing.T, n int) []*member {
	t.Helper()
	return startClusterOf(t, n, program(t))
}

// startClusterOf is startCluster with another build of the program.
func startClusterOf(t *testing.T, n int, binary string) []*member {
	t.Helper()
	shared := tempDir(t)
	common := token(t, newUp(t, upOptions{bare: true}), "generate")
	members := make([]*member, n)
	var all []string
	for i := range members {
		members[i] = &member{id: fmt.Sprintf("c%d", i+1), address: freeAddress(t)}
		all = append(all, members[i].address)
	}
	for _, m := range members {
		m.half = half{newUp(t, upOptions{bare: true}), "controller"}
		m.binary = binary
		m.flags = []string{
			"--data-dir", m.dir, "--store", filepath.Join(shared, "store"), "--name", m.id, "--listen", m.address, "--advertise", m.address,
			"--bootstrap-expect", fmt.Sprint(n), "--join", strings.Join(all, ","), "--join-token-file", common,
			"--http-listen", "off", "--schedule", "off", "--lease-duration", "20s",
		}
		m.start(t)
	}
	return members
}

// status asks one controller, whichever leads.
func (m *member) status(t *testing.T) (clusterStatus, string) {
	t.Helper()
	r := m.cli(t, "cluster", "status", "-o", "json")
	if r.status != 0 {
		return clusterStatus{}, r.text()
	}
	return decode[clusterStatus](t, r.stdout), r.stdout
}

// settled waits until the controller sees all members vote, and well, and reach
// the store, and gives the leader.
func (m *member) settled(t *testing.T, n int) string {
	t.Helper()
	leader := ""
	eventually(t, "the cluster is whole", func() (bool, string) {
		s, text := m.status(t)
		well := 0
		for _, c := range s.Members {
			if c.Healthy && c.Role == "voter" && slices.Contains(c.Stores, "main") {
				well++
			}
		}
		leader = s.Leader
		return well == n && leader != "", text
	})
	return leader
}

func byID(members []*member, id string) (is *member, others []*member) {
	for _, m := range members {
		if m.id == id {
			is = m
		} else {
			others = append(others, m)
		}
	}
	return is, others
}

// joinAgent starts an agent that needs an address and a token, and nothing else.
func joinAgent(t *testing.T, by *member, id string) half {
	t.Helper()
	return joinAgentOf(t, by, id, program(t))
}

// joinAgentOf is joinAgent with another build of the program.
func joinAgentOf(t *testing.T, by *member, id, binary string) half {
	t.Helper()
	file := token(t, by.up, "create", "--role", "agent")
	a := half{newUp(t, upOptions{bare: true}), "agent"}
	a.binary = binary
	a.flags = []string{"--data-dir", a.dir, "--controller", by.address, "--token-file", file, "--agent-id", id}
	a.start(t)
	return a
}

// pausing is a source whose dump waits in its middle until it may go on, and
// counts how often it was begun. It may have further labels, KEY=VALUE.
func pausing(t *testing.T, labels ...string) *container {
	t.Helper()
	fresh := custom.fresh()
	for _, l := range labels {
		key, value, _ := strings.Cut(l, "=")
		fresh.labels[key] = value
	}
	fresh.labels["baktainer.command"] = "pausing"
	c := custom.startWith(t, fresh)
	c.script(t, `head -c 40000000 /dev/urandom >/srv/bulk
cat >/usr/local/bin/pausing <<'END'
#!/bin/sh
echo begun >>/tmp/begun
head -c 20000000 /srv/bulk
touch /tmp/half
while [ ! -e /tmp/go ]; do sleep 0.1; done
tail -c +20000001 /srv/bulk
END
chmod 755 /usr/local/bin/pausing`)
	return c
}

// TestAnyControllerMayDieInADump kills the leader in the middle of a dump, and
// then the one that takes its objects in, and starts them again. The dump goes
// on as if nothing had happened.
func TestAnyControllerMayDieInADump(t *testing.T) {
	needContainers(t)
	t.Parallel()
	members := startCluster(t, 3)
	leader := members[1].settled(t, 3)
	first, others := byID(members, leader)
	agent := joinAgent(t, others[0], "db1")
	c := pausing(t)
	others[0].sees(t, c, "ready")
	ended := background(t, func() result { return others[0].cli(t, "backup", c.source()) })
	eventually(t, "half of the dump is written", func() (bool, string) {
		r := c.execute(t, nil, nil, "test", "-e", "/tmp/half")
		return r.status == 0, r.text()
	})
	first.signal(syscall.SIGKILL)
	eventually(t, "another controller leads", func() (bool, string) {
		s, text := others[0].status(t)
		return s.Leader != "" && s.Leader != leader, text
	})
	c.script(t, "touch /tmp/go")
	if r := <-ended; r.status != 0 {
		t.Fatalf("the backup:\n%s\nthe agent:\n%s", r.text(), tail(agent.log.String()))
	}
	if begun := strings.Count(c.script(t, "cat /tmp/begun"), "begun"); begun != 1 {
		t.Errorf("the dump was begun %d times", begun)
	}
	snapshots := others[0].snapshots(t, c.source())
	if len(snapshots) != 1 {
		t.Fatalf("%d snapshots", len(snapshots))
	}
	others[1].verify(t, snapshots[0])
	first.start(t)
	if s := first.settled(t, 3); s == leader {
		t.Logf("%s leads again", s)
	}
	file := filepath.Join(tempDir(t), "dump")
	first.ok(t, "restore", snapshots[0].ID, "--to", "file:"+file)
	if got, want := sha256Of(read(t, file)), strings.Fields(c.script(t, "sha256sum /srv/bulk"))[0]; got != want {
		t.Errorf("what was dumped has the hash %s, %s was to be dumped", got, want)
	}
	agent.stop(t)
}

// TestAllControllersStop stops a cluster, and starts it again; and one that made
// way for another at once.
func TestAllControllersStop(t *testing.T) {
	t.Parallel()
	members := startCluster(t, 3)
	leader, others := byID(members, members[0].settled(t, 3))
	leader.ok(t, "cluster", "limits", "--total", "7")
	leader.stop(t)
	if strings.Contains(leader.log.String(), "not handed over") {
		t.Errorf("leadership was not handed over:\n%s", tail(leader.log.String()))
	}
	eventually(t, "another controller leads", func() (bool, string) {
		s, text := others[0].status(t)
		return s.Leader != "" && s.Leader != leader.id, text
	})
	for _, m := range others {
		m.signal(syscall.SIGKILL)
	}
	for _, m := range members {
		m.start(t)
	}
	for _, m := range members[1:] { // those that are asked: each answers when it is there itself
		m.settled(t, 3)
	}
	if r := members[1].cli(t, "cluster", "status"); !strings.Contains(r.stdout, "7") {
		t.Errorf("what was set is gone:\n%s", r.text())
	}
	r := members[2].cli(t, "audit", "ls", "--match", "SetLimits")
	if !strings.Contains(r.stdout, "SetLimits") || !strings.Contains(r.stdout, "@"+leader.id) {
		t.Errorf("who set it is not known:\n%s", r.text())
	}
}

// TestWhoMayComeIn uses tokens as they should not be used, and revokes an agent.
func TestWhoMayComeIn(t *testing.T) {
	needContainers(t)
	t.Parallel()
	m := &member{half: half{newUp(t, upOptions{bare: true}), "controller"}, id: "c1", address: freeAddress(t)}
	m.flags = []string{
		"--data-dir", m.dir, "--name", m.id, "--listen", m.address, "--advertise", m.address,
		"--http-listen", "off", "--schedule", "off", "--lease-duration", "5s",
	}
	m.start(t)
	m.settled(t, 1)
	used := token(t, m.up, "create", "--role", "agent")
	agent := func(id, file string) half {
		a := half{newUp(t, upOptions{bare: true}), "agent"}
		a.flags = []string{"--data-dir", a.dir, "--controller", m.address, "--token-file", file, "--agent-id", id}
		a.start(t)
		return a
	}
	db1 := agent("db1", used)
	m.ready(t)
	for id, wrong := range map[string]struct{ file, says string }{
		"db2": {used, "used as often as it may be"},
		"db3": {token(t, m.up, "create", "--role", "viewer"), "not for this role"},
		"db4": {token(t, newUp(t, upOptions{bare: true}), "generate"), "token"},
	} {
		a := agent(id, wrong.file)
		<-a.ended
		if code := a.cmd.ProcessState.ExitCode(); code == 0 || !strings.Contains(a.log.String(), wrong.says) {
			t.Errorf("%s: status %d\n%s", id, code, tail(a.log.String()))
		}
	}
	theirs := transport.NewHolder(clock.System{})
	held, err := pki.Load(filepath.Join(db1.dir, "agent", "identity"), time.Now())
	if err != nil {
		t.Fatal(err)
	}
	theirs.Use(held)
	asAgent := connect(t, m.address, theirs)
	refusedAll(t, "an agent", asAgent, "AgentService", "IdentityService")
	nobody, err := grpc.NewClient(m.address, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{InsecureSkipVerify: true})))
	if err != nil {
		t.Fatal(err)
	}
	defer nobody.Close()
	refusedAll(t, "somebody without a certificate", nobody, "IdentityService")
	m.ok(t, "agent", "revoke", "db1", "--yes")
	refusedAll(t, "a revoked agent, on a connection that was open", asAgent)
	eventually(t, "the agent is refused", func() (bool, string) {
		return strings.Contains(db1.log.String(), "revoked") || strings.Contains(db1.log.String(), "refuse"), tail(db1.log.String())
	})
	eventually(t, "the agent is gone", func() (bool, string) {
		r := m.cli(t, "agent", "ls")
		return strings.Contains(r.stdout, "revoked"), r.text()
	})
	secret := strings.TrimSpace(read(t, used))
	for _, log := range []string{db1.log.String(), m.log.String(), m.cli(t, "audit", "ls", "-o", "json").stdout} {
		if strings.Contains(log, secret[len(secret)-26:]) {
			t.Error("a token's secret is in a log, or in the audit")
		}
	}
	if err := filepath.WalkDir(filepath.Join(m.dir, "controller"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.Contains(read(t, path), secret[len(secret)-26:]) {
			t.Errorf("a token's secret is in %s", path)
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

func connect(t *testing.T, address string, h *transport.Holder) *transport.Conn {
	t.Helper()
	conn, err := transport.Dial(address, h)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// refusedAll calls every method that the descriptors have with an empty message.
// Those of other services than the named ones have to be refused because of who
// calls, not because of what was said.
func refusedAll(t *testing.T, who string, conn grpc.ClientConnInterface, services ...string) {
	t.Helper()
	methods, allowed := 0, 0
	protoregistry.GlobalFiles.RangeFilesByPackage("baktainer.v1", func(f protoreflect.FileDescriptor) bool {
		for i := range f.Services().Len() {
			service := f.Services().Get(i)
			for k := range service.Methods().Len() {
				m := service.Methods().Get(k)
				methods++
				if slices.Contains(services, string(service.Name())) {
					allowed++
					continue
				}
				err := callEmpty(t, conn, m)
				// Whoever is revoked has their connection cut, maybe in the middle of a call
				// that then has no answer at all: the next one has.
				for again := 0; grpcstatus.Code(err) == codes.Unavailable && !refused(err) && again < 10; again++ {
					err = callEmpty(t, conn, m)
				}
				if !refused(err) {
					t.Errorf("%s calls %s: %v", who, m.FullName(), err)
				}
			}
		}
		return true
	})
	if methods < 50 || methods == allowed {
		t.Fatalf("%d methods, %d of them allowed: the looking is broken", methods, allowed)
	}
	t.Logf("%s: refused at %d of %d methods", who, methods-allowed, methods)
}

// refused says whether a call failed because of who made it.
func refused(err error) bool {
	return err != nil && (problems.CodeOf(err) == problems.Denied ||
		slices.Contains([]codes.Code{codes.PermissionDenied, codes.Unauthenticated}, grpcstatus.Code(err)) ||
		strings.Contains(err.Error(), "the controller refuses this certificate"))
}

func callEmpty(t *testing.T, conn grpc.ClientConnInterface, m protoreflect.MethodDescriptor) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	s, err := conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, fmt.Sprintf("/%s/%s", m.Parent().FullName(), m.Name()))
	if err != nil {
		return err
	}
	_ = s.SendMsg(dynamicpb.NewMessage(m.Input())) // why it ended early, the answer says
	_ = s.CloseSend()
	return s.RecvMsg(dynamicpb.NewMessage(m.Output()))
}

// The API is anybody's: after a login grpcurl asks a follower, as the manual has it,
// and what only the leader may do is passed on.
func TestGrpcurlAsksAFollower(t *testing.T) {
	needContainers(t)
	t.Parallel()
	members := startCluster(t, 3)
	leader, followers := byID(members, members[0].settled(t, 3))
	follower := followers[0]
	home := tempDir(t)
	login := func(role string) string {
		t.Helper()
		dir := filepath.Join(home, role)
		file := token(t, follower.up, "create", "--role", role)
		env := append(plainEnvironment(), "XDG_CONFIG_HOME="+dir)
		must(t, command(t, nil, env, follower.binary, "login", "--controller", follower.address, "--token-file", file, "--name", "alice"), "login")
		return filepath.Join(dir, "baktainer", "login", "identity.pem")
	}
	admin, viewer := login("admin"), login("viewer")
	tool := filepath.Join(moduleRoot, ".tools", "grpcurl")
	ask := func(me string, args ...string) result {
		t.Helper()
		return command(t, nil, nil, append([]string{tool, "-cacert", me, "-cert", me, "-key", me, "-authority", "controller.baktainer.internal"}, args...)...)
	}
	limits := `{"limits":{"total":7}}`
	for _, step := range []struct {
		as, data, method, want string
		fails                  bool
	}{
		{viewer, "", "baktainer.v1.ClusterService/GetCluster", leader.id, false},
		{viewer, limits, "baktainer.v1.ClusterService/SetLimits", "PermissionDenied", true},
		{admin, limits, "baktainer.v1.ClusterService/SetLimits", "{", false},
		{viewer, "", "baktainer.v1.ClusterService/GetCluster", "7", false},
		{admin, "", "baktainer.v1.AgentService/Locate", "PermissionDenied", true},
	} {
		args := []string{follower.address, step.method}
		if step.data != "" {
			args = append([]string{"-d", step.data}, args...)
		}
		r := ask(step.as, args...)
		t.Logf("$ grpcurl … %s\n%s", strings.Join(args, " "), r.text())
		if (r.status != 0) != step.fails || !strings.Contains(r.text(), step.want) {
			t.Errorf("%s: want %q in\n%s", step.method, step.want, r.text())
		}
	}
	audit := leader.ok(t, "audit", "ls", "--match", "SetLimits", "-o", "json")
	if !strings.Contains(audit, "admin/alice") || !strings.Contains(audit, `"result": "done"`) || !strings.Contains(audit, "127.0.0.1") {
		t.Errorf("the audit does not say who asked:\n%s", audit)
	}
	if r := command(t, nil, nil, tool, "-insecure", follower.address, "baktainer.v1.ClusterService/GetCluster"); r.status == 0 {
		t.Errorf("without a certificate:\n%s", r.text())
	}
}

package transport_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"

	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// renewals are a controller that renews, in virtual time.
type renewals struct {
	*desk
	id pki.Identity

	mu    sync.Mutex
	fail  error
	at    []time.Duration // since the start
	start time.Time
	hosts []string
}

// client is the way to it.
type client struct{ *renewals }

func (r client) Renew(_ context.Context, in *pb.RenewRequest, _ ...grpc.CallOption) (*pb.RenewResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at = append(r.at, time.Since(r.start))
	r.hosts = in.GetHosts()
	if r.fail != nil {
		return nil, r.fail
	}
	return &pb.RenewResponse{Credentials: r.answer(in.GetRequest(), r.id)}, nil
}

func (r *renewals) set(fail error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.fail = fail
}

func (r *renewals) taken() []time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	taken := r.at
	r.at = nil
	return taken
}

// keeping is a keeper of an agent's credentials that have just been issued.
type keeping struct {
	*transport.Keeper
	*renewals
	dir    string
	holder *transport.Holder
	log    *lockedBuffer
	first  *pki.Credentials
	heard  [][]*pb.ControllerInfo
}

func newKeeping(t *testing.T) *keeping {
	t.Helper()
	c := newCluster(t)
	k := &keeping{
		renewals: &renewals{desk: newDesk(c), id: pki.Identity{Cluster: c.id, Role: pki.RoleAgent, Name: "db1"}, start: time.Now()},
		dir:      filepath.Join(t.TempDir(), "identity"), holder: transport.NewHolder(c.clock), log: &lockedBuffer{},
	}
	k.first = c.credentials(pki.RoleAgent, "db1", c.clock.Now())
	if err := k.first.Save(k.dir); err != nil {
		t.Fatal(err)
	}
	keeper, err := k.open()
	if err != nil {
		t.Fatal(err)
	}
	k.Keeper = keeper
	return k
}

func (k *keeping) open() (*transport.Keeper, error) {
	return transport.NewKeeper(transport.KeeperOptions{
		Dir: k.dir, Holder: k.holder, Renewer: client{k.renewals}, Clock: clock.System{},
		Logger: slog.New(slog.NewTextHandler(k.log, nil)), Random: func() float64 { return 0.5 },
		Controllers: func(c []*pb.ControllerInfo) { k.heard = append(k.heard, c) },
	})
}

// lockedBuffer may be read while a keeper logs into it.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

func (l *lockedBuffer) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.b.Reset()
}

// run runs the keeper until the test ends.
func (k *keeping) run(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { k.Run(ctx); close(done) }()
	t.Cleanup(func() { cancel(); <-done })
}

// kept is what is on disk, and checks that it is what is held.
func (k *keeping) kept(t *testing.T) *pki.Credentials {
	t.Helper()
	c, err := pki.Load(k.dir, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	if !c.Leaf().Equal(k.Held().Leaf()) {
		t.Error("on disk is another certificate than in memory")
	}
	if id, ok := k.holder.Identity(); !ok || id != c.Identity() {
		t.Error("the holder shows another identity")
	}
	return c
}

func pass(d time.Duration) {
	_ = clock.Sleep(context.Background(), d)
	synctest.Wait()
}

func TestAKeeperRenewsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		k.run(t)
		pass(28 * 24 * time.Hour)
		due := 109*time.Hour + 12*time.Minute // 65 % of a week
		got := k.taken()
		for i, at := range got {
			if want := time.Duration(i+1) * due; at < want-time.Minute || at > want+time.Minute {
				t.Errorf("renewal %d after %v, want about %v", i, at, want)
			}
		}
		if len(got) != 6 || len(k.heard) != 6 || k.heard[0][0].GetId() != "c1" {
			t.Errorf("%d renewals in four weeks, heard of controllers %d times", len(got), len(k.heard))
		}
		if c := k.kept(t); c.Leaf().Equal(k.first.Leaf()) || c.Identity() != k.first.Identity() {
			t.Errorf("kept: %v", c)
		}
		if !strings.Contains(k.log.String(), "the certificate was renewed") || strings.Contains(k.log.String(), "level=WARN") {
			t.Error(k.log)
		}
	})
}

func TestAKeeperTriesAgainAndGetsLouder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		k.set(problem.New(problem.Unavailable, "no controller leads"))
		k.run(t)
		pass(110 * time.Hour) // it has begun to try
		got := k.taken()
		if len(got) < 8 || len(got) > 14 {
			t.Errorf("%d tries in 48 minutes: %v", len(got), got)
		}
		for i := 2; i < len(got); i++ {
			if last, pause := got[i-1]-got[i-2], got[i]-got[i-1]; pause < last || pause > 15*time.Minute {
				t.Errorf("it waits %v after %v", pause, last)
			}
		}
		if !strings.Contains(k.log.String(), "level=WARN") || strings.Contains(k.log.String(), "level=ERROR") {
			t.Errorf("while there is time:\n%s", k.log)
		}
		k.log.Reset()
		pass(40 * time.Hour)
		if !strings.Contains(k.log.String(), `level=ERROR msg="the certificate expires soon`) {
			t.Errorf("near the end:\n%s", k.log)
		}
		k.log.Reset()
		pass(24 * time.Hour)
		if !strings.Contains(k.log.String(), "has expired and could not be renewed: enrol again") {
			t.Errorf("after the end:\n%s", k.log)
		}
		if tries := len(k.taken()); tries > 64*60/11 {
			t.Errorf("%d tries in 64 hours", tries)
		}
		k.set(nil)
		pass(time.Hour)
		if got := k.taken(); len(got) != 1 {
			t.Errorf("%d renewals after the controller is back", len(got))
		}
		k.kept(t)
	})
}

func TestAKeeperRenewsAtOnceForANewerTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		k.run(t)
		k.Want(1) // has it already
		pass(time.Minute)
		if got := k.taken(); len(got) != 0 {
			t.Errorf("renewed for what it has: %v", got)
		}
		next := k.newRoot()
		k.change(func() { k.trusted, k.version = append(k.trusted, next), 2 })
		k.Want(2)
		pass(0)
		if got := k.taken(); len(got) != 1 || k.Version() != 2 || len(k.kept(t).Roots) != 2 {
			t.Errorf("renewed at %v, version %d", got, k.Version())
		}
		// The controller that answers does not know yet.
		k.Want(3)
		pass(10 * time.Second)
		got := k.taken()
		if len(got) < 3 || len(got) > 7 {
			t.Errorf("%d tries in 10 seconds", len(got))
		}
		k.change(func() { k.version = 3 })
		pass(time.Minute)
		if k.Version() != 3 || len(k.taken()) != 1 {
			t.Errorf("version %d", k.Version())
		}
		pass(time.Hour)
		if got := k.taken(); len(got) != 0 {
			t.Errorf("it goes on: %v", got)
		}
	})
}

func TestAKeeperTakesNothingThatIsWrong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		k.id.Name = "db2"
		if err := k.Renew(t.Context()); problem.ReasonOf(err) != pki.ReasonDamaged || !strings.Contains(err.Error(), "agent db2") {
			t.Errorf("another's: %v", err)
		}
		k.id.Name = "db1"
		k.wrong = func(c *pb.Credentials) { c.Chain = nil }
		if err := k.Renew(t.Context()); problem.ReasonOf(err) != pki.ReasonDamaged {
			t.Errorf("none: %v", err)
		}
		refusal := problem.New(problem.Denied, "revoked").WithReason(transport.ReasonRevoked)
		k.set(refusal)
		if err := k.Renew(t.Context()); !errors.Is(err, refusal) {
			t.Errorf("a refusal: %v", err)
		}
		if !k.kept(t).Leaf().Equal(k.first.Leaf()) {
			t.Error("something was taken")
		}
	})
}

// A disk that takes nothing keeps nobody from going on.
func TestAKeeperWhoseDiskIsFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		k.run(t)
		block := filepath.Join(k.dir, "identity.pem.new", "x")
		if err := os.MkdirAll(block, 0o700); err != nil {
			t.Fatal(err)
		}
		pass(6 * 24 * time.Hour)
		if k.Held().Leaf().Equal(k.first.Leaf()) {
			t.Error("in memory is the old certificate")
		}
		if got := k.taken(); len(got) < 10 || !strings.Contains(k.log.String(), "keep the new certificate") {
			t.Errorf("%d tries", len(got))
		}
		if err := os.RemoveAll(filepath.Dir(block)); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		k.kept(t)
		k.taken()
		pass(time.Hour)
		if got := k.taken(); len(got) != 0 {
			t.Errorf("it goes on: %v", got)
		}
	})
}

func TestAKeeperOfNothingAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		if err := os.RemoveAll(k.dir); err != nil {
			t.Fatal(err)
		}
		k.holder = transport.NewHolder(clock.System{})
		keeper, err := k.open()
		if problem.ReasonOf(err) != pki.ReasonNone || keeper == nil || keeper.Held() != nil || keeper.Version() != 0 {
			t.Fatalf("%v, %v", keeper, err)
		}
		k.Keeper = keeper
		if err := k.Renew(t.Context()); problem.ReasonOf(err) != pki.ReasonNone {
			t.Errorf("renewing nothing: %v", err)
		}
		k.run(t)
		k.Want(7)
		pass(30 * 24 * time.Hour)
		if got := k.taken(); len(got) != 0 {
			t.Errorf("nothing is renewed: %v", got)
		}
		k.change(func() { k.version = 7 })
		if err := k.Adopt(k.credentials(pki.RoleAgent, "db1", time.Now())); err != nil {
			t.Fatal(err)
		}
		k.kept(t)
		pass(5 * 24 * time.Hour)
		if got := k.taken(); len(got) != 1 {
			t.Errorf("%d renewals in five days", len(got))
		}
	})
}

func TestAKeeperAfterALongSleep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		pass(8 * 24 * time.Hour) // nobody runs
		keeper, err := k.open()
		if problem.ReasonOf(err) != pki.ReasonExpired || keeper.Held() != nil {
			t.Errorf("%v", err)
		}
	})
}

// A host that slept has missed its timers: the clock is looked at every hour.
func TestAKeeperLooksAtTheClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		k := newKeeping(t)
		manual := clock.NewManual(time.Now())
		keeper, err := transport.NewKeeper(transport.KeeperOptions{
			Dir: k.dir, Holder: k.holder, Renewer: client{k.renewals}, Clock: manual, Logger: slog.New(slog.DiscardHandler),
			Random: func() float64 { return 0 }, Hosts: func() []string { return []string{"c1.example.com"} },
		})
		if err != nil {
			t.Fatal(err)
		}
		k.Keeper = keeper
		k.run(t)
		pass(time.Minute)
		manual.Advance(5 * 24 * time.Hour)
		pass(time.Hour)
		if got := k.taken(); len(got) != 1 || !slices.Equal(k.hosts, []string{"c1.example.com"}) {
			t.Errorf("renewed at %v, for %v", got, k.hosts)
		}
	})
}

// Over the wire: an agent renews itself through a follower, and its connection
// shows the new certificate.
func TestRenewalOverTheWire(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	d := newDesk(c)
	leader := c.start(nodeOptions{name: "c1", gate: c, register: d.register, guard: transport.GuardOptions{Leader: leads("", true)}})
	follower := c.start(nodeOptions{name: "c2", gate: c, register: newDesk(c).register, guard: transport.GuardOptions{Leader: leads(leader.address, false)}})
	dir, holder := t.TempDir(), transport.NewHolder(c.clock)
	first := c.credentials(pki.RoleAgent, "db1", c.clock.Now())
	if err := first.Save(dir); err != nil {
		t.Fatal(err)
	}
	conn := dial(t, follower, holder)
	keeper, err := transport.NewKeeper(transport.KeeperOptions{
		Dir: dir, Holder: holder, Renewer: pb.NewIdentityServiceClient(conn), Clock: c.clock,
		Logger: slog.New(slog.DiscardHandler), Random: func() float64 { return 0 },
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		was := keeper.Held().Leaf()
		if err := keeper.Renew(t.Context()); err != nil {
			t.Fatal(problem.Text(err))
		}
		if keeper.Held().Leaf().Equal(was) || keeper.Held().Identity().String() != "agent db1" {
			t.Error("it is the same certificate, or another's")
		}
		if err := heartbeat(t, conn); err != nil {
			t.Error(err)
		}
	}
}

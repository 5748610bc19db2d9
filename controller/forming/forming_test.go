package forming

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestDecide(t *testing.T) {
	t.Parallel()
	them := func(met ...string) *pb.Meeting { return &pb.Meeting{Expect: 3, Met: met} }
	for name, tt := range map[string]struct {
		me    string
		known map[string]*pb.Meeting
		want  decision
	}{
		"alone":                        {"a", nil, wait},
		"one is missing":               {"a", map[string]*pb.Meeting{"b": them("a", "b")}, wait},
		"the lowest of all":            {"a", map[string]*pb.Meeting{"b": them("a", "b", "c"), "c": them("a", "b", "c")}, makeCluster},
		"not the lowest":               {"b", map[string]*pb.Meeting{"a": them("a", "b", "c"), "c": them("a", "b", "c")}, wait},
		"one has not met all yet":      {"a", map[string]*pb.Meeting{"b": them("a", "b", "c"), "c": them("a", "c")}, wait},
		"one has met others, not this": {"a", map[string]*pb.Meeting{"b": them("a", "b", "c"), "c": them("b", "c", "d")}, wait},
		"more than expected":           {"a", map[string]*pb.Meeting{"b": them("a", "b", "c"), "c": them("a", "b", "c"), "d": them("a", "b", "d")}, makeCluster},
		"one has a cluster":            {"a", map[string]*pb.Meeting{"b": {Expect: 3, Cluster: "x"}}, joinCluster},
	} {
		t.Run(name, func(t *testing.T) {
			if got := decide(&pb.Meeting{Id: tt.me, Expect: 3}, tt.known); got != tt.want {
				t.Errorf("got %d, want %d", got, tt.want)
			}
		})
	}
}

// starter is a controller that starts, with a real port.
func starter(t *testing.T, id string, token pki.Token, join ...string) Options {
	t.Helper()
	holder := transport.NewHolder(clock.System{})
	log := slog.New(slog.DiscardHandler)
	keeper, err := transport.NewKeeper(transport.KeeperOptions{Dir: t.TempDir(), Holder: holder, Clock: clock.System{}, Logger: log, Random: rand.Float64})
	if problem.ReasonOf(err) != pki.ReasonNone {
		t.Fatal(err)
	}
	port, err := transport.Listen(t.Context(), "127.0.0.1:0", transport.PortOptions{Holder: holder, Clock: clock.System{}, Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = port.Close() })
	return Options{
		ID: id, Address: port.Addr().String(), Version: "test", Join: join, Token: func() (pki.Token, error) { return token, nil },
		Port: port, Holder: holder, Keeper: keeper, Peers: transport.NewPeers(holder), Clock: clock.System{}, Logger: log,
	}
}

func TestThoseThatStartTogetherAgreeOnOne(t *testing.T) {
	t.Parallel()
	common := pki.NewUnpinned()
	var all []Options
	var addresses []string
	for _, id := range []string{"c2", "c1", "c3"} {
		o := starter(t, id, common)
		o.Expect = 3
		all, addresses = append(all, o), append(addresses, o.Address)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var mu sync.Mutex
	var makes []string
	var running sync.WaitGroup
	for _, o := range all {
		o.Join = addresses
		running.Go(func() {
			made, err := o.meet(ctx, common)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case made:
				makes = append(makes, o.ID)
				cancel() // the others wait for its cluster, which this test does not make
			case !errors.Is(err, context.Canceled):
				t.Errorf("%s: make %t, %v", o.ID, made, err)
			}
		})
	}
	running.Wait()
	if !slices.Equal(makes, []string{"c1"}) {
		t.Errorf("%v make a cluster", makes)
	}
}

func TestStrangersDoNotMeet(t *testing.T) {
	t.Parallel()
	other := starter(t, "c2", pki.NewUnpinned())
	other.Expect = 2
	mine := pki.NewUnpinned()
	o := starter(t, "c1", mine, other.Address)
	o.Expect, other.Join = 2, []string{o.Address}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() {
		token, _ := other.Token()
		for ctx.Err() == nil { // as whoever runs it starts it again
			_, _ = other.meet(ctx, token) // it fails as well, or is stopped
		}
	})
	_, err := o.meet(ctx, mine)
	cancel()
	running.Wait()
	if problem.ReasonOf(err) != transport.ReasonWrongSecret {
		t.Errorf("got %v", err)
	}
}

func TestCome(t *testing.T) {
	t.Parallel()
	pinned, err := pki.NewRoot("x", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	forCluster, _ := pki.NewToken(pinned.DER())
	for name, tt := range map[string]struct {
		change func(*Options)
		want   Outcome
		says   string
	}{
		"a first start alone":         {func(*Options) {}, Outcome{Make: true}, ""},
		"one that is a member":        {func(o *Options) { o.Kept = consensus.Kept{State: true, Cluster: "k"} }, Outcome{Cluster: "k"}, ""},
		"a token of a cluster":        {func(o *Options) { o.Join, o.Expect = []string{"127.0.0.1:1"}, 3 }, Outcome{}, "no cluster has made yet"},
		"no token":                    {func(o *Options) { o.Join, o.Token = []string{"127.0.0.1:1"}, noToken }, Outcome{}, "there is none"},
		"names that lead nowhere yet": {func(o *Options) { o.Join = []string{"dns+no.such.host.invalid:1"} }, Outcome{}, "context canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			o := starter(t, "c1", forCluster)
			tt.change(&o)
			ctx, cancel := context.WithCancel(t.Context())
			if strings.Contains(tt.says, "canceled") {
				cancel()
			}
			defer cancel()
			got, err := Come(ctx, o)
			if (err == nil) != (tt.says == "") || err != nil && !strings.Contains(problem.Text(err), tt.says) {
				t.Fatalf("got %v, want %q", err, tt.says)
			}
			if got.Make != tt.want.Make || got.Cluster != tt.want.Cluster {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func noToken() (pki.Token, error) {
	return pki.Token{}, problem.New(problem.InvalidInput, "there is none")
}

func TestOthers(t *testing.T) {
	t.Parallel()
	o := Options{Join: []string{"c1:1", "dns+localhost:2", "dns+no.such.host.invalid:3"}}
	got, err := o.others(t.Context())
	if err == nil || !slices.Contains(got, "c1:1") {
		t.Errorf("got %v, %v", got, err)
	}
	for _, a := range got[1:] {
		if host, port, err := net.SplitHostPort(a); err != nil || port != "2" || net.ParseIP(host) == nil {
			t.Errorf("localhost leads to %s", a)
		}
	}
	if len(got) < 2 {
		t.Error("localhost leads nowhere")
	}
}

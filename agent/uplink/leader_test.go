package uplink_test

import (
	"context"
	"errors"
	"reflect"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// These tests run in bubbles of their own time.

func info(id, address string, leads bool) *pb.ControllerInfo {
	return &pb.ControllerInfo{Id: id, Address: address, Leader: leads}
}

// addresses are those of controllers with these ids.
func addresses(ids ...string) []string {
	var out []string
	for _, id := range ids {
		out = append(out, uplinktest.Address(id))
	}
	return out
}

func options(given ...string) uplink.Options {
	return uplink.Options{Agent: "a1", Addresses: addresses(given...), Clock: clock.System{}}
}

// opened is a session that is being held.
type opened struct {
	*uplinktest.Session
	client *uplink.Client
	ended  chan error
	cancel context.CancelFunc
}

// hold opens a session and waits until the agent knows of it. Attempts that fail
// before are made again at once, and counted.
func hold(t *testing.T, c *uplinktest.Cluster, client *uplink.Client) (_ opened, failures int) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	o := opened{client: client, ended: make(chan error, 1), cancel: cancel}
	begun := make(chan struct{})
	go func() {
		var once sync.Once
		for {
			err := client.Session(ctx, uplink.Hello{}, func(uplink.Update) { once.Do(func() { close(begun) }) })
			select {
			case <-begun:
				o.ended <- err
				return
			default:
			}
			if failures++; ctx.Err() != nil || failures > 100 {
				t.Errorf("no session: %v", err)
				return
			}
			_ = clock.Sleep(ctx, uplink.MinPause)
		}
	}()
	o.Session = c.NextSession()
	o.Complete()
	<-begun
	t.Cleanup(o.leave)
	return o, failures
}

// leave ends the session from the agent's side.
func (o opened) leave() {
	o.cancel()
	if err := <-o.ended; err != nil {
		o.ended <- err
	}
}

func TestASessionIsOpenedWithTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		var remembered [][]uplink.Controller
		o := options("c2")
		o.Remember = func(cs []uplink.Controller) { remembered = append(remembered, cs) }
		s, failures := hold(t, c, c.ClientOf(o))
		if s.Node != "c1" || failures != 0 {
			t.Errorf("the session is with %s after %d failures", s.Node, failures)
		}
		want := [][]uplink.Controller{{{ID: "c1", Address: "c1:7070"}, {ID: "c2", Address: "c2:7070"}, {ID: "c3", Address: "c3:7070"}}}
		if !reflect.DeepEqual(remembered, want) {
			t.Errorf("remembered %v, want %v", remembered, want)
		}
		if _, err := s.client.Heartbeat(t.Context(), s.ID, time.Second, uplink.Pulse{}); err != nil {
			t.Error(err)
		}
	})
}

func TestASessionFollowsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		client := c.ClientOf(options("c1")) // of the others it learns
		for _, next := range []string{"c3", "c2", "c1", "c2"} {
			s, _ := hold(t, c, client)
			c.Lead(next)
			if err := <-s.ended; problem.ReasonOf(err) != uplink.ReasonNoLeader {
				t.Errorf("the session ended with %v", err)
			}
			s.ended <- nil
			if _, err := client.Heartbeat(t.Context(), s.ID, time.Second, uplink.Pulse{}); problem.CodeOf(err) != problem.Unavailable {
				t.Errorf("a heartbeat without a session: %v", err)
			}
		}
		if s, _ := hold(t, c, client); s.Node != "c2" {
			t.Errorf("the session is with %s", s.Node)
		}
	})
}

func TestTheLeaderDiesAndAnotherIsElected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		client := c.ClientOf(options("c1"))
		s, _ := hold(t, c, client)
		c.Kill("c1") // the only address that the user gave; the others name it for a while
		err := <-s.ended
		s.ended <- err
		if problem.CodeOf(err) != problem.Unavailable {
			t.Errorf("the session ended with %v", err)
		}
		elected := time.AfterFunc(3*time.Second, func() { c.Lead("c3") })
		defer elected.Stop()
		s, failures := hold(t, c, client)
		if s.Node != "c3" || failures == 0 {
			t.Errorf("the session is with %s after %d failures", s.Node, failures)
		}
	})
}

func TestHintsThatAreWrong(t *testing.T) {
	for name, tc := range map[string]struct {
		given  []string
		leader string
		says   map[string][]*pb.ControllerInfo
	}{
		"two name each other": {
			given: []string{"c1", "c2", "c3"}, leader: "c3",
			says: map[string][]*pb.ControllerInfo{
				"c1": {info("c1", "c1:7070", false), info("c2", "c2:7070", true)},
				"c2": {info("c1", "c1:7070", true), info("c2", "c2:7070", false)},
				"c3": {info("c2", "c2:7070", false), info("c3", "c3:7070", true)},
			},
		},
		"the leader is not named by anybody the user knows": {
			given: []string{"c1"}, leader: "c3",
			says: map[string][]*pb.ControllerInfo{
				"c1": {info("c1", "c1:7070", true), info("c2", "c2:7070", false)},
				"c2": {info("c1", "c1:7070", true), info("c2", "c2:7070", false), info("c3", "c3:7070", false)},
				"c3": {info("c2", "c2:7070", false), info("c3", "c3:7070", true)},
			},
		},
		"the leader's address is not good for agents": {
			given: []string{"c2"}, leader: "c2",
			says: map[string][]*pb.ControllerInfo{"c2": {info("c1", "inside-1:7070", false), info("c2", "inside-2:7070", true)}},
		},
		"addresses lead nowhere": {
			given: []string{"c1"}, leader: "c1",
			says: map[string][]*pb.ControllerInfo{"c1": {info("c1", "c1:7070", true), info("c2", "nowhere:1", false), info("c3", "c2:7070", false)}, "c2": nil},
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := uplinktest.StartCluster(t, mem.New(), 3)
				c.Lead(tc.leader)
				c.Answer(uplinktest.Answers{Locate: func(node string) []*pb.ControllerInfo { return tc.says[node] }})
				s, failures := hold(t, c, c.ClientOf(options(tc.given...)))
				if s.Node != tc.leader {
					t.Errorf("the session is with %s after %d failures", s.Node, failures)
				}
			})
		})
	}
}

// What the agent has kept may be older than the cluster, and so may be what a
// controller says that was taken out of it.
func TestStaleListsAreNoDeadEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		c.Kill("c2")
		c.Answer(uplinktest.Answers{Locate: func(node string) []*pb.ControllerInfo {
			if node == "c3" { // it was taken out when c2 led
				return []*pb.ControllerInfo{info("c2", "c2:7070", true), info("c3", "c3:7070", false)}
			}
			return []*pb.ControllerInfo{info("c1", "c1:7070", true)}
		}})
		o := options("c2", "c3")
		o.Known = []uplink.Controller{{ID: "c0", Address: "c0:7070"}, {ID: "c1", Address: "c1:7070"}}
		var remembered []uplink.Controller
		o.Remember = func(cs []uplink.Controller) { remembered = cs }
		s, _ := hold(t, c, c.ClientOf(o))
		if s.Node != "c1" || !reflect.DeepEqual(remembered, []uplink.Controller{{ID: "c1", Address: "c1:7070"}}) {
			t.Errorf("the session is with %s, remembered %v", s.Node, remembered)
		}
	})
}

func TestOneControllerWithoutAnAddressIsWhereItAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.Start(t, mem.New())
		var remembered bool
		o := options("c1")
		o.Remember = func([]uplink.Controller) { remembered = true }
		s, failures := hold(t, c, c.ClientOf(o))
		if failures != 0 || remembered {
			t.Errorf("%d failures, remembered: %v", failures, remembered)
		}
		if _, err := s.client.Heartbeat(t.Context(), s.ID, time.Second, uplink.Pulse{}); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOldControllerIsTheOnlyOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.Start(t, mem.New())
		c.Old()
		s, failures := hold(t, c, c.ClientOf(options("c1")))
		if s.Node != "c1" || failures != 0 {
			t.Errorf("with %s after %d failures", s.Node, failures)
		}
		if err := s.client.Finish(t.Context(), uplink.Hold{Lease: lease}, uplink.Outcome{}); err != nil {
			t.Error(err)
		}
	})
}

func TestWhileNobodyLeadsThereIsNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		c.Lead("")
		client := c.ClientOf(options("c1", "c2", "c3"))
		if err := client.Session(t.Context(), uplink.Hello{}, nil); problem.ReasonOf(err) != uplink.ReasonNoLeader {
			t.Errorf("nobody leads: %v", err)
		}
		c.Kill("c1")
		c.Kill("c2") // one that answers tells more than two that do not
		if err := client.Session(t.Context(), uplink.Hello{}, nil); problem.ReasonOf(err) != uplink.ReasonNoLeader {
			t.Errorf("nobody leads, two are dead: %v", err)
		}
		c.Kill("c3")
		if err := client.Session(t.Context(), uplink.Hello{}, nil); problem.CodeOf(err) != problem.Unavailable || problem.ReasonOf(err) == uplink.ReasonNoLeader {
			t.Errorf("all are dead: %v", err)
		}
		if err := c.ClientOf(options()).Session(t.Context(), uplink.Hello{}, nil); problem.CodeOf(err) != problem.InvalidInput {
			t.Errorf("no address: %v", err)
		}
	})
}

// The end of a run goes to whoever leads, with a session or without one.
func TestTheEndOfARunFindsTheLeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		client := c.ClientOf(options("c2"))
		h := uplink.Hold{Lease: lease}
		if err := client.Finish(t.Context(), h, uplink.Outcome{}); err != nil {
			t.Fatal(err)
		}
		_, _ = hold(t, c, client)
		c.Kill("c1")
		c.Lead("") // the session is at its end, and the next leader is not there yet
		elected := time.AfterFunc(20*time.Second, func() { c.Lead("c3") })
		defer elected.Stop()
		if err := client.Finish(t.Context(), h, uplink.Outcome{}); err != nil {
			t.Fatal(err)
		}
		if n := len(c.Heard().Ends); n != 2 {
			t.Errorf("%d ends were heard, want both once", n)
		}
	})
}

func TestTheEndOfARunIsNotToldPastItsLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := uplinktest.StartCluster(t, mem.New(), 3)
		c.Lead("")
		over, from := errors.New("over"), time.Now()
		err := c.ClientOf(options("c1")).Finish(t.Context(), uplink.Hold{Lease: lease, Lasts: func() error {
			if time.Since(from) < time.Minute {
				return nil
			}
			c.Lead("c1") // when it is too late
			return over
		}}, uplink.Outcome{})
		if !errors.Is(err, over) || len(c.Heard().Ends) != 0 {
			t.Errorf("error %v, ends %v", err, c.Heard().Ends)
		}
	})
}

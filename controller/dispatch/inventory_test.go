package dispatch

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestPartialInventories(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		a := l.connect(asks("a1", "h1", 1))
		err := a.tell(&pb.ReportInventoryRequest{Partial: true, Sources: []*pb.Source{ready("shop")}})
		if problem.ReasonOf(err) != ReasonReportAll || problem.CodeOf(err) != problem.NotFound {
			t.Fatalf("changes of nothing: %v", err)
		}
		a.report(ready("shop"), ready("blog"), ready("twin"), ready("twin"))
		show := func() (list []string) {
			for _, s := range l.fakeNode.View().Sources() {
				list = append(list, s.GetName()+" "+l.owner(s.GetName())[3:])
			}
			return list
		}
		for _, step := range []struct {
			change *pb.ReportInventoryRequest
			want   []string
		}{
			{&pb.ReportInventoryRequest{}, []string{"blog READY", "shop READY", "twin INVALID"}},
			{&pb.ReportInventoryRequest{Sources: []*pb.Source{stopped("shop"), ready("wiki")}}, []string{"blog READY", "shop STOPPED", "twin INVALID", "wiki READY"}},
			{&pb.ReportInventoryRequest{Removed: []string{"blog", "unheard of"}}, []string{"blog GONE", "shop STOPPED", "twin INVALID", "wiki READY"}},
			{&pb.ReportInventoryRequest{Sources: []*pb.Source{ready("twin")}}, []string{"blog GONE", "shop STOPPED", "twin READY", "wiki READY"}},
			{&pb.ReportInventoryRequest{Sources: []*pb.Source{ready("twin"), ready("twin")}}, []string{"blog GONE", "shop STOPPED", "twin INVALID", "wiki READY"}},
			{&pb.ReportInventoryRequest{Removed: []string{"shop"}, Sources: []*pb.Source{ready("shop")}}, []string{"blog GONE", "shop READY", "twin INVALID", "wiki READY"}},
			{&pb.ReportInventoryRequest{Removed: []string{"twin", "wiki"}}, []string{"blog GONE", "shop READY", "twin GONE", "wiki GONE"}},
		} {
			step.change.Partial = true
			for range 2 { // sent again after a lost answer
				if err := a.tell(step.change); err != nil {
					t.Fatal(err)
				}
			}
			if step.want != nil && !slices.Equal(show(), step.want) {
				t.Errorf("%v: %v, want %v", step.change, show(), step.want)
			}
		}
		long := &pb.ReportInventoryRequest{Partial: true}
		for i := range maxUnlabelled + 1 {
			long.Unlabelled = append(long.Unlabelled, &pb.Unlabelled{Agent: "another", Container: &pb.Container{Name: fmt.Sprint(i, strings.Repeat("x", 400))}, Engine: "redis"})
		}
		if err := a.tell(long); err != nil {
			t.Fatal(err)
		}
		if got := l.Unlabelled(); len(got) != maxUnlabelled || got[0].GetAgent() != "a1" || len(got[0].GetContainer().GetName()) > maxText {
			t.Errorf("%d without a label, the first %v", len(got), got[0])
		}
		b := l.connect(asks("a1", "h1", 1)) // a new session begins with all
		if got := l.Unlabelled(); len(got) != 0 {
			t.Errorf("%d without a label, and the agent has reported nothing in its session", len(got))
		}
		if err := b.tell(&pb.ReportInventoryRequest{Partial: true}); problem.ReasonOf(err) != ReasonReportAll {
			t.Errorf("changes in a new session: %v", err)
		}
		wantCode(t, a.tell(&pb.ReportInventoryRequest{Partial: true}), problem.NotFound)
		var all []*pb.Source
		for i := range maxInventory + 1 {
			all = append(all, ready(fmt.Sprint(i)))
		}
		wantCode(t, b.tell(&pb.ReportInventoryRequest{Sources: all}), problem.InvalidInput)
	})
}

// What a report tells that is known already is not written again.
func TestNothingNewIsNotWritten(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		a := l.connect(asks("a1", "h1", 1), ready("shop"), stopped("blog"))
		b := l.connect(asks("a2", "h2", 1), ready("shop"), ready("wiki"))
		before := l.index
		a.report(ready("shop"), stopped("blog"))
		b.report(ready("wiki"), ready("shop"))
		l.pass(5 * time.Minute)
		if l.index != before {
			t.Errorf("%d commands tell nothing new", l.index-before)
		}
		shop, _ := l.fakeNode.View().Source("shop")
		a.report(ready("shop"), ready("blog"))
		if again, _ := l.fakeNode.View().Source("shop"); again != shop {
			t.Error("a source was written again because another one changed")
		}
	})
}

func TestASourceMovesToAnotherHost(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		old  func(a *end) // what becomes of the source on its old host
		want string       // its owner long after
		at   time.Duration
	}{
		"stopped there":       {func(a *end) { a.report(stopped("shop"), ready("other")) }, "a2 READY", 30 * time.Second},
		"gone there":          {func(a *end) { a.report(ready("other")) }, "a2 READY", 30 * time.Second},
		"the host is gone":    {func(a *end) { a.hangUp() }, "a2 READY", 60 * time.Second},
		"still running there": {func(a *end) {}, "a1 READY", 0},
		"invalid there":       {func(a *end) { a.report(src("shop", pb.SourceState_SOURCE_STATE_INVALID), ready("other")) }, "a1 INVALID", 0},
		"restarted there": {func(a *end) {
			a.report(stopped("shop"), ready("other"))
			a.pass(20*time.Second, func() { a.beat() })
			a.report(ready("shop"), ready("other"))
		}, "a1 READY", 0},
		"made anew there": {func(a *end) {
			a.report(ready("other"))
			a.pass(20*time.Second, func() { a.beat() })
			a.report(ready("shop"), ready("other"))
		}, "a1 READY", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newNode(t).leader(nil)
				a := l.connect(asks("a1", "h1", 1), ready("shop"), ready("other"))
				b := l.connect(asks("a2", "h2", 1), ready("mine"))
				l.pass(10*time.Second, func() { a.beat(); b.beat() })
				b.report(ready("shop"), ready("mine"))
				l.pass(5*time.Minute, func() { a.beat(); b.beat() })
				if l.owner("shop") != "a1 READY" {
					t.Fatalf("while both are there: %s", l.owner("shop"))
				}
				tc.old(a)
				alive := func() {
					b.beat()
					if over, _ := a.ended(); !over {
						a.beat()
					}
				}
				if tc.at > 0 {
					l.pass(tc.at-10*time.Second, alive)
					if l.owner("shop")[:2] != "a1" {
						t.Errorf("it has moved too early: %s", l.owner("shop"))
					}
				}
				l.pass(2*time.Minute, alive)
				if l.owner("shop") != tc.want {
					t.Fatalf("owner and state: %s, want %s", l.owner("shop"), tc.want)
				}
				if tc.want != "a2 READY" {
					return
				}
				// What the old host goes on telling does not matter any more.
				before := l.index
				l.pass(2*time.Minute, alive)
				if l.index != before {
					t.Errorf("%d commands after all was settled", l.index-before)
				}
				back := l.connect(asks("a1", "h1", 1), stopped("shop"), ready("other"))
				back.report(ready("other"))
				l.pass(2*time.Minute, alive, func() { back.beat() })
				if l.owner("shop") != "a2 READY" || l.owner("other") != "a1 READY" {
					t.Errorf("after the old host reported again: %s, %s", l.owner("shop"), l.owner("other"))
				}
				l.must(queueOf(backupOf("r1", "shop")))
				if got := b.assigned(); len(got) != 1 {
					t.Errorf("the new host was not given the backup: %v", got)
				}
				// And back, when it stops there and runs at the old host.
				back.report(ready("shop"), ready("other"))
				b.report(stopped("shop"), ready("mine"))
				l.pass(time.Minute, alive, func() { back.beat() })
				if l.owner("shop") != "a1 READY" {
					t.Errorf("it does not move back: %s", l.owner("shop"))
				}
			})
		})
	}
}

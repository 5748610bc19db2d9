package uplink_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/agent/inventory"
	"github.com/baktainer/baktainer/agent/provider"
	"github.com/baktainer/baktainer/agent/uplink"
	"github.com/baktainer/baktainer/agent/uplink/uplinktest"
	"github.com/baktainer/baktainer/internal/label"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/store/mem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// found is a source in a container; one of the same name may be in several.
func found(name, container string) inventory.Source {
	return inventory.Source{Name: name, State: inventory.Ready, Container: provider.Container{ID: container}}
}

// reported is a report in short: "full" or "part", each source with its container, and what is gone.
func reported(r *pb.ReportInventoryRequest) string {
	words := []string{"full"}
	if r.GetPartial() {
		words[0] = "part"
	}
	for _, s := range r.GetSources() {
		words = append(words, s.GetName()+"@"+s.GetContainer().GetId())
	}
	for _, name := range r.GetRemoved() {
		words = append(words, "-"+name)
	}
	return strings.Join(words, " ")
}

func TestAfterTheFirstReportOnlyChangesAreTold(t *testing.T) {
	c := uplinktest.Start(t, mem.New())
	client := c.ClientOf(options("c1"))
	_, _ = hold(t, c, client)
	worse := found("a", "1")
	worse.Problems = []label.Problem{{Label: "l", Reason: "r"}}
	refusing := problem.New(problem.Conflict, "no")
	for i, step := range []struct {
		session string
		now     []inventory.Source
		refuse  error
		want    string // of the reports that were heard
	}{
		{"s1", []inventory.Source{found("a", "1"), found("b", "2")}, nil, "full a@1 b@2"},
		{"s1", []inventory.Source{found("a", "1"), found("b", "2")}, nil, ""},
		{"s1", []inventory.Source{worse, found("b", "2"), found("c", "3")}, nil, "part a@1 c@3"},
		{"s1", []inventory.Source{found("a", "1"), found("c", "3")}, nil, "part a@1 -b"},
		{"s1", []inventory.Source{found("c", "3"), found("a", "1")}, nil, ""}, // the order says nothing
		{"s1", []inventory.Source{found("a", "1"), found("a", "9"), found("c", "3")}, nil, "part a@1 a@9"},
		{"s1", []inventory.Source{found("a", "9"), found("c", "3")}, nil, "part a@9"},
		{"s1", []inventory.Source{found("a", "9"), found("c", "4")}, refusing, "part c@4"},
		{"s1", []inventory.Source{found("a", "9"), found("c", "4")}, refusing, "full a@9 c@4"},
		{"s1", []inventory.Source{found("a", "9"), found("c", "4")}, nil, "full a@9 c@4"},
		{"s1", nil, nil, "part -a -c"},
		{"s2", nil, nil, "full"},
		{"s2", []inventory.Source{found("a", "1")}, nil, "part a@1"},
		{"s3", []inventory.Source{found("a", "1")}, nil, "full a@1"},
	} {
		before := len(c.Heard().Inventories)
		c.Answer(uplinktest.Answers{Inventory: func() error { return step.refuse }})
		err := client.ReportInventory(t.Context(), step.session, inventory.Inventory{Sources: step.now})
		if (err != nil) != (step.refuse != nil) {
			t.Errorf("step %d: error %v", i, err)
		}
		var got []string
		for _, r := range c.Heard().Inventories[before:] {
			got = append(got, reported(r))
		}
		if strings.Join(got, ", ") != step.want {
			t.Errorf("step %d: told %q, want %q", i, got, step.want)
		}
	}
}

// What has no label is told whole whenever it, or anything else, has changed.
func TestDatabasesWithoutALabelAreTold(t *testing.T) {
	c := uplinktest.Start(t, mem.New())
	client := c.ClientOf(options("c1"))
	_, _ = hold(t, c, client)
	bare := func(ids ...string) (list []inventory.Unlabelled) {
		for _, id := range ids {
			list = append(list, inventory.Unlabelled{Container: provider.Container{ID: id}, Engine: "redis"})
		}
		return list
	}
	a := []inventory.Source{found("a", "1")}
	for i, step := range []struct {
		now  inventory.Inventory
		want string // empty: nothing is said
	}{
		{inventory.Inventory{Sources: a, Unlabelled: bare("x", "y")}, "full a@1 ?x ?y"},
		{inventory.Inventory{Sources: a, Unlabelled: bare("x", "y")}, ""},
		{inventory.Inventory{Sources: a, Unlabelled: bare("x")}, "part ?x"},
		{inventory.Inventory{Unlabelled: bare("x")}, "part -a ?x"},
		{inventory.Inventory{}, "part"},
		{inventory.Inventory{}, ""},
	} {
		before := len(c.Heard().Inventories)
		if err := client.ReportInventory(t.Context(), "s1", step.now); err != nil {
			t.Fatal(err)
		}
		got := ""
		for _, r := range c.Heard().Inventories[before:] {
			got = reported(r)
			for _, u := range r.GetUnlabelled() {
				got += " ?" + u.GetContainer().GetId()
			}
		}
		if got != step.want {
			t.Errorf("step %d: told %q, want %q", i, got, step.want)
		}
	}
}

// It would take the changes for all there is, and the rest for gone.
func TestAnOldControllerIsToldEverythingEachTime(t *testing.T) {
	c := uplinktest.Start(t, mem.New())
	c.Old()
	client := c.ClientOf(options("c1"))
	_, _ = hold(t, c, client)
	for n := range 3 {
		var now []inventory.Source
		for i := range n + 1 {
			now = append(now, found(fmt.Sprint("s", i), "1"))
		}
		if err := client.ReportInventory(t.Context(), "s1", inventory.Inventory{Sources: now}); err != nil {
			t.Fatal(err)
		}
	}
	for n, r := range c.Heard().Inventories {
		if r.GetPartial() || len(r.GetSources()) != n+1 {
			t.Errorf("report %d: %s", n, reported(r))
		}
	}
}

func TestWithoutASessionNothingIsReported(t *testing.T) {
	c := uplinktest.Start(t, mem.New())
	client := c.ClientOf(options("c1"))
	if err := client.ReportInventory(t.Context(), "s1", inventory.Inventory{}); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("inventory: %v", err)
	}
	if err := client.SendLogs(t.Context(), "l1", []uplink.LogLine{}); problem.CodeOf(err) != problem.Unavailable {
		t.Errorf("logs: %v", err)
	}
}

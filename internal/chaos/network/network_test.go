package network

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/clock"
)

func TestName(t *testing.T) {
	t.Parallel()
	if a, b := Name(1), Name(2); a == b || a != Name(1) || !strings.HasPrefix(a, Prefix) {
		t.Errorf("the rigs of two seeds are named %q and %q", a, b)
	}
	if Name(1<<32) == Name(0) {
		t.Error("the upper half of the seed does not count")
	}
}

// No two things of a rig have the same address, whatever their generation.
func TestAddresses(t *testing.T) {
	t.Parallel()
	l := layout{name: Name(7)}
	for i := range MaxNodes {
		l.nodes = append(l.nodes, fmt.Sprintf("n%d", i))
	}
	if err := l.check(); err != nil {
		t.Fatal(err)
	}
	taken := map[netip.Addr]string{l.host(hubHost): "hub", l.host(0): "net", l.host(255): "broadcast"}
	take := func(a netip.Addr, what string) {
		t.Helper()
		if was, ok := taken[a]; ok || !l.prefix().Contains(a) {
			t.Errorf("%s is at %s, where %s is", what, a, was)
		}
		taken[a] = what
	}
	for _, from := range l.nodes {
		for g := range maxGeneration + 1 {
			take(l.address(from, g), fmt.Sprintf("%s.%d", from, g))
		}
		for _, to := range l.nodes {
			take(l.edge(from, to), from+"-"+to)
		}
	}
	if (layout{name: Name(8)}).prefix() == l.prefix() {
		t.Error("two rigs have the same subnet")
	}
}

func TestLayoutRefuses(t *testing.T) {
	t.Parallel()
	for _, l := range []layout{
		{"other", []string{"a"}}, {Prefix + "1", nil}, {Prefix + "1", []string{"a", "a"}}, {Prefix + "1", []string{"hub"}},
		{Prefix + "1", strings.Split("0123456789", "")},
	} {
		if l.check() == nil {
			t.Errorf("%v is taken", l)
		}
	}
}

func TestParseNamespaces(t *testing.T) {
	t.Parallel()
	got := parseNamespaces("chaos-1-c1 (id: 3)\nother\nchaos-1-hub\n\n")
	if !slices.Equal(got, []string{"chaos-1-c1", "chaos-1-hub"}) {
		t.Errorf("got %v", got)
	}
}

// recorder is a Runner that does nothing and remembers.
type recorder struct {
	lines []string
	says  map[string]string
	fail  string
}

func (r *recorder) run(_ context.Context, args ...string) (string, error) {
	line := strings.Join(args, " ")
	r.lines = append(r.lines, line)
	if r.fail != "" && strings.Contains(line, r.fail) {
		return "", errors.New("refused")
	}
	return r.says[line], nil
}

func testNetwork(t *testing.T, r *recorder) *Network {
	t.Helper()
	n, err := New(Prefix+"test", []string{"c1", "c2", "a1"}, 8468, r.run, clock.System{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestCutIsOneWay(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	n := testNetwork(t, r)
	if err := n.Cut(t.Context(), "c1", "c2"); err != nil {
		t.Fatal(err)
	}
	drop := "ip netns exec chaos-test-c2 iptables -w -A INPUT -s " + n.Address("c1").String() + " -j DROP"
	if !slices.Contains(r.lines, drop) {
		t.Errorf("no rule drops what c2 gets of c1: %v", r.lines)
	}
	for _, line := range r.lines {
		if !strings.HasPrefix(line, "ip netns exec chaos-test-c2 ") {
			t.Errorf("another node is touched: %s", line)
		}
	}
	r.fail = "iptables"
	if err := n.Cut(t.Context(), "c1", "c2"); err == nil || !strings.Contains(err.Error(), "cut c1 off from c2") {
		t.Errorf("a filter that refuses: %v", err)
	}
}

func TestPartCutsBothWaysBetweenGroups(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	n := testNetwork(t, r)
	if err := n.Part(t.Context(), []string{"c1"}, n.Others("c1")); err != nil {
		t.Fatal(err)
	}
	count := map[string]int{}
	for _, line := range r.lines {
		count[strings.Fields(line)[3]]++
	}
	if count["chaos-test-c1"] != 2*count["chaos-test-c2"] || count["chaos-test-c2"] != count["chaos-test-a1"] || count["chaos-test-a1"] == 0 {
		t.Errorf("rules by node: %v", count)
	}
}

func TestLoseIsOnBothSides(t *testing.T) {
	t.Parallel()
	r := &recorder{}
	n := testNetwork(t, r)
	if err := n.Lose(t.Context(), "c1", 0.2); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"ip netns exec chaos-test-c1 iptables -w -A INPUT -s " + n.Address("a1").String() + " -m statistic --mode random --probability 0.2000 -j DROP",
		"ip netns exec chaos-test-a1 iptables -w -A INPUT -s " + n.Address("c1").String() + " -m statistic --mode random --probability 0.2000 -j DROP",
	} {
		if !slices.Contains(r.lines, want) {
			t.Errorf("missing: %s", want)
		}
	}
}

// Clean touches nothing of others.
func TestCleanKnowsItsOwn(t *testing.T) {
	t.Parallel()
	r := &recorder{says: map[string]string{"ip netns list": "chaos-test-c1\nchaos-test2-c1\nchaos-testing\nhost\n"}}
	if err := Clean(t.Context(), "chaos-test", r.run); err != nil {
		t.Fatal(err)
	}
	if want := []string{"ip netns list", "ip netns del chaos-test-c1"}; !slices.Equal(r.lines, want) {
		t.Errorf("ran %v, want %v", r.lines, want)
	}
	if err := Clean(t.Context(), "c", r.run); err == nil {
		t.Error("a name that is no rig's is taken")
	}
	r.fail = "netns del"
	if err := Clean(t.Context(), "chaos-test", r.run); err == nil {
		t.Error("a namespace that stays is no failure")
	}
}

// A hosts file is changed in its place and never longer than its text.
func TestRewrite(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "ns", "hosts")
	var first os.FileInfo
	for _, text := range []string{"one\ntwo\n", "three\n", "four, and some more\n"} {
		if err := rewrite(path, text); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if err != nil || statErr != nil || string(got) != text {
			t.Errorf("got %q (%v), want %q", got, err, text)
		}
		if first == nil {
			first = info
		}
		if !os.SameFile(first, info) {
			t.Error("it is another file")
		}
	}
}

func TestHosts(t *testing.T) {
	t.Parallel()
	l := layout{name: Prefix + "x", nodes: []string{"c1", "a1"}}
	got := l.hosts(func(node string) netip.Addr { return l.address(node, 2) })
	want := fmt.Sprintf("127.0.0.1 localhost\n%s c1\n%s a1\n", l.address("c1", 2), l.address("a1", 2))
	if got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

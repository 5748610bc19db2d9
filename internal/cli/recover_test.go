package cli

import (
	"context"
	"encoding/json"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
)

// lost is a roof over a controller that lost its quorum.
type lost struct {
	dir, peers string
	done       bool
	unknown    bool // nobody knows the cluster before it is done
	fails      error
}

func (l *lost) roof() Roof {
	return Roof{PlanRecovery: func(_ context.Context, c config.Config, peers []byte) (Recovery, error) {
		l.dir, l.peers = c.DataDir, string(peers)
		plan := Recovery{Node: "c1", Cluster: "cl", Index: 4711, Peers: []Peer{{"c1", "c1:8468", true}, {"c4", "c4:8468", false}}}
		plan.Do = func(context.Context) (Recovered, error) {
			l.done = true
			return Recovered{"c1", "cl", 4711, plan.Peers, "/d/controller.before"}, l.fails
		}
		if l.unknown {
			plan.Cluster, plan.Index = "", 0
		}
		return plan, l.fails
	}}
}

func TestRecover(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	write(t, file, "[the members]")
	for _, unknown := range []bool{false, true} {
		l := &lost{unknown: unknown}
		word, asks, out := "cl", "the id of the cluster: --confirm cl", "controller     c1\ncluster        cl\nlog            4711\nmembers to be  c1 at c1:8468, c4 at c4:8468 (without a vote)\n"
		if unknown {
			word, asks, out = "c1", "the name of this controller: --confirm c1", "controller     c1\nmembers to be  c1 at c1:8468, c4 at c4:8468 (without a vote)\n"
		}
		r := cli(t, l.roof(), "", "controller", "recover", "--data-dir", "/d", "--peers", file)
		if r.status != 2 || l.done || l.dir != "/d" || l.peers != "[the members]" || !strings.Contains(r.err, asks) || r.out != out {
			t.Errorf("unasked: %+v, %+v", r, l)
		}
		if r := cli(t, l.roof(), "", "controller", "recover", "--peers", file, "--confirm", "other"); r.status != 1 || l.done || !strings.Contains(r.err, "nothing was changed") {
			t.Errorf("the id of something else: %+v", r)
		}
		r = cli(t, l.roof(), "", "controller", "recover", "--peers", file, "--confirm", word, "-o", "json")
		var got Recovered
		want := Recovered{"c1", "cl", 4711, []Peer{{"c1", "c1:8468", true}, {"c4", "c4:8468", false}}, "/d/controller.before"}
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || r.status != 0 || !l.done || !reflect.DeepEqual(got, want) {
			t.Errorf("%+v, %v", r, err)
		}
	}
	r := cli(t, (&lost{}).roof(), "", "controller", "recover", "--peers", file, "--confirm", "cl")
	if r.status != 0 || !strings.Contains(r.out, "copy       /d/controller.before\n") || !strings.Contains(r.err, "Start the controller.") {
		t.Errorf("%+v", r)
	}
}

func TestNoRecovery(t *testing.T) {
	dir := t.TempDir()
	file, large := filepath.Join(dir, "peers.json"), filepath.Join(dir, "large")
	write(t, file, "[]")
	write(t, large, strings.Repeat(" ", maxPeers+1))
	l := &lost{fails: problem.New(problem.Conflict, "the controller runs").WithHint("Stop it first.")}
	for _, tc := range []struct {
		args, want string
		status     int
	}{
		{"controller recover --confirm cl --peers " + file, "the controller runs", 1},
		{"controller recover", "say which members", 2},
		{"controller recover --peers /nonexistent", "read the members", 2},
		{"controller recover --peers " + dir, "read the members", 1},
		{"controller recover --peers " + large, "is larger than 64 KiB", 2},
		{"controller recovr", "Did you mean `baktainer controller recover`?", 2},
	} {
		if r := cli(t, l.roof(), "", strings.Fields(tc.args)...); r.status != tc.status || !strings.Contains(r.err, tc.want) || l.done {
			t.Errorf("%s: %+v", tc.args, r)
		}
	}
}

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
	dir   string
	peers []Peer
	done  bool
	fails error
}

func (l *lost) roof() Roof {
	return Roof{PlanRecovery: func(_ context.Context, c config.Config, peers []Peer) (Recovery, error) {
		l.dir, l.peers = c.DataDir, peers
		return Recovery{
			Cluster: "cl", Node: "c1", Index: 4711, Members: []Peer{{"c1", "c1:8468", false}, {"c2", "c2:8468", false}, {"c3", "c3:8468", false}, {"c4", "c4:8468", true}},
			Do: func(context.Context) (string, error) {
				l.done = true
				return "/d/controller.before-recovery", nil
			},
		}, l.fails
	}}
}

func TestRecover(t *testing.T) {
	file := filepath.Join(t.TempDir(), "peers.json")
	write(t, file, `[{"id": "c1", "address": "c1:8468"}, {"id": "c4", "address": "c4:8468", "non_voter": true}]`)
	want := []Peer{{"c1", "c1:8468", false}, {"c4", "c4:8468", true}}

	l := &lost{}
	r := cli(t, l.roof(), "", "controller", "recover", "--data-dir", "/d", "--peers", file)
	if r.status != 2 || l.done || l.dir != "/d" || !reflect.DeepEqual(l.peers, want) || !strings.Contains(r.err, "--confirm cl") {
		t.Errorf("unasked: %+v, %+v", r, l)
	}
	if wantOut := "controller  c1\ncluster     cl\nlog         4711\nmembers     c1 at c1:8468, c2 at c2:8468, c3 at c3:8468, c4 at c4:8468 (nonvoter)\nbecome      c1 at c1:8468, c4 at c4:8468 (nonvoter)\n"; r.out != wantOut {
		t.Errorf("got\n%s", r.out)
	}
	if r := cli(t, l.roof(), "", "controller", "recover", "--peers", file, "--confirm", "c1"); r.status != 1 || l.done {
		t.Errorf("the id of something else: %+v", r)
	}
	r = cli(t, l.roof(), "", "controller", "recover", "--peers", file, "--confirm", "cl", "-o", "json")
	var v recoveryView
	if err := json.Unmarshal([]byte(r.out), &v); err != nil || r.status != 0 || !l.done || v.Saved != "/d/controller.before-recovery" || !reflect.DeepEqual(v.After, want) || len(v.Before) != 4 || v.Index != 4711 {
		t.Errorf("%+v, %v", r, err)
	}

	l = &lost{fails: problem.New(problem.Conflict, "the controller runs").WithHint("Stop it first.")}
	if r := cli(t, l.roof(), "", "controller", "recover", "--peers", file, "--confirm", "cl"); r.status != 1 || l.done || !strings.Contains(r.err, "the controller runs") {
		t.Errorf("%+v", r)
	}
	for args, want := range map[string]string{
		"controller recover":                      "say which members",
		"controller recover --peers /nonexistent": "read the members",
		"controller recovr":                       "Did you mean `baktainer controller recover`?",
	} {
		if r := cli(t, l.roof(), "", strings.Fields(args)...); r.status != 2 || !strings.Contains(r.err, want) {
			t.Errorf("%s: %+v", args, r)
		}
	}
}

func TestPeers(t *testing.T) {
	for text, want := range map[string]string{
		`[{"id": "c1", "address": "c1:8468"}]`: "",
		`[]`:                                   "none of them may vote",
		`null`:                                 "none of them may vote",
		``:                                     "read the JSON",
		`{"id": "c1"}`:                         "read the JSON",
		`[{"id": "c1", "adr": "c1:8468"}]`:     `unknown field "adr"`,
		`[{"id": "c1", "address": "c1:8468"}] []`:                                             "more after the list",
		`[{"id": "", "address": "c1:8468"}]`:                                                  `id "": want 1 to 64 letters`,
		`[{"id": "c1", "address": "c1"}]`:                                                     `address "c1": want HOST:PORT`,
		`[{"id": "c1", "address": "c1:8468", "non_voter": true}]`:                             "none of them may vote",
		`[{"id": "c1", "address": "a:1"}, {"id": "c1", "address": "b:1"}]`:                    "there twice",
		`[{"id": "c1", "address": "a:1"}, {"id": "c2", "address": "a:1"}]`:                    "there twice",
		`[{"id": "c1", "address": "a:1"}, {"id": "c2", "address": "b:1", "non_voter": true}]`: "",
	} {
		peers, err := parsePeers(strings.NewReader(text))
		switch {
		case want == "" && (err != nil || len(peers) == 0):
			t.Errorf("%s: %v, %v", text, peers, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
			t.Errorf("%s: %v, want %q", text, err, want)
		}
	}
}

func FuzzPeers(f *testing.F) {
	f.Add(`[{"id": "c1", "address": "c1:8468"}]`)
	f.Add(`[{"id": "c1", "address": "[::1]:1", "non_voter": true}, {"id": "c2", "address": "h:1"}]`)
	f.Fuzz(func(t *testing.T, text string) {
		peers, err := parsePeers(strings.NewReader(text))
		if err != nil {
			return
		}
		again, err := json.Marshal(peers)
		if err != nil {
			t.Fatal(err)
		}
		if same, err := parsePeers(strings.NewReader(string(again))); err != nil || !reflect.DeepEqual(same, peers) {
			t.Errorf("%s is read as %v and then as %v, %v", text, peers, same, err)
		}
	})
}

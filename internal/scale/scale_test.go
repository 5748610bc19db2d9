package scale

import (
	"bytes"
	"crypto/x509"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/bench/measure"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/transport/certs"
)

func TestTally(t *testing.T) {
	t.Parallel()
	now := clock.NewManual(time.Unix(1000, 0))
	y := newTally(now)
	y.session(time.Second)
	y.session(3 * time.Second)
	y.reported()
	y.beat(time.Millisecond, nil)
	y.beat(time.Hour, errors.New("no answer"))

	began := now.Now()
	y.request("r1", began)
	now.Advance(time.Second)
	y.assigned("r1")
	y.assigned("r2") // its id is not known yet
	now.Advance(time.Second)
	y.request("r2", began)
	y.assigned("r1") // once more
	y.done("r1", nil)
	y.done("r2", errors.New("refused"))
	y.assigned("r3") // somebody else's
	y.done("r3", nil)

	var s Stage
	y.into(&s)
	if s.Sessions != (measure.Spread{N: 2, P50: 1, P99: 3, Max: 3}) || s.Beats.N != 1 || s.BeatsFailed != 1 {
		t.Errorf("sessions and heartbeats: %+v", s)
	}
	if s.Assigned != (measure.Spread{N: 2, P50: 1, P99: 1, Max: 1}) || s.Done != (measure.Spread{N: 1, P50: 2, P99: 2, Max: 2}) || s.RunsFailed != 1 {
		t.Errorf("runs: %+v", s)
	}
	if ok, _ := y.look(func() bool { return y.in == 2 && y.finished == 3 && y.inventory == 1 }); !ok {
		t.Errorf("in %d, finished %d, inventories %d", y.in, y.finished, y.inventory)
	}

	y.gone(false) // one that did not come about
	y.gone(true)
	y.begin()
	s = Stage{}
	y.into(&s)
	if y.in != 1 || !reflect.DeepEqual(s, Stage{}) {
		t.Errorf("a new stage begins with %d in a session and %+v", y.in, s)
	}
}

func TestTallyWakes(t *testing.T) {
	t.Parallel()
	y := newTally(clock.System{})
	ok, news := y.look(func() bool { return y.in > 0 })
	if ok {
		t.Fatal("an agent is in a session")
	}
	y.session(0)
	<-news
}

// The certificates are such that the program takes them.
func TestAuthority(t *testing.T) {
	t.Parallel()
	a, err := newAuthority(time.Now())
	if err != nil {
		t.Fatal(err)
	}
	controller, err := a.issue("controller", "c1", "localhost")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	flags, err := a.files(dir, controller)
	if err != nil || len(flags) != 6 {
		t.Fatalf("%v, %v", flags, err)
	}
	files := certs.Files{CA: flags[1], Cert: flags[3], Key: flags[5]}
	for _, usage := range []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth} {
		if _, wrong := files.Load(usage, time.Now()); len(wrong) > 0 {
			t.Errorf("usage %d: %v", usage, wrong)
		}
	}
	agent, err := a.issue("agent", "a1")
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(agent.Certificate[0])
	if err != nil || leaf.URIs[0].String() != "spiffe://scale/agent/a1" || leaf.Subject.CommonName != "a1" {
		t.Errorf("the agent's certificate is %v, %v", leaf.URIs, err)
	}
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.pool(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}); err == nil {
		t.Error("an agent may pass for a controller")
	}
}

// A ledger has the snapshots that it is said to have, and reads back.
func TestHistorian(t *testing.T) {
	t.Parallel()
	h := &historian{tables: state.New(), at: time.Unix(1_700_000_000, 0)}
	sources, err := h.fill(10 * perSource)
	if err != nil || sources != 10 {
		t.Fatalf("%d sources, %v", sources, err)
	}
	v := h.tables.View()
	if c := v.Counts(); c.Snapshots != 10*perSource || len(v.Snapshots(ledgerSource(3), 0)) != perSource || len(v.Sources()) != 10 {
		t.Errorf("counts %+v", c)
	}
	var raft bytes.Buffer
	if _, err := h.tables.WriteTo(&raft); err != nil {
		t.Fatal(err)
	}
	again := state.New()
	if _, err := again.ReadFrom(&raft); err != nil || again.View().LedgerHead().GetLedgerIndex() != 10*perSource {
		t.Errorf("read back: %v", err)
	}
}

func TestMachineOf(t *testing.T) {
	t.Parallel()
	m := machineOf("processor\t: 0\nmodel name\t: A CPU @ 2GHz\n", "MemTotal:       2048 kB\nMemFree: 1 kB\n")
	if m.CPU != "A CPU @ 2GHz" || m.Memory != 2<<20 || m.Cores < 1 {
		t.Errorf("%+v", m)
	}
	if m := machineOf("", ""); m.Memory != 0 || m.CPU != "" {
		t.Errorf("of nothing: %+v", m)
	}
}

func TestFigures(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "scale.json")
	f := &Figures{Made: "2026-01-02", Agents: 3, Stages: []Stage{{Name: "x", RunsFailed: 2, Wrong: []string{"late"}}, {Name: "y"}}, Ledger: &Ledger{Snapshots: 5}}
	if err := f.Save(path); err != nil {
		t.Fatal(err)
	}
	got, err := Load(path)
	if err != nil || !reflect.DeepEqual(got, f) {
		t.Errorf("got %+v, %v", got, err)
	}
	if wrong := f.Wrong(); len(wrong) != 2 || !strings.Contains(wrong[0], "late") || !strings.Contains(wrong[1], "2 runs") {
		t.Errorf("wrong: %v", wrong)
	}
	if err := os.WriteFile(path, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path); err == nil {
		t.Error("damaged figures are read")
	}
}

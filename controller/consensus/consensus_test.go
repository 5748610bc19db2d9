package consensus_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/consensus"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const fast = 20 * time.Millisecond

func options(dir string) consensus.Options {
	return consensus.Options{
		Dir: dir, Tables: state.New(), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler),
		SnapshotEvery: 20, ElectionTimeout: fast,
		Fatal: func(err error) { fmt.Fprintln(os.Stderr, "fatal:", err) },
	}
}

func open(t testing.TB, o consensus.Options) *consensus.Node {
	t.Helper()
	n, err := consensus.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { n.Shutdown(context.Background()) })
	awaitLeader(t, n)
	return n
}

func awaitLeader(t testing.TB, n *consensus.Node) {
	t.Helper()
	limit := time.After(30 * time.Second)
	for !n.IsLeader() {
		select {
		case <-n.Leadership():
		case <-limit:
			t.Fatal("no leader")
		}
	}
}

func storeCommand(name string) *pb.Command {
	return &pb.Command{Command: &pb.Command_RegisterStore{RegisterStore: &pb.RegisterStore{Name: name, Location: "fs:/" + name}}}
}

func TestCommandsSurviveARestart(t *testing.T) {
	dir := t.TempDir()
	n := open(t, options(dir))
	ctx := context.Background()
	for i := range 50 { // more than SnapshotEvery, so that raft snapshot and log both matter
		if err := n.Propose(ctx, storeCommand(fmt.Sprintf("s%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	cluster, id := n.View().Cluster(), n.ID()
	if cluster == "" || id == "" {
		t.Fatalf("cluster %q, node %q", cluster, id)
	}
	if err := n.Shutdown(ctx); err != nil {
		t.Fatal(err)
	}
	again := open(t, options(dir))
	if got := len(again.View().Stores()); got != 50 {
		t.Errorf("%d stores after the restart, want 50", got)
	}
	if again.View().Cluster() != cluster || again.ID() != id {
		t.Errorf("cluster %s node %s became %s %s", cluster, id, again.View().Cluster(), again.ID())
	}
	if err := again.Health(); err != nil {
		t.Errorf("health: %v", err)
	}
}

func TestARefusalComesBackAndIsRemembered(t *testing.T) {
	n := open(t, options(t.TempDir()))
	cmd := &pb.Command{RequestId: "r1", Command: &pb.Command_RequestCancel{RequestCancel: &pb.RequestCancel{Run: "none"}}}
	for range 2 {
		err := n.Propose(context.Background(), cmd)
		if problem.CodeOf(err) != problem.NotFound || problem.ReasonOf(err) != state.ReasonNoRun {
			t.Errorf("got %v", err)
		}
	}
	if cmd.GetVersion() != 0 {
		t.Error("the caller's command was changed")
	}
	big := storeCommand("big")
	big.GetRegisterStore().Location = strings.Repeat("x", state.MaxCommandSize)
	if err := n.Propose(context.Background(), big); problem.ReasonOf(err) != state.ReasonTooLarge {
		t.Errorf("a huge command: %v", err)
	}
}

func TestADataFolderHasOneProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, options(dir))
	_, err := consensus.Open(options(dir))
	if problem.ReasonOf(err) != consensus.ReasonDataInUse || !strings.Contains(err.Error(), dir) {
		t.Errorf("got %v", err)
	}
}

func TestADataFolderHasOneNode(t *testing.T) {
	dir := t.TempDir()
	o := options(dir)
	o.NodeID = "c1"
	if err := open(t, o).Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	o = options(dir)
	o.NodeID = "c2"
	if _, err := consensus.Open(o); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("got %v", err)
	}
}

func TestWithoutALeaderNothingIsDone(t *testing.T) {
	n := open(t, options(t.TempDir()))
	if err := n.Shutdown(context.Background()); err != nil {
		t.Fatal(err)
	}
	if err := n.Propose(context.Background(), storeCommand("x")); problem.ReasonOf(err) != consensus.ReasonNoLeader {
		t.Errorf("got %v", err)
	}
	if n.Health() == nil {
		t.Error("healthy without a leader")
	}
}

// A copy of the folder, taken while commands flow, is what a power cut leaves.
func TestACopyTakenMidwayHasAllThatWasAcknowledgedBefore(t *testing.T) {
	dir := t.TempDir()
	n := open(t, options(dir))
	for i := range 30 {
		if err := n.Propose(context.Background(), storeCommand(fmt.Sprintf("s%02d", i))); err != nil {
			t.Fatal(err)
		}
	}
	copied := t.TempDir()
	if err := os.CopyFS(filepath.Join(copied, "c"), os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	if got := len(open(t, options(filepath.Join(copied, "c"))).View().Stores()); got != 30 {
		t.Errorf("%d stores, want 30", got)
	}
}

const childDir = "BAKTAINER_TEST_PROPOSE_IN"

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv(childDir); dir != "" {
		if err := proposeForEver(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// proposeForEver prints each name once its command is acknowledged.
func proposeForEver(dir string) error {
	n, err := consensus.Open(options(dir))
	if err != nil {
		return err
	}
	for !n.IsLeader() {
		<-n.Leadership()
	}
	for i := len(n.View().Stores()); i < 100_000; i++ {
		name := fmt.Sprintf("s%06d", i)
		if err := n.Propose(context.Background(), storeCommand(name)); err != nil {
			return err
		}
		fmt.Println(name)
	}
	return nil
}

func TestNothingAcknowledgedIsLostToAKill(t *testing.T) {
	dir := t.TempDir()
	acknowledged := map[string]bool{}
	for _, after := range []int{1, 40, 7, 90} {
		child := exec.Command(os.Args[0])
		child.Env = append(os.Environ(), childDir+"="+dir)
		child.Stderr = os.Stderr
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; n < after && lines.Scan(); n++ {
			acknowledged[lines.Text()] = true
		}
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() { // acknowledged while the signal was on its way
			acknowledged[lines.Text()] = true
		}
		_, _ = io.Copy(io.Discard, out)
		_ = child.Wait() // it was killed
	}
	if len(acknowledged) < 138 {
		t.Fatalf("only %d commands were acknowledged", len(acknowledged))
	}
	n := open(t, options(dir))
	there := map[string]bool{}
	for _, s := range n.View().Stores() {
		there[s.GetName()] = true
	}
	for name := range acknowledged {
		if !there[name] && len(name) == len("s000000") {
			t.Errorf("%s was acknowledged and is lost", name)
		}
	}
	t.Logf("%d acknowledged, %d there", len(acknowledged), len(there))
}

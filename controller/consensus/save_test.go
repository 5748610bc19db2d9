package consensus

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestASavedStateComesBackOnAllMembers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		c.three()
		c.must(c.follower().Propose(t.Context(), store("saved")))
		c.must(c.leader().Propose(t.Context(), &pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{
			{Id: "backup", Kind: pb.RunKind_RUN_KIND_BACKUP, Source: "shop", FireTime: timestamppb.Now()},
			{Id: "restore", Kind: pb.RunKind_RUN_KIND_RESTORE, Source: "shop", FireTime: timestamppb.Now(), Restore: &pb.RestoreRequest{Snapshot: "s"}},
		}}}}))
		var saved bytes.Buffer
		index, err := c.leader().Save(t.Context(), &saved)
		c.must(err)
		if index == 0 || index != c.leader().View().Index() {
			t.Errorf("saved at %d", index)
		}
		c.must(c.leader().Propose(t.Context(), store("later")))
		voters := c.voters()
		c.must(c.leader().Restore(t.Context(), bytes.NewReader(saved.Bytes()), false))
		c.must(c.follower().Propose(t.Context(), store("after")))
		c.agree()
		for id, n := range c.running() {
			if !has(n, "saved") || has(n, "later") || !has(n, "after") {
				t.Errorf("%s has %v", id, n.View().Stores())
			}
			// What is queued would begin now: a restore must not.
			if runs := n.View().ActiveRuns(); len(runs) != 1 || runs[0].GetId() != "backup" {
				t.Errorf("%s has these yet to do: %v", id, runs)
			}
		}
		// What was restored outlives a restart of everything.
		for id := range c.running() {
			c.kill(id)
		}
		for id := range c.dirs {
			c.open(id)
		}
		if l := c.leader(); !has(l, "saved") || has(l, "later") || !has(l, "after") {
			t.Errorf("after the restart: %v", l.View().Stores())
		}
		if got := c.voters(); len(got) != len(voters) {
			t.Errorf("voters %v became %v", voters, got)
		}
		c.agree()
		for id, dir := range c.dirs {
			if left, _ := filepath.Glob(filepath.Join(dir, "restore-*")); len(left) > 0 {
				t.Errorf("%s: %v is left", id, left)
			}
		}
	})
}

func TestRestoreRefusesWhatIsNotThisClusters(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		other := newRig(t)
		o := other.open("c1", bootstrap)
		other.leader()
		for range 100 { // its log is longer than that of the cluster which takes it over
			other.must(o.Propose(t.Context(), store("other")))
		}
		var saved bytes.Buffer
		_, err := o.Save(t.Context(), &saved)
		other.must(err)

		c := newRig(t)
		c.three()
		c.must(c.leader().Propose(t.Context(), store("mine")))
		cut := saved.Bytes()[:saved.Len()-1]
		var unnamed bytes.Buffer
		_, err = state.New().WriteTo(&unnamed)
		c.must(err)
		for name, test := range map[string]struct {
			data []byte
			code problem.Code
		}{
			"nothing": {nil, problem.InvalidInput}, "half": {cut, problem.InvalidInput}, "another cluster's": {saved.Bytes(), problem.Conflict},
			"no cluster's": {unnamed.Bytes(), problem.InvalidInput},
		} {
			if err := c.leader().Restore(t.Context(), bytes.NewReader(test.data), false); problem.CodeOf(err) != test.code || err == nil {
				t.Errorf("%s: %v", name, err)
			}
		}
		if err := c.follower().Restore(t.Context(), &saved, true); problem.ReasonOf(err) != ReasonNoLeader {
			t.Errorf("at a follower: %v", err)
		}
		c.agree()
		if !has(c.leader(), "mine") {
			t.Fatal("a refused raft snapshot replaced something")
		}
		c.must(c.leader().Restore(t.Context(), &saved, true))
		c.agree()
		cluster := o.View().Cluster()
		for id, n := range c.running() {
			if n.View().Cluster() != cluster || !has(n, "other") || has(n, "mine") {
				t.Errorf("%s has %v of %s", id, n.View().Stores(), n.View().Cluster())
			}
			c.await("the folder says so", func() bool { return n.cluster() == cluster })
		}
		// What is proposed at a follower then is there when it is said to be.
		f := c.follower()
		if c.must(f.Propose(t.Context(), store("after"))); !has(f, "after") {
			t.Errorf("a follower does not have what was committed through it; it is at %d", f.View().Index())
		}
		ended, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := o.Save(ended, &saved); err == nil {
			t.Error("saved for a caller that is gone")
		}
	})
}

func TestStateThatIsNotKnownJoinsNothing(t *testing.T) {
	t.Parallel()
	for kept, want := range map[Kept]string{
		{}: "", {NodeID: "c1", Cluster: "x"}: "", {NodeID: "c1", Cluster: "x", State: true}: "x", {NodeID: "c1", State: true}: "unknown",
	} {
		if got := kept.StateOf(); got != want {
			t.Errorf("%+v: %q", kept, got)
		}
	}
}

func TestAFolderBelongsToOneCluster(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := newRig(t)
		kept, err := ReadKept(filepath.Join(c.base, "none"))
		if kept != (Kept{}) || err != nil {
			t.Errorf("no folder: %+v, %v", kept, err)
		}
		n := c.open("c1", bootstrap)
		dir := c.dirs["c1"]
		c.leader()
		cluster := n.View().Cluster()
		if _, err := ReadKept(dir); problem.ReasonOf(err) != ReasonDataInUse {
			t.Errorf("while it is in use: %v", err)
		}
		c.stop("c1")
		if kept, err = ReadKept(dir); err != nil || kept != (Kept{NodeID: "c1", Cluster: cluster, State: true}) {
			t.Errorf("%+v, %v", kept, err)
		}
		o := c.options("c1")
		o.Cluster = "another"
		if _, err := Open(o); problem.ReasonOf(err) != state.ReasonOtherClust {
			t.Errorf("its state in another cluster: %v", err)
		}
		// One that was taken in and never heard from the cluster makes none of its own.
		c.open("c2", func(o *Options) { o.Cluster = cluster })
		c.stop("c2")
		c.open("c2", bootstrap)
		c.stop("c2")
		if kept, err = ReadKept(c.dirs["c2"]); err != nil || kept != (Kept{NodeID: "c2", Cluster: cluster}) {
			t.Errorf("taken in only: %+v, %v", kept, err)
		}
		// It may be taken in elsewhere, as long as it has no state.
		c.open("c2", func(o *Options) { o.Cluster = "elsewhere" })
		if kept, err := os.ReadFile(filepath.Join(c.dirs["c2"], clusterFile)); string(kept) != "elsewhere\n" {
			t.Errorf("%q, %v", kept, err)
		}
	})
}

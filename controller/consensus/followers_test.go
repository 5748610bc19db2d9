package consensus

import (
	"testing"
	"time"

	"github.com/hashicorp/raft"

	"github.com/baktainer/baktainer/internal/clock"
)

func TestFollowersAreKnownByTheirAnswers(t *testing.T) {
	t.Parallel()
	c := clock.NewManual(time.Unix(100, 0))
	f := &followers{clock: c}
	want := func(at int64, index, term uint64) {
		t.Helper()
		if got := f.get("a"); got.contact != time.Unix(at, 0) || got.index != index || got.term != term {
			t.Errorf("%+v, want contact at %d, entry %d of term %d", got, at, index, term)
		}
	}
	if got := f.get("a"); !got.contact.IsZero() {
		t.Errorf("never heard of: %+v", got)
	}
	f.heard("a", 5, 2)
	want(100, 5, 2)
	c.Advance(time.Second)
	f.heard("a", 0, 0) // a heartbeat says nothing of the log
	want(101, 5, 2)
	f.heard("a", 4, 2) // an answer that was overtaken
	want(101, 5, 2)
	f.heard("a", 4, 3) // a newer leader's log is shorter
	want(101, 4, 3)
	f.heard("b", 9, 3)
	f.forget("a")
	if got := f.get("a"); got != (follower{}) || f.get("b").index != 9 {
		t.Errorf("forgotten: %+v", got)
	}
	f.reset()
	if got := f.get(raft.ServerID("b")); got != (follower{}) {
		t.Errorf("after a reset: %+v", got)
	}
}

package controller_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller"
	"github.com/baktainer/baktainer/controller/notify"
	"github.com/baktainer/baktainer/controller/notify/notifytest"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/source"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// TestWhatWasNotToldSurvivesARestart has a backup fail while the only one who is
// told cannot be reached, and the controller start again from its disk.
func TestWhatWasNotToldSurvivesARestart(t *testing.T) {
	hooks := notifytest.NewHookServer(t)
	hooks.Answer(http.StatusBadGateway, nil)
	c := newCluster(t, func(o *controller.Options) {
		o.Notify = config.Notify{Events: config.Events(), Failures: 1}
		channels, err := notify.ParseChannels([]config.NotifyLine{{Origin: "test", URL: source.Secret("webhook+" + hooks.URL)}}, "")
		if err != nil {
			t.Fatal(problem.Text(err))
		}
		o.Channels = channels
	})
	a := c.connect("a1", 1, nil, ready("shop"))
	run := c.backup("shop")
	as := a.assigned()
	_, err := a.agent.FinishRun(t.Context(), &pb.FinishRunRequest{Lease: as.GetLease(), Failure: &pb.Failure{Code: "denied", Message: "no password"}})
	if err != nil {
		t.Fatal(err)
	}
	c.awaitRun(run, pb.RunState_RUN_STATE_FAILED)
	hooks.Wait(1) // it was tried
	c.restart()
	if waiting := c.node.View().Events(0); len(waiting) != 1 || len(c.node.View().Conditions()) != 1 {
		t.Fatalf("after a restart %v waits", waiting)
	}
	before := len(hooks.All())
	hooks.Answer(http.StatusOK, nil)
	got := hooks.Wait(before + 1)
	var told struct {
		Open   int
		Events []struct {
			Sequence       int
			Event, Name    string
			Message, State string
			At             time.Time
		}
	}
	if err := json.Unmarshal(got[len(got)-1].Body, &told); err != nil {
		t.Fatal(err)
	}
	if len(told.Events) != 1 || told.Events[0].Name != "shop" || told.Events[0].Event != "failure" || told.Events[0].Message != "no password" || told.Open != 1 {
		t.Errorf("told: %+v", told)
	}
	c.await("it to be noted", func() bool { return len(c.node.View().Events(0)) == 0 })
}

package cli

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// teller is a controller that tells people.
type teller struct {
	fake
	pb.UnimplementedNotifyServiceServer
	conditions []*pb.Condition
	channels   []*pb.Channel
	tests      []*pb.ChannelTest
	fails      error
}

func (f *teller) ListConditions(context.Context, *pb.ListConditionsRequest) (*pb.ListConditionsResponse, error) {
	return &pb.ListConditionsResponse{Conditions: f.conditions, Channels: f.channels}, f.fails
}

func (f *teller) TestNotification(context.Context, *pb.TestNotificationRequest) (*pb.TestNotificationResponse, error) {
	return &pb.TestNotificationResponse{Tests: f.tests}, f.fails
}

func TestGoldenNotify(t *testing.T) {
	conditions := []*pb.Condition{
		{
			Kind: pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED, Subject: "wiki", OpenedAt: ago(time.Hour), Run: "r3",
			Message: "dump database wiki: the server refused the password", Hint: "Check the label baktainer.db.password.",
		},
		{Kind: pb.ConditionKind_CONDITION_KIND_LOW_SPACE, Subject: "main", OpenedAt: ago(3 * time.Hour), Message: "1.0 GiB of 20 GiB are free\x1b[31m", Quiet: true},
	}
	channels := []*pb.Channel{{Name: "smtp mail.example.com", SentAt: ago(59 * time.Minute)}, {Name: "slack", Waiting: 2, Error: "it answers 403 Forbidden"}}
	good, refused := &pb.ChannelTest{Channel: "slack", Ok: true}, &pb.ChannelTest{Channel: "smtp mail.example.com", Error: "connection refused", Hint: "Check its URL in notify-file."}
	nobody := problem.New(problem.Conflict, "nobody is to be told anything").WithHint("Name a file.")
	for _, tc := range []struct {
		name string
		fake *teller
		args string
	}{
		{"notify-ls", &teller{conditions: conditions, channels: channels}, "notify ls"},
		{"notify-ls-verbose", &teller{conditions: conditions, channels: channels}, "notify ls -v"},
		{"notify-ls-json", &teller{conditions: conditions, channels: channels}, "notify ls -o json"},
		{"notify-ls-quiet", &teller{conditions: conditions, channels: channels}, "notify ls -q"},
		{"notify-ls-none", &teller{}, "notify ls"},
		{"notify-test", &teller{tests: []*pb.ChannelTest{good}}, "notify test"},
		{"notify-test-some", &teller{tests: []*pb.ChannelTest{good, refused}}, "notify test"},
		{"notify-test-all", &teller{tests: []*pb.ChannelTest{refused}}, "notify test -q"},
		{"notify-test-json", &teller{tests: []*pb.ChannelTest{good, refused}}, "notify test -o json"},
		{"notify-test-nobody", &teller{fails: nobody}, "notify test"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := cli(t, Roof{}, serve(t, tc.fake), strings.Fields(tc.args)...)
			golden(t, tc.name, fmt.Sprintf("$ baktainer %s\nstatus %d\n-- stdout --\n%s-- stderr --\n%s", tc.args, r.status, r.out, r.err))
		})
	}
}

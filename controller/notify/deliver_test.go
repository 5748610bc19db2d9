package notify

import (
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/config"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestWhenAMessageIsDue(t *testing.T) {
	now := time.Date(2026, 6, 1, 3, 0, 0, 0, time.UTC)
	n := &Notifier{Options: Options{Settings: config.Notify{Digest: time.Minute, Interval: 5 * time.Minute}}}
	for what, tc := range map[string]struct {
		ping               bool
		began, sent, after time.Duration // from now; sent 0: never
		want               time.Duration
	}{
		"the first":                           {began: 0, want: time.Minute},
		"a while ago":                         {began: -30 * time.Second, want: 30 * time.Second},
		"soon after a message":                {began: 0, sent: -time.Minute, want: 4 * time.Minute},
		"long after one":                      {began: 0, sent: -time.Hour, want: time.Minute},
		"after a failure":                     {began: -time.Hour, after: time.Minute, want: time.Minute},
		"a ping":                              {ping: true, began: 0, sent: -time.Second, after: -time.Hour, want: -time.Hour},
		"sent by a clock that was ahead":      {began: 0, sent: 365 * 24 * time.Hour, want: time.Minute},
		"noted by a clock that was ahead":     {began: 365 * 24 * time.Hour, sent: -time.Minute, want: 4 * time.Minute},
		"noted and sent by one that was both": {began: 24 * time.Hour, sent: 24 * time.Hour, after: -time.Minute, want: -time.Minute},
	} {
		row := &pb.Channel{}
		if tc.sent != 0 {
			row.SentAt = timestamppb.New(now.Add(tc.sent))
		}
		events := []*pb.ConditionEvent{{At: timestamppb.New(now.Add(tc.began))}}
		if got := n.due(&Channel{Ping: tc.ping}, events, row, now.Add(tc.after), now).Sub(now); got != tc.want {
			t.Errorf("%s: in %s, want %s", what, got, tc.want)
		}
	}
}

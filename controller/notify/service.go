package notify

import (
	"context"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// ReasonNobody says that nobody is to be told anything.
const ReasonNobody problem.Reason = "no-channels"

// Service implements pb.NotifyServiceServer.
type Service struct {
	pb.UnimplementedNotifyServiceServer
	*Notifier
}

// TestNotification implements the service.
func (s Service) TestNotification(ctx context.Context, _ *pb.TestNotificationRequest) (*pb.TestNotificationResponse, error) {
	if len(s.Channels) == 0 {
		return nil, problem.New(problem.Conflict, "nobody is to be told anything").WithReason(ReasonNobody).
			WithHint("Put the URLs of those who are to be told into a file, name it with notify-file, and start the controller again; docs/notifications.md has the URLs.")
	}
	return &pb.TestNotificationResponse{Tests: s.test(ctx)}, nil
}

// ListConditions implements the service.
func (s Service) ListConditions(context.Context, *pb.ListConditionsRequest) (*pb.ListConditionsResponse, error) {
	view := s.Node.View()
	resp := &pb.ListConditionsResponse{Conditions: view.Conditions()}
	s.mu.Lock()
	defer s.mu.Unlock()
	resp.Settled = s.judged >= view.Index()
	for _, c := range s.Channels {
		row, _ := view.Channel(c.Name)
		ch := &pb.Channel{Name: c.Name, Sequence: row.GetSequence(), SentAt: row.GetSentAt(), Error: s.failed[c.Name]}
		for _, e := range view.Events(row.GetSequence()) {
			if s.wants(c, e) {
				ch.Waiting++
				resp.Settled = false
			}
		}
		resp.Channels = append(resp.Channels, ch)
	}
	return resp, nil
}

package notify

import (
	"context"
	"time"

	"github.com/cenkalti/backoff/v5"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/clock"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// How long is tried to tell something.
const (
	sendTimeout = 30 * time.Second
	firstRetry  = 5 * time.Second
	mostRetry   = 10 * time.Minute
	// giveUp is after how long an event is told no more, giveUpPing a ping: by then
	// its silence has raised the alarm.
	giveUp     = 24 * time.Hour
	giveUpPing = time.Hour
)

// deliver tells a channel's share of the events until ctx ends. What happens
// while it waits, for more events, for its turn or for a server that is down, is
// told in the same message.
func (n *Notifier) deliver(ctx context.Context, c *Channel) {
	pause := &backoff.ExponentialBackOff{InitialInterval: firstRetry, RandomizationFactor: backoff.DefaultRandomizationFactor, Multiplier: 2, MaxInterval: mostRetry}
	pause.Reset()
	var notBefore time.Time // after a failure
	for ctx.Err() == nil {
		view := n.Node.View()
		row, known := view.Channel(c.Name)
		events := view.Events(row.GetSequence())
		if !known || len(events) == 0 {
			select {
			case <-view.Changed():
			case <-ctx.Done():
			}
			continue
		}
		now := n.Clock.Now()
		last := events[len(events)-1].GetSequence()
		wanted, late := n.share(c, events, now)
		if late > 0 {
			n.Logger.Error("given up: it could not be told in time", "channel", c.Name, "events", late)
		}
		if len(wanted) == 0 {
			n.settle(ctx, c, last, nil)
			continue
		}
		if wait := n.due(c, wanted, row, notBefore, now).Sub(now); wait > 0 {
			_ = clock.Sleep(ctx, wait) // its only error ends the loop
			continue
		}
		m := compose(wanted, n.Zone)
		m.Lost = uint64(late)
		if first := events[0].GetSequence(); first > row.GetSequence()+1 {
			m.Lost += first - row.GetSequence() - 1
		}
		err := n.send(ctx, c, m)
		n.noteFailure(c, err)
		if err != nil {
			next := pause.NextBackOff()
			notBefore = n.Clock.Now().Add(next)
			if ctx.Err() == nil {
				n.Logger.Warn("not told yet; trying again", "channel", c.Name, "error", err, "after", next.Round(time.Second))
			}
			continue
		}
		pause.Reset()
		notBefore = time.Time{}
		sent := n.Clock.Now()
		n.Logger.Info("told", "channel", c.Name, "events", len(wanted), "summary", m.Summary())
		n.settle(ctx, c, last, &sent)
	}
}

// share gives the events that a channel is to tell, and how many it wanted to
// tell and are too old.
func (n *Notifier) share(c *Channel, events []*pb.ConditionEvent, now time.Time) (wanted []*pb.ConditionEvent, late int) {
	patience := giveUp
	if c.Ping {
		patience = giveUpPing
	}
	for _, e := range events {
		switch {
		case !n.wants(c, e):
		case now.Sub(e.GetAt().AsTime()) > patience:
			late++
		default:
			wanted = append(wanted, e)
		}
	}
	return wanted, late
}

// due is when a channel tells: a while after the first event, so that others can
// join it, and a while after its last message. A ping waits for nothing. Times to
// come are those of a clock that was wrong: they would silence a channel until then.
func (n *Notifier) due(c *Channel, wanted []*pb.ConditionEvent, row *pb.Channel, notBefore, now time.Time) time.Time {
	if c.Ping {
		return notBefore
	}
	at := notBefore
	for since, wait := range map[*timestamppb.Timestamp]time.Duration{wanted[0].GetAt(): n.Settings.Digest, row.GetSentAt(): n.Settings.Interval} {
		if next := since.AsTime().Add(wait); since != nil && !since.AsTime().After(now) && next.After(at) {
			at = next
		}
	}
	return at
}

// send renders a message and sends it once. Its errors may be shown.
func (n *Notifier) send(ctx context.Context, c *Channel, m *Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	view := n.Node.View()
	open := view.Conditions()
	m.Cluster, m.Controller, m.At = view.Cluster(), n.Controller, n.Clock.Now().In(n.Zone)
	m.Open, m.troubled = 0, troubled(open)
	for _, cond := range open {
		if !cond.GetQuiet() {
			m.Open++
		}
	}
	subject, body, err := n.Text.Render(m)
	if err != nil {
		n.Logger.Warn("the template of notify-template failed; the built-in text is sent", "error", err)
	}
	return c.send(ctx, &outgoing{Message: m, subject: subject, body: body})
}

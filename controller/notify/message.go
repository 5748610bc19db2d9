package notify

import (
	"fmt"
	"strings"
	"time"

	"github.com/baktainer/baktainer/internal/condition"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Message is what one channel is told at once. Templates are given it.
type Message struct {
	// Test says that somebody only wants to see whether messages arrive.
	Test bool
	// Cluster is the cluster's id, Controller the name of the one that tells.
	Cluster, Controller string
	// At is when the message was made.
	At time.Time
	// Problems have begun, Recovered have ended since the last message, Successes
	// are backups. Of what began and ended meanwhile only the end is told; of
	// several backups of one source the last.
	Problems, Recovered, Successes []Item
	// Open is how many problems there are now, new and old.
	Open int
	// Lost is how many events were dropped before they could be told.
	Lost uint64

	events []*pb.ConditionEvent
	// troubled says that some backup is failing or overdue.
	troubled bool
}

// Item is one thing that began, ended or happened.
type Item struct {
	// Event is failure, missed, size, stale, damaged, contents, drill, retention, space, paused, store, agent or success.
	Event string
	// Of is source, store or agent; Subject its name.
	Of, Subject string
	// Title says in a few words what happened, Message in one line; Hint what to do
	// about it, Run which run: they may be empty.
	Title, Message, Hint, Run string
	// At is when it happened, Since when the problem began.
	At, Since time.Time
}

// compose makes one message of events, in their order: of each kind and subject
// the last event counts.
func compose(events []*pb.ConditionEvent, zone *time.Location) *Message {
	m := &Message{events: events}
	last := map[string]int{}
	for i, e := range events {
		last[key(e.GetCondition().GetKind(), e.GetCondition().GetSubject())] = i
	}
	for i, e := range events {
		c := e.GetCondition()
		if last[key(c.GetKind(), c.GetSubject())] != i {
			continue
		}
		words := condition.Of(c.GetKind())
		item := Item{
			Event: string(words.Event), Of: words.Of, Subject: c.GetSubject(), Title: words.Began,
			Message: c.GetMessage(), Hint: c.GetHint(), Run: c.GetRun(), At: e.GetAt().AsTime().In(zone), Since: c.GetOpenedAt().AsTime().In(zone),
		}
		switch {
		case c.GetKind() == pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED:
			m.Successes = append(m.Successes, item)
		case e.GetClosed():
			item.Title = words.Ended
			m.Recovered = append(m.Recovered, item)
		default:
			m.Problems = append(m.Problems, item)
		}
	}
	return m
}

// Summary is the message in a few words.
func (m *Message) Summary() string {
	if m.Test {
		return "a test message"
	}
	all := len(m.Problems) + len(m.Recovered) + len(m.Successes)
	for _, items := range [][]Item{m.Problems, m.Recovered, m.Successes} {
		if all == 1 && len(items) == 1 {
			return items[0].Subject + ": " + items[0].Title
		}
	}
	var parts []string
	for _, part := range []struct {
		n         int
		one, many string
	}{
		{len(m.Problems), "1 problem", "problems"}, {len(m.Recovered), "1 recovered", "recovered"},
		{len(m.Successes), "1 backup succeeded", "backups succeeded"},
	} {
		switch part.n {
		case 0:
		case 1:
			parts = append(parts, part.one)
		default:
			parts = append(parts, fmt.Sprintf("%d %s", part.n, part.many))
		}
	}
	if len(parts) == 0 {
		return "nothing new"
	}
	return strings.Join(parts, ", ")
}

package dispatch

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// asked is a request for an agent's log that is under way.
type asked struct {
	done chan struct{}
	logs []*pb.LogLine
	err  error
}

func (l *leader) ask(ctx context.Context, agent string, lines int) *asked {
	a := &asked{done: make(chan struct{})}
	go func() {
		defer close(a.done)
		a.logs, a.err = l.RequestLogs(ctx, agent, lines)
	}()
	synctest.Wait()
	return a
}

func lines(n int) (all []*pb.LogLine) {
	for i := range n {
		all = append(all, &pb.LogLine{Level: "info", Message: fmt.Sprint(i)})
	}
	return all
}

func TestAnAgentSendsItsLog(t *testing.T) {
	t.Parallel()
	for want, tc := range map[string]struct{ ask, asked, sent, got int }{
		"as many as asked for": {300, 300, 300, 300},
		"fewer":                {300, 300, 7, 7},
		"more":                 {300, 300, 500, 300},
		"the usual":            {0, usualLogLines, 10, 10},
		"too many":             {100_000, maxLogLines, 5000, maxLogLines},
		"none":                 {5, 5, 0, 0},
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				l := newNode(t).leader(nil)
				a := l.connect(asks("a1", "h1", 1))
				a.told()
				wait := l.ask(t.Context(), "a1", tc.ask)
				m := a.told()
				if len(m) != 1 || m[0].GetLogs().GetLines() != int32(tc.asked) {
					t.Fatalf("the agent was asked: %v", m)
				}
				sent := lines(tc.sent)
				for _, line := range sent {
					line.Message += strings.Repeat(" ", 1<<11) // too long
				}
				if _, err := l.SendLogs(t.Context(), &pb.SendLogsRequest{Agent: "a1", Id: m[0].GetLogs().GetId(), Logs: sent}); err != nil {
					t.Fatal(err)
				}
				<-wait.done
				if wait.err != nil || len(wait.logs) != tc.got {
					t.Fatalf("%d lines, %v; want %d", len(wait.logs), wait.err, tc.got)
				}
				for i, line := range wait.logs {
					if len(line.GetMessage()) > 1<<10 || strings.TrimSpace(line.GetMessage()) != fmt.Sprint(tc.sent-tc.got+i) {
						t.Fatalf("line %d of %d bytes is %q", i, len(line.GetMessage()), strings.TrimSpace(line.GetMessage()))
					}
				}
			})
		})
	}
}

func TestALogThatDoesNotCome(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		l := newNode(t).leader(nil)
		wantCode(t, l.ask(t.Context(), "nobody", 1).err, problem.NotFound)
		l.connect(asks("a2", "h2", 1)).hangUp()
		synctest.Wait()
		wantCode(t, l.ask(t.Context(), "a2", 1).err, problem.Unavailable)

		a := l.connect(asks("a1", "h1", 1))
		a.told()
		began := l.Clock.Now()
		silent := l.ask(t.Context(), "a1", 1)
		id := a.told()[0].GetLogs().GetId()
		_, err := l.SendLogs(t.Context(), &pb.SendLogsRequest{Agent: "a2", Id: id, Logs: lines(1)}) // another's
		wantCode(t, err, problem.NotFound)
		<-silent.done
		wantCode(t, silent.err, problem.Unavailable)
		if d := l.Clock.Now().Sub(began); d != logsLimit {
			t.Errorf("it was waited for for %s", d)
		}
		_, err = l.SendLogs(t.Context(), &pb.SendLogsRequest{Agent: "a1", Id: id, Logs: lines(1)}) // too late
		wantCode(t, err, problem.NotFound)

		ctx, cancel := context.WithCancel(t.Context())
		left := l.ask(ctx, "a1", 1)
		cancel()
		<-left.done
		wantCode(t, left.err, problem.Cancelled)

		var all []*asked
		for range maxLogAsks {
			all = append(all, l.ask(t.Context(), "a1", 1))
		}
		wantCode(t, l.ask(t.Context(), "a1", 1).err, problem.Unavailable)
		if m := a.told(); len(m) != maxLogAsks+1 { // and the one that left before
			t.Errorf("%d messages ask for %d logs", len(m), maxLogAsks)
		}
		a.hangUp()
		for _, one := range all {
			<-one.done
			wantCode(t, one.err, problem.Unavailable)
		}
		if len(l.asked) != 0 {
			t.Errorf("%d requests are remembered", len(l.asked))
		}
	})
}

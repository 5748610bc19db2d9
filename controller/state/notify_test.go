package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

const (
	failed    = pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED
	succeeded = pb.ConditionKind_CONDITION_KIND_BACKUP_SUCCEEDED
)

func change(kind pb.ConditionKind, subject string, closed, quiet bool) *pb.ConditionChange {
	return &pb.ConditionChange{Condition: &pb.Condition{Kind: kind, Subject: subject, Message: "no " + subject}, Closed: closed, Quiet: quiet}
}

func record(ledger uint64, changes ...*pb.ConditionChange) *pb.Command {
	return &pb.Command{Command: &pb.Command_RecordConditions{RecordConditions: &pb.RecordConditions{Changes: changes, Ledger: ledger}}}
}

func opens(subjects ...string) *pb.Command {
	var all []*pb.ConditionChange
	for _, s := range subjects {
		all = append(all, change(failed, s, false, false))
	}
	return record(0, all...)
}

func closes(subject string) *pb.Command { return record(0, change(failed, subject, true, false)) }

func channel(name string, sequence uint64) *pb.Channel {
	return &pb.Channel{Name: name, Sequence: sequence, SentAt: at(int(sequence))}
}

func channels(all ...*pb.Channel) *pb.Command {
	return &pb.Command{Command: &pb.Command_SettleChannels{SettleChannels: &pb.SettleChannels{Channels: all, Complete: true}}}
}

func settle(name string, sequence uint64) *pb.Command {
	return &pb.Command{Command: &pb.Command_SettleChannels{SettleChannels: &pb.SettleChannels{Channels: []*pb.Channel{channel(name, sequence)}}}}
}

// waiting is what the state has yet to tell, in short.
func waiting(v *state.View) string {
	var all []string
	for _, e := range v.Events(0) {
		sign := "+"
		if e.GetClosed() {
			sign = "-"
		}
		all = append(all, fmt.Sprintf("%d%s%s", e.GetSequence(), sign, e.GetCondition().GetSubject()))
	}
	return strings.Join(all, " ")
}

func TestOnlyChangesOfConditionsAreTold(t *testing.T) {
	mail := channels(channel("mail", 0))
	for _, tc := range []struct {
		name          string
		cmds          []*pb.Command
		waiting, open string
	}{
		{"one opens", []*pb.Command{mail, opens("a")}, "1+a", "a"},
		{"it opens again", []*pb.Command{mail, opens("a"), opens("a", "b")}, "1+a 2+b", "a b"},
		{"it closes", []*pb.Command{mail, opens("a"), closes("a")}, "1+a 2-a", ""},
		{"what is not open closes", []*pb.Command{mail, closes("a")}, "", ""},
		{"quietly", []*pb.Command{mail, record(0, change(failed, "a", false, true)), closes("a")}, "", ""},
		{"it closes quietly", []*pb.Command{mail, opens("a"), record(0, change(failed, "a", true, true))}, "1+a", ""},
		{"nobody is there", []*pb.Command{opens("a")}, "", "a"},
		{"somebody comes later", []*pb.Command{opens("a"), mail, closes("a")}, "2-a", ""},
		{"all was told", []*pb.Command{mail, opens("a", "b"), settle("mail", 2), closes("b")}, "3-b", "a"},
		{"one is behind", []*pb.Command{channels(channel("mail", 0), channel("slack", 0)), opens("a", "b"), settle("mail", 2), settle("slack", 1)}, "2+b", "a b"},
		{"the one behind is given up", []*pb.Command{channels(channel("mail", 0), channel("slack", 0)), opens("a", "b"), settle("mail", 2), mail}, "", "a b"},
		{"a channel does not go back", []*pb.Command{mail, opens("a", "b"), settle("mail", 2), settle("mail", 1), opens("c")}, "3+c", "a b c"},
		{"successes", []*pb.Command{mail, record(3, change(succeeded, "a", false, false)), record(3, change(succeeded, "a", false, false)), record(4, change(succeeded, "a", false, false))}, "1+a 2+a", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			l := newLog(t).must(tc.cmds...)
			var open []string
			for _, c := range l.state.View().Conditions() {
				open = append(open, c.GetSubject())
			}
			if got := waiting(l.state.View()); got != tc.waiting || strings.Join(open, " ") != tc.open {
				t.Errorf("waiting %q, open %q; want %q and %q", got, open, tc.waiting, tc.open)
			}
			if again := restored(t, l.state); waiting(again.View()) != tc.waiting || again.View().NotifyMark().GetSequence() != l.state.View().NotifyMark().GetSequence() {
				t.Error("a raft snapshot lost something of it")
			}
			invariants(t, l.state)
		})
	}
}

func TestConditionsThatAreRefused(t *testing.T) {
	l := newLog(t).must(channels(channel("mail", 0)), opens("a"))
	before := snapshotBytes(t, l.state)
	for name, c := range map[string]*pb.Command{
		"no kind": record(0, change(0, "x", false, false)), "an unknown kind": record(0, change(99, "x", false, false)), "no subject": opens("x", ""),
		"a long subject": opens(strings.Repeat("x", 301)), "a channel without a name": channels(channel("", 0)), "what has not happened": settle("mail", 2),
		"too many channels": channels(slices.Repeat([]*pb.Channel{channel("mail", 0)}, 101)...),
	} {
		if err := l.apply(c); problem.ReasonOf(err) != state.ReasonBadCommand {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := l.apply(settle("slack", 1)); problem.ReasonOf(err) != state.ReasonNoChannel {
		t.Errorf("a channel that is unknown: %v", err)
	}
	if string(before[20:len(before)-5]) != string(after(t, l.state)) {
		t.Error("a refused command changed the state")
	}
}

func TestEventsThatNobodyTakesAreBounded(t *testing.T) {
	l := newLog(t).must(channels(channel("mail", 0)))
	for i := range state.KeptEvents/100 + 2 {
		var all []string
		for j := range 100 {
			all = append(all, fmt.Sprintf("s%d-%d", i, j))
		}
		l.must(opens(all...))
	}
	events := l.state.View().Events(0)
	if len(events) != state.KeptEvents || events[0].GetSequence() != 201 {
		t.Errorf("%d events wait, from %d on", len(events), events[0].GetSequence())
	}
}

func TestStreak(t *testing.T) {
	bad := pb.RunState_RUN_STATE_FAILED
	l := newLog(t).must(queue("r0", "shop", 0), grant("r0", 1), commit("r0", 1, "shop", 1))
	if s := l.state.View().Streak("shop"); s.Failures != 0 || s.Newest.GetId() != "r0" || s.Oldest.GetId() != "r0" {
		t.Errorf("after a success: %v", s)
	}
	l.must(queue("r1", "shop", 1), end("r1", 0, bad), queue("r2", "shop", 2), end("r2", 0, bad), queue("r3", "shop", 3), cancel("r3"),
		queueRestore("r4", "shop", ""), end("r4", 0, bad), queue("r5", "shop", 5))
	if s := l.state.View().Streak("shop"); s.Failures != 2 || s.Newest.GetId() != "r2" || s.Oldest.GetId() != "r0" {
		t.Errorf("after two failures, a cancelled one, a failed restore and one under way: %v", s)
	}
	if s := l.state.View().Streak("other"); s != (state.Streak{}) {
		t.Errorf("of a source that has no runs: %v", s)
	}
}

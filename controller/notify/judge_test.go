package notify

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/condition"
	"github.com/baktainer/baktainer/internal/config"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

var noon = time.Date(2026, 6, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// usual are the settings when nothing is set.
func usual(t testing.TB) config.Notify {
	t.Helper()
	c, _, err := config.Load(config.LoadOptions{Environ: []string{"HOME=/h"}})
	if err != nil {
		t.Fatal(err)
	}
	return c.Notify
}

const (
	failed  = pb.ConditionKind_CONDITION_KIND_BACKUP_FAILED
	missed  = pb.ConditionKind_CONDITION_KIND_RUN_MISSED
	sized   = pb.ConditionKind_CONDITION_KIND_SIZE_ANOMALY
	stale   = pb.ConditionKind_CONDITION_KIND_NO_BACKUP
	low     = pb.ConditionKind_CONDITION_KIND_LOW_SPACE
	failing = pb.ConditionKind_CONDITION_KIND_STORE_FAILING
	silent  = pb.ConditionKind_CONDITION_KIND_AGENT_SILENT
	damaged = pb.ConditionKind_CONDITION_KIND_SNAPSHOT_DAMAGED
	stopped = pb.ConditionKind_CONDITION_KIND_RETENTION_STOPPED
	paused  = pb.ConditionKind_CONDITION_KIND_BACKUPS_PAUSED

	strange   = pb.ConditionKind_CONDITION_KIND_CONTENTS_STRANGE
	undrilled = pb.ConditionKind_CONDITION_KIND_DRILL_FAILED
)

func opened(kind pb.ConditionKind, subject string) *pb.Condition {
	return &pb.Condition{Kind: kind, Subject: subject, OpenedAt: timestamppb.New(ago(2 * time.Hour))}
}

// short is a change in short: + begins, - ends, ~ before it: quietly.
func short(changes []*pb.ConditionChange) string {
	var all []string
	for _, c := range changes {
		sign := "+"
		if c.GetClosed() {
			sign = "-"
		}
		if c.GetQuiet() {
			sign = "~" + sign
		}
		all = append(all, fmt.Sprintf("%s%s %s", sign, condition.Of(c.GetCondition().GetKind()).Event, c.GetCondition().GetSubject()))
	}
	return strings.Join(all, ", ")
}

const mib = 1 << 20

func TestJudge(t *testing.T) {
	shop := func(change func(*Source)) Facts {
		s := Source{Name: "shop", Known: ago(1000 * time.Hour), LastSuccess: ago(time.Hour), Snapshot: "01X", Every: 24 * time.Hour}
		if change != nil {
			change(&s)
		}
		return Facts{Sources: []Source{s}}
	}
	fails := func(n int) Facts {
		return shop(func(s *Source) {
			s.Failures, s.Failure, s.Run = n, &pb.Failure{Message: "dump shop: no such host", Hint: "Start it."}, "r1"
		})
	}
	sizes := func(newestFirst ...int64) Facts { return shop(func(s *Source) { s.Sizes = newestFirst }) }
	lastly := func(success, known time.Duration) Facts {
		return shop(func(s *Source) {
			if s.LastSuccess = ago(success); success == 0 {
				s.LastSuccess = time.Time{}
			}
			s.Known = ago(known)
		})
	}
	disk := func(free, total int64) Facts {
		return Facts{Stores: []Store{{Name: "main", Free: free, Total: total, Least: total / 10}}}
	}
	full := func(why string) Facts {
		return Facts{Stores: []Store{{Name: "main", Free: 1 << 30, Total: 100 << 30, Least: 10 << 30, Paused: why}}}
	}
	broken := func(d time.Duration) Facts {
		return Facts{Stores: []Store{{Name: "main", Failing: "read-only file system", Since: d}}}
	}
	away := func(d time.Duration) Facts { return Facts{Agents: []Agent{{Name: "a1", Silent: d}}} }
	passed := func(d, success time.Duration) Facts {
		return shop(func(s *Source) {
			s.LastSuccess, s.Missed = ago(success), &Missed{Source: "shop", Fire: ago(d), Why: "the one before had not ended"}
		})
	}
	set := func(change func(*config.Notify)) config.Notify {
		n := usual(t)
		change(&n)
		return n
	}
	quietly := set(func(n *config.Notify) { n.Events = []config.Event{config.EventSize} })
	noRecovery := set(func(n *config.Notify) { n.Events = []config.Event{config.EventFailure} })
	thrice := set(func(n *config.Notify) { n.Failures = 3 })

	for _, tc := range []struct {
		name     string
		open     []*pb.Condition
		facts    Facts
		settings *config.Notify
		want     string
		says     string // part of the first change's message
	}{
		{"all is well", nil, shop(nil), nil, "", ""},
		{"one failure", nil, fails(1), nil, "+failure shop", "dump shop: no such host"},
		{"several failures", nil, fails(3), nil, "+failure shop", "the last 3 backups failed; the last one: dump shop"},
		{"one more failure", []*pb.Condition{opened(failed, "shop")}, fails(2), nil, "", ""},
		{"a recovery", []*pb.Condition{opened(failed, "shop")}, shop(nil), nil, "-failure shop", ""},
		{"a recovery that nobody wants to hear of", []*pb.Condition{opened(failed, "shop")}, shop(nil), &noRecovery, "~-failure shop", ""},
		{"a failure that nobody wants to hear of", nil, fails(1), &quietly, "~+failure shop", ""},
		{"below the threshold", nil, fails(2), &thrice, "", ""},
		{"at the threshold", nil, fails(3), &thrice, "+failure shop", ""},
		{"below a threshold that was raised", []*pb.Condition{opened(failed, "shop")}, fails(2), &thrice, "", ""},
		{"the source is gone", []*pb.Condition{opened(failed, "shop"), opened(stale, "shop")}, shop(func(s *Source) { s.Gone = true }), nil, "~-failure shop, ~-stale shop", ""},
		{"the source was never heard of", []*pb.Condition{opened(failed, "blog")}, shop(nil), nil, "~-failure blog", ""},
		{"neither failures nor successes are left", []*pb.Condition{opened(failed, "shop")}, lastly(0, time.Hour), nil, "~-failure shop", ""},

		{"missed", nil, passed(time.Hour, 2*time.Hour), nil, "+missed shop", "the backup of 2026-06-01 11:00 UTC was not made: the one before had not ended"},
		{"missed, and backed up since", nil, passed(2*time.Hour, time.Hour), nil, "", ""},
		{"missed before it was there", nil, shop(func(s *Source) {
			s.Known, s.LastSuccess, s.Missed = ago(time.Hour), time.Time{}, &Missed{Source: "shop", Fire: ago(2 * time.Hour)}
		}), nil, "", ""},
		{"made good", []*pb.Condition{opened(missed, "shop")}, shop(nil), nil, "-missed shop", ""},
		{"not made good, though nobody remembers it", []*pb.Condition{opened(missed, "shop")}, lastly(3*time.Hour, 9*time.Hour), nil, "", ""},

		{"half the size is usual", nil, sizes(50*mib, 100*mib, 100*mib, 100*mib), nil, "", ""},
		{"less is not", nil, sizes(49*mib, 100*mib, 100*mib, 100*mib), nil, "+size shop", "snapshot 01X has 49 MiB; usual are 100 MiB, the median of the 3 before"},
		{"twice the size is usual", nil, sizes(200*mib, 100*mib, 100*mib, 100*mib), nil, "", ""},
		{"more is not", nil, sizes(201*mib, 100*mib, 100*mib, 100*mib), nil, "+size shop", "201 MiB"},
		{"an odd one before changes nothing", nil, sizes(100*mib, 5*mib, 100*mib, 90*mib, 110*mib, 9000*mib), nil, "", ""},
		{"of many the last seven count", nil, sizes(100*mib, 100*mib, 100*mib, 100*mib, 100*mib, 9*mib, 9*mib, 9*mib, 9*mib, 9*mib), nil, "", ""},
		{"too few to tell", nil, sizes(1, 100*mib, 100*mib), nil, "", ""},
		{"a small one that grows", nil, sizes(900<<10, 10<<10, 10<<10, 10<<10), nil, "", ""},
		{"a small one that shrinks", nil, sizes(1<<10, 100<<10, 100<<10, 100<<10), nil, "+size shop", ""},
		{"an empty one", nil, sizes(0, 0, 0, 0), nil, "", ""},
		{"the size is usual again", []*pb.Condition{opened(sized, "shop")}, sizes(100*mib, 1*mib, 100*mib, 100*mib), nil, "-size shop", ""},
		{"a new size became usual", []*pb.Condition{opened(sized, "shop")}, sizes(300*mib, 300*mib, 300*mib, 300*mib, 100*mib, 100*mib), nil, "-size shop", ""},
		{"sizes are of no interest any more", []*pb.Condition{opened(sized, "shop")}, sizes(1*mib, 100*mib, 100*mib, 100*mib), ptr(set(func(n *config.Notify) { n.SizeLow, n.SizeHigh = 0, 0 })), "~-size shop", ""},

		{"no backup for two days", nil, lastly(49*time.Hour, 900*time.Hour), nil, "+stale shop", "the last successful backup was made 2 days ago"},
		{"nor ever", nil, lastly(0, 50*time.Hour), nil, "+stale shop", "it has been there for 2 days without a successful backup"},
		{"nor yet", nil, lastly(0, time.Hour), nil, "", ""},
		{"one weekly", nil, shop(func(s *Source) { s.LastSuccess, s.Every = ago(300*time.Hour), 7*24*time.Hour }), nil, "", ""},
		{"one weekly, for long", nil, shop(func(s *Source) { s.LastSuccess, s.Every = ago(340*time.Hour), 7*24*time.Hour }), nil, "+stale shop", ""},
		{"without a schedule", nil, shop(func(s *Source) { s.LastSuccess, s.Every = ago(9000*time.Hour), 0 }), nil, "", ""},
		{"by a limit of one's own", nil, lastly(2*time.Hour, 900*time.Hour), ptr(set(func(n *config.Notify) { n.StaleAuto, n.Stale = false, 90*time.Minute })), "+stale shop", ""},
		{"backed up after all", []*pb.Condition{opened(stale, "shop")}, shop(nil), nil, "-stale shop", ""},
		{"never backed up, and still not", []*pb.Condition{opened(stale, "shop")}, lastly(0, 50*time.Hour), nil, "", ""},

		{"room enough", nil, disk(10, 100), nil, "", ""},
		{"not enough", nil, disk(9<<30, 100<<30), nil, "+space main", "9.0 GiB of 100 GiB are free"},
		{"a little more", []*pb.Condition{opened(low, "main")}, disk(10<<30, 100<<30), nil, "", ""},
		{"enough again", []*pb.Condition{opened(low, "main")}, disk(11<<30, 100<<30), nil, "-space main", ""},
		{"it does not matter any more", []*pb.Condition{opened(low, "main")}, Facts{Stores: []Store{{Name: "main", Free: 1, Total: 100}}}, nil, "~-space main", ""},
		{"so little that backups pause", []*pb.Condition{opened(low, "main")}, full("1.0 GiB is free"), nil, "+paused main", "1.0 GiB is free"},
		{"they go on", []*pb.Condition{opened(low, "main"), opened(paused, "main")}, full(""), nil, "-paused main", ""},
		{"room without end", nil, disk(0, 0), nil, "", ""},
		{"nothing is known of stores yet", []*pb.Condition{opened(low, "main")}, Facts{}, nil, "", ""},
		{"another store", []*pb.Condition{opened(low, "old")}, disk(50, 100), nil, "~-space old", ""},
		{"a store fails for a moment", nil, broken(time.Minute), nil, "", ""},
		{"a store fails", nil, broken(2 * time.Minute), nil, "+store main", "read-only file system"},
		{"a store works again", []*pb.Condition{opened(failing, "main")}, disk(50, 100), nil, "-store main", ""},

		{"an agent is silent", nil, away(10 * time.Minute), nil, "+agent a1", "it has not been connected for 10 minutes"},
		{"not for long yet", nil, away(9 * time.Minute), nil, "", ""},
		{"it may be back, may be not", []*pb.Condition{opened(silent, "a1")}, away(time.Second), nil, "", ""},
		{"it is back", []*pb.Condition{opened(silent, "a1")}, away(0), nil, "-agent a1", ""},
		{"it is drained", []*pb.Condition{opened(silent, "a1")}, Facts{Agents: []Agent{{Name: "a1", Silent: time.Hour, Excused: true}}}, nil, "~-agent a1", ""},
		{"it is none any more", []*pb.Condition{opened(silent, "a1")}, Facts{}, nil, "~-agent a1", ""},

		{"a snapshot is damaged", nil, shop(func(s *Source) { s.Damaged = []string{"01X"} }), nil, "+damaged shop", "bytes of snapshot 01X are damaged"},
		{"two are", nil, shop(func(s *Source) { s.Damaged = []string{"01X", "01W"} }), nil, "+damaged shop", "of 2 snapshots are damaged or missing, of 01X too"},
		{"one more is", []*pb.Condition{opened(damaged, "shop")}, shop(func(s *Source) { s.Damaged = []string{"01X", "01W"} }), nil, "", ""},
		{"it is gone", []*pb.Condition{opened(damaged, "shop")}, shop(nil), nil, "-damaged shop", ""},
		{"rows are gone", nil, shop(func(s *Source) { s.Snapshot, s.Strange = "01X", []string{"shop.sql: table a is gone", "b"} }), nil, "+contents shop", "snapshot 01X: shop.sql: table a is gone, and 1 more like that"},
		{"they stay away", []*pb.Condition{opened(strange, "shop")}, shop(nil), nil, "~-contents shop", ""},
		{"a drill failed", nil, shop(func(s *Source) {
			s.Drill = &pb.Run{Id: "d1", State: pb.RunState_RUN_STATE_FAILED, Snapshot: "01X", Failure: &pb.Failure{Message: "a table is missing"}}
		}), nil, "+drill shop", "snapshot 01X: a table is missing"},
		{"one succeeded again", []*pb.Condition{opened(undrilled, "shop")}, shop(func(s *Source) { s.Drill = &pb.Run{State: pb.RunState_RUN_STATE_SUCCEEDED} }), nil, "-drill shop", ""},
		{"there was none", []*pb.Condition{opened(undrilled, "shop")}, shop(nil), nil, "", ""},
		{"its policy is unknown", nil, shop(func(s *Source) { s.Retention = ptr("no policy named gold") }), nil, "+retention shop", "nothing of it is forgotten: no policy named gold"},
		{"nobody has looked yet", []*pb.Condition{opened(stopped, "shop")}, shop(nil), nil, "", ""},
		{"its policy is known", []*pb.Condition{opened(stopped, "shop")}, shop(func(s *Source) { s.Retention = ptr("") }), nil, "-retention shop", ""},

		{"successes", nil, Facts{Successes: []Success{{"shop", "r1", "01X", 8 * mib}, {"shop", "r2", "01Y", 1}}}, nil, "+success shop, +success shop", "snapshot 01X of 8.0 MiB"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			settings := usual(t)
			if tc.settings != nil {
				settings = *tc.settings
			}
			got := Judge(tc.open, tc.facts, settings, noon)
			if short(got) != tc.want {
				t.Fatalf("got %q, want %q", short(got), tc.want)
			}
			if tc.says != "" && !strings.Contains(got[0].GetCondition().GetMessage(), tc.says) {
				t.Errorf("it says %q, want %q", got[0].GetCondition().GetMessage(), tc.says)
			}
			if again := Judge(after(tc.open, got), tc.facts, settings, noon); strings.ReplaceAll(short(again), "+success shop", "") != strings.Repeat(", ", max(0, len(tc.facts.Successes)-1)) {
				t.Errorf("judged once more, nothing having changed: %q", short(again))
			}
		})
	}
}

func ptr[T any](v T) *T { return &v }

// after is what is open when the changes have been made.
func after(open []*pb.Condition, changes []*pb.ConditionChange) []*pb.Condition {
	all := map[string]*pb.Condition{}
	for _, c := range open {
		all[key(c.GetKind(), c.GetSubject())] = c
	}
	for _, ch := range changes {
		c := ch.GetCondition()
		c.OpenedAt = timestamppb.New(noon)
		all[key(c.GetKind(), c.GetSubject())] = c
		if ch.GetClosed() || condition.Of(c.GetKind()).Event == "success" {
			delete(all, key(c.GetKind(), c.GetSubject()))
		}
	}
	var list []*pb.Condition
	for _, c := range all {
		list = append(list, c)
	}
	return list
}

func TestSpan(t *testing.T) {
	for want, d := range map[string]time.Duration{
		"0 seconds": 0, "119 seconds": 119 * time.Second, "2 minutes": 2 * time.Minute, "119 minutes": 119 * time.Minute, "47 hours": 47 * time.Hour, "2 days": 50 * time.Hour,
	} {
		if got := span(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

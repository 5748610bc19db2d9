package scheduler

import (
	"bytes"
	"flag"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
	_ "time/tzdata" // the test does not depend on the machine's zones

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/schedule/oracle"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// The whole of it: go test ./controller/scheduler -run VirtualYear -schedules 504 -v
var schedules = flag.Int("schedules", 6, "how many schedules the virtual year has")

// year is a year of schedules with a new leader every virtual hour.
type year struct {
	t     *testing.T
	rnd   *rand.Rand
	node  *node
	clock *clock.Manual
	leads *Scheduler
	want  map[string][]string // schedules by source and fire time, from the oracle
	got   map[string]int
	due   []time.Time // when anything is wanted, in order
	from  time.Time
	to    time.Time

	leaders, lost, deaf, stale int
}

func moment(source string, at time.Time) string {
	return source + " " + at.UTC().Format(time.RFC3339)
}

// makeUp makes sources of one to three schedules each, and asks the oracle.
func (y *year) makeUp(n int) []*pb.Source {
	var sources []*pb.Source
	clocks := map[string]*oracle.Clock{}
	for i := 0; i < n; {
		s := &pb.Source{Name: fmt.Sprintf("s%03d", len(sources)), State: pb.SourceState_SOURCE_STATE_READY}
		for k := 0; k <= y.rnd.IntN(3) && i < n; k++ {
			zone := oracle.Zones[i%len(oracle.Zones)]
			if clocks[zone] == nil {
				z, err := time.LoadLocation(zone)
				if err != nil {
					y.t.Fatal(err)
				}
				clocks[zone] = oracle.NewClock(z, y.from, y.to)
			}
			o := &pb.ScheduleSpec{Name: fmt.Sprintf("n%d", k), Cron: oracle.Expression(y.rnd, false), Timezone: zone}
			fires, err := clocks[zone].Fires(o.GetCron())
			if err != nil {
				y.t.Fatal(err)
			}
			for _, at := range fires {
				y.due = append(y.due, at)
				y.want[moment(s.GetName(), at)] = append(y.want[moment(s.GetName(), at)], state.ScheduleID(s.GetName(), o.GetName()))
			}
			s.Schedules = append(s.Schedules, o)
			i++
		}
		sources = append(sources, s)
	}
	slices.SortFunc(y.due, time.Time.Compare)
	return sources
}

// pass lets time go on to a little after the next fire, or to the next election:
// what lies in between changes nothing, and a year has many seconds.
func (y *year) pass(election time.Time) {
	now := y.clock.Now()
	for len(y.due) > 0 && !y.due[0].After(now) {
		y.due = y.due[1:]
	}
	to := election
	if len(y.due) > 0 && y.due[0].Before(to) {
		to = y.due[0]
	}
	y.clock.Advance(max(to.Sub(now), 0) + time.Duration(y.rnd.IntN(30))*time.Second)
}

// elect lets a new leader begin; what the one before believes to know is used
// once more after it has.
func (y *year) elect() {
	before, view, now := y.leads, y.node.View(), y.clock.Now()
	var err error
	if y.leads, err = New(Options{Node: y.node, Clock: y.clock, Logger: slog.New(slog.DiscardHandler)}); err != nil {
		y.t.Fatal(err)
	}
	y.leaders++
	if y.leaders%168 == 0 { // on another controller, from a raft snapshot
		var b bytes.Buffer
		other := state.New()
		if _, err := y.node.tables.WriteTo(&b); err != nil {
			y.t.Fatal(err)
		}
		if _, err := other.ReadFrom(&b); err != nil {
			y.t.Fatal(err)
		}
		y.node.tables = other
	}
	y.step()
	if before != nil && len(view.DueSchedules(now)) > 0 {
		y.stale++
		_ = before.fire(y.t.Context(), view, now) // what it is told does not matter to anybody any more
		y.take()
	}
}

func (y *year) step() {
	if err := y.leads.Step(y.t.Context()); err != nil {
		// It dies over it. Nobody fires anything until there is another.
		y.take()
		y.node.fail, y.node.deaf = 0, 0
		y.clock.Advance(time.Duration(y.rnd.IntN(20)) * time.Second)
		y.elect()
		return
	}
	y.take()
}

// take notes the runs there are, and ends them, so that nothing is passed over.
func (y *year) take() {
	for _, r := range y.node.View().ActiveRuns() {
		at := r.GetFireTime().AsTime()
		key := moment(r.GetSource(), at)
		if y.got[key]++; at.Before(y.to) && !slices.Contains(y.want[key], r.GetSchedule()) {
			y.t.Fatalf("%s at %s: the oracle has %v", r.GetSchedule(), at, y.want[key])
		}
		c := &pb.EndRun{Run: r.GetId(), State: pb.RunState_RUN_STATE_CANCELLED}
		fail, deaf := y.node.fail, y.node.deaf
		y.node.fail, y.node.deaf = 0, 0
		if err := y.node.Propose(y.t.Context(), &pb.Command{Command: &pb.Command_EndRun{EndRun: c}}); err != nil {
			y.t.Fatal(err)
		}
		y.node.fail, y.node.deaf = fail, deaf
	}
}

// A year of schedules in six zones, with a new leader every virtual hour, one in
// three of which dies over its first fire, before or after that was committed:
// every fire time has one run, and no run is of another time.
func TestAVirtualYearOfFailovers(t *testing.T) {
	from := time.Date(2018, 1, 1, 0, 0, 0, 0, time.UTC)
	y := &year{
		t: t, rnd: rand.New(rand.NewPCG(2018, 1)), clock: clock.NewManual(from.Add(-time.Second)), from: from, to: from.AddDate(1, 0, 0),
		want: map[string][]string{}, got: map[string]int{},
	}
	y.node = &node{tables: state.New(), clock: y.clock}
	sources := y.makeUp(*schedules)
	if err := y.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_ReportSources{ReportSources: &pb.ReportSources{Agent: "a1", Sources: sources}}}); err != nil {
		t.Fatal(err)
	}
	y.elect()
	for next := from; y.clock.Now().Before(y.to.Add(time.Minute)); {
		if !y.clock.Now().Before(next) {
			next = next.Add(time.Hour)
			y.elect()
			switch y.rnd.IntN(6) { // the next command is lost, or its answer
			case 0:
				y.node.fail = 1
				y.lost++
			case 1:
				y.node.deaf = 1
				y.deaf++
			}
		}
		y.pass(next)
		y.step()
	}
	lost, doubled, both := 0, 0, 0
	for key, by := range y.want {
		switch n := y.got[key]; {
		case n == 0:
			if lost++; lost < 5 {
				t.Errorf("lost: %s of %v", key, by)
			}
		case n > 1:
			if doubled++; doubled < 5 {
				t.Errorf("doubled: %s", key)
			}
		}
		if len(by) > 1 {
			both++
		}
	}
	if lost+doubled > 0 || len(y.want) < 100**schedules || y.leaders < 8760 {
		t.Errorf("%d lost, %d doubled", lost, doubled)
	}
	t.Logf("%d schedules of %d sources, %d fire times (%d of several schedules), %d leaders, %d commands lost, %d answers lost, %d leaders that were not told: %d lost, %d doubled",
		*schedules, len(sources), len(y.want), both, y.leaders, y.lost, y.deaf, y.stale, lost, doubled)
}

package state_test

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/ledger"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// invariants are the laws that hold after any commands.
func invariants(t testing.TB, s *state.Tables) {
	t.Helper()
	v := s.View()
	leased := map[string]string{}
	for _, r := range v.ActiveRuns() {
		if r.GetState() != pb.RunState_RUN_STATE_RUNNING {
			continue
		}
		if r.GetKind() == pb.RunKind_RUN_KIND_DRILL { // it excludes prunes alone
			if slices.ContainsFunc(v.ActivePrunes(), func(p *pb.Prune) bool { return p.GetSource() == r.GetSource() }) {
				t.Errorf("%s is pruned while run %s is leased for it", r.GetSource(), r.GetId())
			}
			continue
		}
		for _, source := range state.Touches(r) {
			if other := leased[source]; other != "" {
				t.Errorf("runs %s and %s are both leased for %s", r.GetId(), other, source)
			}
			leased[source] = r.GetId()
		}
	}
	pruning := map[string]bool{}
	for _, p := range v.ActivePrunes() {
		pruning[p.GetSource()] = true
		if leased[p.GetSource()] != "" {
			t.Errorf("%s is pruned while run %s is leased for it", p.GetSource(), leased[p.GetSource()])
		}
	}
	clusterInvariants(t, v)
	scheduleInvariants(t, v)
	newest, counted, forgotten := map[string]*pb.Snapshot{}, 0, 0
	fires := map[string]bool{}
	var previous *ledger.Entry
	for i := uint64(1); i <= v.LedgerHead().GetLedgerIndex(); i++ {
		snap, ok := v.LedgerEntry(i)
		if !ok {
			t.Fatalf("the ledger lacks entry %d", i)
		}
		key := snap.GetSource() + " " + snap.GetFireTime().String()
		if fires[key] {
			t.Errorf("two snapshots of %s", key)
		}
		fires[key] = true
		newest[snap.GetSource()] = snap
		if snap.GetForgottenAt() == nil {
			counted++
		} else if snap.GetPrunedAt() == nil {
			forgotten++
		}
		if snap.GetForgottenAt() == nil && (snap.GetUndoUntil() != nil || snap.GetForgetReason() != "") || snap.GetHoldUntil() == nil && snap.GetHoldReason() != "" {
			t.Errorf("snapshot %s has notes of what is over: %v", snap.GetId(), snap)
		}
		if !slices.IsSorted(snap.GetTags()) || len(snap.GetTags()) > state.MaxTags {
			t.Errorf("snapshot %s has the tags %v", snap.GetId(), snap.GetTags())
		}
		if snap.GetPrunedAt() != nil && snap.GetForgottenAt() == nil {
			t.Errorf("snapshot %s was pruned without being forgotten", snap.GetId())
		}
		entry, err := state.EntryOf(snap)
		if err != nil {
			t.Fatal(err)
		}
		if err := entry.Follows(previous); err != nil {
			t.Error(err)
		}
		previous = &entry
	}
	for source, s := range newest {
		if s.GetForgottenAt() != nil {
			t.Errorf("the newest snapshot of %s is forgotten", source)
		}
	}
	if got := len(v.Snapshots("", 0)); got != counted || v.Counts().Snapshots != counted || len(v.Forgotten("", 0)) != forgotten {
		t.Errorf("%d snapshots are listed, %d counted, %d forgotten; there are %d and %d", got, v.Counts().Snapshots, len(v.Forgotten("", 0)), counted, forgotten)
	}
}

// scheduleInvariants are those of standing orders, and of what they fire.
func scheduleInvariants(t testing.TB, v *state.View) {
	t.Helper()
	owed := map[string]string{}
	for _, r := range v.Runs("", 0) {
		if r.GetSchedule() == "" || r.GetKind() != pb.RunKind_RUN_KIND_BACKUP {
			continue
		}
		key := r.GetSource() + " " + r.GetFireTime().AsTime().String()
		if other := owed[key]; other != "" {
			t.Errorf("runs %s and %s are both of %s", r.GetId(), other, key)
		}
		owed[key] = r.GetId()
	}
	due := 0
	for _, s := range v.Schedules() {
		if (s.GetPausedAt() != nil || s.GetResting()) && s.GetNextFireAt() != nil && s.GetId() != "default" { // SetSchedule knows neither
			t.Errorf("schedule %s is not to fire and is due at %v", s.GetId(), s.GetNextFireAt())
		}
		if len(s.GetSkipped()) > state.KeptSkipped {
			t.Errorf("schedule %s remembers %d fires", s.GetId(), len(s.GetSkipped()))
		}
		if s.GetNextFireAt() != nil {
			due++
		}
	}
	if got := len(v.DueSchedules(at(1 << 30).AsTime())); got != due {
		t.Errorf("%d schedules are due some time, %d are listed", due, got)
	}
}

// scheduleChoices are commands of standing orders, wild ones among them.
func scheduleChoices(rnd *rand.Rand, v *state.View, _ int) []*pb.Command {
	source := fmt.Sprintf("s%d", rnd.IntN(4))
	id := state.ScheduleID(source, fmt.Sprintf("x%d", rnd.IntN(3)))
	weekly := order(id, source, rnd.IntN(9), pb.ScheduleOrigin(rnd.IntN(4)))
	resting := order(id, source, 3, pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL)
	resting.Resting = rnd.IntN(2) == 0
	once := order(state.ScheduleID(source, "once"), source, 5, pb.ScheduleOrigin_SCHEDULE_ORIGIN_API)
	once.Cron, once.OnceAt = "", at(5)
	choices := []*pb.Command{
		setSchedules(weekly), setSchedules(weekly, once), setSchedules(resting), removeSchedules(rnd.IntN(2) == 0, id), pauseSchedules(false, 0, id), pauseSchedules(true, rnd.IntN(9), id),
		fireSchedules(rnd.IntN(9), rnd.IntN(12), true, weekly, source), deferRun(fmt.Sprintf("f-%s-%d", source, rnd.IntN(9)), rnd.IntN(99)),
	}
	for _, s := range v.DueSchedules(at(1 << 30).AsTime()) { // so that they fire
		c := fireSchedules(0, 0, rnd.IntN(3) > 0, s, source)
		f := c.GetFireSchedules()
		f.Schedules[0].DueAt, f.Schedules[0].NextFireAt = s.GetNextFireAt(), at(int(s.GetNextFireAt().GetSeconds())-day0+1+rnd.IntN(3))
		for _, r := range f.GetRuns() {
			r.FireTime, r.Id = s.GetNextFireAt(), fmt.Sprintf("f-%s-%d", r.GetSource(), s.GetNextFireAt().GetSeconds()-day0)
		}
		if active := v.ActiveRuns(); len(active) > 0 && rnd.IntN(20) == 0 {
			f.Cancel = []string{active[0].GetId()}
		}
		choices = append(choices, c)
	}
	return choices
}

// clusterInvariants are those of who is in the cluster, and who may come in.
func clusterInvariants(t testing.TB, v *state.View) {
	t.Helper()
	made := map[string]*pb.Token{}
	for _, tok := range v.Tokens() {
		made[tok.GetId()] = tok
		if tok.GetUsed() > tok.GetUses() || tok.GetUses() < 1 {
			t.Errorf("token %s was used %d times of %d", tok.GetId(), tok.GetUsed(), tok.GetUses())
		}
	}
	for _, i := range v.Identities() {
		tok := made[i.GetToken()]
		if i.GetToken() == "" || tok != nil && tok.GetUsed() == 0 {
			t.Errorf("%v came without using a token", i)
		}
		if i.GetRevokedAt() != nil && !state.Revoked(i) && tok != nil && !tok.GetCreatedAt().AsTime().After(i.GetRevokedAt().AsTime()) {
			t.Errorf("%v came back with a token of before", i)
		}
	}
	signing := 0
	a, ok := v.Authority()
	for _, root := range a.GetRoots() {
		if root.GetSigns() {
			signing++
		}
	}
	if ok && (signing != 1 || len(a.GetRoots()) > state.MaxRoots) {
		t.Errorf("authority %v", a)
	}
	for _, s := range v.Stores() {
		if !slices.IsSorted(s.GetControllers()) || len(slices.Compact(slices.Clone(s.GetControllers()))) != len(s.GetControllers()) {
			t.Errorf("controllers of %s: %v", s.GetName(), s.GetControllers())
		}
	}
	if n := len(v.Audit(0)); n > state.KeptAudit {
		t.Errorf("%d audit records", n)
	}
	notifyInvariants(t, v)
}

// notifyInvariants are those of who is told what.
func notifyInvariants(t testing.TB, v *state.View) {
	t.Helper()
	last, behind := v.NotifyMark().GetSequence(), v.NotifyMark().GetSequence()
	for _, ch := range v.Channels() {
		behind = min(behind, ch.GetSequence())
		if ch.GetSequence() > last {
			t.Errorf("channel %s has told event %d of %d", ch.GetName(), ch.GetSequence(), last)
		}
	}
	for i, e := range v.Events(0) {
		if e.GetSequence() != behind+1+uint64(i) || e.GetSequence() > last {
			t.Errorf("event %d waits at place %d, though all have told those up to %d of %d", e.GetSequence(), i, behind, last)
		}
	}
	if n := uint64(len(v.Events(0))); behind+n != last {
		t.Errorf("%d events wait, %d of %d were told", n, behind, last)
	}
}

// runChoices are commands of runs and snapshots, wild ones among them.
func runChoices(rnd *rand.Rand, v *state.View, step int) []*pb.Command {
	id, source, snap := fmt.Sprintf("r%d", rnd.IntN(30)), fmt.Sprintf("s%d", rnd.IntN(4)), rnd.IntN(40)
	epoch := uint64(rnd.IntN(4))
	choices := []*pb.Command{
		queue(id, source, rnd.IntN(6)), grant(id, snap), grant(id, 100+step), commit(id, epoch, source, snap),
		release(id, epoch, nil), release(id, epoch, &pb.Failure{Code: "x"}), end(id, epoch, pb.RunState(rnd.IntN(6))),
		cancel(id), renew(id, epoch, rnd.IntN(9000)), queueRestore(id, source, fmt.Sprintf("s%d", rnd.IntN(4))),
		queueDrill(id, source, snap), endDrill(id, epoch, rnd.IntN(3) > 0, rnd.IntN(2) > 0),
		setSchedule(rnd.IntN(5)), fire(rnd.IntN(5), rnd.IntN(9), source), verified(snap, rnd.IntN(99)),
		report(fmt.Sprintf("a%d", rnd.IntN(2)), nil, ready(source)),
	}
	if rnd.IntN(8) == 0 {
		choices = append(choices, endBy(fmt.Sprintf("a%d", rnd.IntN(2)), id, epoch), retry(fmt.Sprintf("a%d", rnd.IntN(2)), id, epoch, step))
	}
	for _, known := range v.Snapshots(source, 0) {
		drill := queueDrill(id, source, 0)
		drill.GetQueueRuns().GetRuns()[0].GetDrill().Snapshot = known.GetId()
		choices = append(choices, drill)
		one := &pb.ForgetSnapshots{Snapshots: []string{known.GetId()}}
		if rnd.IntN(2) == 0 {
			one.Undo, one.AtLeast, one.Reasons = durationpb.New(time.Duration(rnd.IntN(100))*time.Second), int32(rnd.IntN(3)), []string{"why"}
		}
		choices = append(choices, &pb.Command{Command: &pb.Command_ForgetSnapshots{ForgetSnapshots: one}},
			&pb.Command{Command: &pb.Command_SetHold{SetHold: &pb.SetHold{Snapshots: []string{known.GetId()}, Until: at(step + rnd.IntN(30))}}})
	}
	plan := beginPrune(source, rnd.IntN(3), v.NewestEntry(source))
	for _, gone := range v.Forgotten(source, 0) {
		plan.GetBeginPrune().Snapshots = append(plan.GetBeginPrune().Snapshots, gone.GetId())
		choices = append(choices, &pb.Command{Command: &pb.Command_UnforgetSnapshots{UnforgetSnapshots: &pb.UnforgetSnapshots{Snapshots: []string{gone.GetId()}}}})
	}
	choices = append(choices, plan, endPrune(source, rnd.IntN(3)), damage(snap), hold(max(0, step+rnd.IntN(60)-20), snap), tag("a b", "b", snap), tag("", "a", snap))
	for _, p := range v.ActivePrunes() { // so that they end
		end := endPrune(p.GetSource(), 0)
		end.GetEndPrune().Plan = p.GetPlan()
		choices = append(choices, end, end, end)
	}
	for _, r := range v.ActiveRuns() { // so that commits happen
		if r.GetState() == pb.RunState_RUN_STATE_RUNNING {
			c := commit(r.GetId(), r.GetEpoch(), r.GetSource(), 0)
			c.GetCommitRun().GetSnapshot().Id = r.GetSnapshot()
			choices = append(choices, c)
		}
	}
	return choices
}

// clusterChoices are commands of the cluster itself, wild ones among them.
func clusterChoices(rnd *rand.Rand, v *state.View, step int) []*pb.Command {
	name, secret, call := fmt.Sprintf("h%d", rnd.IntN(5)), fmt.Sprintf("t%d", max(0, step/32-rnd.IntN(3))), fmt.Sprintf("x%d", rnd.IntN(20))
	a, _ := v.Authority()
	fits := func(t *pb.Token) {
		t.Uses = int32(1 + rnd.IntN(3))
		t.ExpiresAt = at(step + 1 + rnd.IntN(200))
		if rnd.IntN(2) == 0 {
			t.Name = name
		}
	}
	store, controller := fmt.Sprintf("st%d", rnd.IntN(2)), fmt.Sprintf("c%d", rnd.IntN(4))
	return []*pb.Command{
		authority(a.GetVersion()+1, 1+rnd.IntN(5), rnd.IntN(3)), authority(uint64(rnd.IntN(9)), 1, 0),
		token(secret, fits), token(secret, fits), revokeToken(secret), issue(name, secret, step+1), issue(name, secret, rnd.IntN(500)),
		issue(name, "", step+rnd.IntN(50)), revoke(name), setAgent(name, int32(rnd.IntN(70)), rnd.IntN(2) == 0), limits(int32(rnd.IntN(9)), int32(rnd.IntN(9))-1),
		beginAudit(call), endAudit(call, nil), endAudit(call, &pb.Failure{Code: "failed"}), member(controller, call), dropMember(controller),
		registerStore(store, "", controller), registerStore(store, fmt.Sprint(rnd.IntN(2)), controller), loseStore(store, controller),
	}
}

// notifyChoices are commands of who is told what.
func notifyChoices(rnd *rand.Rand, v *state.View, step int) []*pb.Command {
	last := v.NotifyMark().GetSequence()
	name := fmt.Sprintf("h%d", rnd.IntN(5))
	one := record(uint64(rnd.IntN(step+1)), change(pb.ConditionKind(rnd.IntN(10)), name, rnd.IntN(2) == 0, rnd.IntN(5) == 0))
	return []*pb.Command{
		one, one, opens(name, name+"x"), closes(name), channels(channel("mail", 0), channel("slack", 0)), channels(channel("mail", 0)),
		settle("mail", last), settle("slack", uint64(rnd.IntN(9))),
	}
}

func TestRandomCommandsKeepTheLawsAndAreDeterministic(t *testing.T) {
	committed, pruned, enrolled, back, fired, toldOf := uint64(0), 0, 0, 0, 0, 0
	for seed := range uint64(20) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		one, two := newLog(t), newLog(t)
		for step := range 2300 {
			choices := []func(*rand.Rand, *state.View, int) []*pb.Command{runChoices, runChoices, runChoices, runChoices, clusterChoices, clusterChoices, clusterChoices, clusterChoices, scheduleChoices, notifyChoices}[rnd.IntN(10)]
			all := choices(rnd, one.state.View(), step)
			cmd := all[rnd.IntN(len(all))]
			if rnd.IntN(2) == 0 {
				cmd.RequestId = fmt.Sprintf("q%d", rnd.IntN(300))
			}
			copied := proto.CloneOf(cmd)
			if a, b := one.apply(cmd), two.apply(copied); fmt.Sprint(a) != fmt.Sprint(b) {
				t.Fatalf("seed %d: %v and %v", seed, a, b)
			}
		}
		invariants(t, one.state)
		bytes1 := snapshotBytes(t, one.state)
		if !bytes.Equal(bytes1, snapshotBytes(t, two.state)) {
			t.Fatalf("seed %d: the same commands gave different raft snapshots", seed)
		}
		again := restored(t, one.state)
		if !bytes.Equal(bytes1, snapshotBytes(t, again)) {
			t.Fatalf("seed %d: restoring changed something", seed)
		}
		invariants(t, again)
		for _, i := range one.state.View().Identities() {
			enrolled++
			if i.GetRevokedAt() != nil && !state.Revoked(i) {
				back++
			}
		}
		toldOf += int(one.state.View().NotifyMark().GetSequence())
		for _, source := range []string{"s0", "s1", "s2", "s3"} {
			if _, ok := one.state.View().Prune(source); ok {
				pruned++
			}
		}
		for _, r := range one.state.View().Runs("", 0) {
			if strings.HasPrefix(r.GetId(), "f-") {
				fired++
			}
		}
		committed += one.state.View().LedgerHead().GetLedgerIndex()
	}
	if committed < 40 || pruned < 20 || enrolled < 40 || back < 5 || fired < 100 || toldOf < 100 {
		t.Errorf("only %d snapshots were committed, %d sources pruned, %d names enrolled and %d again after a revocation, %d runs fired, %d things told: the commands are too wild to show anything",
			committed, pruned, enrolled, back, fired, toldOf)
	}
}

// restored is what another controller makes of a raft snapshot.
func restored(t testing.TB, from *state.Tables) *state.Tables {
	t.Helper()
	s := state.New()
	if _, err := s.ReadFrom(bytes.NewReader(snapshotBytes(t, from))); err != nil {
		t.Fatal(err)
	}
	return s
}

// whole are commands after which there is something in every table.
func whole() []*pb.Command {
	cmds := append(made("shop", 2), hold(1, 1, 2), tag("a b", "", 1, 2), forgetFor(1, 1, 1), verified(2, 9), beginPrune("shop", 9, 2, 1), report("a1", nil, ready("shop")), setSchedule(3), queue("r9", "blog", 1), grant("r9", 9))
	cmds = append(cmds, setSchedules(order("shop:x", "shop", 4, pb.ScheduleOrigin_SCHEDULE_ORIGIN_LABEL)), fireSchedules(4, 9, true, order("shop:x", "shop", 4, 0), "wiki"))
	return append(cmds, authority(1, 2, 0), token("one", nil), issue("host", "one", 10), revoke("host"), setAgent("a1", 3, true), limits(5, 2),
		withID(beginAudit("x"), "q1"), endAudit("x", &pb.Failure{Code: "failed"}), beginAudit("y"), member("c1", "c1:7070"), registerStore("main", "r1", "c1"),
		channels(channel("mail", 0), channel("slack", 0)), opens("shop", "blog"), settle("mail", 1), closes("blog"),
		&pb.Command{Command: &pb.Command_SetCluster{SetCluster: &pb.SetCluster{Id: "c"}}})
}

func TestADamagedRaftSnapshotIsRefusedAndChangesNothing(t *testing.T) {
	l := newLog(t).must(whole()...)
	good := snapshotBytes(t, l.state)
	into := newLog(t).must(queue("other", "x", 0)).state
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := into.ReadFrom(bytes.NewReader(bad)); err == nil {
			t.Errorf("byte %d flipped: accepted", i)
		}
		if _, err := into.ReadFrom(bytes.NewReader(good[:i])); err == nil {
			t.Errorf("cut to %d bytes: accepted", i)
		}
	}
	if _, ok := into.View().Run("other"); !ok {
		t.Error("a refused raft snapshot changed the state")
	}
}

func FuzzApply(f *testing.F) {
	seeds := append(whole(), queue("r1", "shop", 0), grant("r1", 1), commit("r1", 1, "shop", 1), fire(1, 2, "a"), endPrune("shop", 1),
		issue("host", "two", 20), issue("host", "", 20), revokeToken("two"), dropMember("c1"), loseStore("main", "c1"), authority(2, 3, 1), endAudit("y", nil),
		setSchedules(order("shop:x", "shop", 2, pb.ScheduleOrigin_SCHEDULE_ORIGIN_API)), removeSchedules(true, "default"), pauseSchedules(false, 0, "default"), pauseSchedules(true, 4, "default"),
		fireSchedules(1, 9, true, order("default", "", 1, 0), "a", "b"), deferRun("r1", 5),
		opens("shop"), closes("shop"), record(2, change(succeeded, "shop", false, false)), settle("mail", 1), channels(), hold(9, 1), hold(0, 1), tag("x", "a", 2), forgetFor(9, 2, 1, 2), retry("a1", "r1", 1, 5), &pb.Command{})
	for _, c := range seeds {
		c.ProposedAt = at(1)
		b, err := proto.Marshal(c)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		cmd := &pb.Command{}
		if proto.Unmarshal(data, cmd) != nil {
			return
		}
		l := newLog(t).must(queue("r1", "shop", 0), grant("r1", 1), setSchedule(1), authority(1, 1, 0), token("one", nil), issue("host", "one", 10), token("two", nil),
			beginAudit("y"), member("c1", "c1:7070"), registerStore("main", "r1", "c1"), channels(channel("mail", 0)), opens("shop", "blog"))
		_ = l.state.Apply(20, cmd)
		invariants(t, l.state)
		if !bytes.Equal(snapshotBytes(t, l.state), snapshotBytes(t, restored(t, l.state))) {
			t.Fatal("the state does not survive a raft snapshot")
		}
	})
}

func FuzzReadFrom(f *testing.F) {
	f.Add(snapshotBytes(f, newLog(f).must(whole()...).state))
	f.Add([]byte("BKTSTATE"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := state.New()
		if _, err := s.ReadFrom(bytes.NewReader(data)); err != nil {
			return
		}
		s.View().Sources()
		s.View().ActiveRuns()
		s.View().LedgerHead()
		s.View().Audit(0)
		s.View().Tokens()
		s.View().Limits()
		s.View().Conditions()
		s.View().Events(0)
		s.View().Streak("shop")
		snapshotBytes(t, s)
	})
}

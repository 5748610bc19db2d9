package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/notify/notifytest"
	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/config"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// node applies commands to the real state machine, without Raft.
type node struct {
	t      testing.TB
	mu     sync.Mutex
	tables *state.Tables
	index  uint64
	made   int                    // things that need a name or a time of their own
	refuse func(*pb.Command) bool // commands to lose
}

func newNode(t testing.TB) *node { return &node{t: t, tables: state.New()} }

func (n *node) View() *state.View { return n.tables.View() }

func (n *node) Propose(ctx context.Context, cmd *pb.Command) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.refuse != nil && n.refuse(cmd) {
		return problem.New(problem.Unavailable, "no leader")
	}
	n.index++
	cmd = proto.CloneOf(cmd)
	cmd.ProposedAt = timestamppb.New(time.Now())
	return n.tables.Apply(n.index, cmd)
}

func (n *node) next() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.made++
	return n.made
}

// losing has those commands lost from now on; nil: none.
func (n *node) losing(refuse func(*pb.Command) bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refuse = refuse
}

func (n *node) must(cmd *pb.Command) {
	n.t.Helper()
	if err := n.Propose(context.Background(), cmd); err != nil {
		n.t.Fatal(err)
	}
}

func (n *node) sources(names ...string) {
	n.t.Helper()
	r := &pb.ReportSources{Agent: "a1"}
	for _, name := range names {
		r.Sources = append(r.Sources, &pb.Source{Name: name, State: pb.SourceState_SOURCE_STATE_READY, Engine: "postgres"})
	}
	n.must(&pb.Command{Command: &pb.Command_ReportSources{ReportSources: r}})
}

func (n *node) queue(source string) string {
	n.t.Helper()
	number := n.next()
	id := fmt.Sprintf("%s-%d", strings.ReplaceAll(source, "/", "-"), number)
	r := &pb.Run{Id: id, Kind: pb.RunKind_RUN_KIND_BACKUP, Source: source, Trigger: "manual", FireTime: timestamppb.New(time.Now().Add(time.Duration(number) * time.Hour))}
	n.must(&pb.Command{Command: &pb.Command_QueueRuns{QueueRuns: &pb.QueueRuns{Runs: []*pb.Run{r}}}})
	return id
}

// fail has a backup of the source fail.
func (n *node) fail(source string) {
	n.t.Helper()
	n.must(&pb.Command{Command: &pb.Command_EndRun{EndRun: &pb.EndRun{
		Run: n.queue(source), State: pb.RunState_RUN_STATE_FAILED,
		Failure: &pb.Failure{Code: "denied", Message: "dump database shop: the server refused the password", Hint: "Check the label baktainer.db.password."},
	}}})
}

// succeed has a backup of the source succeed.
func (n *node) succeed(source string) {
	n.t.Helper()
	id := n.queue(source)
	snapshot := fmt.Sprintf("%026d", n.next())
	sum := make([]byte, 32)
	n.must(&pb.Command{Command: &pb.Command_GrantLease{GrantLease: &pb.GrantLease{Run: id, Agent: "a1", ExpiresAt: timestamppb.New(time.Now().Add(time.Hour)), Snapshot: snapshot}}})
	n.must(&pb.Command{Command: &pb.Command_CommitRun{CommitRun: &pb.CommitRun{Run: id, Epoch: 1, Snapshot: &pb.Snapshot{
		Id: snapshot, Source: source, Engine: "postgres", ManifestSha256: sum, ManifestSize: 1, Root: sum, RawBytes: 8 * mib,
		Streams: []*pb.Stream{{Name: "shop.sql", Size: 8 * mib, Sha256: sum}},
	}}}})
}

// recorder keeps what was sent, and fails while it is told to.
type recorder struct {
	mu    sync.Mutex
	sent  []string
	tried int
	down  bool
}

func (r *recorder) send(_ context.Context, m *outgoing) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.tried++
	if r.down {
		return errors.New("down")
	}
	text := m.Summary()
	if m.Lost > 0 {
		text += fmt.Sprintf(" (%d lost)", m.Lost)
	}
	r.sent = append(r.sent, text)
	return nil
}

func (r *recorder) setDown(down bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.down = down
}

func (r *recorder) attempts() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.tried
}

func (r *recorder) want(t *testing.T, what string, want ...string) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if !slices.Equal(r.sent, want) {
		t.Errorf("%s: sent %q, want %q", what, r.sent, want)
	}
}

func recording(name string) (*Channel, *recorder) {
	r := &recorder{}
	return &Channel{Name: name, sender: r, masker: &masker{}}, r
}

// lead runs a notifier until stop is called, as a leader does.
func lead(t *testing.T, n *node, settings config.Notify, channels ...*Channel) (notifier *Notifier, stop func()) {
	t.Helper()
	return leadEvery(t, 0, n, settings, channels...)
}

func leadEvery(t *testing.T, look time.Duration, n *node, settings config.Notify, channels ...*Channel) (notifier *Notifier, stop func()) {
	t.Helper()
	notifier, err := New(Options{Look: look, Node: n, Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Controller: "c1", Settings: settings, Channels: channels})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		notifier.Run(ctx)
	}()
	stop = sync.OnceFunc(func() {
		cancel()
		<-ended
	})
	t.Cleanup(stop)
	return notifier, stop
}

// wait lets virtual time pass.
func wait(d time.Duration) {
	_ = clock.Sleep(context.Background(), d) // that context does not end
	synctest.Wait()
}

func TestFailureAndRecoveryAreToldOnceEach(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.sources("shop")
		c, r := recording("mail")
		_, stop := lead(t, n, usual(t), c)
		defer stop()
		wait(10 * time.Minute)
		r.want(t, "all is well")
		n.fail("shop")
		wait(2 * time.Minute)
		r.want(t, "a failure", "shop: backup failed")
		n.fail("shop")
		n.fail("shop")
		wait(10 * time.Minute)
		r.want(t, "more failures", "shop: backup failed")
		n.succeed("shop")
		n.succeed("shop")
		wait(10 * time.Minute)
		r.want(t, "a recovery", "shop: backup failed", "shop: backups succeed again")
	})
}

func TestABurstOfFailuresIsOneMessage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		var names []string
		for i := range 100 {
			names = append(names, fmt.Sprintf("s%03d", i))
		}
		n.sources(names...)
		c, r := recording("mail")
		_, stop := lead(t, n, usual(t), c)
		defer stop()
		for _, name := range names { // over fifty seconds
			n.fail(name)
			wait(500 * time.Millisecond)
		}
		wait(5 * time.Minute)
		r.want(t, "a burst", "100 problems")
		for _, name := range names[:99] {
			n.succeed(name)
		}
		n.fail(names[99])
		wait(10 * time.Minute)
		r.want(t, "they recover", "100 problems", "99 recovered")
	})
}

// TestMessagesKeepTheirDistance has failures that go on for longer than a digest.
func TestMessagesKeepTheirDistance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.sources("a", "b", "c", "d")
		c, r := recording("mail")
		_, stop := lead(t, n, usual(t), c)
		defer stop()
		n.fail("a")
		wait(90 * time.Second)
		r.want(t, "the first", "a: backup failed")
		n.fail("b")
		wait(2 * time.Minute)
		n.fail("c")
		wait(time.Minute)
		r.want(t, "within five minutes", "a: backup failed")
		wait(2 * time.Minute)
		r.want(t, "after five minutes", "a: backup failed", "2 problems")
	})
}

func TestAChannelThatIsDownIsTriedAgainAndDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.sources("shop", "blog")
		mail, mailed := recording("mail")
		slack, slacked := recording("slack")
		mailed.setDown(true)
		notifier, stop := lead(t, n, usual(t), mail, slack)
		defer stop()
		n.fail("shop")
		wait(2 * time.Minute)
		slacked.want(t, "the other", "shop: backup failed")
		resp, err := Service{Notifier: notifier}.ListConditions(t.Context(), nil)
		if err != nil || len(resp.GetConditions()) != 1 || resp.GetChannels()[0].GetWaiting() != 1 || resp.GetChannels()[0].GetError() != "down" || resp.GetChannels()[1].GetWaiting() != 0 {
			t.Errorf("%v, %v", resp, err)
		}
		n.fail("blog")
		wait(2 * time.Hour)
		if tried := mailed.attempts(); tried < 10 || tried > 40 {
			t.Errorf("tried %d times in two hours", tried)
		}
		mailed.setDown(false)
		wait(20 * time.Minute)
		mailed.want(t, "up again", "2 problems")
		slacked.want(t, "the other", "shop: backup failed", "blog: backup failed")
		if waiting := len(n.View().Events(0)); waiting != 0 {
			t.Errorf("%d events are kept that all have told", waiting)
		}
	})
}

func TestWhatCannotBeToldInADayIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.sources("shop", "blog")
		c, r := recording("mail")
		r.setDown(true)
		_, stop := lead(t, n, usual(t), c)
		defer stop()
		n.fail("shop")
		wait(20 * time.Hour)
		n.fail("blog")
		wait(5 * time.Hour)
		r.setDown(false)
		wait(time.Hour)
		r.want(t, "up again", "blog: backup failed (1 lost)")
	})
}

// TestAChangeOfLeaderLosesNothing stops a leader at each moment of a message's life.
func TestAChangeOfLeaderLosesNothing(t *testing.T) {
	for name, tc := range map[string]struct {
		before time.Duration          // from the failure to the change
		refuse func(*pb.Command) bool // what the old leader cannot have committed any more
		want   []string
	}{
		"before it was judged": {0, nil, []string{"shop: backup failed"}},
		"within the digest":    {30 * time.Second, nil, []string{"shop: backup failed"}},
		"after it was noted":   {2 * time.Minute, nil, []string{"shop: backup failed"}},
		"sent and not noted": {2 * time.Minute, func(c *pb.Command) bool {
			return c.GetSettleChannels() != nil && !c.GetSettleChannels().GetComplete()
		}, []string{"shop: backup failed", "shop: backup failed"}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNode(t)
				n.sources("shop")
				c, r := recording("mail")
				_, stop := lead(t, n, usual(t), c)
				wait(time.Minute)
				n.losing(tc.refuse)
				n.fail("shop")
				wait(tc.before)
				stop()
				n.losing(nil)
				wait(time.Minute)
				_, stop = lead(t, n, usual(t), c)
				defer stop()
				wait(time.Hour)
				r.want(t, name, tc.want...)
			})
		})
	}
}

func TestSuccessesAreToldToThoseWhoWantThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.sources("shop", "blog")
		n.succeed("shop") // before anybody listened
		mail, mailed := recording("mail")
		ping, pinged := recording("ping")
		ping.Ping = true
		_, stop := lead(t, n, usual(t), mail, ping)
		wait(time.Minute)
		n.succeed("shop")
		wait(10 * time.Second)
		pinged.want(t, "a ping is at once", "shop: backup succeeded")
		n.fail("blog")
		wait(10 * time.Minute)
		mailed.want(t, "mail", "blog: backup failed")
		pinged.want(t, "pings", "shop: backup succeeded")
		stop()

		settings := usual(t)
		settings.Events = append(settings.Events, config.EventSuccess)
		_, stop = lead(t, n, settings, mail, ping)
		defer stop()
		wait(time.Second)
		n.succeed("shop")
		n.succeed("blog")
		wait(10 * time.Minute)
		mailed.want(t, "mail", "blog: backup failed", "1 recovered, 2 backups succeeded")
		pinged.want(t, "pings", "shop: backup succeeded", "2 backups succeeded")
	})
}

func TestPingsThatAreLateAreNotMade(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNode(t)
		n.sources("shop")
		c, r := recording("ping")
		c.Ping = true
		r.setDown(true)
		_, stop := lead(t, n, usual(t), c)
		defer stop()
		wait(time.Minute)
		n.succeed("shop")
		wait(2 * time.Hour)
		r.setDown(false)
		wait(2 * time.Hour)
		r.want(t, "pings")
	})
}

// TestRealServersAreTold has mail and a signed webhook tell of a hundred failures
// at once, and of the recovery.
func TestRealServersAreTold(t *testing.T) {
	mails, hooks := notifytest.NewMailServer(t), notifytest.NewHookServer(t)
	n := newNode(t)
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("shop%03d/db", i))
	}
	n.sources(names...)
	for _, name := range names {
		n.fail(name)
	}
	settings := usual(t)
	settings.Digest, settings.Interval = 0, 0
	channels := parse(t, signingSecret, "smtp://"+mails.Address+"/?from=bak@example.com&to=ops@example.com&starttls=no", "webhook+"+hooks.URL+"/hook")
	_, stop := leadEvery(t, time.Millisecond, n, settings, channels...)
	defer stop()
	mails.Wait(1)
	hooks.Wait(1)
	for _, name := range names {
		n.succeed(name)
	}
	gotMail, gotHook := mails.Wait(2), hooks.Wait(2)
	if gotMail[0].Subject != "Baktainer: 100 problems" || !strings.Contains(gotMail[0].Body, "shop000/db: backup failed\n    dump database shop: the server refused the password\n    -> Check the label") || !strings.Contains(gotMail[0].Body, "... and 90 more") {
		t.Errorf("%s\n%s", gotMail[0].Subject, gotMail[0].Body)
	}
	if !strings.Contains(gotMail[1].Subject, "recover") && !strings.Contains(gotMail[1].Subject, "succeed again") {
		t.Errorf("%s\n%s", gotMail[1].Subject, gotMail[1].Body)
	}
	var p payload
	if err := json.Unmarshal(gotHook[0].Body, &p); err != nil {
		t.Fatal(err)
	}
	if len(p.Events) != 100 || p.Events[0].Sequence != 1 || p.Events[99].Name != "shop099/db" || p.Open != 100 {
		t.Errorf("%s", gotHook[0].Body)
	}
	if err := verify(signingSecret, gotHook[0].Header.Get(SignatureHeader), gotHook[0].Body, time.Now()); err != nil {
		t.Error(err)
	}
}

func TestTestMessages(t *testing.T) {
	mails, hooks := notifytest.NewMailServer(t), notifytest.NewHookServer(t)
	hooks.Answer(500, nil)
	channels := parse(t, "", "smtp://"+mails.Address+"/?from=bak@example.com&to=ops@example.com&starttls=no", "webhook+"+hooks.URL+"/hunter2")
	notifier, err := New(Options{Node: newNode(t), Clock: clock.System{}, Logger: slog.New(slog.DiscardHandler), Controller: "c1", Settings: usual(t), Channels: channels})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := Service{Notifier: notifier}.TestNotification(t.Context(), nil)
	if err != nil || len(resp.GetTests()) != 2 {
		t.Fatal(resp, err)
	}
	if one := resp.GetTests()[0]; !one.GetOk() || one.GetChannel() != "smtp 127.0.0.1" || one.GetError() != "" {
		t.Errorf("%v", one)
	}
	if two := resp.GetTests()[1]; two.GetOk() || !strings.Contains(two.GetError(), "500 Internal Server Error") || two.GetHint() == "" || strings.Contains(two.String(), "hunter2") {
		t.Errorf("%v", two)
	}
	if got := mails.Wait(1)[0]; got.Subject != "Baktainer: a test message" || !strings.Contains(got.Body, "This is a test") {
		t.Errorf("%s\n%s", got.Subject, got.Body)
	}
	notifier.Channels = nil
	if _, err := (Service{Notifier: notifier}).TestNotification(t.Context(), nil); problem.ReasonOf(err) != ReasonNobody {
		t.Errorf("without channels: %v", err)
	}
}

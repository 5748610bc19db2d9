package state_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestClusterCommands(t *testing.T) {
	t.Parallel()
	named := func(name string) func(*pb.Token) { return func(t *pb.Token) { t.Name = name } }
	enrolled := []*pb.Command{token("one", func(t *pb.Token) { t.Uses = 2 }), issue("host", "one", 10)}
	revoked := then(enrolled, token("old", nil), revoke("host"))
	for _, tc := range []struct {
		name   string
		before []*pb.Command
		cmd    *pb.Command
		want   problem.Reason // "" when it is accepted
	}{
		{"the first authority", nil, authority(1, 1, 0), ""},
		{"an authority out of nothing", nil, authority(2, 1, 0), state.ReasonNotNext},
		{"the next authority", []*pb.Command{authority(1, 1, 0)}, authority(2, 2, 0), ""},
		{"the same version by another", []*pb.Command{authority(1, 1, 0)}, authority(1, 2, 0), state.ReasonNotNext},
		{"an earlier version", []*pb.Command{authority(1, 1, 0), authority(2, 2, 1)}, authority(1, 1, 0), state.ReasonNotNext},
		{"a version left out", []*pb.Command{authority(1, 1, 0)}, authority(3, 1, 0), state.ReasonNotNext},
		{"as many roots as may be", nil, authority(1, state.MaxRoots, 3), ""},
		{"too many roots", nil, authority(1, state.MaxRoots+1, 0), state.ReasonBadCommand},
		{"no roots", nil, authority(1, 0, 0), state.ReasonBadCommand},
		{"no root that signs", nil, authority(1, 2, 7), state.ReasonBadCommand},
		{"two roots that sign", nil, changed(authority(1, 2, 0), func(a *pb.AuthorityRecord) { a.Roots[1].Signs = true }), state.ReasonBadCommand},
		{"a root that signs without a key", nil, changed(authority(1, 1, 0), func(a *pb.AuthorityRecord) { a.Roots[0].SealedKey = nil }), state.ReasonBadCommand},
		{"a root twice", nil, changed(authority(1, 2, 0), func(a *pb.AuthorityRecord) { a.Roots[1].Certificate = a.Roots[0].Certificate }), state.ReasonBadCommand},
		{"a root without its certificate", nil, changed(authority(1, 2, 0), func(a *pb.AuthorityRecord) { a.Roots[1].Certificate = nil }), state.ReasonBadCommand},

		{"a token", nil, token("one", nil), ""},
		{"a token twice", []*pb.Command{token("one", nil)}, token("one", nil), state.ReasonDuplicate},
		{"a token without uses", nil, token("one", func(t *pb.Token) { t.Uses = 0 }), state.ReasonBadCommand},
		{"a token with too many", nil, token("one", func(t *pb.Token) { t.Uses = state.MaxTokenUses + 1 }), state.ReasonBadCommand},
		{"a token that has expired", nil, token("one", func(t *pb.Token) { t.ExpiresAt = at(1) }), state.ReasonBadCommand},
		{"a token for years", nil, token("one", func(t *pb.Token) { t.ExpiresAt = at(40 * 86400) }), state.ReasonBadCommand},
		{"a token without an end", nil, token("one", func(t *pb.Token) { t.ExpiresAt = nil }), state.ReasonBadCommand},
		{"a token for nobody", nil, token("one", func(t *pb.Token) { t.Role = 0 }), state.ReasonBadCommand},
		{"a token for a strange name", nil, token("one", named("../x")), state.ReasonBadCommand},
		{"a token with another's id", nil, token("one", func(t *pb.Token) { t.Id = state.TokenID(hash("two")) }), state.ReasonBadCommand},
		{"revoke a token", []*pb.Command{token("one", nil)}, revokeToken("one"), ""},
		{"revoke a token twice", []*pb.Command{token("one", nil), revokeToken("one")}, revokeToken("one"), ""},
		{"revoke no token", nil, revokeToken("one"), state.ReasonNoToken},

		{"enrol", []*pb.Command{token("one", nil)}, issue("host", "one", 10), ""},
		{"enrol by name", []*pb.Command{token("one", named("host"))}, issue("host", "one", 10), ""},
		{"enrol under another name", []*pb.Command{token("one", named("host"))}, issue("host2", "one", 10), state.ReasonTokenMismatch},
		{"enrol in another role", []*pb.Command{token("one", func(t *pb.Token) { t.Role = operator })}, issue("host", "one", 10), state.ReasonTokenMismatch},
		{"enrol without a token", nil, issue("host", "", 10), state.ReasonNoIdentity},
		{"enrol with an unknown token", []*pb.Command{token("one", nil)}, issue("host", "two", 10), state.ReasonTokenUnknown},
		{"enrol with a token that has expired", []*pb.Command{token("one", func(t *pb.Token) { t.ExpiresAt = at(2) })}, issue("host", "one", 10), state.ReasonTokenExpired},
		{"enrol with a token that was revoked", []*pb.Command{token("one", nil), revokeToken("one")}, issue("host", "one", 10), state.ReasonTokenRevoked},
		{"enrol with a token that was used", []*pb.Command{token("one", nil), issue("a", "one", 10)}, issue("b", "one", 10), state.ReasonTokenUsedUp},
		{"enrol with a token of several uses", []*pb.Command{token("one", func(t *pb.Token) { t.Uses = 2 }), issue("a", "one", 10)}, issue("b", "one", 10), ""},
		{"take a name over", then(enrolled, token("two", nil)), issue("host", "two", 11), state.ReasonNameTaken},
		{"take a name over with the same token", enrolled, issue("host", "one", 11), state.ReasonNameTaken},
		{"replace the holder of a name", then(enrolled, token("two", named("host"))), issue("host", "two", 11), ""},
		{"take over from one that has expired", []*pb.Command{token("one", nil), issue("host", "one", -200), token("two", nil)}, issue("host", "two", 11), ""},
		{"the same name in another role", then(enrolled, token("two", func(t *pb.Token) { t.Role = operator })), inRole(issue("host", "two", 11), operator), ""},
		{"a strange name", []*pb.Command{token("one", nil)}, issue("a/b", "one", 10), state.ReasonBadCommand},
		{"no name", []*pb.Command{token("one", nil)}, issue("", "one", 10), state.ReasonBadCommand},
		{"a role that there is not", []*pb.Command{token("one", nil)}, inRole(issue("host", "one", 10), 9), state.ReasonBadCommand},
		{"a certificate that ends before it begins", []*pb.Command{token("one", nil)}, identity(issue("host", "one", 10), func(i *pb.Identity) { i.NotAfter = at(10) }), state.ReasonBadCommand},
		{"a certificate without a serial number", []*pb.Command{token("one", nil)}, identity(issue("host", "one", 10), func(i *pb.Identity) { i.Serial = "" }), state.ReasonBadCommand},
		{"renew", enrolled, issue("host", "", 50), ""},
		{"renew with a clock behind", enrolled, issue("host", "", 5), ""},
		{"revoke", enrolled, revoke("host"), ""},
		{"revoke twice", revoked, revoke("host"), ""},
		{"revoke nobody", enrolled, revoke("host2"), state.ReasonNoIdentity},
		{"renew what was revoked", revoked, issue("host", "", 50), state.ReasonRevoked},
		{"enrol after a revocation with an older token", revoked, issue("host", "old", 50), state.ReasonRevoked},
		{"enrol after a revocation with an older token that names it", then(enrolled, token("old", named("host")), revoke("host")), issue("host", "old", 50), state.ReasonRevoked},
		// (The revocation is at second 10, since the certificate was issued then.)
		{"enrol after a revocation with a token of before it took effect", then(revoked, token("new", nil)), issue("host", "new", 50), state.ReasonRevoked},
		{"enrol after a revocation", then(revoked, waited(10, token("new", nil))...), issue("host", "new", 50), ""},
		{"enrol after a revocation in its second", then(revoked, waited(10, token("new", nil))...), issue("host", "new", 10), state.ReasonRevoked},

		{"set an agent", nil, setAgent("a1", 3, true), ""},
		{"set too much", nil, setAgent("a1", state.MaxConcurrency+1, false), state.ReasonBadCommand},
		{"set less than nothing", nil, setAgent("a1", -1, false), state.ReasonBadCommand},
		{"set an agent of a strange name", nil, setAgent("a 1", 3, false), state.ReasonBadCommand},
		{"limits", nil, limits(5, 2), ""},
		{"negative limits", nil, limits(5, -2), state.ReasonBadCommand},

		{"begin a call", nil, beginAudit("x"), ""},
		{"begin a call twice", []*pb.Command{beginAudit("x")}, beginAudit("x"), ""},
		{"begin a call twice, after its end", []*pb.Command{beginAudit("x"), endAudit("x", nil)}, beginAudit("x"), ""},
		{"begin another call of that id", []*pb.Command{beginAudit("x")}, audit("x", func(r *pb.AuditRecord) { r.Actor = "admin/bob" }), state.ReasonDuplicate},
		{"begin a call of nobody", nil, audit("x", func(r *pb.AuditRecord) { r.Actor = "" }), state.ReasonBadCommand},
		{"begin a call without an id", nil, beginAudit(""), state.ReasonBadCommand},
		{"end a call", []*pb.Command{beginAudit("x")}, endAudit("x", nil), ""},
		{"end a call twice", []*pb.Command{beginAudit("x"), endAudit("x", nil)}, endAudit("x", &pb.Failure{Code: "failed"}), ""},
		{"end no call", nil, endAudit("x", nil), state.ReasonNoAudit},

		{"a member", nil, member("c1", "c1:7070"), ""},
		{"a member at a new address", []*pb.Command{member("c1", "c1:7070")}, member("c1", "c1:7071"), ""},
		{"a member without an address", nil, member("c1", ""), state.ReasonBadCommand},
		{"a member of a strange name", nil, member("c 1", "c1:7070"), state.ReasonBadCommand},
		{"drop a member", []*pb.Command{member("c1", "c1:7070")}, dropMember("c1"), ""},
		{"drop nobody", nil, dropMember("c1"), ""},
		{"a store", nil, registerStore("main", "r1", "c1"), ""},
		{"a store of another repository", []*pb.Command{registerStore("main", "r1", "c1")}, registerStore("main", "r2", "c2"), state.ReasonOtherRepo},
		{"a store whose repository was not known", []*pb.Command{registerStore("main", "", "c1")}, registerStore("main", "r2", "c2"), ""},
		{"a store of a strange controller", nil, registerStore("main", "r1", "c 1"), state.ReasonBadCommand},
		{"lose a store", []*pb.Command{registerStore("main", "r1", "c1")}, loseStore("main", "c1"), ""},
		{"lose a store that one has not", []*pb.Command{registerStore("main", "r1", "c1")}, loseStore("main", "c2"), ""},
		{"lose no store", nil, loseStore("main", "c1"), state.ReasonNoStore},
		{"lose a store and not say who", []*pb.Command{registerStore("main", "r1", "c1")}, loseStore("main", ""), state.ReasonBadCommand},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			l := newLog(t)
			for _, c := range tc.before {
				l.must(proto.CloneOf(c))
			}
			before := after(t, l.state)
			err := l.apply(tc.cmd)
			if got := problem.ReasonOf(err); got != tc.want || (err == nil) != (tc.want == "") {
				t.Fatalf("got %v (%s), want %q", err, got, tc.want)
			}
			if err != nil && string(before) != string(after(t, l.state)) {
				t.Error("a refused command changed the state")
			}
			invariants(t, l.state)
		})
	}
}

func changed(c *pb.Command, change func(*pb.AuthorityRecord)) *pb.Command {
	change(c.GetSetAuthority().GetAuthority())
	return c
}

func identity(c *pb.Command, change func(*pb.Identity)) *pb.Command {
	change(c.GetIssueIdentity().GetIdentity())
	return c
}

func inRole(c *pb.Command, role pb.Role) *pb.Command {
	return identity(c, func(i *pb.Identity) { i.Role = role })
}

func audit(id string, change func(*pb.AuditRecord)) *pb.Command {
	c := beginAudit(id)
	change(c.GetBeginAudit().GetRecord())
	return c
}

// waited lets so many seconds pass first.
func waited(seconds int, then ...*pb.Command) []*pb.Command {
	return append(slices.Repeat([]*pb.Command{limits(0, 0)}, seconds), then...)
}

// A stranger who tries secrets hears the same whether there is such a token or
// not; who has a secret is told what is wrong with it.
func TestAStrangerLearnsNothingOfTokens(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(token("one", func(t *pb.Token) { t.Name = "host" }))
	unknown, mismatch := l.apply(issue("x", "two", 10)), l.apply(issue("x", "one", 10))
	if unknown == nil || mismatch == nil || problem.Text(unknown) != problem.Text(mismatch) {
		t.Errorf("unknown: %v; for another: %v", unknown, mismatch)
	}
	for _, err := range []error{unknown, mismatch} {
		if problem.CodeOf(err) != problem.Denied {
			t.Errorf("%v: code %s", err, problem.CodeOf(err))
		}
	}
	if got, _ := l.state.View().TokenByHash(hash("one")); got.GetUsed() != 0 {
		t.Errorf("a refusal used the token: %v", got)
	}
}

func TestATokenIsUsedWithTheIdentityOrNotAtAll(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(token("one", func(t *pb.Token) { t.Uses = 3; t.Used = 7; t.RevokedAt = at(0); t.CreatedAt = at(-50) }))
	if got, ok := l.state.View().TokenByHash(hash("one")); !ok || got.GetUsed() != 0 || got.GetRevokedAt() != nil || !proto.Equal(got.GetCreatedAt(), at(1)) {
		t.Errorf("a new token: %v", got)
	}
	request := issue("host", "one", 10)
	l.must(withID(proto.CloneOf(request), "q"), withID(request, "q")) // sent again after a lost answer
	if err := l.apply(issue("host", "one", 11)); problem.ReasonOf(err) != state.ReasonNameTaken {
		t.Fatal(err)
	}
	got, _ := l.state.View().TokenByHash(hash("one"))
	i, ok := l.state.View().Identity(agent, "host")
	if got.GetUsed() != 1 || !ok || i.GetToken() != got.GetId() || i.GetSerial() == "" || i.GetRoot() != "ab12" {
		t.Errorf("token %v, identity %v", got, i)
	}
	l.must(issue("host", "", 60))
	if i, _ := l.state.View().Identity(agent, "host"); i.GetToken() != got.GetId() || !proto.Equal(i.GetIssuedAt(), at(60)) {
		t.Errorf("after the renewal: %v", i)
	}
}

// What was issued before a revocation stays refused for ever; what is issued
// after it, for a token of after it, is good.
func TestRevocation(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(token("one", nil), issue("host", "one", 4))
	v := func() *state.View { return l.state.View() }
	now := func() *pb.Identity { i, _ := v().Identity(agent, "host"); return i }
	if state.Revoked(now()) || v().Refuses(agent, "host", at(0).AsTime()) {
		t.Error("refused before it was revoked")
	}
	l.must(waited(4, revoke("host"))...) // at second 7
	if !state.Revoked(now()) || !proto.Equal(now().GetRevokedAt(), at(7)) || !v().Refuses(agent, "host", at(4).AsTime()) || !v().Refuses(agent, "host", at(7).AsTime()) {
		t.Errorf("not refused: %v", now())
	}
	l.must(token("two", nil))
	if got := v().IssueTime(agent, "host", at(7).AsTime()); !got.Equal(at(8).AsTime()) {
		t.Errorf("a certificate of the second of the revocation is issued at %s", got)
	}
	if got := v().IssueTime(agent, "host", at(9).AsTime().Add(5e8)); !got.Equal(at(9).AsTime()) {
		t.Errorf("a later one at %s", got)
	}
	l.must(issue("host", "two", 8))
	if state.Revoked(now()) || v().Refuses(agent, "host", at(8).AsTime()) || !v().Refuses(agent, "host", at(7).AsTime()) || now().GetRevokedAt() == nil {
		t.Errorf("after it enrolled again: %v", now())
	}

	// The clock of who issued the newest certificate was ahead of who revokes.
	l.must(issue("host", "", 5000), issue("host", "", 30), revoke("host"))
	if !v().Refuses(agent, "host", at(5000).AsTime()) || !state.Revoked(now()) {
		t.Errorf("a certificate of the future is not refused: %v", now())
	}
}

func TestOldTokensAreForgotten(t *testing.T) {
	t.Parallel()
	const day = 86400
	l := newLog(t).must(token("one", func(t *pb.Token) { t.ExpiresAt = at(day) }), token("two", func(t *pb.Token) { t.ExpiresAt = at(2 * day) }))
	l.index = 31*day - 1
	l.must(token("three", func(t *pb.Token) { t.ExpiresAt = at(32 * day) }))
	var left []string
	for _, tok := range l.state.View().Tokens() {
		left = append(left, tok.GetId())
	}
	if want := []string{state.TokenID(hash("two")), state.TokenID(hash("three"))}; !slices.Equal(left, want) {
		t.Errorf("tokens %v, want %v", left, want)
	}
}

func TestAudit(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(beginAudit("x"), endAudit("x", &pb.Failure{Code: "failed", Message: strings.Repeat("m", 1<<16)}), endAudit("x", nil))
	r := l.state.View().Audit(0)[0]
	if r.GetFailure().GetCode() != "failed" || len(r.GetFailure().GetMessage()) > 2<<10 || !proto.Equal(r.GetTime(), at(1)) || !proto.Equal(r.GetEndedAt(), at(2)) {
		t.Errorf("record: %.300v", r)
	}
	l.must(audit("big", func(r *pb.AuditRecord) { r.Request = strings.Repeat("é", 1<<12) }))
	if n := len(l.state.View().Audit(1)[0].GetRequest()); n > 2<<10 {
		t.Errorf("a request of %d bytes is kept", n)
	}
	for i := range state.KeptAudit {
		l.must(beginAudit(fmt.Sprint(i)))
	}
	// A controller whose clock is far behind: what it tells is no older for that.
	late := beginAudit("late")
	late.ProposedAt = at(-5000)
	if err := l.state.Apply(uint64(l.index)+1, late); err != nil {
		t.Fatal(err)
	}
	l.index++
	check := func(s *state.Tables) {
		t.Helper()
		all := s.View().Audit(0)
		if len(all) != state.KeptAudit || all[0].GetId() != "late" || all[1].GetId() != fmt.Sprint(state.KeptAudit-1) || all[len(all)-1].GetId() != "1" {
			t.Errorf("%d records, newest %s, oldest %s", len(all), all[0].GetId(), all[len(all)-1].GetId())
		}
	}
	check(l.state)
	kept := restored(t, l.state)
	check(kept)
	if !slices.EqualFunc(kept.View().Audit(0), l.state.View().Audit(0), func(a, b *pb.AuditRecord) bool { return proto.Equal(a, b) }) {
		t.Error("a raft snapshot brings the records into another order")
	}
	if err := l.apply(endAudit("0", nil)); problem.ReasonOf(err) != state.ReasonNoAudit {
		t.Errorf("the end of a record that was dropped: %v", err)
	}
	again := restored(t, l.state)
	l.must(beginAudit("next"))
	next := proto.CloneOf(beginAudit("next"))
	next.ProposedAt = at(l.index)
	if err := again.Apply(uint64(l.index), next); err != nil || string(snapshotBytes(t, again)) != string(snapshotBytes(t, l.state)) {
		t.Errorf("a restored state goes on otherwise: %v", err)
	}
}

func TestStoresAndMembers(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(member("c2", "c2:7070"), member("c1", "c1:7070"))
	l.must(registerStore("main", "r1", "c3"), registerStore("main", "r1", "c1"), registerStore("main", "", "c2"), registerStore("main", "r1", "c2"), registerStore("far", "", "c2"))
	show := func() string {
		var out []string
		for _, s := range l.state.View().Stores() {
			out = append(out, fmt.Sprint(s.GetName(), s.GetRepository(), s.GetControllers()))
		}
		return strings.Join(out, " ")
	}
	if got := show(); got != "far[c2] mainr1[c1 c2 c3]" {
		t.Error(got)
	}
	l.must(loseStore("main", "c1"))
	if got := show(); got != "far[c2] mainr1[c2 c3]" {
		t.Error(got)
	}
	l.must(dropMember("c2"))
	if got := show(); got != "far[] mainr1[c3]" {
		t.Error(got)
	}
	if m := l.state.View().Members(); len(m) != 1 || m[0].GetId() != "c1" {
		t.Errorf("members: %v", m)
	}
	if _, ok := l.state.View().Member("c2"); ok {
		t.Error("a dropped member is there")
	}
}

func TestWhatIsSetForAgents(t *testing.T) {
	t.Parallel()
	l := newLog(t)
	if got := l.state.View().Limits(); got == nil || got.GetTotal() != 0 {
		t.Errorf("limits: %v", got)
	}
	l.must(setAgent("a1", 3, false), setAgent("a2", 0, true), limits(9, 4), setAgent("a1", 0, false), setAgent("none", 0, false))
	v := l.state.View()
	if _, ok := v.Agent("a1"); ok || len(v.AgentRecords()) != 1 {
		t.Errorf("kept: %v", v.AgentRecords())
	}
	if a, ok := v.Agent("a2"); !ok || !a.GetDrained() {
		t.Errorf("a2: %v", a)
	}
	if got := v.Limits(); got.GetTotal() != 9 || got.GetPerHost() != 4 {
		t.Errorf("limits: %v", got)
	}
	if _, ok := v.Authority(); ok {
		t.Error("there is an authority")
	}
	l.must(authority(1, 1, 0))
	if a, ok := l.state.View().Authority(); !ok || a.GetVersion() != 1 {
		t.Errorf("authority: %v", a)
	}
}

func TestByAgent(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(report("a1", nil, ready("shop"), ready("blog")), report("a11", nil, ready("wiki")), report("a1", nil, ready("shop")))
	if got := l.state.View().SourcesOf("a1"); len(got) != 1 || got[0].GetName() != "shop" {
		t.Errorf("sources of a1: %v", got)
	}
	l.must(queue("r1", "shop", 0), queue("r2", "blog", 0), queue("r3", "wiki", 0), grant("r1", 1), grant("r2", 2), release("r2", 1, nil))
	if got := l.state.View().LeasedTo("a1"); len(got) != 1 || got[0].GetId() != "r1" {
		t.Errorf("leased to a1: %v", got)
	}
	if got := l.state.View().LeasedTo(""); len(got) != 0 {
		t.Errorf("leased to nobody: %v", got)
	}
}

// A source that is stopped on one host and runs on another passes to that one,
// and to nobody who has it stopped as well.
func TestAStoppedSourceYieldsToARunningOne(t *testing.T) {
	t.Parallel()
	in := func(state pb.SourceState) *pb.Source { return &pb.Source{Name: "shop", State: state} }
	const ready, stopped, invalid = pb.SourceState_SOURCE_STATE_READY, pb.SourceState_SOURCE_STATE_STOPPED, pb.SourceState_SOURCE_STATE_INVALID
	for _, tc := range []struct {
		was, now pb.SourceState
		want     string
	}{
		{ready, ready, "a1"}, {ready, stopped, "a1"}, {stopped, ready, "a2"}, {stopped, stopped, "a1"}, {stopped, invalid, "a1"},
		{invalid, ready, "a1"}, {invalid, invalid, "a1"},
	} {
		l := newLog(t).must(report("a1", nil, in(tc.was)), report("a2", nil, in(tc.now)))
		if s, _ := l.state.View().Source("shop"); s.GetAgent() != tc.want {
			t.Errorf("%s there and %s here: it is %s's", tc.was, tc.now, s.GetAgent())
		}
		l.must(report("a1", nil, in(tc.was))) // what the old host goes on telling
		if s, _ := l.state.View().Source("shop"); s.GetAgent() != tc.want {
			t.Errorf("%s there and %s here, told again: it is %s's", tc.was, tc.now, s.GetAgent())
		}
	}
}

func TestSourcesIndex(t *testing.T) {
	t.Parallel()
	l := newLog(t).must(report("a1", nil, ready("shop")))
	index := func() uint64 { return l.state.View().SourcesIndex() }
	if index() != 1 {
		t.Fatalf("index %d", index())
	}
	l.must(report("a1", nil, ready("shop")), queue("r1", "shop", 0))
	if err := l.apply(report("a1", nil, ready("blog"), ready("blog"))); err == nil {
		t.Fatal("accepted")
	}
	if index() != 1 {
		t.Errorf("index %d, and no source has changed since 1", index())
	}
	if s, _ := l.state.View().Source("shop"); !proto.Equal(s.GetReportedAt(), at(1)) {
		t.Errorf("nothing new is reported at %v", s.GetReportedAt())
	}
	l.must(report("a1", nil))
	if index() != 5 || restored(t, l.state).View().SourcesIndex() != 5 {
		t.Errorf("index %d, restored %d; want 5", index(), restored(t, l.state).View().SourcesIndex())
	}
}

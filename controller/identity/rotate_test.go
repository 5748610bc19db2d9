package identity

import (
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// root is one whose certificate is just a word.
func root(cert string, key bool, signs bool) *pb.RootRecord {
	r := &pb.RootRecord{Certificate: []byte(cert), Signs: signs}
	if key {
		r.SealedKey, r.KeyGeneration = []byte("key of "+cert), 1
	}
	return r
}

func authority(version uint64, roots ...*pb.RootRecord) *pb.AuthorityRecord {
	a := &pb.AuthorityRecord{Version: version, Roots: roots}
	if len(roots) > 1 {
		a.RotationBeganAt = timestamppb.New(present)
	}
	return a
}

// holder is an identity whose certificate lasts for so many days from the start.
func holder(role pb.Role, name, root string, trust uint64, days int) *pb.Identity {
	return &pb.Identity{
		Role: role, Name: name, Root: pki.Fingerprint([]byte(root)), TrustVersion: trust,
		IssuedAt: timestamppb.New(present), NotAfter: timestamppb.New(present.Add(time.Duration(days) * 24 * time.Hour)),
	}
}

func TestTheStepsOfARotation(t *testing.T) {
	t.Parallel()
	const agent, controller, admin = pb.Role_ROLE_AGENT, pb.Role_ROLE_CONTROLLER, pb.Role_ROLE_ADMIN
	gone := holder(agent, "gone", "old", 1, 7)
	gone.RevokedAt = timestamppb.New(present.Add(time.Hour))
	resting := authority(1, root("old", true, true))
	trusting := authority(2, root("old", true, true), root("new", true, false))
	signs := authority(3, root("old", false, false), root("new", true, true))
	done := authority(4, root("new", true, true))
	for _, c := range []struct {
		name       string
		now        time.Duration
		authority  *pb.AuthorityRecord
		identities []*pb.Identity
		agents     map[string]uint64
		finish     bool
		want       *pb.AuthorityRecord
		waiting    string
	}{
		{name: "no authority"},
		{name: "no rotation", authority: resting, identities: []*pb.Identity{holder(agent, "a", "old", 1, 7)}},
		{name: "no rotation to finish", authority: resting, finish: true},
		{
			name: "the new root is not trusted by all", authority: trusting,
			identities: []*pb.Identity{holder(agent, "a", "old", 2, 7), holder(agent, "b", "old", 1, 7), holder(controller, "c1", "old", 1, 7), holder(admin, "x", "old", 1, 7)},
			waiting:    "b c1 x",
		},
		{
			name: "an agent says that it has the trust; a controller of that name has not said so", authority: trusting, agents: map[string]uint64{"a": 2, "c1": 2},
			identities: []*pb.Identity{holder(agent, "a", "old", 1, 7), holder(controller, "c1", "old", 1, 7)},
			waiting:    "c1",
		},
		{
			name: "the new root is trusted by all", authority: trusting, agents: map[string]uint64{"a": 2},
			identities: []*pb.Identity{holder(agent, "a", "old", 1, 7), holder(controller, "c1", "old", 2, 7)},
			want:       signs,
		},
		{name: "nobody has a certificate", authority: trusting, want: signs},
		{
			name: "those are not waited for that are revoked, or have expired", authority: trusting, now: 3 * 24 * time.Hour,
			identities: []*pb.Identity{gone, holder(agent, "off", "old", 1, 3)},
			want:       signs,
		},
		{
			name: "what has no end yet is waited for", authority: trusting, now: 3*24*time.Hour - 1,
			identities: []*pb.Identity{holder(agent, "off", "old", 1, 3)}, waiting: "off",
		},
		{
			name: "the new root signs, and not all have a certificate of it", authority: signs, agents: map[string]uint64{"a": 3},
			identities: []*pb.Identity{holder(agent, "a", "old", 2, 7), holder(controller, "c1", "new", 3, 7)},
			waiting:    "a",
		},
		{
			name: "all certificates are of the new root", authority: signs,
			identities: []*pb.Identity{holder(agent, "a", "new", 3, 7), holder(controller, "c1", "new", 3, 7), gone},
			want:       done,
		},
		{
			name: "a week later nobody is waited for", authority: signs, now: pki.LeafLife,
			identities: []*pb.Identity{holder(agent, "a", "old", 1, 7)}, want: done,
		},
		{
			name: "finish goes on nevertheless, by one step", authority: trusting, finish: true,
			identities: []*pb.Identity{holder(agent, "a", "old", 1, 7)}, want: signs, waiting: "a",
		},
		{
			name: "finish drops the old root", authority: signs, finish: true,
			identities: []*pb.Identity{holder(agent, "a", "old", 1, 7)}, want: done, waiting: "a",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := proto.Clone(c.authority)
			got, reason, waiting := next(c.authority, c.identities, c.agents, present.Add(c.now), c.finish)
			if got != nil && got.RotationBeganAt != nil {
				got.RotationBeganAt = timestamppb.New(present)
			}
			if !proto.Equal(got, c.want) {
				t.Errorf("next is\n%v, want\n%v", got, c.want)
			}
			if (reason == "") != (c.want == nil) {
				t.Errorf("reason %q", reason)
			}
			if names(waiting) != c.waiting {
				t.Errorf("waiting for %q, want %q", names(waiting), c.waiting)
			}
			if c.authority != nil && !proto.Equal(before, c.authority) {
				t.Error("the authority itself was changed")
			}
		})
	}
}

func names(list []*pb.Identity) string {
	var all []string
	for _, i := range list {
		all = append(all, i.GetName())
	}
	return strings.Join(all, " ")
}

func (w *world) authority() *pb.AuthorityRecord {
	a, _ := w.node.View().Authority()
	return a
}

func (w *world) rotate(finish bool) []*pb.Identity {
	w.t.Helper()
	_, waiting, err := w.service.Rotate(w.t.Context(), finish)
	if err != nil {
		w.t.Fatal(problem.Text(err))
	}
	return waiting
}

func (w *world) advance() {
	w.t.Helper()
	if err := w.service.advance(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}

// The whole of a rotation, over real connections: at no time is anybody shut out
// who renews when told to.
func TestARotationShutsNobodyOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	agent, admin := w.mustEnrol(pb.Role_ROLE_AGENT, "a"), w.mustEnrol(pb.Role_ROLE_ADMIN, "alice")
	stolen := w.mustEnrol(pb.Role_ROLE_AGENT, "away")
	oldRoot := SigningRoot(w.node.View())
	w.clock.Advance(time.Hour)
	if got := names(w.rotate(false)); got != "a away c1 alice" && got != "a away alice c1" {
		t.Errorf("waiting for %q", got)
	}
	if again := w.rotate(false); len(again) != 4 || w.authority().GetVersion() != 2 {
		t.Errorf("asked twice: version %d, waiting for %q", w.authority().GetVersion(), names(again))
	}
	w.advance()
	if got := w.authority(); got.GetVersion() != 2 || !slices.Equal(SigningRoot(w.node.View()), oldRoot) {
		t.Fatalf("it went on without anybody: version %d", got.GetVersion())
	}

	// Everybody renews and gets both roots; one agent says so in its heartbeats as well.
	c, err := w.renew(agent)
	if err != nil || len(c.Roots) != 2 || c.Version != 2 {
		t.Fatalf("%v, %v", c, err)
	}
	w.renewSelf()
	w.trusts["away"] = 2
	w.advance()
	if w.authority().GetVersion() != 2 {
		t.Fatal("alice was not waited for")
	}
	if _, err := w.renew(admin); err != nil {
		t.Fatal(err)
	}
	w.advance()
	if w.authority().GetVersion() != 3 || slices.Equal(SigningRoot(w.node.View()), oldRoot) {
		t.Fatalf("version %d", w.authority().GetVersion())
	}

	// All over again, now with certificates of the new root.
	w.renewSelf()
	for _, h := range []*transport.Holder{agent, admin} {
		if c, err = w.renew(h); err != nil || c.Leaf().Issuer.String() == "" || pki.Fingerprint(c.Chain[1].Raw) != pki.Fingerprint(SigningRoot(w.node.View())) {
			t.Fatalf("%v, %v", c, err)
		}
	}
	w.advance()
	if w.authority().GetVersion() != 3 {
		t.Fatal("the agent that is away was not waited for")
	}
	w.clock.Advance(pki.LeafLife)
	w.advance()
	if got := w.authority(); got.GetVersion() != 4 || len(got.GetRoots()) != 1 || got.GetRotationBeganAt() != nil {
		t.Fatalf("%v", Describe(got))
	}
	if w.advance(); w.authority().GetVersion() != 4 {
		t.Error("it does not end")
	}
	w.renewSelf()
	if _, err := w.renew(stolen); err == nil {
		t.Error("a certificate of the old root is still good")
	}
}

func TestFinishDoesNotShutOutControllers(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustEnrol(pb.Role_ROLE_AGENT, "a")
	if _, _, err := w.service.Rotate(t.Context(), true); problem.CodeOf(err) != problem.Conflict {
		t.Errorf("without a rotation: %v", err)
	}
	err := w.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_SetMember{SetMember: &pb.SetMember{Member: &pb.MemberRecord{Id: "c1", Address: "c1:7070"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for version := uint64(3); version <= 4; version++ {
		w.rotate(false)
		_, _, err := w.service.Rotate(t.Context(), true)
		if problem.CodeOf(err) != problem.Conflict || !strings.Contains(err.Error(), ": c1") {
			t.Fatalf("the controller is shut out: %v", err)
		}
		w.renewSelf()
		if got := names(w.rotate(true)); w.authority().GetVersion() != version || (version == 3 && got != "a c1" || version == 4 && got != "") {
			t.Fatalf("version %d, waiting for %q", w.authority().GetVersion(), got)
		}
	}
}

// A certificate is never of a root that is trusted no more, even when the
// authority changes in the middle of its issue.
func TestTheAuthorityChangesInTheMiddle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.rotate(false)
	token := w.token(pb.Role_ROLE_AGENT, "", 1)
	once := false
	before := func(c *pb.Command) {
		if c.GetIssueIdentity() == nil || once {
			return
		}
		once = true
		for w.authority().GetVersion() < 4 {
			a := w.authority()
			step, _, _ := next(a, nil, nil, present, true)
			if err := w.service.setAuthority(t.Context(), step); err != nil {
				t.Error(err)
				return
			}
		}
	}
	w.node.before.Store(&before)
	key, request := asked(t)
	c, err := w.service.enrol(t.Context(), &pb.EnrolRequest{Secret: token.Secret(), Name: "a", Request: request})
	if err != nil {
		t.Fatal(err)
	}
	creds := w.read(key, c) // which verifies it against the roots
	if id := w.identity(pb.Role_ROLE_AGENT, "a"); creds.Version != 4 || id.GetTrustVersion() != 4 || id.GetRoot() != pki.Fingerprint(SigningRoot(w.node.View())) {
		t.Errorf("trust %d, noted %v", creds.Version, id)
	}
	if w.used(token) != 1 {
		t.Errorf("the token was used %d times", w.used(token))
	}
}

func TestANewKeyOfTheRepositorySealsAnew(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	sealed := w.authority()
	keys, err := repo.OpenKeys(t.Context(), w.store, w.key)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := keys.NewGeneration(t.Context(), false, present); err != nil {
		t.Fatal(err)
	}
	opened, err := repo.Open(t.Context(), w.store, w.key)
	if err != nil {
		t.Fatal(err)
	}
	fresh := w.serviceOf(opened)
	if err := fresh.advance(t.Context()); err != nil {
		t.Fatal(err)
	}
	a := w.authority()
	if a.GetVersion() != 2 || len(a.GetRoots()) != 1 || a.GetRoots()[0].GetKeyGeneration() != 2 || !slices.Equal(a.GetRoots()[0].GetCertificate(), sealed.GetRoots()[0].GetCertificate()) {
		t.Fatalf("%v", a)
	}
	if err := fresh.advance(t.Context()); err != nil || w.authority().GetVersion() != 2 {
		t.Errorf("again: version %d, %v", w.authority().GetVersion(), err)
	}
	if _, _, err := fresh.signer(); err != nil {
		t.Error(err)
	}
	// A controller that has only the older key says so, and changes nothing.
	if _, _, err := w.service.signer(); problem.ReasonOf(err) != ReasonNoAuthority || !strings.Contains(problem.Text(err), "transfer-leadership") {
		t.Errorf("with the older key: %v", err)
	}
	if err := w.service.advance(t.Context()); err != nil || w.authority().GetVersion() != 2 {
		t.Errorf("with the older key: version %d, %v", w.authority().GetVersion(), err)
	}
}

func TestARootThatEndsSoonIsReplaced(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	w.advance()
	w.clock.Advance(pki.RootLife - earlyRotation)
	if w.advance(); w.authority().GetVersion() != 1 {
		t.Fatal("too early")
	}
	w.clock.Advance(time.Second)
	if w.advance(); w.authority().GetVersion() != 2 || len(w.authority().GetRoots()) != 2 {
		t.Fatalf("%v", Describe(w.authority()))
	}
	d := Describe(w.authority())
	if !d.GetRoots()[0].GetSigns() || d.GetRoots()[1].GetSigns() || !strings.Contains(d.GetRoots()[0].GetSubject(), w.node.View().Cluster()) ||
		!d.GetRoots()[1].GetNotAfter().AsTime().After(d.GetRoots()[0].GetNotAfter().AsTime()) {
		t.Errorf("%v", d)
	}
}

package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func leaf(t *testing.T, c *pb.Credentials) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(c.GetChain()[0])
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func TestATokenTurnsIntoACertificateThatRenews(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, role := range []pb.Role{pb.Role_ROLE_AGENT, pb.Role_ROLE_CONTROLLER, pb.Role_ROLE_ADMIN, pb.Role_ROLE_VIEWER} {
		name := "x-" + transport.RoleName(role)
		token := w.token(role, "", 1)
		h, err := w.enrol(token, name)
		if err != nil {
			t.Fatalf("%s: %s", name, problem.Text(err))
		}
		id := w.identity(role, name)
		hash := token.Hash()
		if id.GetToken() != state.TokenID(hash[:]) || id.GetTrustVersion() != 1 || id.GetRoot() != pki.Fingerprint(SigningRoot(w.node.View())) ||
			!id.GetNotAfter().AsTime().Equal(w.clock.Now().Add(pki.Life(transport.RoleName(role)))) {
			t.Errorf("%s is noted as %v", name, id)
		}
		if w.used(token) != 1 {
			t.Errorf("the token was used %d times", w.used(token))
		}
		w.clock.Advance(4 * 24 * time.Hour)
		w.renewSelf()
		c, err := w.renew(h)
		if err != nil {
			t.Fatalf("%s renews: %s", name, problem.Text(err))
		}
		again := w.identity(role, name)
		if c.Identity().Name != name || again.GetSerial() == id.GetSerial() || again.GetSerial() != c.Leaf().SerialNumber.Text(16) ||
			again.GetToken() != id.GetToken() || !again.GetNotAfter().AsTime().Equal(c.Leaf().NotAfter) || !pki.IssuedAt(c.Leaf()).Equal(again.GetIssuedAt().AsTime()) {
			t.Errorf("renewed: %v, noted: %v", c, again)
		}
	}
}

// The answer may get lost: the same request again gives a certificate, and does
// not use the token again.
func TestTheSameRequestUsesATokenOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(pb.Role_ROLE_AGENT, "", 2)
	_, request := asked(t)
	req := &pb.EnrolRequest{Secret: token.Secret(), Request: request, Name: "db1"}
	c := w.stranger()
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if _, err := c.Enrol(t.Context(), req); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	w.clock.Advance(30 * time.Minute)
	w.renewSelf()
	resp, err := c.Enrol(t.Context(), req)
	if err != nil {
		t.Fatal(err)
	}
	if w.used(token) != 1 {
		t.Errorf("the token was used %d times", w.used(token))
	}
	cert, id := leaf(t, resp.GetCredentials()), w.identity(pb.Role_ROLE_AGENT, "db1")
	if cert.SerialNumber.Text(16) != id.GetSerial() || !pki.IssuedAt(cert).Equal(id.GetIssuedAt().AsTime()) {
		t.Errorf("the certificate %s of %s is not the one that is noted: %v", cert.SerialNumber.Text(16), pki.IssuedAt(cert), id)
	}
	if got := resp.GetCredentials().GetControllers(); len(got) != 1 || got[0].GetAddress() != "c1:7070" {
		t.Errorf("controllers: %v", got)
	}
	// Another request with the same token is somebody else.
	_, other := asked(t)
	if _, err := c.Enrol(t.Context(), &pb.EnrolRequest{Secret: token.Secret(), Request: other, Name: "db2"}); err != nil {
		t.Error(err)
	}
	if w.used(token) != 2 {
		t.Errorf("the token was used %d times", w.used(token))
	}
}

func TestWhoIsNotLetIn(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustEnrol(pb.Role_ROLE_AGENT, "taken")
	_, request := asked(t)
	agent, admin, named := w.token(pb.Role_ROLE_AGENT, "", 9), w.token(pb.Role_ROLE_ADMIN, "", 9), w.token(pb.Role_ROLE_AGENT, "db7", 9)
	usedUp := w.token(pb.Role_ROLE_AGENT, "", 1)
	if _, err := w.enrol(usedUp, "first"); err != nil {
		t.Fatal(err)
	}
	revoked := w.token(pb.Role_ROLE_AGENT, "", 1)
	hash := revoked.Hash()
	if err := w.node.Propose(t.Context(), &pb.Command{Command: &pb.Command_RevokeToken{RevokeToken: &pb.RevokeTokenRecord{Id: state.TokenID(hash[:])}}}); err != nil {
		t.Fatal(err)
	}
	unknown := pki.NewUnpinned()
	c := w.stranger()
	for what, tc := range map[string]struct {
		req    *pb.EnrolRequest
		code   problem.Code
		reason problem.Reason
	}{
		"no secret":             {&pb.EnrolRequest{Name: "a", Request: request}, problem.Denied, state.ReasonTokenUnknown},
		"an unknown secret":     {&pb.EnrolRequest{Secret: unknown.Secret(), Name: "a", Request: request}, problem.Denied, state.ReasonTokenUnknown},
		"a huge secret":         {&pb.EnrolRequest{Secret: strings.Repeat("a", 1000), Name: "a", Request: request}, problem.Denied, state.ReasonTokenUnknown},
		"used up":               {&pb.EnrolRequest{Secret: usedUp.Secret(), Name: "a", Request: request}, problem.Denied, state.ReasonTokenUsedUp},
		"revoked":               {&pb.EnrolRequest{Secret: revoked.Secret(), Name: "a", Request: request}, problem.Denied, state.ReasonTokenRevoked},
		"for another role":      {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a", Request: request, Role: pb.Role_ROLE_ADMIN}, problem.Denied, state.ReasonTokenMismatch},
		"for another name":      {&pb.EnrolRequest{Secret: named.Secret(), Name: "a", Request: request}, problem.Denied, state.ReasonTokenMismatch},
		"a taken name":          {&pb.EnrolRequest{Secret: agent.Secret(), Name: "taken", Request: request}, problem.Conflict, state.ReasonNameTaken},
		"no name":               {&pb.EnrolRequest{Secret: agent.Secret(), Request: request}, problem.InvalidInput, ""},
		"a name that is none":   {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a/b", Request: request}, problem.InvalidInput, ""},
		"hosts of an agent":     {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a", Request: request, Hosts: []string{"h"}}, problem.InvalidInput, ""},
		"no request":            {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a"}, problem.InvalidInput, ""},
		"a request of noise":    {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a", Request: []byte("noise")}, problem.InvalidInput, ""},
		"a request that is big": {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a", Request: make([]byte, 20_000)}, problem.InvalidInput, ""},
		"a role that is none":   {&pb.EnrolRequest{Secret: agent.Secret(), Name: "a", Request: request, Role: 77}, problem.InvalidInput, ""},
	} {
		resp, err := c.Enrol(t.Context(), tc.req)
		if resp != nil || problem.CodeOf(err) != tc.code || problem.ReasonOf(err) != tc.reason {
			t.Errorf("%s: %v, %v", what, resp, err)
		}
		if err != nil && strings.Contains(problem.Text(err), agent.Secret()) {
			t.Errorf("%s: the secret is in the answer", what)
		}
	}
	for _, token := range []pki.Token{agent, admin, named} {
		if w.used(token) != 0 {
			t.Errorf("%s was used by a request that was refused", token)
		}
	}
	w.clock.Advance(2 * time.Hour)
	w.renewSelf()
	if _, err := c.Enrol(t.Context(), &pb.EnrolRequest{Secret: agent.Secret(), Name: "a", Request: request}); problem.ReasonOf(err) != state.ReasonTokenExpired {
		t.Errorf("expired: %v", err)
	}
}

// All that is wrong with a request is said at once.
func TestARequestIsCheckedWhole(t *testing.T) {
	t.Parallel()
	err := wanted{role: pb.Role_ROLE_CONTROLLER, name: "a b", hosts: []string{"good", "*.x", "h:1"}}.check()
	for _, want := range []string{"name \"a b\"", "certificate request of 0 bytes", "*.x", "h:1"} {
		if err == nil || !strings.Contains(problem.Text(err), want) {
			t.Errorf("%q is not told:\n%v", want, problem.Text(err))
		}
	}
}

func TestANamedTokenNeedsNoNameAndReplaces(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mustEnrol(pb.Role_ROLE_AGENT, "db1")
	before := w.identity(pb.Role_ROLE_AGENT, "db1")
	_, request := asked(t)
	token := w.token(pb.Role_ROLE_AGENT, "db1", 1)
	resp, err := w.stranger().Enrol(t.Context(), &pb.EnrolRequest{Secret: strings.ToUpper(token.Secret()), Request: request})
	if err != nil {
		t.Fatal(err)
	}
	if cert := leaf(t, resp.GetCredentials()); cert.Subject.CommonName != "db1" || cert.SerialNumber.Text(16) == before.GetSerial() {
		t.Errorf("%s %s", cert.Subject, cert.SerialNumber)
	}
}

func TestOnlyAControllerHasHosts(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	token := w.token(pb.Role_ROLE_CONTROLLER, "", 1)
	c, _, err := transport.Enrol(t.Context(), w.address, transport.Enrolment{
		Token: token, Name: "c2", Hosts: []string{"c2.example.com", "10.1.2.3"}, Clock: w.clock,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, host := range []string{"c2.example.com", "10.1.2.3", "localhost"} {
		if err := c.Leaf().VerifyHostname(host); err != nil {
			t.Error(err)
		}
	}
}

func TestWhoIsRevokedComesInAgainOnlyWithANewToken(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	multi := w.token(pb.Role_ROLE_AGENT, "", 9)
	h, err := w.enrol(multi, "db1")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(time.Minute)
	w.revoke(pb.Role_ROLE_AGENT, "db1")
	if _, err := w.renew(h); problem.CodeOf(err) != problem.Denied {
		t.Errorf("renew: %v", err)
	}
	if _, err := w.enrol(multi, "db1"); problem.ReasonOf(err) != state.ReasonRevoked {
		t.Errorf("with a token from before: %v", err)
	}
	w.clock.Advance(time.Millisecond) // in the same second, so that its certificate is as of the next
	again, err := w.enrol(w.token(pb.Role_ROLE_AGENT, "", 1), "db1")
	if err != nil {
		t.Fatal(err)
	}
	w.clock.Advance(2 * time.Second)
	if _, err := w.renew(again); err != nil {
		t.Errorf("with a new one: %v", err)
	}
	if _, err := w.renew(h); problem.CodeOf(err) != problem.Denied {
		t.Errorf("the old certificate renews: %v", err)
	}
}

// A controller that passes a renewal on may not have heard of the revocation.
func TestARevokedCertificateDoesNotRenewThroughAGateThatLags(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	h := w.mustEnrol(pb.Role_ROLE_AGENT, "db1")
	id, _ := h.Identity()
	w.clock.Advance(time.Minute)
	w.revoke(pb.Role_ROLE_AGENT, "db1")
	w.clock.Advance(time.Minute)
	if _, err := w.enrol(w.token(pb.Role_ROLE_AGENT, "db1", 1), "db1"); err != nil { // so that the name is in good standing
		t.Fatal(err)
	}
	caller := transport.Caller{Role: pb.Role_ROLE_AGENT, Name: id.Name, Issued: present}
	_, request := asked(t)
	if _, err := w.service.renew(t.Context(), caller, &pb.RenewRequest{Request: request}); problem.ReasonOf(err) != state.ReasonRevoked {
		t.Errorf("got %v", err)
	}
	for what, c := range map[string]transport.Caller{
		"over the unix socket":  {Role: pb.Role_ROLE_ADMIN, Name: "local", Local: true},
		"without a certificate": {},
	} {
		if _, err := w.service.renew(t.Context(), c, &pb.RenewRequest{Request: request}); problem.ReasonOf(err) != transport.ReasonNoCertificate {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := w.service.renew(t.Context(), transport.Caller{Role: pb.Role_ROLE_AGENT, Name: "never", Issued: present}, &pb.RenewRequest{Request: request}); problem.ReasonOf(err) != state.ReasonNoIdentity {
		t.Errorf("an identity that is not known: %v", err)
	}
}

func TestWrongTokensAreSlowedDown(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	c := w.stranger()
	_, request := asked(t)
	try := func(secret string) error {
		_, err := c.Enrol(t.Context(), &pb.EnrolRequest{Secret: secret, Name: "a", Request: request})
		return err
	}
	for range maxWrong {
		if err := try("wrong"); problem.CodeOf(err) != problem.Denied {
			t.Fatal(err)
		}
	}
	good := w.token(pb.Role_ROLE_AGENT, "", 1)
	if err := try(good.Secret()); problem.ReasonOf(err) != ReasonTooMany {
		t.Errorf("after so many: %v", err)
	}
	w.clock.Advance(window)
	if err := try(good.Secret()); err != nil {
		t.Errorf("a minute later: %v", err)
	}
}

func TestAttemptsAreCountedByOriginAndBounded(t *testing.T) {
	t.Parallel()
	var a attempts
	for range maxWrong {
		a.note("1.1.1.1", present)
	}
	if a.mayTry("1.1.1.1", present.Add(window-1)) == nil || a.mayTry("1.1.1.2", present) != nil || a.mayTry("1.1.1.1", present.Add(window)) != nil {
		t.Error("the wrong one has to wait, or for the wrong time")
	}
	for i := range 3 * maxOrigins {
		a.note(string(rune(i+0x4e00)), present)
		if len(a.by) > maxOrigins {
			t.Fatalf("%d origins are remembered", len(a.by))
		}
	}
}

func TestAnOwnPKIIssuesNothingHere(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	w.service.OwnPKI = true
	_, enrol := w.service.Enrol(t.Context(), &pb.EnrolRequest{})
	_, renew := w.service.Renew(t.Context(), &pb.RenewRequest{})
	_, self := w.service.EnrolSelf(t.Context(), nil, "c1", nil)
	_, _, rotate := w.service.Rotate(t.Context(), false)
	for what, err := range map[string]error{"enrol": enrol, "renew": renew, "self": self, "rotate": rotate} {
		if problem.ReasonOf(err) != ReasonOwnPKI || !strings.Contains(problem.Text(err), "tls-ca") {
			t.Errorf("%s: %v", what, err)
		}
	}
	w.service.Run(t.Context()) // returns
	if _, ok := w.node.View().Authority(); ok {
		t.Error("an authority was made")
	}
}

func TestTheFirstControllerEnrolsItself(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	key, request := asked(t)
	for range 2 { // the second time, after it has lost its key
		c, err := w.service.EnrolSelf(t.Context(), request, "c1", []string{"c1.example.com"})
		if err != nil {
			t.Fatal(err)
		}
		if id := w.read(key, c).Identity(); id.String() != "controller c1" {
			t.Errorf("it is the %s", id)
		}
	}
	tokens := w.node.View().Tokens()
	if len(tokens) != 1 || tokens[0].GetUsed() != tokens[0].GetUses() || tokens[0].GetName() != "c1" {
		t.Errorf("tokens that are left: %v", tokens)
	}
	w.clock.Advance(time.Minute)
	w.revoke(pb.Role_ROLE_CONTROLLER, "c1")
	w.clock.Advance(time.Minute)
	if _, err := w.service.EnrolSelf(t.Context(), request, "c1", nil); err != nil {
		t.Errorf("after a revocation: %v", err)
	}
}

func TestControllersThatStartTogetherShareASecret(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	secret := pki.NewUnpinned()
	for range 2 { // as after a restart
		if err := w.service.acceptSecret(t.Context(), secret.Hash(), "", 2, time.Hour); err != nil {
			t.Fatal(err)
		}
	}
	c := w.stranger()
	for i, want := range []problem.Reason{"", "", state.ReasonTokenUsedUp} {
		_, request := asked(t)
		_, err := c.Enrol(t.Context(), &pb.EnrolRequest{Secret: secret.Secret(), Name: string(rune('a' + i)), Request: request})
		if problem.ReasonOf(err) != want {
			t.Errorf("controller %d: %v", i, err)
		}
	}
	_, request := asked(t)
	if _, err := c.Enrol(t.Context(), &pb.EnrolRequest{Secret: secret.Secret(), Name: "x", Role: pb.Role_ROLE_ADMIN, Request: request}); problem.ReasonOf(err) != state.ReasonTokenMismatch {
		t.Errorf("as an admin: %v", err)
	}
}

// Whoever comes too early must hear that, and not that the token is unknown:
// that would be the last word.
func TestThoseThatStartTogetherAreNotRefusedForComingEarly(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	secret := pki.NewUnpinned()
	w.service.CommonToken = func() ([sha256.Size]byte, error) { return secret.Hash(), nil }
	w.service.Together = 3
	_, request := asked(t)
	enrol := func() error {
		_, err := w.service.Enrol(t.Context(), &pb.EnrolRequest{Secret: secret.Secret(), Role: pb.Role_ROLE_CONTROLLER, Name: "c2", Request: request})
		return err
	}
	if err := enrol(); problem.ReasonOf(err) != ReasonNoAuthority {
		t.Errorf("before there is an authority: %v", err)
	}
	hash := secret.Hash()
	look := func(c *pb.Command) {
		if _, ok := w.node.View().TokenByHash(hash[:]); c.GetSetAuthority() != nil && !ok {
			t.Error("there is an authority before the token is known")
		}
	}
	w.node.before.Store(&look)
	if err := w.service.ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := enrol(); err != nil {
		t.Errorf("with an authority: %v", err)
	}
}

// A controller that has not heard yet of a token which another one made.
func TestATokenThatIsNewsToThisController(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	before := w.node.Node.View()
	token := w.token(pb.Role_ROLE_AGENT, "", 1)
	w.node.behind.Store(before)
	_, request := asked(t)
	_, err := w.service.Enrol(t.Context(), &pb.EnrolRequest{Secret: token.Secret(), Role: pb.Role_ROLE_AGENT, Name: "db1", Request: request})
	if err != nil {
		t.Error(err)
	}
}

// The loop of the leader and its own enrolment may both find that there is no authority.
func TestTheAuthorityIsMadeOnce(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			if err := w.service.ensure(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if a := w.authority(); a.GetVersion() != 1 || len(a.GetRoots()) != 1 {
		t.Errorf("%v", Describe(a))
	}
}

package identity

import (
	"context"
	"crypto/sha256"
	"testing"
	"time"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

func TestTheGateTellsOfWhatConcernsCertificates(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	w.advance()
	_, request := asked(t)
	if _, err := w.service.enrol(t.Context(), &pb.EnrolRequest{Secret: w.token(pb.Role_ROLE_AGENT, "", 1).Secret(), Name: "a", Request: request}); err != nil {
		t.Fatal(err)
	}
	g := NewGate(w.node.View, nil)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		g.Run(ctx)
	}()
	defer func() {
		stop()
		<-ended
	}()
	for what, do := range map[string]func(){
		"a revocation": func() { w.revoke(pb.Role_ROLE_AGENT, "a") },
		"a new root":   func() { w.rotate(false) },
	} {
		before := g.Changed()
		do()
		select {
		case <-before:
		case <-time.After(30 * time.Second):
			t.Errorf("%s: the gate tells of nothing", what)
		}
	}
}

// What the gate watches is the same before and after what does not concern it.
func TestStanding(t *testing.T) {
	t.Parallel()
	w := quiet(t)
	seen := map[[sha256.Size]byte]string{standing(w.node.View()): "at first"}
	changes := func(what string, want bool, do func()) {
		t.Helper()
		do()
		now := standing(w.node.View())
		if _, known := seen[now]; known == want {
			t.Errorf("%s: changed %v, want %v", what, !known, want)
		}
		seen[now] = what
	}
	changes("an authority", true, w.advance)
	changes("a token", false, func() { w.token(pb.Role_ROLE_AGENT, "", 1) })
	changes("a certificate", false, func() {
		for _, name := range []string{"a", "b"} {
			_, request := asked(t)
			if _, err := w.service.enrol(t.Context(), &pb.EnrolRequest{Secret: w.token(pb.Role_ROLE_AGENT, "", 1).Secret(), Name: name, Request: request}); err != nil {
				t.Fatal(err)
			}
		}
	})
	changes("a revocation", true, func() { w.revoke(pb.Role_ROLE_AGENT, "a") })
	changes("another", true, func() { w.revoke(pb.Role_ROLE_AGENT, "b") })
	changes("a new root", true, func() { w.rotate(false) })
	changes("another root that signs", false, func() { w.rotate(true) }) // the same are trusted
	changes("the end of the old root", true, func() { w.rotate(true) })
}

func TestWhatTheGateSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var held *pki.Credentials
	g := NewGate(w.node.View, func() *pki.Credentials { return held })
	if !g.RevokedAt(pb.Role_ROLE_AGENT, "a").IsZero() || !g.RevokedAt(pb.Role_ROLE_AGENT, "nobody").IsZero() {
		t.Error("revoked from the start")
	}
	h := w.mustEnrol(pb.Role_ROLE_AGENT, "a")
	w.clock.Advance(time.Minute)
	w.revoke(pb.Role_ROLE_AGENT, "a")
	at := g.RevokedAt(pb.Role_ROLE_AGENT, "a")
	if !pki.Revoked(present, at) || !pki.Revoked(present.Add(time.Minute), at) || pki.Revoked(present.Add(time.Minute+time.Second), at) {
		t.Errorf("revoked at %s", at)
	}
	if _, err := w.renew(h); problem.CodeOf(err) != problem.Denied {
		t.Errorf("at the door: %v", err)
	}

	old, other := sha256.Sum256(SigningRoot(w.node.View())), [sha256.Size]byte{1}
	if !g.Trusts(old) || g.Trusts(other) {
		t.Error("it trusts the wrong roots")
	}
	// Its own credentials know of a newer authority.
	key, request := asked(t)
	c, err := w.service.EnrolSelf(t.Context(), request, "c1", nil)
	if err != nil {
		t.Fatal(err)
	}
	newer, err := pki.NewRoot(w.node.View().Cluster(), present)
	if err != nil {
		t.Fatal(err)
	}
	if held, err = pki.NewCredentials(key, c.GetChain(), [][]byte{SigningRoot(w.node.View()), newer.DER()}, w.node.View().Cluster(), 2, w.clock.Now()); err != nil {
		t.Fatal(err)
	}
	if !g.Trusts(sha256.Sum256(newer.DER())) || !g.Trusts(old) || g.Trusts(other) {
		t.Error("it does not trust whom its newer credentials trust")
	}
	if held.Version = 1; g.Trusts(sha256.Sum256(newer.DER())) {
		t.Error("it trusts whom credentials trust that are no newer")
	}
	// Whoever knows no authority yet cannot say that one was replaced.
	empty := newNode(t, w.clock)
	if g := NewGate(empty.View, nil); !g.Trusts(other) {
		t.Error("a controller that has just joined shuts the leader out")
	}
}

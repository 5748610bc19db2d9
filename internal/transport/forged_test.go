package transport_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/metadata"

	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/transport"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// sayingFor makes a context that passes a call on for somebody, in JSON.
func sayingFor(ctx context.Context, who ...string) context.Context {
	for _, w := range who {
		ctx = metadata.AppendToOutgoingContext(ctx, transport.CallerHeader, base64.StdEncoding.EncodeToString([]byte(w)))
	}
	return ctx
}

const asAnn = `{"role":"admin","name":"ann","origin":"10.0.0.9","issued":4000000000,"expires":4000604800}`

func TestOnlyControllersPassCallsOn(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	for _, role := range []string{pki.RoleAgent, pki.RoleAdmin, pki.RoleViewer} {
		conn := dial(t, p.leader, p.holder(role, "mallory"))
		_, err := pb.NewAdminServiceClient(conn).GetRun(sayingFor(t.Context(), asAnn), &pb.GetRunRequest{})
		if problem.CodeOf(err) != problem.Denied || problem.ReasonOf(err) != transport.ReasonForged || !strings.Contains(err.Error(), "the "+role+" mallory is none") {
			t.Errorf("%s: %v", role, err)
		}
		s, err := pb.NewAdminServiceClient(conn).WatchRun(sayingFor(t.Context(), asAnn), &pb.WatchRunRequest{})
		if err == nil {
			_, err = s.Recv()
		}
		if problem.ReasonOf(err) != transport.ReasonForged {
			t.Errorf("%s, a stream: %v", role, err)
		}
	}
	// Not even for a method that anybody may call.
	_, err := pb.NewAdminServiceClient(nobody(t, p.leader, p.cluster)).GetRun(sayingFor(t.Context(), asAnn), &pb.GetRunRequest{})
	if problem.ReasonOf(transport.FromStatus(err)) != transport.ReasonForged {
		t.Errorf("nobody: %v", err)
	}
	// A follower passes nothing on that is forged either.
	_, err = pb.NewAdminServiceClient(p.admin(p.follower)).GetRun(sayingFor(t.Context(), asAnn), &pb.GetRunRequest{})
	if problem.ReasonOf(err) != transport.ReasonForged {
		t.Errorf("through a follower: %v", err)
	}
}

func TestWhatAControllerMaySayOfACaller(t *testing.T) {
	t.Parallel()
	p := newPair(t)
	conn := dial(t, p.leader, p.holder(pki.RoleController, "c3"))
	get := func(who ...string) (string, error) {
		resp, err := pb.NewAdminServiceClient(conn).GetRun(sayingFor(t.Context(), who...), &pb.GetRunRequest{Id: "r"})
		return resp.GetRun().GetId(), err
	}
	if got, err := get(asAnn); err != nil || got != "r c1: admin ann from 10.0.0.9 via c3" {
		t.Errorf("%q, %v", got, err)
	}
	if got, err := get(`{"role":"admin","name":"local:0","origin":"unix socket","local":true}`); err != nil || got != "r c1: admin local:0 from unix socket via c3" {
		t.Errorf("%q, %v", got, err)
	}
	for what, tc := range map[string]struct {
		who    []string
		reason problem.Reason
		code   problem.Code
	}{
		"an agent":         {[]string{`{"role":"agent","name":"db1","issued":4000000000,"expires":4000604800}`}, transport.ReasonNotAllowed, problem.Denied},
		"nobody":           {[]string{`{"origin":"10.0.0.9"}`}, transport.ReasonNoCertificate, problem.Denied},
		"expired":          {[]string{`{"role":"admin","name":"ann","issued":1,"expires":2}`}, transport.ReasonExpired, problem.Denied},
		"without an end":   {[]string{`{"role":"admin","name":"ann"}`}, transport.ReasonExpired, problem.Denied},
		"an unknown role":  {[]string{`{"role":"root","name":"x"}`}, "", problem.InvalidInput},
		"two of them":      {[]string{asAnn, asAnn}, "", problem.InvalidInput},
		"no JSON":          {[]string{"admin ann"}, "", problem.InvalidInput},
		"far too much":     {[]string{`{"role":"admin","name":"` + strings.Repeat("x", 5000) + `"}`}, "", problem.InvalidInput},
		"of another shape": {[]string{`{"role":["admin"]}`}, "", problem.InvalidInput},
	} {
		if got, err := get(tc.who...); problem.CodeOf(err) != tc.code || problem.ReasonOf(err) != tc.reason {
			t.Errorf("%s: %q, %v", what, got, err)
		}
	}
	// A revoked caller, and then a revoked controller.
	issued := p.clock.Now().Add(-time.Minute).Unix()
	text := strings.NewReplacer("4000000000", fmt.Sprint(issued), "4000604800", fmt.Sprint(issued+3600)).Replace(asAnn)
	if _, err := get(text); err != nil {
		t.Fatal(err)
	}
	p.revoke(pb.Role_ROLE_ADMIN, "ann")
	if _, err := get(text); problem.ReasonOf(err) != transport.ReasonRevoked || !strings.Contains(err.Error(), "the admin ann was revoked") {
		t.Errorf("a caller that was revoked: %v", err)
	}
	p.revoke(pb.Role_ROLE_CONTROLLER, "c3")
	until(t, "the refusal of a revoked controller", func() bool {
		_, err := get(`{"role":"admin","name":"bob","issued":4000000000,"expires":4000604800}`)
		return problem.ReasonOf(err) == transport.ReasonRevoked && strings.Contains(err.Error(), "the controller c3 was revoked")
	})
}

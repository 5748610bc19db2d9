package identity

import (
	"context"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// A root is replaced in three steps, so that at any time everybody trusts whoever
// they talk to:
//
//  1. The new root is trusted beside the old one, and signs nothing yet. Everybody
//     hears of it and renews.
//  2. When all have it, it signs. Everybody renews again.
//  3. When all certificates are of the new root, the old one is trusted no more.
//
// Whoever was away for as long as certificates last is not waited for: it has to
// enrol again anyway.

// earlyRotation is how long before its end a root is replaced by itself.
const earlyRotation = 180 * 24 * time.Hour

// next is the authority's next version when everybody has what it takes, nil when
// there is nothing to do or somebody is waited for. With finish nobody is.
func next(a *pb.AuthorityRecord, identities []*pb.Identity, agentsTrust map[string]uint64, now time.Time, finish bool) (step *pb.AuthorityRecord, reason string, waiting []*pb.Identity) {
	if !underWay(a) {
		return nil, "", nil
	}
	waiting = waitingFor(a, identities, agentsTrust, now)
	if len(waiting) > 0 && !finish {
		return nil, "", waiting
	}
	step = following(a)
	if s := successor(step); s != nil {
		for _, r := range step.GetRoots() {
			r.Signs = r == s
			if r != s { // it signs no more, whatever comes
				r.SealedKey, r.KeyGeneration = nil, 0
			}
		}
		return step, "the new root signs from now on", waiting
	}
	step.Roots = slices.DeleteFunc(step.Roots, func(r *pb.RootRecord) bool { return !r.GetSigns() })
	step.RotationBeganAt = nil
	return step, "the old root is trusted no more", waiting
}

// underWay says whether a rotation is.
func underWay(a *pb.AuthorityRecord) bool { return len(a.GetRoots()) > 1 }

// waitingFor lists who has not got what the next step takes: the trust in the new
// root, or a certificate of it.
func waitingFor(a *pb.AuthorityRecord, identities []*pb.Identity, agentsTrust map[string]uint64, now time.Time) (list []*pb.Identity) {
	if !underWay(a) {
		return nil
	}
	trusting := successor(a) != nil
	root := pki.Fingerprint(signing(a).GetCertificate())
	for _, i := range identities {
		if state.Revoked(i) || !i.GetNotAfter().AsTime().After(now) {
			continue
		}
		has := i.GetRoot() == root
		if trusting {
			has = i.GetTrustVersion() >= a.GetVersion() ||
				i.GetRole() == pb.Role_ROLE_AGENT && agentsTrust[i.GetName()] >= a.GetVersion()
		}
		if !has {
			list = append(list, i)
		}
	}
	return list
}

// begun is the authority with a new root beside the old one.
func (s *Service) begun(a *pb.AuthorityRecord) (*pb.AuthorityRecord, error) {
	root, err := s.newRoot(false)
	if err != nil {
		return nil, err
	}
	step := following(a)
	step.Roots = append(step.Roots, root)
	step.RotationBeganAt = timestamppb.New(s.Clock.Now())
	return step, nil
}

// Rotate begins to replace the authority, and says who is waited for. When that is
// under way already, nothing more happens, but that finish takes the next step
// whoever is missing.
func (s *Service) Rotate(ctx context.Context, finish bool) (*pb.AuthorityRecord, []*pb.Identity, error) {
	if err := s.mayIssue(); err != nil {
		return nil, nil, err
	}
	view := s.Node.View()
	a, ok := view.Authority()
	if !ok {
		_, _, err := s.signer()
		return nil, nil, err
	}
	var step *pb.AuthorityRecord
	var err error
	switch {
	case underWay(a) && finish:
		if err := s.mayFinish(view, a); err != nil {
			return nil, nil, err
		}
		step, _, _ = next(a, view.Identities(), s.agentsTrust(), s.Clock.Now(), true)
	case finish:
		return nil, nil, problem.New(problem.Conflict, "the authority is not being replaced").WithHint("Begin with `baktainer ca rotate`.")
	case !underWay(a):
		step, err = s.begun(a)
	}
	if err != nil {
		return nil, nil, err
	}
	if step != nil {
		if err := s.take(ctx, step); err != nil {
			return nil, nil, err
		}
	}
	view = s.Node.View()
	a, _ = view.Authority()
	return a, waitingFor(a, view.Identities(), s.agentsTrust(), s.Clock.Now()), nil
}

// mayFinish refuses to shut out controllers that are members: without each other
// they decide nothing, and nobody could take the step back.
func (s *Service) mayFinish(view *state.View, a *pb.AuthorityRecord) error {
	var out []string
	for _, i := range waitingFor(a, view.Identities(), s.agentsTrust(), s.Clock.Now()) {
		if _, member := view.Member(i.GetName()); member && i.GetRole() == pb.Role_ROLE_CONTROLLER {
			out = append(out, i.GetName())
		}
	}
	if len(out) == 0 {
		return nil
	}
	return problem.New(problem.Conflict, "the rotation still waits for controllers of the cluster: %s", strings.Join(out, ", ")).
		WithHint("They renew by themselves while they run. Remove those that do not come back: `baktainer cluster remove`.")
}

func (s *Service) agentsTrust() map[string]uint64 {
	if s.AgentsTrust == nil {
		return nil
	}
	return s.AgentsTrust()
}

// Run makes the authority where there is none, and carries rotations on, while
// this controller leads: until ctx ends.
func (s *Service) Run(ctx context.Context) {
	if s.OwnPKI {
		return
	}
	for ctx.Err() == nil {
		if err := s.advance(ctx); err != nil && ctx.Err() == nil {
			s.Logger.Warn("the cluster's authority cannot be looked after", "error", err)
		}
		_ = clock.Sleep(ctx, s.Tick) // its only error ends the loop
	}
}

// advance does what is to be done with the authority now.
func (s *Service) advance(ctx context.Context) error {
	if err := s.ensure(ctx); err != nil {
		return err
	}
	view := s.Node.View()
	a, _ := view.Authority()
	step, reason, _ := next(a, view.Identities(), s.agentsTrust(), s.Clock.Now(), false)
	if step == nil && !underWay(a) && s.endsSoon(a) {
		var err error
		if step, err = s.begun(a); err != nil {
			return err
		}
		reason = "the root ends soon, and is being replaced"
	}
	if step == nil {
		return nil
	}
	s.Logger.Info("the cluster's authority changes: "+reason, "version", step.GetVersion())
	if err := s.take(ctx, step); err != nil {
		return fmt.Errorf("carry the rotation of the authority on: %w", err)
	}
	return nil
}

// take takes a step, once it is sure that the root which signs then can.
func (s *Service) take(ctx context.Context, step *pb.AuthorityRecord) error {
	if _, err := s.open(signing(step)); err != nil {
		return err
	}
	return s.setAuthority(ctx, step)
}

func (s *Service) endsSoon(a *pb.AuthorityRecord) bool {
	cert, err := x509.ParseCertificate(signing(a).GetCertificate())
	return err == nil && cert.NotAfter.Sub(s.Clock.Now()) < earlyRotation
}

// Describe is the authority as an operator sees it, nil when there is none.
func Describe(a *pb.AuthorityRecord) *pb.Authority {
	if a == nil {
		return nil
	}
	d := &pb.Authority{Version: a.GetVersion()}
	for _, r := range a.GetRoots() {
		root := &pb.Root{Fingerprint: pki.Fingerprint(r.GetCertificate()), Signs: r.GetSigns()}
		if cert, err := x509.ParseCertificate(r.GetCertificate()); err == nil {
			root.Subject, root.NotAfter = cert.Subject.String(), timestamppb.New(cert.NotAfter)
		}
		d.Roots = append(d.Roots, root)
	}
	return d
}

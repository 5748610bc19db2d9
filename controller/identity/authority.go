package identity

import (
	"context"
	"fmt"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/pki"
	"github.com/baktainer/baktainer/internal/problem"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// signing is the root of an authority that signs new certificates.
func signing(a *pb.AuthorityRecord) *pb.RootRecord {
	for _, r := range a.GetRoots() {
		if r.GetSigns() {
			return r
		}
	}
	return nil
}

// successor is the root that will sign once everybody trusts it, nil when there is none.
func successor(a *pb.AuthorityRecord) *pb.RootRecord {
	for _, r := range a.GetRoots() {
		if !r.GetSigns() && len(r.GetSealedKey()) > 0 {
			return r
		}
	}
	return nil
}

// signer gives the authority and its root, ready to sign.
func (s *Service) signer() (*pb.AuthorityRecord, *pki.Root, error) {
	a, ok := s.Node.View().Authority()
	if !ok {
		return nil, nil, problem.New(problem.Unavailable, "the cluster has no authority yet").WithReason(ReasonNoAuthority).
			WithHint("Its first leader makes one within seconds; try again.")
	}
	root, err := s.open(signing(a))
	return a, root, err
}

func (s *Service) open(r *pb.RootRecord) (*pki.Root, error) {
	key, err := s.Repo.ClusterKey(r.GetKeyGeneration())
	if err != nil {
		return nil, problem.Wrap(problem.Unavailable, err, "the leader cannot open the key of the cluster's authority").WithReason(ReasonNoAuthority).
			WithHint("Its key of the repository is older than the newest generation. Give it a newer one, or have another controller lead: `baktainer cluster transfer-leadership`.")
	}
	root, err := pki.OpenRoot(r.GetCertificate(), r.GetSealedKey(), key)
	if err != nil {
		return nil, problem.Wrap(problem.Corrupt, err, "open the key of the cluster's authority").WithReason(ReasonNoAuthority)
	}
	return root, nil
}

// seal gives a root in the form in which it is kept, under the newest key.
func (s *Service) seal(root *pki.Root, signs bool) (*pb.RootRecord, error) {
	key, err := s.Repo.ClusterKey(s.Repo.Generation)
	if err != nil {
		return nil, fmt.Errorf("seal the key of the cluster's authority: %w", err)
	}
	sealed, err := root.Seal(key)
	if err != nil {
		return nil, err
	}
	return &pb.RootRecord{Certificate: root.DER(), SealedKey: sealed, KeyGeneration: s.Repo.Generation, Signs: signs}, nil
}

// newRoot makes a root of this cluster.
func (s *Service) newRoot(signs bool) (*pb.RootRecord, error) {
	root, err := pki.NewRoot(s.Node.View().Cluster(), s.Clock.Now())
	if err != nil {
		return nil, fmt.Errorf("make the cluster's authority: %w", err)
	}
	return s.seal(root, signs)
}

func (s *Service) setAuthority(ctx context.Context, a *pb.AuthorityRecord) error {
	return s.Node.Propose(ctx, &pb.Command{Actor: "controller", Command: &pb.Command_SetAuthority{SetAuthority: &pb.SetAuthority{Authority: a}}})
}

// following is the authority's next version, to be changed before it is set.
func following(a *pb.AuthorityRecord) *pb.AuthorityRecord {
	next := proto.CloneOf(a)
	next.Version++
	return next
}

// ensure makes the authority of a cluster that has none, and seals its keys anew
// when the repository has a newer key than they are sealed under. That somebody
// else has just done it is as well.
func (s *Service) ensure(ctx context.Context) error {
	err := s.makeOrSeal(ctx)
	if problem.ReasonOf(err) == state.ReasonNotNext {
		return nil
	}
	return err
}

func (s *Service) makeOrSeal(ctx context.Context) error {
	a, ok := s.Node.View().Authority()
	if !ok {
		// First who may come, and then what to come to: whoever finds an authority
		// must not hear that their token is unknown, which would be the last word.
		if err := s.acceptCommon(ctx); err != nil {
			return err
		}
		root, err := s.newRoot(true)
		if err != nil {
			return err
		}
		if err := s.setAuthority(ctx, &pb.AuthorityRecord{Version: 1, Roots: []*pb.RootRecord{root}}); err != nil {
			return err
		}
		s.Logger.Info("the cluster has an authority of its own", "root", pki.Fingerprint(root.GetCertificate()))
		return nil
	}
	older := func(r *pb.RootRecord) bool {
		return len(r.GetSealedKey()) > 0 && r.GetKeyGeneration() < s.Repo.Generation
	}
	if !slices.ContainsFunc(a.GetRoots(), older) {
		return nil
	}
	next := following(a)
	for i, r := range next.GetRoots() {
		if !older(r) {
			continue
		}
		root, err := s.open(r)
		if err != nil {
			return err
		}
		if next.Roots[i], err = s.seal(root, r.GetSigns()); err != nil {
			return err
		}
	}
	s.Logger.Info("the authority's key is sealed under a newer key of the repository", "generation", s.Repo.Generation)
	return s.setAuthority(ctx, next)
}

// trust is whom everybody is to trust.
func trust(cluster string, a *pb.AuthorityRecord) *pb.Trust {
	t := &pb.Trust{Cluster: cluster, Version: a.GetVersion()}
	for _, r := range a.GetRoots() {
		t.Roots = append(t.Roots, r.GetCertificate())
	}
	return t
}

// SigningRoot is the certificate of the root that signs, in DER, nil when there is none yet.
func SigningRoot(view *state.View) []byte {
	a, _ := view.Authority()
	return signing(a).GetCertificate()
}

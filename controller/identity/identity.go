// Package identity is the cluster's own certificate authority at work: it turns
// tokens into certificates, renews them, says which of them count, and replaces
// the authority without anybody being shut out. The keys and certificates
// themselves are in internal/pki, the facts in the replicated state.
package identity

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"time"

	"github.com/baktainer/baktainer/controller/state"
	"github.com/baktainer/baktainer/internal/clock"
	"github.com/baktainer/baktainer/internal/problem"
	"github.com/baktainer/baktainer/internal/repo"
	pb "github.com/baktainer/baktainer/proto/baktainer/v1"
)

// Reasons for which no certificate is given.
const (
	// ReasonOwnPKI says that the operator's own authority issues the certificates.
	ReasonOwnPKI problem.Reason = "own-pki"
	// ReasonNoAuthority says that there is none yet, or none that can sign.
	ReasonNoAuthority problem.Reason = "no-authority"
	// ReasonTooMany says that somebody came with wrong tokens too often.
	ReasonTooMany problem.Reason = "too-many-attempts"
	// ReasonSuperseded says that a request was answered before, and its certificate replaced since.
	ReasonSuperseded problem.Reason = "superseded"
)

// Node is what the service needs of the consensus.
type Node interface {
	View() *state.View
	Propose(context.Context, *pb.Command) error
}

// Options are what a Service is made of.
type Options struct {
	Node Node
	// Repo gives the key under which the authority's own is sealed.
	Repo   *repo.Repository
	Clock  clock.Clock
	Logger *slog.Logger
	// Controllers says where the controllers are reached.
	Controllers func() []*pb.ControllerInfo
	// AgentsTrust gives the version of the trust that each agent last said to have.
	AgentsTrust func() map[string]uint64
	// CommonToken gives the hash of the token that the controllers have in common
	// which make the cluster together; nil: one makes it alone. Together is how many
	// they are. It lets them in as soon as there is an authority.
	CommonToken func() ([sha256.Size]byte, error)
	Together    int
	// OwnPKI says that certificates come from the operator's own authority: none is issued here.
	OwnPKI bool
	// Tick is how often a rotation is looked at; 2 s.
	Tick time.Duration
}

// Service implements pb.IdentityServiceServer, but for Meet.
type Service struct {
	pb.UnimplementedIdentityServiceServer
	Options
	wrong attempts
}

// New returns the service.
func New(o Options) *Service {
	if o.Tick <= 0 {
		o.Tick = 2 * time.Second
	}
	return &Service{Options: o}
}

// mayIssue says why this cluster gives no certificates, if so.
func (s *Service) mayIssue() error {
	if !s.OwnPKI {
		return nil
	}
	return problem.New(problem.Conflict, "this cluster has an authority of its operator's own: it issues no certificates itself").WithReason(ReasonOwnPKI).
		WithHint("Its controllers were started with tls-ca, tls-cert and tls-key. Have that authority issue the certificate.")
}
